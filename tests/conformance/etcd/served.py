"""The etcd API inside the test's own process, on a thread with an event loop, so that a test can reach the store.

``with Served(open_memory()) as served: Side("atoll", served.address)``
"""

from __future__ import annotations

import asyncio
import threading
from types import TracebackType

from atoll.planes.coordination.frontends.etcd import EtcdApi, Settings, open_api
from atoll.runtime import loop
from atoll.runtime.clock import BootClock, Clock
from atoll.runtime.grpc_server import GrpcServer
from atoll.runtime.listener import listen
from atoll.runtime.logs import Log
from atoll.runtime.net import Address
from atoll.runtime.tasks import Tasks
from atoll.store.embedded import Embedded

START_WITHIN_S = 30.0


class HandClock:
    """Moves when told to."""

    def __init__(self) -> None:
        self.time_s = 100.0

    def now_s(self) -> float:
        return self.time_s

    def wall_s(self) -> float:
        return self.time_s


class Served:
    """Closes ``store`` at the end. ``clock`` is the one that tokens end by."""

    def __init__(self, store: Embedded, settings: Settings | None = None, clock: Clock | None = None) -> None:
        self.store = store
        self.server: GrpcServer
        self.api: EtcdApi
        self.address = ""
        self._settings = settings or Settings()
        self._clock = clock or BootClock()
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: loop.run(self._serve()), name="served", daemon=True)

    def __enter__(self) -> Served:
        self._thread.start()
        assert self._started.wait(START_WITHIN_S), "the server did not start"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()
        self._thread.join(START_WITHIN_S)
        self.store.close()
        assert not self._thread.is_alive(), "the server did not stop"

    def tasks(self) -> int:
        """How many tasks run on the server's loop: handlers that wait, and two of the server's own."""
        return len(asyncio.all_tasks(self._loop))

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.api = await open_api(self.store, self._settings, self._clock)
        self.server = GrpcServer(
            self.api.routes, errors=self.api.errors, clock=BootClock(), limits=self.api.limits
        )
        listener = listen(Address("127.0.0.1", 0), "--etcd-listen", grpc=self.server)
        stopping = loop.Event()
        self._stop = loop.call_from_thread(stopping.set)
        self.address = f"127.0.0.1:{listener.address.port}"
        self._started.set()
        tasks = Tasks(Log("task"), lambda name, error: stopping.set())
        tasks.start("progress", self.api.report_progress())
        await stopping.wait()
        await listener.close(0.0)
        await tasks.stop(START_WITHIN_S)
