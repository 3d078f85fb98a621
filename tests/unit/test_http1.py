"""HTTP/1 as raw bytes over a socket: order, limits, back-pressure, early ends, drain."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from atoll.runtime.clock import BootClock
from atoll.runtime.http1 import Application, Http1Server, Limits, Receive, Send
from atoll.runtime.listener import Listener, listen
from atoll.runtime.net import Address

WITHIN_S = 20.0
Scenario = Callable[["Client"], Awaitable[None]]


class Client:
    """One connection to the server under test."""

    def __init__(
        self, listener: Listener, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.listener = listener
        self.reader = reader
        self.writer = writer

    def say(self, text: str | bytes) -> None:
        self.writer.write(text.encode().replace(b"\n", b"\r\n") if isinstance(text, str) else text)

    async def until(self, wanted: bytes) -> bytes:
        return await self.reader.readuntil(wanted)

    async def rest(self) -> bytes:
        return await self.reader.read()


class App:
    """An application whose answers the path chooses; notes what it saw."""

    def __init__(self) -> None:
        self.scopes: list[Any] = []
        self.seen: list[str] = []
        self.sent_chunks = 0
        self.go = asyncio.Event()

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        await getattr(self, scope["path"].strip("/") or "plain")(receive, send)

    async def plain(self, receive: Receive, send: Send) -> None:
        size = 0
        while (message := await receive())["type"] == "http.request":
            size += len(message["body"])
            if not message["more_body"]:
                break
        await respond(send, b"%d bytes" % size)

    async def flow(self, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(2_000):
            await send({"type": "http.response.body", "body": b"x" * 10_000, "more_body": True})
            self.sent_chunks += 1
        await send({"type": "http.response.body", "body": b""})

    async def wait(self, receive: Receive, send: Send) -> None:
        await receive()
        gone = asyncio.ensure_future(receive())
        going = asyncio.ensure_future(self.go.wait())
        await asyncio.wait((gone, going), return_when=asyncio.FIRST_COMPLETED)
        if gone.done():
            self.seen.append(gone.result()["type"])
        else:
            await respond(send, b"went")
            self.seen.append((await gone)["type"])
        going.cancel()

    async def lazy(self, receive: Receive, send: Send) -> None:
        await self.go.wait()
        await self.plain(receive, send)

    async def half(self, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half of it", "more_body": True})
        raise ValueError("broken in the middle")


async def respond(send: Send, body: bytes) -> None:
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@contextlib.asynccontextmanager
async def serving(app: Application, limits: Limits | None) -> AsyncIterator[Client]:
    listener = listen(Address("127.0.0.1", 0), "--listen", http1=Http1Server(app, BootClock(), limits=limits))
    reader, writer = await asyncio.open_connection(*listener.address)
    try:
        yield Client(listener, reader, writer)
    finally:
        writer.close()
        await listener.close(0.1)


def run(scenario: Callable[[Client, App], Awaitable[None]], limits: Limits | None = None) -> None:
    async def within() -> None:
        app = App()
        async with asyncio.timeout(WITHIN_S), serving(app, limits) as client:
            await scenario(client, app)

    asyncio.run(within())


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0)


def test_requests_sent_at_once_are_answered_in_order() -> None:
    async def scenario(client: Client, app: App) -> None:
        client.say("POST / HTTP/1.1\nhost: a\ncontent-length: 3\n\nabc" + "GET /?q=1 HTTP/1.1\nhost: a\n\n")
        assert (await client.until(b"3 bytes")).startswith(b"HTTP/1.1 200")
        await client.until(b"0 bytes")
        assert [(s["method"], s["path"], s["query_string"]) for s in app.scopes] == [
            ("POST", "/", b""),
            ("GET", "/", b"q=1"),
        ]

    run(scenario)


def test_an_absolute_target_is_taken_by_its_path() -> None:
    async def scenario(client: Client, app: App) -> None:
        client.say("GET http://a.b/plain?x HTTP/1.1\nhost: a\n\n")
        await client.until(b"0 bytes")
        assert (app.scopes[0]["path"], app.scopes[0]["query_string"]) == ("/plain", b"x")

    run(scenario)


def test_head_has_the_head_alone() -> None:
    async def scenario(client: Client, app: App) -> None:
        client.say("HEAD / HTTP/1.1\nhost: a\nconnection: close\n\n")
        answer = await client.rest()
        assert b"content-length: 7" in answer and answer.endswith(b"\r\n\r\n")

    run(scenario)


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ("nonsense\n\n", b"400"),
        ("GET / HTTP/1.1\n\n", b"400"),  # no Host
        ("GET nowhere HTTP/1.1\nhost: a\n\n", b"400"),
        ("GET / HTTP/1.1\nhost: a\nx: " + "v" * 20_000 + "\n\n", b"431"),
        ("GET / HTTP/1.1\nhost: a\nx: " + "v" * 80_000, b"431"),
        ("POST / HTTP/1.1\nhost: a\ncontent-length: 101\n\n" + "b" * 101, b"413"),
        ("POST / HTTP/1.1\nhost: a\ncontent-length: 3\ncontent-length: 4\n\nabc", b"400"),
    ],
    ids=["nonsense", "no host", "no path", "large head", "endless head", "large body", "two lengths"],
)
def test_a_bad_request_is_told_so_and_closed(said: str, status: bytes) -> None:
    async def scenario(client: Client, app: App) -> None:
        client.say(said)
        assert (await client.rest()).startswith(b"HTTP/1.1 " + status)

    run(scenario, Limits(body_bytes_max=100))


@pytest.mark.parametrize("said", ["", "GET / HTT", "POST / HTTP/1.1\nhost: a\ncontent-length: 5\n\nabc"])
def test_a_request_that_does_not_come_to_its_end_is_cut(said: str) -> None:
    async def scenario(client: Client, app: App) -> None:
        client.say(said or "GET / HTTP/1.1\nhost: a\n\n")
        if not said:
            await client.until(b"0 bytes")  # and then nothing more
        with contextlib.suppress(ConnectionResetError):
            assert await client.rest() == b""

    run(scenario, Limits(head_s_max=0.3, idle_s_max=0.3, body_stall_s_max=0.3))


def test_an_application_waits_for_a_client_that_does_not_read() -> None:
    async def scenario(client: Client, app: App) -> None:
        client.say("GET /flow HTTP/1.1\nhost: a\nconnection: close\n\n")
        await client.until(b"\r\n\r\n")
        before = -1
        while before != app.sent_chunks:
            before = app.sent_chunks
            for _ in range(200):
                await asyncio.sleep(0)
        assert app.sent_chunks < 1_900  # 20 MB would be 2,000
        body = await client.rest()
        assert body.count(b"x") == 20_000_000 and body.endswith(b"0\r\n\r\n")

    run(scenario)


def test_a_client_that_does_not_read_is_cut_in_the_end() -> None:
    async def scenario(client: Client, app: App) -> None:
        client.say("GET /flow HTTP/1.1\nhost: a\n\n")
        await until(lambda: client.listener.connections == 0 and app.sent_chunks > 0)

    run(scenario, Limits(write_stall_s_max=0.2))


def test_a_body_waits_for_an_application_that_does_not_read() -> None:
    async def scenario(client: Client, app: App) -> None:
        client.say("POST /lazy HTTP/1.1\nhost: a\ncontent-length: 9000000\n\n")
        client.say(b"x" * 9_000_000)
        writing = asyncio.ensure_future(client.writer.drain())
        await asyncio.wait((writing,), timeout=0.8)
        assert not writing.done()
        app.go.set()
        await writing
        await client.until(b"9000000 bytes")

    run(scenario, Limits(body_stall_s_max=0.5))


def test_a_client_that_leaves_is_told_to_the_application() -> None:
    async def scenario(client: Client, app: App) -> None:
        client.say("GET /wait HTTP/1.1\nhost: a\n\n")
        await until(lambda: bool(app.scopes))
        client.writer.transport.abort()
        await until(lambda: app.seen == ["http.disconnect"])

    run(scenario)


def test_after_its_answer_an_application_hears_disconnect() -> None:
    async def scenario(client: Client, app: App) -> None:
        client.say("GET /wait HTTP/1.1\nhost: a\n\n")
        app.go.set()
        await client.until(b"went")
        await until(lambda: app.seen == ["http.disconnect"])
        client.say("GET / HTTP/1.1\nhost: a\n\n")
        await client.until(b"0 bytes")

    run(scenario)


def test_half_an_answer_is_not_taken_for_a_whole_one() -> None:
    async def scenario(client: Client, app: App) -> None:
        client.say("GET /half HTTP/1.1\nhost: a\n\n")
        answer = await client.rest()
        assert b"half of it" in answer and not answer.endswith(b"0\r\n\r\n")

    run(scenario)


def test_a_drain_finishes_the_answer_and_closes() -> None:
    async def scenario(client: Client, app: App) -> None:
        client.say("GET /wait HTTP/1.1\nhost: a\n\n")
        await until(lambda: bool(app.scopes))
        closing = asyncio.ensure_future(client.listener.close(WITHIN_S))
        app.go.set()
        answer = await client.rest()
        assert b"connection: close" in answer and answer.endswith(b"went")
        await closing

    run(scenario)


def test_an_application_that_does_not_end_is_cancelled_when_the_time_is_over() -> None:
    async def scenario(client: Client, app: App) -> None:
        client.say("GET /lazy HTTP/1.1\nhost: a\n\n")
        await until(lambda: bool(app.scopes))
        await client.listener.close(0.1)
        assert await client.rest() == b""
        assert client.listener.connections == 0

    run(scenario)
