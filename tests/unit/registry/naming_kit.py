"""Naming on one node, on a store in memory: virtual time, a table of its own, sinks that write down what they hear.

Rule: everything is real but the clock and the audit entry, which is a plain put that tests can read back.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from atoll.planes.registry.model.naming import Selection
from atoll.planes.registry.service.naming import Chosen, Naming, NamingParts
from atoll.planes.registry.service.pushes import Push
from atoll.resources.actor import Actor
from atoll.resources.instance import Instance
from atoll.resources.registry_client import Client
from atoll.resources.service import ServiceKey
from atoll.runtime import loop
from atoll.runtime.logs import Log
from atoll.runtime.net import Address
from atoll.runtime.tasks import Tasks
from atoll.store.api import RESERVED_PREFIX, Put, Store
from atoll.store.ephemeral import EphemeralTable, Identity
from atoll.store.memory import open_memory
from atoll.store.peers import Member, Peers
from atoll.store.shell import StoreShell

KEY = ServiceKey("public", "DEFAULT_GROUP", "orders")
ANN = Actor("ann", "10.0.0.9", "api", "n1")
AUDITED = RESERVED_PREFIX + b"registry/audit-of-tests"


@dataclass
class VirtualClock:
    """Time moves when a test says so. The wall clock is 1,700,000,000 s ahead of the boot clock."""

    boot_s: float = 1000.0
    wall_ahead_s: float = 1_700_000_000.0

    def now_s(self) -> float:
        return self.boot_s

    def wall_s(self) -> float:
        return self.boot_s + self.wall_ahead_s


@dataclass
class Listener:
    """A sink of pushes; ``acknowledges`` False: somebody who is slow."""

    acknowledges: bool = True
    pushes: list[Push] = field(default_factory=list)

    def __call__(self, push: Push) -> None:
        self.pushes.append(push)
        if self.acknowledges:
            push.acknowledged()

    @property
    def ports(self) -> list[list[int]]:
        """The ports of the hosts of each push."""
        return [[each.port for each in push.info.hosts] for push in self.pushes]


class Bench:
    """One node."""

    def __init__(
        self, store: Store, chosen: Chosen | None = None, node: str = "n1", clock: VirtualClock | None = None
    ) -> None:
        self.clock = clock or VirtualClock()
        self.store = store
        self.audited: list[tuple[str, ...]] = []
        self.table = EphemeralTable(Identity(node, 1), self.clock)
        self.peers = Peers(Member(node, 1))
        parts = NamingParts(self.table, self.peers, store, self.clock, self._audit, chosen or Chosen())
        self.naming = Naming(parts)

    def _audit(self, actor: Actor, action: str, subject: str, before: str, after: str) -> Put:
        self.audited.append((actor.user, action, subject))
        return Put(AUDITED, f"{actor.user} {action} {subject}".encode())

    def client(self, name: str = "c1") -> str:
        self.naming.client_opened(Client(name, address="10.0.0.1"))
        return name

    def pass_s(self, seconds: float, step_s: float = 0.1) -> None:
        """Let time go by in steps, doing what is due at each."""
        until_s = self.clock.boot_s + seconds
        while self.clock.boot_s < until_s - 1e-9:
            self.clock.boot_s = min(until_s, self.clock.boot_s + step_s)
            self.table.tick(self.clock.boot_s)
            self.naming.tick(self.clock.boot_s)

    def ports(self, key: ServiceKey = KEY) -> list[int]:
        """The ports of all instances of a service, unhealthy ones negative."""
        state = self.naming.directory.service(key)
        found = state.instances() if state is not None else ()
        return [each.port if each.healthy else -each.port for each in found]

    def asked(self, key: ServiceKey = KEY) -> list[int]:
        """The ports that a consumer is given."""
        return [each.port for each in self.naming.query(key, Selection()).hosts]


def at(port: int, **fields: Any) -> Instance:
    return Instance("10.0.0.1", port, **fields)


def on_a_node(scenario: Callable[[Bench], Awaitable[None] | None], chosen: Chosen | None = None) -> None:
    """Run ``scenario`` on a loop of its own with a fresh node that follows its store."""
    failures: list[BaseException] = []

    async def run() -> None:
        store = StoreShell(open_memory())
        bench = Bench(store, chosen)
        await bench.naming.follower.load()
        tasks = Tasks(Log("test"), lambda name, error: failures.append(error))
        tasks.start("follow", bench.naming.follower.follow())
        try:
            going = scenario(bench)
            if going is not None:
                await going
        finally:
            await tasks.stop(1.0)
            await store.close()

    loop.run(run())
    assert not failures


@contextlib.asynccontextmanager
async def serving(answer: bytes) -> AsyncIterator[tuple[Address, bytearray]]:
    """A listener on loopback that answers whatever it is sent with ``answer``; and what it was sent."""
    heard = bytearray()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.extend(await reader.read(65_536))
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield Address(*server.sockets[0].getsockname()[:2]), heard
