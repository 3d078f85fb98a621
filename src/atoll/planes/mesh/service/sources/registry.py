"""Atoll's own registry: its ordered table by a watch of the store, its ephemeral table by a watch in memory.

Rule: a change in the ephemeral table is told in the same turn of the loop. A service that has nothing left stays, without
endpoints, for a while: what its clients do with an empty list is the mesh's policy, and a service that comes and goes
must not take clusters and routes with it each time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence

from atoll.errors import AtollError
from atoll.planes.mesh.model.registry_view import SOURCE, RegistryView
from atoll.planes.mesh.service.sources import Sink
from atoll.resources.mesh.services import MeshService
from atoll.resources.naming_keys import LIVE, NAMING
from atoll.runtime import loop
from atoll.runtime.clock import Clock
from atoll.runtime.logs import Log
from atoll.store.api import KeyValue, Range, Store, Watch, prefix_end
from atoll.store.ephemeral import Change, EphemeralTable

PAGE_KEYS = 1_000
RETRY_S = 0.5
EMPTIED_KEPT_S = 300.0


class RegistrySource:
    """``emptied_kept_s``: how long a service that has nothing left stays known."""

    name = SOURCE

    def __init__(self, store: Store, ephemeral: EphemeralTable, domain: str, clock: Clock) -> None:
        self.emptied_kept_s = EMPTIED_KEPT_S
        self._store = store
        self._ephemeral = ephemeral
        self._clock = clock
        self._view = RegistryView(domain)
        self._told: dict[bytes, MeshService] = {}
        self._emptied_s: dict[bytes, float] = {}  # since when, in the order of that
        self._revision = 0
        self._sink: Sink = _nobody
        self._log = Log("mesh")

    async def start(self, sink: Sink) -> None:
        """Raises what the store says."""
        await self._load()
        self._ephemeral.watch(LIVE, self._live_changed)
        for entry in self._ephemeral.items(LIVE):
            self._apply_live(entry.key, entry.value, entry.lost)
        self._sink = sink
        self._tell(self._view.keys())

    async def run(self) -> None:
        """A store that is away is tried again and again; what was seen stands."""
        await loop.gather(self._follow(), self._forget())

    async def _follow(self) -> None:
        while True:
            try:
                if not self._revision:
                    self._tell(await self._load())
                await self._follow_once()
            except AtollError as error:
                self._log.warning("the mesh's watch of the registry ended", error=error.message)
                self._revision = 0
            await loop.sleep(RETRY_S)

    async def _follow_once(self) -> None:
        batches = self._store.watch(Watch(NAMING, prefix_end(NAMING), self._revision + 1))
        async with contextlib.aclosing(batches):
            async for batch in batches:
                self._tell(self._apply_stored([event.kv for event in batch.events]))
                self._revision = max(self._revision, batch.revision)

    async def _load(self) -> list[bytes]:
        """Read everything, once. Which services may look different."""
        found: list[KeyValue] = []
        begin, end, revision = NAMING, prefix_end(NAMING), 0
        more = True
        while more:
            page = await self._store.range(Range(begin, end, revision=revision, limit=PAGE_KEYS))
            revision = revision or page.revision
            found += page.kvs
            more = page.more
            begin = page.kvs[-1].key + b"\0" if page.kvs else begin
        touched = self._view.reset_stored()
        touched += self._apply_stored(found)
        self._revision = revision
        return touched

    def _apply_stored(self, kvs: Sequence[KeyValue]) -> list[bytes]:
        touched: list[bytes] = []
        for kv in kvs:
            try:
                touched += self._view.apply_stored(kv)
            except AtollError as error:
                self._log.error("a record of naming cannot be read", key=repr(kv.key), why=error.message)
        return touched

    def _live_changed(self, changes: Sequence[Change]) -> None:
        touched: list[bytes] = []
        for change in changes:
            after = change.after
            if not change.visible:
                continue
            raw = self._apply_live(change.key, *((after.value, after.lost) if after else (None, False)))
            if raw is not None:
                touched.append(raw)
        self._tell(touched)

    def _apply_live(self, key: bytes, value: bytes | None, lost: bool) -> bytes | None:
        try:
            return self._view.apply_live(key, value, lost)
        except AtollError as error:
            self._log.error("an instance cannot be read", key=repr(key), why=error.message)
            return None

    def _tell(self, touched: Iterable[bytes]) -> None:
        changed: dict[str, MeshService | None] = {}
        for raw in dict.fromkeys(touched):
            service = self._view.service(raw)
            if self._view.is_nothing(raw):
                self._emptied_s.setdefault(raw, self._clock.now_s())
            else:
                self._emptied_s.pop(raw, None)
            if self._told.get(raw) != service:
                self._told[raw] = changed[service.host] = service
        if changed:
            self._sink(changed)

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
