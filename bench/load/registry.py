"""The loads of ``bench registry``: each drives one node by Nacos connections and ends when everything has arrived.

Rule: a load returns what was counted, never what was sent; requests are prepared before the clock runs, so that the
client's Python stands beside the measured time as little as it can.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import msgspec

from bench.load import nacos
from bench.load.servers import Server

GROUP = "DEFAULT_GROUP"
IN_FLIGHT = 4  # of one connection
ARRIVE_S_MAX = 30.0


@dataclass(frozen=True)
class Measured:
    """``count`` operations, in so much time, by so much of the server's CPU time."""

    count: int
    took_s: float
    cpu_s: float

    @property
    def cpu_us(self) -> float:
        return 1e6 * self.cpu_s / self.count

    @property
    def per_s(self) -> float:
        return self.count / self.took_s


class Crowd:
    """Connections to one node, each a client of its own."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.connections: list[nacos.Connection] = []

    async def grow(self, count: int) -> Sequence[nacos.Connection]:
        """``count`` more, set up; a few at a time, as a server's backlog wants it."""
        made: list[nacos.Connection] = []
        for first in range(0, count, 32):
            batch = min(32, count - first)
            made += await asyncio.gather(*(nacos.connect(self.server.nacos, _ignore) for _ in range(batch)))
        self.connections += made
        return made

    async def leave(self) -> None:
        for connection in self.connections:
            connection.close()
        for connection in self.connections:
            await connection.lost

    async def run(self, requests: Sequence[Sequence[bytes]], in_flight: int = IN_FLIGHT) -> Measured:
        """The n-th list of prepared requests on the n-th connection, ``in_flight`` at a time on each."""
        before_s, start_s = self.server.cpu_s(), time.perf_counter()
        pairs = zip(self.connections, requests, strict=True)
        await asyncio.gather(*(_drive(connection, prepared, in_flight) for connection, prepared in pairs))
        took_s = time.perf_counter() - start_s
        return Measured(sum(map(len, requests)), took_s, self.server.cpu_s() - before_s)


async def _drive(connection: nacos.Connection, requests: Sequence[bytes], in_flight: int) -> None:
    waiting = iter(requests)

    async def lane() -> None:
        for request in waiting:
            nacos.read_answer("a load's request", await connection.start_prepared(request))

    await asyncio.gather(*(lane() for _ in range(in_flight)))


async def beat(server: Server, connections: int, count: int) -> Measured:
    """Heartbeats of HTTP v1, ``count`` in all on kept connections: each the whole instance, which the first registers."""
    before_s, start_s = server.cpu_s(), time.perf_counter()
    lanes = [_beat(server.nacos, number, count // connections) for number in range(connections)]
    await asyncio.gather(*lanes)
    took_s = time.perf_counter() - start_s
    return Measured(count // connections * connections, took_s, server.cpu_s() - before_s)


async def _beat(address: str, number: int, count: int) -> None:
    host, _, port = address.rpartition(":")
    beating = {"ip": "10.1.0.1", "port": 8000 + number, "serviceName": "DEFAULT_GROUP@@bench-beats"}
    query = urlencode({"serviceName": "DEFAULT_GROUP@@bench-beats", "beat": json.dumps(beating)})
    head = f"PUT /nacos/v1/ns/instance/beat?{query} HTTP/1.1\r\nHost: {address}\r\nContent-Length: 0\r\n\r\n"
    reader, writer = await asyncio.open_connection(host, int(port))
    for _ in range(count):
        writer.write(head.encode())
        answer = (await reader.readuntil(b"\r\n\r\n")).lower()
        if not answer.startswith(b"http/1.1 200"):
            raise nacos.Refused(answer.decode())
        length = answer.partition(b"content-length:")[2].split(b"\r\n")[0]
        await reader.readexactly(int(length))
    writer.close()


def _ignore(type_name: str, body: dict[str, Any]) -> None:
    """What is pushed beside a load is not what is measured."""


# ------------------------------------------------------------------------------------------------ requests


def instance(number: int) -> dict[str, Any]:
    ip = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
    metadata = {"preserved.register.source": "BENCH", "version": "1.0"}
    return {"ip": ip, "port": 8080, "weight": 1.0, "healthy": True, "enabled": True, "ephemeral": True} | {
        "clusterName": "DEFAULT",
        "metadata": metadata,
    }


def register(service: str, number: int) -> bytes:
    return _prepared("InstanceRequest", service, type="registerInstance", instance=instance(number))


def register_batch(service: str, numbers: Iterable[int]) -> bytes:
    instances = [instance(number) for number in numbers]
    return _prepared("BatchInstanceRequest", service, type="batchRegisterInstance", instances=instances)


def query(service: str) -> bytes:
    return _prepared("ServiceQueryRequest", service, cluster="", healthyOnly=False, udpPort=0)


def subscribe(service: str) -> bytes:
    return _prepared("SubscribeServiceRequest", service, subscribe=True, clusters="")


def health_check() -> bytes:
    return nacos.prepared("HealthCheckRequest", b"{}")


def publish(data_id: str, content: str) -> bytes:
    body = {
        "dataId": data_id,
        "group": GROUP,
        "tenant": "",
        "content": content,
        "additionMap": {"type": "text"},
    }
    return nacos.prepared("ConfigPublishRequest", msgspec.json.encode(body))


def query_config(data_id: str) -> bytes:
    body = {"dataId": data_id, "group": GROUP, "tenant": ""}
    return nacos.prepared("ConfigQueryRequest", msgspec.json.encode(body))


def listen(data_id: str, md5: str) -> bytes:
    context = {"dataId": data_id, "group": GROUP, "tenant": "", "md5": md5}
    body = {"listen": True, "configListenContexts": [context]}
    return nacos.prepared("ConfigBatchListenRequest", msgspec.json.encode(body))


def _prepared(type_name: str, service: str, **more: object) -> bytes:
    body = {"namespace": "public", "serviceName": service, "groupName": GROUP, **more}
    return nacos.prepared(type_name, msgspec.json.encode(body))


# ------------------------------------------------------------------------------------------------- fan-out


class Arrivals:
    """When pushes of one round arrived at the connections that wait for them; ``done`` when all have."""

    def __init__(self, connections: Sequence[nacos.Connection]) -> None:
        self._expected = len(connections)
        self.at_s: list[float] = []
        self._all = asyncio.Event()
        for connection in connections:
            connection.on_bytes = self._arrived

    def _arrived(self, message: bytes) -> None:
        self.at_s.append(time.perf_counter())
        if len(self.at_s) >= self._expected:
            self._all.set()

    async def round(self, connection: nacos.Connection, request: bytes) -> list[float]:
        """Send one change; how long after it each connection had its push, in seconds."""
        self.at_s.clear()
        self._all.clear()
        start_s = time.perf_counter()
        answer = connection.start_prepared(request)
        async with asyncio.timeout(ARRIVE_S_MAX):
            nacos.read_answer("a change", await answer)
            await self._all.wait()
        return [at_s - start_s for at_s in self.at_s]
