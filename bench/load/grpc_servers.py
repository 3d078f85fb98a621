"""The three echo servers that ``bench/grpc_echo.py`` compares; ``python -m bench.load.grpc_servers NAME`` runs one.

``atoll``: this project's. ``h2``: python-hyper's h2 under the same loop, protocol class and write batching, as lean as
its API lets it be. ``grpcio``: grpc.aio, the named peer. Each prints its port and serves until it is killed.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, cast

import grpc
import h2.config
import h2.connection
import h2.events
import uvloop

from atoll.runtime.clock import BootClock
from atoll.runtime.grpc_call import Call
from atoll.runtime.grpc_server import GrpcServer, streaming, unary_callback
from atoll.runtime.listener import listen
from atoll.runtime.net import Address
from atoll.wire.grpc.status import Status

SERVICE = "/atoll.bench.Echo/"


async def atoll() -> tuple[int, Any]:
    async def bidi(call: Call) -> None:
        async for message in call.messages():
            await call.send(message)

    async def collect(call: Call) -> None:
        count = 0
        async for _ in call.messages():
            count += 1
        await call.send(b"%d" % count)

    async def spread(call: Call) -> None:
        for _ in range(int(await call.receive() or b"0")):
            await call.send(b"x" * 32)

    routes = {
        SERVICE + "Echo": unary_callback(lambda call, message: call.reply(message)),
        SERVICE + "Bidi": streaming(bidi),
        SERVICE + "Collect": streaming(collect),
        SERVICE + "Spread": streaming(spread),
    }
    server = GrpcServer(routes, errors=lambda error: (Status.UNKNOWN, error.message), clock=BootClock())
    listener = listen(Address("127.0.0.1", 0), "--listen", grpc=server)
    return listener.address.port, listener


class H2Echo(asyncio.Protocol):
    """Unary echo over h2: state of streams, flow control and frames are h2's, batching is ours."""

    HEAD = ((":status", "200"), ("content-type", "application/grpc"))
    END = (("grpc-status", "0"),)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        config = h2.config.H2Configuration(
            client_side=False,
            header_encoding=None,
            validate_inbound_headers=False,
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
        )
        self.transport = cast(asyncio.Transport, transport)
        self.connection = h2.connection.H2Connection(config)
        self.connection.initiate_connection()
        self.bodies: dict[int, bytearray] = {}
        self.transport.write(self.connection.data_to_send())

    def data_received(self, data: bytes) -> None:
        connection = self.connection
        for event in connection.receive_data(data):
            if isinstance(event, h2.events.DataReceived):
                self.bodies[event.stream_id] += event.data
                connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.RequestReceived):
                self.bodies[event.stream_id] = bytearray()
            elif isinstance(event, h2.events.StreamEnded):
                stream_id = event.stream_id
                connection.send_headers(stream_id, self.HEAD)
                connection.send_data(stream_id, bytes(self.bodies.pop(stream_id)))
                connection.send_headers(stream_id, self.END, end_stream=True)
        self.transport.write(connection.data_to_send())


async def h2_echo() -> tuple[int, Any]:
    server = await asyncio.get_running_loop().create_server(H2Echo, "127.0.0.1", 0)
    return server.sockets[0].getsockname()[1], server


async def grpcio() -> tuple[int, Any]:
    async def echo(request: bytes, context: Any) -> bytes:
        return request

    async def bidi(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async for message in requests:
            yield message

    async def collect(requests: AsyncIterator[bytes], context: Any) -> bytes:
        count = 0
        async for _ in requests:
            count += 1
        return b"%d" % count

    async def spread(request: bytes, context: Any) -> AsyncIterator[bytes]:
        for _ in range(int(request)):
            yield b"x" * 32

    handlers = {
        "Echo": grpc.unary_unary_rpc_method_handler(echo),
        "Bidi": grpc.stream_stream_rpc_method_handler(bidi),
        "Collect": grpc.stream_unary_rpc_method_handler(collect),
        "Spread": grpc.unary_stream_rpc_method_handler(spread),
    }
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("atoll.bench.Echo", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    return port, server


SERVERS: dict[str, Callable[[], Awaitable[tuple[int, Any]]]] = {
    "atoll": atoll,
    "h2": h2_echo,
    "grpcio": grpcio,
}


async def main(name: str) -> None:
    port, server = await SERVERS[name]()
    print(port, flush=True)
    await asyncio.Event().wait()
    del server  # it serves only while somebody holds it


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1]))
