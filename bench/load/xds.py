"""Simulated clients of the mesh: hundreds of Envoys' streams in one process, without what an Envoy does with them.

Rule: a client asks as Envoy does (clusters, their endpoints, listeners, their routes), accepts everything at once, and notes
when. It must not be what is measured: frames are taken apart, and of a response only names and nonce are read.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any, cast

import hpack
from envoy.service.discovery.v3 import discovery_pb2

from atoll.resources.mesh.clients import Client
from atoll.resources.mesh.node_metadata import metadata_of, node_id
from atoll.wire.xds.messages import DELTA_PATH, SOTW_PATH
from atoll.wire.xds.stream import CLUSTER, ENDPOINTS, LISTENER, ROUTE
from bench.load import framing
from bench.load.grpc_client import REFILL_BYTES, Refused

ROUTES = ("http",)
CONNECT_AT_ONCE = 50


class Arrivals:
    """What all clients of one round heard: when, how much, and of which type."""

    def __init__(self) -> None:
        self.at_s: list[float] = []
        self.responses = 0
        self.bytes_by_type: dict[str, int] = {}
        self._expected = 0
        self._type = ""
        self._all = asyncio.Event()

    def expect(self, count: int, type_url: str) -> None:
        self.at_s, self.responses, self.bytes_by_type = [], 0, {}
        self._expected, self._type = count, type_url
        self._all.clear()

    def add(self, type_url: str, size_bytes: int) -> None:
        self.responses += 1
        self.bytes_by_type[type_url] = self.bytes_by_type.get(type_url, 0) + size_bytes
        if type_url == self._type:
            self.at_s.append(time.perf_counter())
            if len(self.at_s) == self._expected:
                self._all.set()

    async def wait(self, within_s: float) -> None:
        """Until all have heard of the type that is expected."""
        async with asyncio.timeout(within_s):
            await self._all.wait()


class XdsClient(asyncio.Protocol):
    """One stream. ``current`` when it has clusters, endpoints, listeners and routes."""

    def __init__(self, client: Client, instance: str, delta: bool, arrivals: Arrivals) -> None:
        self.delta = delta
        self.arrivals = arrivals
        self.current: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.names: dict[str, list[str]] = {CLUSTER: [], ENDPOINTS: [], LISTENER: [], ROUTE: []}
        self._node = discovery_pb2.DiscoveryRequest().node
        self._node.id = node_id(client, instance)
        self._node.metadata.update(metadata_of(client))
        self._transport: asyncio.Transport
        self._frames = framing.FrameReader()
        self._messages = framing.MessageReader()
        self._unrefilled_bytes = 0

    # ------------------------------------------------------------------------------- from the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        path = DELTA_PATH if self.delta else SOTW_PATH
        head = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "localhost")]
        head += [("te", "trailers"), ("content-type", "application/grpc")]
        block = hpack.Encoder().encode(head)
        self._transport.write(
            framing.opening() + framing.frame(framing.HEADERS, framing.END_HEADERS, 1, block)
        )
        self._say(CLUSTER, first=True)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.current.done():
            self.current.set_exception(exc or Refused("the server closed the connection"))
        if not self.lost.done():
            self.lost.set_result(None)

    def data_received(self, data: bytes) -> None:
        for kind, flags, _, payload in self._frames.feed(data):
            if kind == framing.DATA:
                self._refill(len(payload))
                for message in self._messages.feed(payload):
                    self._hear(message)
            elif kind == framing.HEADERS and flags & framing.END_STREAM:
                self._transport.close()
            elif kind == framing.SETTINGS and not flags & framing.ACK:
                self._transport.write(framing.frame(framing.SETTINGS, framing.ACK, 0, b""))
            elif kind == framing.PING and not flags & framing.ACK:
                self._transport.write(framing.frame(framing.PING, framing.ACK, 0, payload))
            elif kind in (framing.RST_STREAM, framing.GOAWAY):
                self._transport.close()

    def close(self) -> None:
        self._transport.close()

    # ------------------------------------------------------------------------------- what is said and heard

    def _hear(self, data: bytes) -> None:
        message: Any
        if self.delta:
            message = discovery_pb2.DeltaDiscoveryResponse.FromString(data)
            known = dict.fromkeys(self.names[message.type_url])
            known.update(dict.fromkeys(each.name for each in message.resources))
            for name in message.removed_resources:
                known.pop(name, None)
        else:
            message = discovery_pb2.DiscoveryResponse.FromString(data)
            known = dict.fromkeys(_name_of(each.value) for each in message.resources)
        type_url = message.type_url
        if type_url in (CLUSTER, LISTENER):
            self.names[type_url] = list(known)
        self._say(type_url, message.nonce)
        self.arrivals.add(type_url, len(data))
        self._go_on(type_url)

    def _go_on(self, type_url: str) -> None:
        """Ask for what follows from what was heard."""
        clusters = self.names[CLUSTER]
        if type_url == CLUSTER and clusters != self.names[ENDPOINTS]:
            before = set(self.names[ENDPOINTS])
            first, self.names[ENDPOINTS] = not before, clusters
            self._say(ENDPOINTS, added=[each for each in clusters if each not in before], first=first)
        elif type_url == ENDPOINTS and not self.names[ROUTE]:
            self.names[ROUTE] = list(ROUTES)
            self._say(LISTENER, first=True)
            self._say(ROUTE, added=ROUTES, first=True)
        elif type_url == ROUTE and not self.current.done():
            self.current.set_result(None)

    def _say(self, type_url: str, nonce: str = "", added: Sequence[str] = (), first: bool = False) -> None:
        message: Any
        if self.delta:
            message = discovery_pb2.DeltaDiscoveryRequest(
                type_url=type_url, response_nonce=nonce, resource_names_subscribe=added
            )
        else:
            self._nonces = getattr(self, "_nonces", {})
            self._nonces[type_url] = nonce or self._nonces.get(type_url, "")
            names = self.names[type_url] if type_url in (ENDPOINTS, ROUTE) else ()
            message = discovery_pb2.DiscoveryRequest(
                type_url=type_url, response_nonce=self._nonces[type_url], resource_names=names
            )
        if first and type_url == CLUSTER:
            message.node.CopyFrom(self._node)
        self._transport.write(framing.data(1, framing.message(message.SerializeToString())))

    def _refill(self, size_bytes: int) -> None:
        self._unrefilled_bytes += size_bytes
        if self._unrefilled_bytes > REFILL_BYTES:
            self._transport.write(framing.window_update(0, self._unrefilled_bytes))
            self._transport.write(framing.window_update(1, self._unrefilled_bytes))
            self._unrefilled_bytes = 0


def _name_of(body: bytes) -> str:
    """Of clusters, assignments, listeners and routes alike it is field 1, a string (below 128 bytes)."""
    return body[2 : 2 + body[1]].decode()


async def connect(
    port: int, clients: Sequence[Client], delta: bool, arrivals: Arrivals, within_s: float
) -> list[XdsClient]:
    """All of them, a few at a time; returns when each has everything."""
    made: list[XdsClient] = []
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(within_s):
        for first in range(0, len(clients), CONNECT_AT_ONCE):
            batch = [
                XdsClient(client, str(first + at), delta, arrivals)
                for at, client in enumerate(clients[first : first + CONNECT_AT_ONCE])
            ]
            for each in batch:
                await loop.create_connection(lambda each=each: each, "127.0.0.1", port)  # type: ignore[misc]
            await asyncio.gather(*(each.current for each in batch))
            made += batch
    return made
