"""Atoll's own registry: its ordered table by a watch of the store, its ephemeral table by a watch in memory.

Rule: registering must not pay for the mesh: what changes is only marked in its course, and told by a task of its own, in the
loop's next turn; while changes come thick and fast they are gathered for as long as telling takes. A service that has
nothing left stays, without endpoints, for a while: what its clients do with an empty list is the mesh's policy, and a service that comes and goes
must not take clusters and routes with it each time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from atoll.errors import AtollError
from atoll.planes.mesh.model.registry_view import SOURCE, RegistryView
from atoll.planes.mesh.service.sources import Sink
from atoll.resources.mesh.services import MeshService
from atoll.resources.naming_keys import LIVE, NAMING
from atoll.runtime import loop
from atoll.runtime.clock import Clock
from atoll.runtime.logs import Log
from atoll.store.api import KeyValue, Store
from atoll.store.ephemeral import Change, EphemeralTable
from atoll.store.following import Following

EMPTIED_KEPT_S = 300.0
GATHER_S_MAX = 0.1


class RegistrySource:
    """``emptied_kept_s``: how long a service that has nothing left stays known."""

    name = SOURCE

    def __init__(self, store: Store, ephemeral: EphemeralTable, domain: str, clock: Clock) -> None:
        self.emptied_kept_s = EMPTIED_KEPT_S
        self._stored = Following(store, NAMING, self._stored_changed, "mesh")
        self._ephemeral = ephemeral
        self._clock = clock
        self._view = RegistryView(domain)
        self._told: dict[bytes, MeshService] = {}
        self._touched: dict[bytes, None] = {}
        self._wake = loop.Event()
        self._emptied_s: dict[bytes, float] = {}  # since when, in the order of that
        self._sink: Sink = _nobody
        self._log = Log("mesh")

    async def start(self, sink: Sink) -> None:
        """Raises what the store says."""
        self._sink = sink
        await self._stored.load()
        self._ephemeral.watch(LIVE, self._live_changed)
        for entry in self._ephemeral.items(LIVE):
            self._apply_live(entry.key, entry.value, entry.lost)
        self._touch(self._view.keys())
        self.tell()

    async def run(self) -> None:
        """A store that is away is tried again and again; what was seen stands."""
        await loop.gather(self._stored.follow(), self._tell_on(), self._forget())

    def _stored_changed(self, kvs: Sequence[KeyValue], revision: int, whole: bool) -> None:
        touched = self._view.reset_stored() if whole else []
        for kv in kvs:
            try:
                touched += self._view.apply_stored(kv)
            except AtollError as error:
                self._log.error("a record of naming cannot be read", key=repr(kv.key), why=error.message)
        self._touch(touched)

    def _live_changed(self, changes: Sequence[Change]) -> None:
        touched: list[bytes] = []
        for change in changes:
            after = change.after
            if not change.visible:
                continue
            raw = self._apply_live(change.key, *((after.value, after.lost) if after else (None, False)))
            if raw is not None:
                touched.append(raw)
        self._touch(touched)

    def _apply_live(self, key: bytes, value: bytes | None, lost: bool) -> bytes | None:
        try:
            return self._view.apply_live(key, value, lost)
        except AtollError as error:
            self._log.error("an instance cannot be read", key=repr(key), why=error.message)
            return None

    def tell(self) -> None:
        """What was touched since it was told last, where it looks different."""
        touched, self._touched = self._touched, {}
        self._wake.clear()
        changed: dict[str, MeshService | None] = {}
        for raw in touched:
            service = self._view.service(raw)
            if self._view.is_nothing(raw):
                self._emptied_s.setdefault(raw, self._clock.now_s())
            else:
                self._emptied_s.pop(raw, None)
            if self._told.get(raw) != service:
                self._told[raw] = changed[service.host] = service
        if changed:
            self._sink(changed)

    def _touch(self, touched: Iterable[bytes]) -> None:
        self._touched.update(dict.fromkeys(touched))
        if self._touched:
            self._wake.set()

    async def _tell_on(self) -> None:
        while True:
            await self._wake.wait()
            began_s = self._clock.now_s()
            self.tell()
            await loop.sleep(min(GATHER_S_MAX, self._clock.now_s() - began_s))

    async def _forget(self) -> None:
        while True:
            await loop.sleep(self.emptied_kept_s / 10)
            until_s = self._clock.now_s() - self.emptied_kept_s
            gone = [raw for raw, since_s in self._emptied_s.items() if since_s <= until_s]
            for raw in gone:
                del self._emptied_s[raw]
            forgotten = [self._told.pop(raw) for raw in gone if self._view.forget(raw)]
            if forgotten:
                self._sink({service.host: None for service in forgotten})


def _nobody(changed: object) -> None:
    return None
