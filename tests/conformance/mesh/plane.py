"""A control plane in a thread: services and documents as a test says them, compiled, pushed and served as a node does it.

Rule: between a test's word and a client's stream stands nothing but Atoll's own compiler, push service and gRPC server; what
a node has besides (a store, a registry, certificates) plays no part in what is compiled, and is tested with nodes. Every
client is believed who it says that it is.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from typing import TypeVar

import uvloop

from atoll.planes.mesh.frontends.ads import Ads
from atoll.planes.mesh.frontends.xds import Visitors, status_of
from atoll.planes.mesh.model.world import Choices, World, world_of
from atoll.planes.mesh.policy import compiler
from atoll.planes.mesh.service.push import Push
from atoll.resources.mesh.client_status import ClientStatus
from atoll.resources.mesh.documents import reading
from atoll.resources.mesh.services import MeshService
from atoll.runtime.clock import BootClock
from atoll.runtime.grpc_server import GrpcServer
from atoll.runtime.listener import listen
from atoll.runtime.metrics import Metrics
from atoll.runtime.net import Address

T = TypeVar("T")
_WITHIN_S = 10.0


class ControlPlane:
    """Use as a context manager. Every method may be called from the test's thread."""

    def __init__(self, choices: Choices | None = None) -> None:
        self._world = world_of({}, choices or Choices())
        self._clock = BootClock()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="control plane")
        self._loop: asyncio.AbstractEventLoop
        self._stop: asyncio.Event
        self._push: Push
        self.xds_port = 0

    def __enter__(self) -> ControlPlane:
        self._thread.start()
        assert self._ready.wait(_WITHIN_S), "the control plane did not start"
        return self

    def __exit__(self, *exc: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(_WITHIN_S)
        assert not self._thread.is_alive(), "the control plane did not stop"

    def services(self, changed: Mapping[str, MeshService | None]) -> None:
        """By host; None: gone."""
        self._change(lambda world: world.with_services(changed))

    def apply(self, text: str) -> None:
        """Documents in YAML, which must be without fault."""
        self.change({}, text)

    def change(self, services: Mapping[str, MeshService | None], text: str) -> None:
        """Both at once: clients are told of the world after it, and never of one in between."""
        read = reading.read(text)
        assert not read.errors, [str(each) for each in read.errors]
        changed = {each.key: each.document for each in read.documents}
        self._change(
            lambda world: world.with_services(services).with_policies(world.policies.with_changes(changed))
        )

    def delete(self, text: str) -> None:
        gone = {each.key: None for each in reading.read(text).documents}
        self._change(lambda world: world.with_policies(world.policies.with_changes(gone)))

    def statuses(self) -> list[ClientStatus]:
        return self._ask(lambda: self._push.statuses())

    def refusals(self) -> list[str]:
        """What clients said of what they did not take, in words."""
        return [
            f"{status.node}: {text}"
            for status in self.statuses()
            for text in (
                *(each.text for each in status.types.values() if each.text),
                *(each.text for each in status.set_aside),
            )
        ]

    def _change(self, change: Callable[[World], World]) -> None:
        def changed() -> None:
            self._world = change(self._world)
            self._push.world_changed(self._world, self._clock.now_s())

        self._ask(changed)

    def _ask(self, question: Callable[[], T]) -> T:
        """``question`` on the loop's thread."""

        async def answer() -> T:
            return question()

        return asyncio.run_coroutine_threadsafe(answer(), self._loop).result(_WITHIN_S)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        memo = compiler.Memo()
        self._push = Push(lambda world, client: compiler.compile(world, client, memo), self._clock, Metrics())
        self._push.world_changed(self._world, self._clock.now_s())
        ads = Ads(self._push, Visitors(lambda peer, node: None), self._clock)
        server = GrpcServer(ads.routes, errors=status_of, clock=self._clock)
        listener = listen(Address("127.0.0.1", 0), "--listen", grpc=server)
        self.xds_port = listener.address.port
        pushing = asyncio.ensure_future(self._push.run())
        self._ready.set()
        await self._stop.wait()
        pushing.cancel()
        await asyncio.gather(pushing, return_exceptions=True)
        await listener.close(0.5)
