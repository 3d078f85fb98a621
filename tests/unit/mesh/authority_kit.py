"""The mesh's authority on a store in memory, behind the doors that workloads and operators use: a Unix socket and a TLS port.

The wall clock is the test's own; a store can be taken away and given back.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from atoll.client import mesh_doors
from atoll.client.mesh_authority import MeshAuthority
from atoll.client.mesh_identity import MeshIdentity
from atoll.client.node import Client
from atoll.client.transport import HttpTransport
from atoll.errors import AtollError, Code
from atoll.planes.mesh.frontends.rest.authority import AuthorityApi
from atoll.planes.mesh.frontends.rest.identity import IdentityApi
from atoll.planes.mesh.service.identity.authority import Authority
from atoll.planes.mesh.service.identity.issuing import Owner
from atoll.planes.mesh.service.identity.opening import Choices, Ground, Opened, open_authority
from atoll.resources.mesh.identity import EnrolOrder, Issued
from atoll.runtime import loop, tls
from atoll.runtime.clock import BootClock
from atoll.runtime.http1 import Http1Server
from atoll.runtime.http_api import application
from atoll.runtime.http_guard import CertificateGate, SocketGate
from atoll.runtime.listener import Listener, listen, listen_unix
from atoll.runtime.logs import Log
from atoll.runtime.metrics import Metrics
from atoll.runtime.net import Address
from atoll.runtime.rng import system_rng
from atoll.runtime.tasks import Tasks
from atoll.store.api import (
    Compare,
    Driver,
    LeaseResult,
    Operation,
    Range,
    RangeResult,
    Store,
    TxnResult,
)
from atoll.store.audit import AuditWriter
from atoll.store.memory import open_memory
from atoll.store.shell import StoreShell
from atoll.wire.x509 import requests
from tests.waiting import wait_until

WITHIN_S = 30.0
DOMAIN = "cluster.local"


class TestClock(BootClock):
    """The boot clock as it is, the wall clock ``ahead_s`` of it."""

    __test__ = False

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def wall_s(self) -> float:
        return super().wall_s() + self.ahead_s


READ_TURNS = (
    5  # of the loop, before a reader goes on: what others do meanwhile comes between its read and its write
)


class Leash:
    """A store that can be ``away``: what is asked of it then is UNAVAILABLE. Watches go on."""

    def __init__(self, store: Store) -> None:
        self.away = False
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def range(self, request: Range) -> RangeResult:
        self._reach()
        found = await self._store.range(request)
        for _ in range(READ_TURNS):
            await loop.sleep(0)
        return found

    async def commit(self, guards: Sequence[Compare], operations: Sequence[Operation]) -> TxnResult:
        self._reach()
        return await self._store.commit(guards, operations)

    async def lease_grant(self, ttl_s: int, lease: int = 0) -> LeaseResult:
        self._reach()
        return await self._store.lease_grant(ttl_s, lease)

    def _reach(self) -> None:
        if self.away:
            raise AtollError(Code.UNAVAILABLE, "the store is away")


@dataclass
class Node:
    """One node of the mesh."""

    opened: Opened
    socket: Path
    xds: Address
    tasks: Tasks
    listeners: list[Listener]

    @property
    def authority(self) -> Authority:
        return self.opened.authority

    @property
    def local(self) -> MeshIdentity:
        return mesh_doors.by_socket(self.socket)

    @property
    def operator(self) -> MeshAuthority:
        return MeshAuthority(Client(HttpTransport(f"unix:{self.socket}")))


@dataclass
class Mesh:
    """Nodes on one store."""

    store: Leash
    clock: TestClock
    folder: Path
    nodes: list[Node] = field(default_factory=list)
    failed: list[Any] = field(default_factory=list)

    @property
    def node(self) -> Node:
        return self.nodes[0]

    async def start(
        self,
        name: str = "n1",
        *,
        trust_domain: str = DOMAIN,
        offline: bool = False,
        owner_uid: int | None = None,
        ttl_s: float = 86_400.0,
    ) -> Node:
        tasks = Tasks(Log("test"), lambda task, error: self.failed.append((task, error)))
        data = self.folder / name
        data.mkdir(mode=0o700)
        ground = Ground(
            store=self.store,
            audit=AuditWriter(self.clock, system_rng(), name),
            clock=self.clock,
            metrics=Metrics(),
            tasks=tasks,
            data=data,
            owner=Owner(name, os.getuid() if owner_uid is None else owner_uid),
            choices=Choices(trust_domain=trust_domain, certificate_ttl_s=ttl_s, offline_root=offline),
        )
        opened = await open_authority(ground)
        at_socket = IdentityApi(opened.authority, name, certified=False).endpoints()
        at_port = IdentityApi(opened.authority, name, certified=True).endpoints()
        operators = AuthorityApi(opened.authority, DOMAIN, name).endpoints()
        uid = ground.owner.uid
        local = application([*at_socket, *operators], SocketGate(uid), Log("api"), "1", {})
        remote = application([*at_port, *operators], CertificateGate(), Log("api"), "1", {})
        socket = data / "mesh.sock"
        listeners = [
            listen_unix(socket, 0o666, http1=Http1Server(local, self.clock)),
            listen(
                Address("127.0.0.1", 0),
                "--listen-xds",
                http1=Http1Server(remote, self.clock),
                tls=opened.authority.server.tls,
            ),
        ]
        node = Node(opened, socket, listeners[1].address, tasks, listeners)
        self.nodes.append(node)
        return node

    async def stop(self, node: Node) -> None:
        for listener in node.listeners:
            await listener.close(0.0)
        await node.tasks.stop(1.0)
        self.nodes.remove(node)


def run(scenario: Callable[[Mesh], Awaitable[None]], opener: Callable[[], Driver] = open_memory) -> None:
    """One scenario on a fresh store."""

    async def within() -> None:
        driver = opener()
        with tempfile.TemporaryDirectory(prefix="atoll-mesh-") as folder:
            mesh = Mesh(Leash(StoreShell(driver)), TestClock(), Path(folder))
            try:
                async with loop.bounded(WITHIN_S, "the scenario"):
                    await scenario(mesh)
            finally:
                for node in list(mesh.nodes):
                    await mesh.stop(node)
                driver.close()
            assert not mesh.failed, mesh.failed

    loop.run(within())


def order(key: str, service: str = "reviews", **more: Any) -> EnrolOrder:
    """``names``: what the signing request names, otherwise nothing."""
    names = more.pop("names", ())
    namespace = more.pop("namespace", "default")
    return EnrolOrder(service, namespace, requests.make(key, names), **more)


def credentials(key: str, issued: Issued) -> tls.Credentials:
    return tls.Credentials(issued.bundle.roots, issued.chain, key)


async def until(condition: Callable[[], Any], what: str, within_s: float = 10.0) -> Any:
    """The first true value of ``condition``."""
    return await loop.in_thread(wait_until, condition, within_s, what)
