"""What the mesh costs and how quick it is with real Envoys: a registration until it takes effect in traffic, the way through two
sidecars beside the direct one, and a crowd of proxies.

Rule: everything is what a user starts (a node, ``atoll sidecar`` with identities and mutual TLS); effects are read from
answers, not from acknowledgements. Direct way and way through the sidecars take turns in one run.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from atoll.resources.mesh.clients import Client, Kind
from atoll.resources.mesh.node_metadata import metadata_of, node_id
from bench.load import nacos
from bench.load.mesh_rows import Row
from tests.e2e import meshed
from tests.e2e.atoll import clean_environment
from tests.e2e.meshed import Mesh
from tests.peers.envoy import Envoy, ads_bootstrap
from tests.peers.nodes import GRPC_ABOVE
from tests.peers.ports import free_ports
from tests.peers.processes import Process
from tests.waiting import wait_until
from tools.rows import percentile

EFFECTS = 200
CALLS = 3_000
BLOCK = 50  # calls the one way before the same number the other way
EFFECT_S_MAX = 10.0
CROWD_CHANGES = 20
SETTLED = 20  # answers in a row after which the other backend is gone
WITHIN_S = 120.0
ENVOY_BYTES = 60_000_000
FREE_SHARE = 0.5  # of the free memory that a crowd may take
CROWD_LEAST = 20


class Caller:
    """One connection that is kept, blocking: the way of an application."""

    def __init__(self, port: int, host: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), 10.0)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._request = f"GET / HTTP/1.1\r\nhost: {host}\r\n\r\n".encode()

    def call(self) -> bytes:
        """The answer's body."""
        self._socket.sendall(self._request)
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._receive()
        head, _, body = data.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        while len(body) < length:
            body += self._receive()
        return body

    def close(self) -> None:
        self._socket.close()

    def _receive(self) -> bytes:
        data = self._socket.recv(65_536)
        if not data:
            raise ConnectionError("the proxy closed the connection")
        return data


class Provider:
    """Registers backends over Nacos's gRPC, from a thread of its own loop's turns."""

    def __init__(self, address: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._connection = self._loop.run_until_complete(nacos.connect(address, lambda name, body: None))

    def register(self, service: str, port: int, **metadata: str) -> None:
        self._say(service, "registerInstance", port, metadata)

    def deregister(self, service: str, port: int) -> None:
        self._say(service, "deregisterInstance", port, {})

    def close(self) -> None:
        self._connection.close()
        self._loop.run_until_complete(self._connection.lost)
        self._loop.close()

    def _say(self, service: str, what: str, port: int, metadata: dict[str, str]) -> None:
        instance = {
            "ip": "127.0.0.1",
            "port": port,
            "weight": 1.0,
            "healthy": True,
            "enabled": True,
            "ephemeral": True,
            "clusterName": "DEFAULT",
            "metadata": metadata,
        }
        body = {
            "namespace": "public",
            "serviceName": service,
            "groupName": "DEFAULT_GROUP",
            "type": what,
            "instance": instance,
        }
        call = self._connection.call("InstanceRequest", body)
        self._loop.run_until_complete(call)


def measure(folder: Path, envoys: int) -> list[Row]:
    with meshed.mesh(folder) as mesh:
        rows = [effects(mesh), *latency(mesh)]
    crowd_folder = folder / "crowd"
    crowd_folder.mkdir()
    with meshed.mesh(crowd_folder, "--mesh-insecure-xds") as mesh:
        return [*rows, *crowd(mesh, _fitting(envoys))]


# ------------------------------------------------------------------------------------------------ effect


def effects(mesh: Mesh) -> Row:
    """A backend is registered over the registry's gRPC; how long until it is the one that answers a call through Envoy."""
    client = mesh.start("shop", "--no-register")
    steady, provider = (
        Provider(_nacos(mesh)),
        Provider(_nacos(mesh)),
    )  # a connection has one instance of a service
    with replier(mesh.folder, "one") as one, replier(mesh.folder, "two") as two:
        steady.register("flip", one)
        wait_until(lambda: client.calls("flip"), WITHIN_S, "a call through the proxy")
        caller = Caller(client.http_port, "flip")
        took_s: list[float] = []
        for _ in range(EFFECTS):
            _settle(caller, b"one")
            began_s = time.perf_counter()
            provider.register("flip", two)
            while caller.call() != b"two":
                if time.perf_counter() - began_s > EFFECT_S_MAX:
                    raise TimeoutError("the registration took no effect")
            took_s.append(time.perf_counter() - began_s)
            provider.deregister("flip", two)
        caller.close()
    steady.close()
    provider.close()
    p95_ms = 1e3 * percentile(took_s, 0.95)
    told = f"p50 {1e3 * percentile(took_s, 0.5):.1f}, p95 {p95_ms:.1f}, worst {1e3 * max(took_s):.1f} ms"
    return Row(
        f"registration over Nacos's gRPC to effect in Envoy, {EFFECTS} times",
        told,
        "p95 < 20 ms",
        p95_ms < 20,
    )


def _settle(caller: Caller, word: bytes) -> None:
    began_s, alike = time.perf_counter(), 0
    while alike < SETTLED:
        alike = alike + 1 if caller.call() == word else 0
        if time.perf_counter() - began_s > EFFECT_S_MAX:
            raise TimeoutError(f"not only {word!r} answers")


# ----------------------------------------------------------------------------------------------- latency


def latency(mesh: Mesh) -> list[Row]:
    """The same backend, called directly and through the sidecars of caller and called with mutual TLS between them."""
    client = mesh.start("caller", "--no-register")
    inbound, port = free_ports(2)
    line = [sys.executable, "-m", "atoll", "sidecar", "--service", "echo", *mesh.where]
    line += ["--port", f"{inbound}:{port}", "--envoy-threads", "1", "--"]
    line += [sys.executable, "-m", "bench.load.replier", str(port), "pong"]
    server = Process(line, mesh.folder / "echo.log", env=clean_environment())
    server.start()
    try:
        wait_until(lambda: client.calls("echo"), WITHIN_S, "a call through both proxies")
        return _ways(Caller(port, "echo"), Caller(client.http_port, "echo"))
    finally:
        server.kill()


def _ways(direct: Caller, meshed_: Caller) -> list[Row]:
    took_s: dict[str, list[float]] = {"direct": [], "two sidecars": []}
    for _ in range(CALLS // BLOCK):
        for name, caller in (("direct", direct), ("two sidecars", meshed_)):
            for _ in range(BLOCK):
                began_s = time.perf_counter()
                caller.call()
                took_s[name].append(time.perf_counter() - began_s)
    direct.close()
    meshed_.close()
    told = {
        name: (percentile(each, 0.5) * 1e3, percentile(each, 0.99) * 1e3) for name, each in took_s.items()
    }
    near, far = told["direct"], told["two sidecars"]
    added = f"+{far[0] - near[0]:.2f} ms p50, +{far[1] - near[1]:.2f} ms p99"
    shown = f"{added} ({far[0]:.2f} and {far[1]:.2f} against {near[0]:.2f} and {near[1]:.2f})"
    return [Row(f"two sidecars with mutual TLS beside the direct way, {CALLS:,} calls each", shown)]


# ------------------------------------------------------------------------------------------------- crowd


def crowd(mesh: Mesh, count: int) -> list[Row]:
    """Real Envoys, each of a service of its own, and one endpoint's change at all of them."""
    provider = Provider(_nacos(mesh))
    provider.register("one", 1)
    port = int(mesh.xds.rpartition(":")[2])
    before_s, began_s = _cpu_s(mesh), time.perf_counter()
    envoys = [_envoy(mesh.folder, port, number) for number in range(count)]
    try:
        wait_until(lambda: _synced(mesh) == count, WITHIN_S, "all Envoys to have everything")
        came = f"{time.perf_counter() - began_s:.1f} s, {_cpu_s(mesh) - before_s:.2f} s CPU of the node"
        resident = sum(_resident_bytes(each.process.pid) for each in envoys) / count / 1e6
        late_s: list[float] = []
        before_s = _cpu_s(mesh)
        for number in range(2, 2 + CROWD_CHANGES):
            provider.register("one", number)
            wait_until(lambda: _synced(mesh) == count, WITHIN_S, "all Envoys to have the change")
            late_s.append(max(each["delay_s"] for each in _clients(mesh)))
        cpu_ms = 1e3 * (_cpu_s(mesh) - before_s) / CROWD_CHANGES
    finally:
        for each in envoys:
            each.stop()
        provider.close()
    worst = max(late_s)
    told = f"p50 {1e3 * percentile(late_s, 0.5):.0f}, worst {1e3 * worst:.0f} ms at the last of them; {cpu_ms:.0f} ms CPU"
    return [
        Row(f"{count} real Envoys come, and have everything ({resident:.0f} MB each)", came),
        Row(f"{count} real Envoys: one endpoint's change acknowledged by all", told, "< 1 s", worst < 1.0),
    ]


def _envoy(folder: Path, xds_port: int, number: int) -> Envoy:
    (http_port,) = free_ports(1)
    client = Client(Kind.SIDECAR, f"crowd-{number}", "default", http_port=http_port, has_identity=False)
    node = {"id": node_id(client, "1"), "cluster": client.service, "metadata": metadata_of(client)}
    return Envoy(folder, ads_bootstrap(node, xds_port), "-l", "error").begin()


def _clients(mesh: Mesh) -> list[dict[str, Any]]:
    with urllib.request.urlopen(f"{mesh.node.api}/v1/mesh/clients", timeout=WITHIN_S) as answer:
        found: list[dict[str, Any]] = msgspec.json.decode(answer.read())["clients"]
    return found


def _synced(mesh: Mesh) -> int:
    return sum(each["state"] == "synced" for each in _clients(mesh))


def _cpu_s(mesh: Mesh) -> float:
    words = Path(f"/proc/{mesh.node.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def _resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _fitting(envoys: int) -> int:
    """As many as half of the free memory holds, at least ``CROWD_LEAST``."""
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return envoys if envoys * ENVOY_BYTES < free * FREE_SHARE else min(envoys, CROWD_LEAST)


def _nacos(mesh: Mesh) -> str:
    """As a Nacos client is told: gRPC is ``GRPC_ABOVE`` it, and both of a node's ports serve it."""
    found = [line.split()[2].rstrip(",") for line in mesh.node.text().splitlines() if "Nacos API" in line]
    host, _, port = found[0].rpartition(":")
    return f"{host}:{int(port) - GRPC_ABOVE}"


@contextlib.contextmanager
def replier(folder: Path, word: str) -> Iterator[int]:
    (port,) = free_ports(1)
    process = Process([sys.executable, "-m", "bench.load.replier", str(port), word], folder / f"{word}.log")
    process.start()
    try:
        yield port
    finally:
        process.kill()
