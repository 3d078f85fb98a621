"""grpcio's asyncio API: all four kinds of call, cancellation, deadlines, many at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import grpc
import pytest

from tests.conformance.grpc_server.echo import EchoServer
from tests.waiting import wait_until

pytestmark = pytest.mark.peers
WITHIN_S = 20.0


@pytest.fixture
def server() -> Iterator[EchoServer]:
    with EchoServer() as running:
        yield running


def path(name: str) -> str:
    return f"/atoll.test.Echo/{name}"


def run(server: EchoServer, scenario: Callable[[Any], Awaitable[None]]) -> None:
    async def within() -> None:
        async with asyncio.timeout(WITHIN_S), grpc.aio.insecure_channel(server.target) as channel:
            await scenario(channel)

    asyncio.run(within())


async def count(messages: int, size: int) -> AsyncIterator[bytes]:
    for at in range(messages):
        yield b"%d" % (at % 10) * size


def test_unary_many_at_once(server: EchoServer) -> None:
    async def scenario(channel: Any) -> None:
        echo = channel.unary_unary(path("Echo"))
        answers = await asyncio.gather(*(echo(b"%d" % at) for at in range(1_000)))
        assert answers == [b"%d" % at for at in range(1_000)]

    run(server, scenario)


def test_client_streaming(server: EchoServer) -> None:
    async def scenario(channel: Any) -> None:
        assert await channel.stream_unary(path("Collect"))(count(500, 5_000)) == b"500 2500000"

    run(server, scenario)


def test_server_streaming(server: EchoServer) -> None:
    async def scenario(channel: Any) -> None:
        answers = [message async for message in channel.unary_stream(path("Spread"))(b"500 5000")]
        assert answers == [message async for message in count(500, 5_000)]

    run(server, scenario)


def test_bidirectional_streaming_by_turns(server: EchoServer) -> None:
    async def scenario(channel: Any) -> None:
        call = channel.stream_stream(path("Bidi"))()
        for at in range(300):
            await call.write(b"%d" % at)
            assert await call.read() == b"%d" % at
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        assert await call.code() is grpc.StatusCode.OK

    run(server, scenario)


def test_a_client_that_stops_reading_stops_the_server_and_loses_nothing(server: EchoServer) -> None:
    async def scenario(channel: Any) -> None:
        call = channel.unary_stream(path("Spread"))(b"3000 20000")
        assert await call.read() == b"0" * 20_000
        wait_until(lambda: server.service.held_up, WITHIN_S, "the windows to stop the server")
        assert server.grpc.stats.sent_bytes < 30_000_000
        for at in range(1, 3_000):
            assert await call.read() == b"%d" % (at % 10) * 20_000
        assert await call.read() is grpc.aio.EOF

    run(server, scenario)


def test_cancel_and_deadline(server: EchoServer) -> None:
    async def scenario(channel: Any) -> None:
        call = channel.unary_stream(path("Wait"))(b"")
        assert await call.read() == b"waiting"
        call.cancel()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(path("Never"))(b"", timeout=0.5)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED

    run(server, scenario)
    wait_until(
        lambda: sorted(server.ask(lambda: server.service.seen)) == ["Never", "Wait"],
        WITHIN_S,
        "both cancelled",
    )
