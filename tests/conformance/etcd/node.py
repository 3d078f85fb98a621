"""The smallest process that serves the etcd API: a store, the API, a listener on a free port.

    python -m tests.conformance.etcd.node memory: | sqlite:PATH

Prints its port once it serves. Stands on the same parts as a node of ``atoll up``, so that the conformance of the
API does not wait for the host's.
"""

from __future__ import annotations

import sys
from pathlib import Path

from atoll.planes.coordination.frontends.etcd import Settings, open_api
from atoll.runtime import loop
from atoll.runtime.clock import BootClock
from atoll.runtime.grpc_server import GrpcServer
from atoll.runtime.listener import listen
from atoll.runtime.net import Address
from atoll.store.embedded import Embedded
from atoll.store.memory import open_memory
from atoll.store.sqlite import open_sqlite

PROGRESS_INTERVAL_S = 1.0  # so that a test need not wait ten minutes for a progress report


def open_store(url: str) -> Embedded:
    return open_memory() if url == "memory:" else open_sqlite(Path(url.removeprefix("sqlite:")))


async def serve(url: str) -> None:
    clock = BootClock()
    api = await open_api(open_store(url), Settings(progress_interval_s=PROGRESS_INTERVAL_S), clock)
    server = GrpcServer(api.routes, errors=api.errors, clock=clock, limits=api.limits)
    listener = listen(Address("127.0.0.1", 0), "--etcd-listen", grpc=server)
    print(listener.address.port, flush=True)
    await api.report_progress()


if __name__ == "__main__":
    loop.run(serve(sys.argv[1]))
