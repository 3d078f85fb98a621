"""Enrolment and renewal of one workload, from its start to its end.

Rule: the private key is made here and leaves this process only to ``Sink``, for the workload itself. Every renewal has a new
key. While no node answers, what is held goes on; the node that is asked is whichever answers.

How the workload proves itself: at a Unix socket by its uid each time; where there is none by a join token the first time and
by its present certificate from then on.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

import msgspec

from atoll.errors import AtollError, Code
from atoll.host.sidecar.identity import held as rules
from atoll.host.sidecar.identity.held import Held
from atoll.resources.mesh.clients import spiffe_id
from atoll.resources.mesh.identity import Bundle, EnrolOrder, Issued
from atoll.resources.mesh.join_token import JoinText
from atoll.runtime import keys, loop
from atoll.runtime.clock import Clock
from atoll.runtime.logs import Log
from atoll.runtime.net import Address
from atoll.runtime.rng import Rng
from atoll.runtime.tasks import Tasks
from atoll.runtime.tls import Credentials
from atoll.wire.x509 import requests

_LATER = (Code.UNAVAILABLE, Code.UNKNOWN, Code.EXHAUSTED, Code.CONFLICT)  # asking again may help
STOP_WITHIN_S = 1.0


class Lines(Protocol):
    """Whom to trust, as a node tells it."""

    def every(self) -> AsyncIterator[Bundle]: ...


class Door(Protocol):
    """A node, reached in one of the ways. Both raise ``AtollError``."""

    async def enrol(self, order: EnrolOrder) -> Issued: ...

    def bundles(self) -> AbstractAsyncContextManager[Lines]: ...


class Doors(Protocol):
    """The ways: ``atoll.client.mesh_doors``."""

    def by_socket(self, path: Path) -> Door: ...

    async def by_token(self, nodes: Sequence[Address], token: JoinText) -> Door: ...

    def by_certificate(self, nodes: Sequence[Address], credentials: Credentials, bundle: Bundle) -> Door: ...


class Sink(Protocol):
    """For whom the key is."""

    async def open(self) -> None:
        """Raises ``AtollError``."""

    async def hold(self, held: Held) -> bool:
        """Use it from now on. True: whoever there is trusts its roots now."""

    async def close(self) -> None: ...


class Who(msgspec.Struct, frozen=True, kw_only=True):
    """The workload, and where it finds nodes: ``socket`` on this machine, else the ports of xDS at ``nodes``, for the first
    time with ``token``. ``ttl_s`` 0: as long as the node gives.
    """

    service: str
    namespace: str = "default"
    instance: str = ""
    socket: Path | None = None
    nodes: tuple[Address, ...] = ()
    token: JoinText | None = None
    ttl_s: float = 0.0


class WorkloadIdentity:
    """``open`` returns when the workload has its certificate; from then on it is kept in force."""

    def __init__(self, who: Who, doors: Doors, sink: Sink, clock: Clock, rng: Rng) -> None:
        self.renewals = 0
        self.failures = 0  # in a row
        self._who = who
        self._doors = doors
        self._sink = sink
        self._clock = clock
        self._rng = rng
        self._log = Log("identity").bind(service=who.service)
        self._held: Held | None = None
        self._changed = loop.Event()
        self._tasks = Tasks(self._log, self._failed)

    @property
    def held(self) -> Held | None:
        return self._held

    async def open(self, held: Held | None = None) -> None:
        """``held``: from an earlier run. Raises ``AtollError`` where asking again cannot help."""
        await self._sink.open()
        if held is not None:
            await self._use(held)
        while self._held is None or self._held.ends_s <= self._clock.now_s():
            try:
                await self._enrol()
            except AtollError as error:
                await self._wait_again(error)
        self._tasks.start("renewal", self._renew())
        self._tasks.start("roots", self._follow())

    async def close(self) -> None:
        await self._tasks.stop(STOP_WITHIN_S)
        await self._sink.close()

    # ------------------------------------------------------------------------------------------- enrolment

    async def _enrol(self) -> None:
        """A certificate for a new key, in use when this returns."""
        key = keys.new_private_key()
        door, token = await self._door()
        before = self._held
        trusts = before.trusts if before is not None else ""
        who = self._who
        asked = EnrolOrder(
            service=who.service,
            namespace=who.namespace,
            csr=requests.make(key),
            instance=who.instance,
            token=token,
            bundle=trusts,
            replaces=before.issued.serial if before is not None else "",
            ttl_s=who.ttl_s,
        )
        issued = await door.enrol(asked)
        self._require_mine(issued)
        told = trusts or issued.bundle.version  # who trusted nobody yet is taken to trust what it is given
        await self._use(Held(key, issued, issued.bundle, told, told, self._clock.now_s()))
        self.renewals += before is not None
        self.failures = 0
        self._log.info("certified", serial=issued.serial, ttl_s=round(issued.ttl_s))

    async def _door(self) -> tuple[Door, str]:
        """Where to ask, and the secret to show there."""
        who, held = self._who, self._held
        certified = held is not None and held.ends_s > self._clock.now_s()
        if who.socket is not None and (who.socket.exists() or not certified):
            return self._doors.by_socket(who.socket), ""
        if held is not None and certified:
            credentials = Credentials(held.bundle.roots, held.issued.chain, held.key)
            return self._doors.by_certificate(who.nodes, credentials, held.bundle), ""
        if who.token is None:
            text = "the workload has no certificate and nothing to prove itself with: give a join token, or a node's socket"
            raise AtollError(Code.DENIED, text)
        return await self._doors.by_token(who.nodes, who.token), who.token.secret

    def _require_mine(self, issued: Issued) -> None:
        wanted = spiffe_id(issued.bundle.trust_domain, self._who.namespace, self._who.service)
        if issued.spiffe_id != wanted:
            raise AtollError(
                Code.DENIED, f"the node certified {issued.spiffe_id}, and {wanted} was asked for"
            )

    async def _use(self, held: Held) -> None:
        self._held = held
        if await self._sink.hold(held):
            self._held = msgspec.structs.replace(held, trusts=held.bundle.version)
        else:
            self._log.warning("the roots were not taken in, and the mesh is not told that they are trusted")

    async def _wait_again(self, error: AtollError) -> None:
        if error.code not in _LATER:
            raise error
        self.failures += 1
        self._log.warning("not certified yet", why=error.message)
        await loop.sleep(rules.again_s(self.failures, self._rng.random()))

    # --------------------------------------------------------------------------------------------- renewal

    async def _renew(self) -> None:
        """For ever."""
        while self._held is not None:
            await self._wait_due(self._held)
            try:
                await self._enrol()
            except AtollError as error:
                self.failures += 1
                left_s = self._held.ends_s - self._clock.now_s()
                self._log.warning("not renewed yet", why=error.message, left_s=round(left_s))
                await loop.sleep(rules.again_s(self.failures, self._rng.random()))
            else:
                await loop.sleep(rules.RENEWED_AGAIN_S * self._rng.random())

    async def _wait_due(self, held: Held) -> None:
        due_s = rules.due_s(held, self._rng.random())
        while (left_s := due_s - self._clock.now_s()) > 0:
            if self._held is not None and rules.is_asked_for(self._held):
                return
            self._changed.clear()
            await loop.wait_event(self._changed, left_s)

    async def _follow(self) -> None:
        """Hear of the roots, for ever."""
        failures = 0
        while True:
            try:
                door, _ = await self._door()
                async with door.bundles() as lines:
                    async for bundle in lines.every():
                        failures = 0
                        await self._heard(bundle)
            except AtollError as error:
                self._log.info("the roots are not followed", why=error.message)
            failures += 1
            await loop.sleep(rules.again_s(failures, self._rng.random()))

    async def _heard(self, bundle: Bundle) -> None:
        held = self._held
        if held is None or bundle == held.bundle:
            return
        changed = msgspec.structs.replace(held, bundle=bundle)
        if bundle.version == held.bundle.version:
            self._held = changed
        else:
            await self._use(changed)
        self._changed.set()

    def _failed(self, name: str, error: BaseException) -> None:
        self._log.error("the workload's identity is not kept any more", error, task=name)
