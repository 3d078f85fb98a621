"""The mesh's authority and the agents of workloads, running in a thread beside real Envoys.

``Identities`` has an event loop of its own; ``do`` runs a coroutine on it and waits.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from atoll.client import mesh_doors
from atoll.host.sidecar.identity.sds import SecretServer
from atoll.host.sidecar.identity.workload import Who, WorkloadIdentity
from atoll.resources.mesh import proxy
from atoll.runtime.clock import BootClock
from atoll.runtime.rng import system_rng
from atoll.store.memory import open_memory
from atoll.store.shell import StoreShell
from tests.unit.mesh.authority_kit import Leash, Mesh, Node, TestClock

T = TypeVar("T")
WITHIN_S = 30.0


@dataclass
class Agent:
    """A workload's agent: its identity, and the socket at which its Envoy asks."""

    identity: WorkloadIdentity
    server: SecretServer
    socket: Path


class Identities:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mesh: Mesh
        self.node: Node
        self.agents: list[Agent] = []
        self.extra: list[SecretServer] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._driver = open_memory()

    def do(self, work: Coroutine[Any, Any, T], within_s: float = WITHIN_S) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(within_s)

    def start(self, **choices: Any) -> None:
        self._thread.start()
        self.do(self._start(choices))

    async def _start(self, choices: dict[str, Any]) -> None:
        self.mesh = Mesh(Leash(StoreShell(self._driver)), TestClock(), self.folder)
        self.node = await self.mesh.start(**choices)

    def agent(self, service: str, may_ask: Any = None, ttl_s: float = 0.0) -> Agent:
        """One more workload, certified."""
        return self.do(self._agent(service, may_ask or (lambda pid: True), ttl_s))

    async def _agent(self, service: str, may_ask: Any, ttl_s: float) -> Agent:
        socket = self.folder / f"{service}-{len(self.agents)}.sock"
        server = SecretServer(socket, may_ask, BootClock())
        who = Who(service=service, socket=self.node.socket, ttl_s=ttl_s)
        identity = WorkloadIdentity(who, mesh_doors, server, BootClock(), system_rng())
        await identity.open()
        agent = Agent(identity, server, socket)
        self.agents.append(agent)
        return agent

    def stop(self) -> None:
        self.do(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(WITHIN_S)
        self._loop.close()

    async def _stop(self) -> None:
        for agent in self.agents:
            await agent.identity.close()
        for server in self.extra:
            await server.close()
        for node in list(self.mesh.nodes):
            await self.mesh.stop(node)
        self._driver.close()
        assert not self.mesh.failed, self.mesh.failed


@contextmanager
def running(**choices: Any) -> Iterator[Identities]:
    folder = Path(tempfile.mkdtemp(prefix="ids-"))
    found = Identities(folder)
    try:
        found.start(**choices)
        yield found
    finally:
        found.stop()
        shutil.rmtree(folder, ignore_errors=True)


def sds_cluster(socket: Path) -> dict[str, Any]:
    """The cluster of a bootstrap that finds an agent."""
    http2 = {
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}},
        }
    }
    endpoint = {"endpoint": {"address": {"pipe": {"path": str(socket)}}}}
    return {
        "name": proxy.SDS_CLUSTER,
        "type": "STATIC",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": http2,
        "load_assignment": {
            "cluster_name": proxy.SDS_CLUSTER,
            "endpoints": [{"lb_endpoints": [endpoint]}],
        },
    }
