"""Our xDS server alone, in a thread of the test: a push service over worlds that the test sets, behind real gRPC.

Rule: the compiler is the test's (``compile``), so that a test says exactly which resources a client gets; everything behind
it is what a node runs. ``change`` waits until the loop has taken the new world in.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from atoll.errors import AtollError, Code
from atoll.planes.mesh.frontends import xds
from atoll.planes.mesh.frontends.ads import Ads
from atoll.planes.mesh.frontends.csds import Csds
from atoll.planes.mesh.frontends.lrs import Lrs
from atoll.planes.mesh.frontends.xds import Visitors
from atoll.planes.mesh.model.world import World, world_of
from atoll.planes.mesh.policy.compiler import Compiled
from atoll.planes.mesh.service.loads import Loads
from atoll.planes.mesh.service.push import Push, Rules
from atoll.resources.mesh.client_status import ClientStatus
from atoll.resources.mesh.clients import Client
from atoll.runtime.clock import BootClock
from atoll.runtime.grpc_call import Limits
from atoll.runtime.grpc_server import GrpcServer
from atoll.runtime.listener import Listener, listen
from atoll.runtime.metrics import Metrics
from atoll.runtime.net import Address
from atoll.runtime.peer import Peer
from atoll.wire.xds.snapshot import EMPTY, Snapshot

T = TypeVar("T")
WITHIN_S = 30.0

Compile = Callable[[World, Client], Compiled]


class XdsServer:
    """``snapshot`` is what all clients get unless ``compile`` says otherwise."""

    def __init__(
        self, compile: Compile | None = None, rules: Rules | None = None, limits: Limits | None = None
    ) -> None:
        self.snapshot = EMPTY
        self.unproven: set[str] = set()  # ids of nodes that prove nothing
        self.metrics = Metrics()
        self.port = 0
        self.push: Push
        self.loads: Loads
        self._compile = compile or self._fixed
        self._rules = rules
        self._limits = limits
        self._loop = asyncio.new_event_loop()
        self._listener: Listener
        self._running: asyncio.Task[None]
        self._thread = threading.Thread(target=self._loop.run_forever, name="xds server")

    def __enter__(self) -> XdsServer:
        self._thread.start()
        self.run(self._open(self.port))
        return self

    def __exit__(self, *_: object) -> None:
        self.run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """On the server's loop."""
        done: Future[T] = asyncio.run_coroutine_threadsafe(work, self._loop)
        return done.result(WITHIN_S)

    def call(self, function: Callable[..., T], *arguments: object) -> T:
        """On the server's loop."""

        async def work() -> T:
            return function(*arguments)

        return self.run(work())

    def serve(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.change(world_of({}))

    def change(self, world: World) -> None:
        self.call(lambda: self.push.world_changed(world, BootClock().now_s()))

    def statuses(self) -> list[ClientStatus]:
        return self.call(self.push.statuses)

    def metric(self, name: str) -> float:
        """The sum of a family's samples."""
        lines = self.call(self.metrics.text).decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))

    def restart(self) -> None:
        """A new server on the same port, which remembers nothing but the last snapshot; connections are cut."""
        self.run(self._close())
        self.metrics = Metrics()
        self.run(self._open(self.port))
        self.change(world_of({}))

    def stop(self) -> None:
        self.run(self._close())

    def start(self) -> None:
        self.metrics = Metrics()
        self.run(self._open(self.port))
        self.change(world_of({}))

    def _prove(self, peer: Peer, node: str) -> None:
        if node in self.unproven:
            raise AtollError(Code.DENIED, f"{node} is not who it says")

    def _fixed(self, world: World, client: Client) -> Compiled:
        return Compiled(self.snapshot)

    async def _open(self, port: int) -> None:
        clock = BootClock()
        self.push = Push(lambda world, client: self._compile(world, client), clock, self.metrics, self._rules)
        self.loads = Loads(clock, self.metrics)
        visitors = Visitors(prove=self._prove)
        ads, csds = Ads(self.push, visitors, clock), Csds(self.push, visitors, lambda peer: True)
        routes = {**ads.routes, **csds.routes, **Lrs(self.loads, visitors, interval_s=0.2).routes}
        grpc = GrpcServer(routes, errors=xds.status_of, clock=clock, limits=self._limits)
        self._listener = listen(Address("127.0.0.1", port), "--listen-xds", grpc=grpc)
        self.port = self._listener.address.port
        self._running = asyncio.get_running_loop().create_task(self.push.run())

    async def _close(self) -> None:
        self._running.cancel()
        await asyncio.wait([self._running])
        await self._listener.close(0.0)
