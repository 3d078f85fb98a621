"""The parts of the authority put together on a node, and kept going.

Rule: without ``offline_root`` a mesh that has no root gets one at the first start, kept in the store; with it the node waits
for an operator's.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec

from atoll.errors import AtollError, Code
from atoll.planes.mesh.model import authority_decisions as decisions
from atoll.planes.mesh.service.identity.authority import Authority, Parts
from atoll.planes.mesh.service.identity.intermediate import NodeIntermediate
from atoll.planes.mesh.service.identity.issuing import Issuing, Owner
from atoll.planes.mesh.service.identity.records import Records
from atoll.planes.mesh.service.identity.server import NodeServer
from atoll.resources.actor import Actor
from atoll.runtime import loop
from atoll.runtime.clock import Clock
from atoll.runtime.logs import Log
from atoll.runtime.metrics import Metrics
from atoll.runtime.tasks import Tasks
from atoll.store.api import Store
from atoll.store.audit import AuditWriter
from atoll.store.term import Term

LOOKED_EVERY_S = 15.0  # at what is due by time alone: halves of lifetimes
ADVANCED_EVERY_S = 1.0


class Choices(msgspec.Struct, frozen=True, kw_only=True):
    """``hosts``: names and addresses under which xDS is reached."""

    trust_domain: str
    certificate_ttl_s: float
    offline_root: bool = False
    insecure: bool = False
    hosts: tuple[str, ...] = ("localhost", "127.0.0.1", "::1")


class Ground(msgspec.Struct, frozen=True, kw_only=True):
    """What the authority stands on. ``owner``: whose node it is."""

    store: Store
    audit: AuditWriter
    clock: Clock
    metrics: Metrics
    tasks: Tasks
    data: Path
    owner: Owner
    choices: Choices


class Keeper:
    """``wake`` it when something has changed."""

    def __init__(self, authority: Authority) -> None:
        self._authority = authority
        self._wake = loop.Event()
        self._told: tuple[str, float] | None = None
        self._log = Log("authority")

    def wake(self) -> None:
        self._wake.set()

    async def run(self) -> None:
        while True:
            await loop.wait_event(self._wake, LOOKED_EVERY_S)
            self._wake.clear()
            try:
                await self._authority.refresh()
            except AtollError as error:
                self._log.warning("the node's own certificates are not renewed yet", error=error.message)
            self._tell()

    def _tell(self) -> None:
        """The ledger changes with every renewal; whom to trust does not."""
        bundle = self._authority.bundle_if_any()
        now = None if bundle is None else (bundle.version, bundle.renew_before_s)
        if now != self._told:
            self._told = now
            self._authority.tell()


class Rotation:
    """Leader-only: goes on with an exchange of roots as soon as that is safe, where it is automatic."""

    name = "exchange the mesh's root"

    def __init__(self, authority: Authority, records: Records, clock: Clock) -> None:
        self._authority = authority
        self._records = records
        self._clock = clock
        self._log = Log("authority")

    async def run(self, term: Term) -> None:
        while term.holds():
            await loop.sleep(ADVANCED_EVERY_S)
            await self.look(term)

    async def look(self, term: Term) -> bool:
        """Once. True: the next stage has begun."""
        roots = self._records.view.roots
        if roots is None or len(roots.roots) < 2 or not roots.automatic:
            return False
        if decisions.waiting_for(self._records.view, self._clock.wall_s()):
            return False
        term.check()
        try:
            await self._authority.advance(Actor(via="atoll"))
        except AtollError as error:
            self._log.warning("the exchange of roots does not go on yet", error=error.message)
            return False
        return True


class Opened(msgspec.Struct):
    """``jobs`` (by name) for the node that leads."""

    authority: Authority
    records: Records
    intermediate: NodeIntermediate
    rotation: Rotation
    jobs: tuple[tuple[str, Callable[[Term], Coroutine[Any, Any, None]]], ...]


async def open_authority(ground: Ground) -> Opened:
    """Raises what the store and the file system say."""
    choices, clock = ground.choices, ground.clock
    records = Records(ground.store, ground.audit)
    intermediate = NodeIntermediate(records, ground.owner.node, ground.data, clock)
    issuing = Issuing(records, intermediate, ground.owner, clock, choices.certificate_ttl_s)
    server = NodeServer(records, intermediate, choices.hosts, clock)
    authority = Authority(Parts(records, intermediate, issuing, server, clock, choices.insecure))
    intermediate.prepare()
    await records.load()
    ground.tasks.start("authority records", records.follow())
    if records.view.roots is None and not choices.offline_root:
        await _first_root(authority, choices.trust_domain)
    _require_domain(records, choices.trust_domain)
    await authority.refresh()
    keeper = Keeper(authority)
    records.changed = keeper.wake
    ground.tasks.start("authority", keeper.run())
    ground.tasks.start("ledger", issuing.run())
    issuing.show(ground.metrics)
    rotation = Rotation(authority, records, clock)
    return Opened(authority, records, intermediate, rotation, ((rotation.name, rotation.run),))


def _require_domain(records: Records, trust_domain: str) -> None:
    roots = records.view.roots
    if roots is not None and roots.trust_domain != trust_domain:
        text = (
            f"mesh.trust_domain is {trust_domain}, but this mesh was begun as {roots.trust_domain}, which is in every "
            "certificate; set it to that"
        )
        raise AtollError(Code.INVALID, text)


async def _first_root(authority: Authority, trust_domain: str) -> None:
    try:
        await authority.create(Actor(via="node"), trust_domain)
    except AtollError as error:
        if error.code is not Code.CONFLICT:  # otherwise another node was first
            raise
