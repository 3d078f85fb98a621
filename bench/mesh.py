"""The mesh's control plane under load: how late changes are, what they weigh, whom they reach, what that costs.

Rule: the node is started as users start it; services are in its registry, clients are simulated Envoys' streams in this
process (``bench/load/xds.py``), which shares the node's two cores. Each client is of a service of its own, so that no two share a
snapshot: the worst case. A figure counts when *all* clients have said that they have the change.

What real Envoys add (``bench/load/mesh_proxies.py``) comes after it.

    python3 dev.py bench mesh [--clients N] [--services N] [--changes N] [--envoys N] [--write]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import platform
import statistics
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import uvloop

from atoll.resources.mesh.clients import Client, Kind
from atoll.wire.xds.stream import CLUSTER, ENDPOINTS
from bench.load import mesh_proxies, nacos, registry, xds
from bench.load.mesh_rows import Row, markdown, show
from bench.load.servers import Server, _running
from tests.e2e.atoll import any_ports
from tests.peers.nodes import GRPC_ABOVE
from tests.peers.ports import free_pairs, free_ports
from tools import environment, soak
from tools.rows import percentile

PAGE = environment.ROOT / "docs" / "reference" / "performance.md"
WITHIN_S = 120.0
QUIET_S = 0.5  # between two changes, so that each is the first after quiet
AFFECTED_EVERY = (
    10  # of the clients that declare what they use, each so-many-th uses the service that changes
)
RULE = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: bench}}
spec:
  host: service-1
  trafficPolicy: {{connectionPool: {{tcp: {{maxConnections: {number}}}}}}}
"""


@dataclass
class Plane:
    """A running node with services in its registry."""

    server: Server
    api: str
    xds_port: int
    provider: nacos.Connection
    services: int
    registered: int = 0

    async def register(self, service: int) -> float:
        """One more instance; when the request went out."""
        self.registered += 1
        began_s = time.perf_counter()
        answer = await self.provider.start_prepared(registry.register(f"service-{service}", self.registered))
        nacos.read_answer("register", answer)
        return began_s

    async def apply(self, number: int) -> float:
        text = RULE.format(number=number)
        order = {"files": [{"name": "bench.yaml", "text": text}]}
        request = urllib.request.Request(
            f"http://{self.api}/v1/mesh/documents/apply",
            msgspec.json.encode(order),
            {"content-type": "application/json"},
        )
        began_s = time.perf_counter()

        def post() -> None:
            with urllib.request.urlopen(request, timeout=WITHIN_S) as answer:
                answer.read()

        await asyncio.to_thread(post)
        return began_s

    def responses(self) -> float:
        """Sent so far, by the node's own count."""
        with urllib.request.urlopen(f"http://{self.api}/metrics", timeout=WITHIN_S) as answer:
            lines = answer.read().decode().splitlines()
        return sum(
            float(line.split()[-1]) for line in lines if line.startswith("atoll_mesh_responses_total{")
        )


@contextlib.contextmanager
def node(folder: Path) -> Iterator[tuple[Server, str, int]]:
    """The node, the address of its API, and the port of xDS."""
    etcd, api, xds_port = free_ports(3)
    (nacos_port,) = free_pairs(1, GRPC_ABOVE)
    at = {
        "etcd": etcd,
        "api": api,
        "xds": xds_port,
        "nacos": nacos_port,
        "nacos-grpc": nacos_port + GRPC_ABOVE,
    }
    listens = [word for name, port in at.items() for word in (f"--listen-{name}", f"127.0.0.1:{port}")]
    argv = [sys.executable, "-m", "atoll", "up", "--data", str(folder / "atoll"), "--mesh-insecure-xds"]
    with _running("atoll", [*argv, *any_ports(*listens)], etcd, folder) as server:
        server.nacos = f"127.0.0.1:{nacos_port}"
        yield server, f"127.0.0.1:{api}", xds_port


async def fill(server: Server, api: str, xds_port: int, services: int) -> Plane:
    provider = await nacos.connect(server.nacos, lambda name, body: None)
    plane = Plane(server, api, xds_port, provider, services)
    for service in range(services):
        await plane.register(service)
    return plane


def everything(count: int) -> list[Client]:
    return [Client(Kind.SIDECAR, f"client-{number}", "default") for number in range(count)]


def declaring(count: int) -> list[Client]:
    """Most use a service that never changes here."""
    return [
        Client(
            Kind.SIDECAR,
            f"client-{number}",
            "default",
            uses=("service-1" if number % AFFECTED_EVERY == 0 else "service-2",),
        )
        for number in range(count)
    ]


class Bench:
    def __init__(self, plane: Plane, options: argparse.Namespace) -> None:
        self.plane = plane
        self.clients: int = options.clients
        self.changes: int = options.changes
        self.rows: list[Row] = []

    async def run(self) -> None:
        bytes_of: dict[bool, float] = {}
        for delta in (True, False):
            bytes_of[delta] = await self._crowd(delta)
        share = bytes_of[True] / bytes_of[False]
        told = f"{bytes_of[True] / 1e3:,.1f} kB of {bytes_of[False] / 1e6:,.1f} MB = {100 * share:.3f} %"
        self.rows.append(
            Row(
                "one cluster's change at all clients, delta of state-of-the-world",
                told,
                "<= 1 %",
                share <= 0.01,
            )
        )
        await self._affected()

    async def _crowd(self, delta: bool) -> float:
        """All clients, everything: returns the bytes of one cluster's change."""
        form = "delta" if delta else "state of the world"
        arrivals, server = xds.Arrivals(), self.plane.server
        before_bytes, before_s, began_s = server.resident_bytes(), server.cpu_s(), time.perf_counter()
        crowd = await xds.connect(self.plane.xds_port, everything(self.clients), delta, arrivals, WITHIN_S)
        took_s, cpu_s = time.perf_counter() - began_s, server.cpu_s() - before_s
        each_kb = (server.resident_bytes() - before_bytes) / self.clients / 1e3
        what = f"{self.clients} clients x {self.plane.services:,} clusters, {form}"
        self.rows.append(Row(f"{what}: all come, and have everything", f"{took_s:.2f} s, {cpu_s:.2f} s CPU"))
        self.rows.append(Row(f"{what}: memory of the node for each", f"{each_kb:,.0f} kB"))
        await self._endpoints(what, arrivals)
        cluster_bytes = await self._cluster(what, arrivals)
        for each in crowd:
            each.close()
        await asyncio.gather(*(each.lost for each in crowd))
        return cluster_bytes

    async def _endpoints(self, what: str, arrivals: xds.Arrivals) -> None:
        late_s: list[float] = []
        last_s: list[float] = []
        before_s = self.plane.server.cpu_s()
        for _ in range(self.changes):
            await asyncio.sleep(QUIET_S)
            arrivals.expect(self.clients, ENDPOINTS)
            began_s = await self.plane.register(1)
            await arrivals.wait(WITHIN_S)
            late_s += [at_s - began_s for at_s in arrivals.at_s]
            last_s.append(max(arrivals.at_s) - began_s)
        cpu_ms = 1e3 * (self.plane.server.cpu_s() - before_s) / self.changes
        told = (
            f"{1e3 * statistics.median(last_s):.0f} ms at the last (worst {1e3 * max(last_s):.0f}); "
            f"each p50 {1e3 * percentile(late_s, 0.5):.0f}, p99 {1e3 * percentile(late_s, 0.99):.0f} ms; "
            f"{cpu_ms:.0f} ms CPU"
        )
        self.rows.append(
            Row(f"{what}: one endpoint's change acknowledged by all", told, "< 1 s", max(last_s) < 1.0)
        )

    async def _cluster(self, what: str, arrivals: xds.Arrivals) -> float:
        last_s: list[float] = []
        sizes: list[float] = []
        for number in range(self.changes):
            await asyncio.sleep(QUIET_S)
            arrivals.expect(self.clients, CLUSTER)
            began_s = await self.plane.apply(100 + number + self.changes * (self.plane.registered % 7))
            await arrivals.wait(WITHIN_S)
            last_s.append(max(arrivals.at_s) - began_s)
            sizes.append(float(arrivals.bytes_by_type[CLUSTER]))
        told = f"{1e3 * statistics.median(last_s):.0f} ms at the last, {statistics.median(sizes) / 1e3:,.1f} kB in all"
        self.rows.append(Row(f"{what}: one cluster's change acknowledged by all", told))
        return statistics.median(sizes)

    async def _affected(self) -> None:
        arrivals = xds.Arrivals()
        clients = declaring(self.clients)
        affected = sum(client.uses == ("service-1",) for client in clients)
        crowd = await xds.connect(self.plane.xds_port, clients, True, arrivals, WITHIN_S)
        counts: list[float] = []
        before_s = self.plane.server.cpu_s()
        for _ in range(self.changes):
            await asyncio.sleep(QUIET_S)
            before = self.plane.responses()
            arrivals.expect(affected, ENDPOINTS)
            await self.plane.register(1)
            await arrivals.wait(WITHIN_S)
            await asyncio.sleep(QUIET_S)  # what should not come would come now
            counts.append(self.plane.responses() - before)
        cpu_ms = 1e3 * (self.plane.server.cpu_s() - before_s) / self.changes
        told = (
            f"{min(counts):.0f} to {max(counts):.0f} responses for {affected} affected; {cpu_ms:.0f} ms CPU"
        )
        met = min(counts) == max(counts) == affected
        self.rows.append(
            Row(f"a change that concerns {affected} of {self.clients} clients", told, "the affected set", met)
        )
        for each in crowd:
            each.close()
        await asyncio.gather(*(each.lost for each in crowd))


async def measure(folder: Path, options: argparse.Namespace) -> list[Row]:
    with node(folder) as (server, api, xds_port):
        plane = await fill(server, api, xds_port, options.services)
        bench = Bench(plane, options)
        await bench.run()
        bench.rows.append(
            Row("resident memory of the node at the end", f"{server.resident_bytes() / 1e6:,.0f} MB")
        )
        plane.provider.close()
        await plane.provider.lost
        return bench.rows


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="dev.py bench mesh")
    parser.add_argument("--clients", type=int, default=500)
    parser.add_argument("--services", type=int, default=1_000)
    parser.add_argument("--changes", type=int, default=10, help="of each kind, of which medians are shown")
    parser.add_argument("--envoys", type=int, default=100, help="real ones; 45 MB each")
    parser.add_argument("--write", action="store_true", help=f"put the table into {PAGE.name}")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=environment.STATE) as name:
        rows = uvloop.run(measure(Path(name), options))
        rows += mesh_proxies.measure(Path(name), options.envoys)
    setting = (
        f"`python3 dev.py bench mesh --clients {options.clients} --services {options.services}` on commit {soak.commit()}, "
        f"Python {platform.python_version()}, {os.cpu_count()} shared cores, node and clients on one machine. "
        f"{options.changes} changes of each kind."
    )
    show(rows, setting)
    if options.write:
        soak.write_section(PAGE, "mesh", f"{setting}\n\n{markdown(rows)}")
    return int(not all(row.met for row in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
