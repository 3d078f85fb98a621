"""The listener at its end: whoever is on the way in when it closes is let go, at whatever step of the way."""

from __future__ import annotations

import asyncio
import socket

import pytest
import uvloop

from atoll.runtime.clock import BootClock
from atoll.runtime.grpc_server import GrpcServer, unary_callback
from atoll.runtime.listener import listen
from atoll.runtime.net import Address
from atoll.wire.grpc import message
from atoll.wire.grpc.status import Status
from atoll.wire.http2 import frames
from tests.unit import http2_peers as peers

CLOSE_S = 10.0
CALL = frames.PREFACE + frames.settings({}) + peers.headers(1) + peers.data(1, message.encode(b"x"), 1)


async def close_after(turns: int) -> tuple[bool, int]:
    """Connect, send a call, close after so many turns of the loop: closed in time, and connections left."""
    loop = asyncio.get_running_loop()
    routes = {"/p.S/M": unary_callback(lambda call, request: call.reply(request))}
    server = GrpcServer(routes, errors=lambda error: (Status.UNKNOWN, error.message), clock=BootClock())
    listener = listen(Address("127.0.0.1", 0), "--listen", grpc=server)
    with socket.create_connection(listener.address) as client:
        client.sendall(CALL)
        for _ in range(turns):
            await asyncio.sleep(0)
        began_s = loop.time()
        closing = asyncio.ensure_future(listener.close(CLOSE_S))
        client.setblocking(False)
        try:
            while await loop.sock_recv(client, 65_536):
                client.send(frames.ping(b"atolldrn", ack=True))  # the answer to the ping of a drain
        except ConnectionError:
            pass  # reset: not served any more
        await closing
        return loop.time() - began_s < CLOSE_S, listener.connections


@pytest.mark.parametrize("turns", range(12))
def test_a_connection_on_its_way_in_does_not_hold_up_the_end(turns: int) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(close_after(turns)) == (True, 0)
