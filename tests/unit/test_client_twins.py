"""Both clients of the API over connections: the one for asyncio and its generated twin, several nodes, streams."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import msgspec
import pytest

from atoll.client.blocking.node import Client as BlockingClient
from atoll.client.blocking.transport import HttpTransport as BlockingTransport
from atoll.client.node import Client
from atoll.client.transport import HttpTransport
from atoll.errors import AtollError, Code
from atoll.runtime import loop
from atoll.runtime.clock import BootClock
from atoll.runtime.http1 import Http1Server
from atoll.runtime.http_api import Asked, Endpoint, application
from atoll.runtime.http_guard import Gate
from atoll.runtime.listener import listen
from atoll.runtime.logs import Log
from atoll.runtime.net import Address
from tests.peers.ports import free_ports


class Sum(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to add."""

    a: int = 0
    b: int = 0
    twice: bool = False


class Numbers:
    """One node's endpoints; ``away``: it answers that it cannot just now."""

    def __init__(self, away: bool = False) -> None:
        self.away = away
        self.asked = 0

    async def add(self, asked: Asked) -> int:
        self.asked += 1
        if self.away:
            raise AtollError(Code.UNAVAILABLE, "the store is away")
        fields: Sum = asked.fields or asked.body
        return (fields.a + fields.b) * (2 if fields.twice else 1)

    async def count(self, asked: Asked) -> AsyncIterator[int]:
        yield 1
        yield 2
        await loop.Event().wait()


@contextlib.asynccontextmanager
async def node(numbers: Numbers) -> AsyncIterator[str]:
    endpoints = [
        Endpoint("GET", "/sum", "Adds.", numbers.add, int, query=Sum),
        Endpoint("POST", "/sum", "Adds.", numbers.add, int, body=Sum),
        Endpoint("GET", "/count", "Counts.", numbers.count, int, query=Sum, streams=True),
    ]
    address = Address("127.0.0.1", 0)
    app = application(endpoints, Gate(address, "secret"), Log("api"), "1", {})
    listener = listen(address, "--listen", http1=Http1Server(app, BootClock()))
    try:
        yield f"http://{listener.address}"
    finally:
        await listener.close(0.1)


def ask_blocking(urls: str) -> list[object]:
    client = BlockingClient(BlockingTransport(urls), "secret")
    got: list[object] = [client.get("/sum", int, Sum(2, 3, True)), client.post("/sum", Sum(4), int)]
    with client.stream("/count", int, within_s=5.0) as lines:
        every = iter(lines.every())
        got += [next(every), next(every)]
    return got


async def ask_asyncio(urls: str) -> list[object]:
    client = Client(HttpTransport(urls), "secret")
    got: list[object] = [
        await client.get("/sum", int, Sum(2, 3, True)),
        await client.post("/sum", Sum(4), int),
    ]
    async with client.stream("/count", int, within_s=5.0) as lines:
        every = lines.every()
        got += [await anext(every), await anext(every)]
    return got


async def in_thread(urls: str) -> list[object]:
    return await loop.in_thread(ask_blocking, urls)


TWINS = pytest.mark.parametrize("ask", [ask_asyncio, in_thread], ids=["asyncio", "blocking"])


@TWINS
def test_values_orders_and_streams(ask: Callable[[str], Awaitable[list[object]]]) -> None:
    async def scenario() -> None:
        async with node(Numbers()) as url:
            assert await ask(url) == [10, 4, 1, 2]

    loop.run(scenario())


@TWINS
def test_the_next_node_is_asked_when_one_is_gone_or_cannot(
    ask: Callable[[str], Awaitable[list[object]]],
) -> None:
    async def scenario() -> None:
        away = Numbers(away=True)
        async with node(away) as first, node(Numbers()) as second:
            dead = f"http://127.0.0.1:{free_ports(1)[0]}"
            assert await ask(f"{dead},{first},{second}") == [10, 4, 1, 2]
        assert away.asked == 1, "a node that could not is not asked first again"

    loop.run(scenario())


def test_when_every_node_refuses_the_last_refusal_is_told() -> None:
    async def scenario() -> None:
        async with node(Numbers(away=True)) as first, node(Numbers(away=True)) as second:
            with pytest.raises(AtollError, match="the store is away"):
                await Client(HttpTransport(f"{first},{second}"), "secret").get("/sum", int)
        with pytest.raises(AtollError, match="no node answers at") as caught:
            await Client(HttpTransport(first)).get("/sum", int)
        assert caught.value.code is Code.UNAVAILABLE

    loop.run(scenario())


def test_a_stream_that_is_cut_ends() -> None:
    async def scenario() -> None:
        async with node(Numbers()) as url:
            client = Client(HttpTransport(url), "secret")
            async with client.stream("/count", int, within_s=30.0) as lines:
                with pytest.raises(AtollError, match="no answer|closed"):
                    async for number in lines.every():
                        if number == 2:
                            lines.cut()

    loop.run(scenario())


def test_no_url_is_an_error_that_shows_one() -> None:
    with pytest.raises(AtollError, match="http://HOST:PORT"):
        HttpTransport(" , ")
