"""A service with every kind of call, for foreign clients, and a thread that serves it.

Rule: what handlers saw is kept in ``seen``, so that a test can ask the server's side as well.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import uvloop

from atoll.errors import AtollError, Code
from atoll.runtime.clock import BootClock
from atoll.runtime.grpc_call import Call, Limits
from atoll.runtime.grpc_server import GrpcServer, Route, streaming, unary, unary_callback
from atoll.runtime.http1 import Http1Server, Receive, Send
from atoll.runtime.listener import Listener, listen
from atoll.runtime.net import Address
from atoll.runtime.tls import ServerTls
from atoll.wire.grpc.status import Status

T = TypeVar("T")
Scope = Any


class EchoService:
    """``/atoll.test.Echo/...``; ``seen`` has the names of calls that ended without their handler's doing."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.held_up = 0  # how often a stream had to wait for its client
        self.let_go = asyncio.Event()

    def routes(self) -> dict[str, Any]:
        methods = {
            "Echo": unary_callback(lambda call, message: call.reply(message)),
            "Later": unary(self.later),
            "Never": unary_callback(self.never),
            "Ended": Route(True, self.ended),
            "Cut": unary_callback(lambda call, message: call.cut_connection()),
            "Wait": streaming(self.wait),
            "Release": unary(self.release),
            "Bidi": streaming(self.bidi),
            "Collect": streaming(self.collect),
            "Spread": streaming(self.spread),
            "Pour": unary_callback(self.pour),
            "Push": Route(True, self.push),
            "Refuse": unary_callback(self.refuse),
            "RefuseLater": unary(self.refuse_later),
            "RefuseStream": streaming(self.refuse_stream),
            "Bug": unary_callback(self.bug),
            "StreamBug": streaming(self.stream_bug),
            "Metadata": streaming(self.metadata),
            "Who": unary_callback(self.who),
        }
        return {f"/atoll.test.Echo/{name}": route for name, route in methods.items()}

    async def later(self, call: Call, message: bytes) -> bytes:
        await asyncio.sleep(0)
        return message

    def never(self, call: Call, message: bytes) -> None:
        call.on_cancel(lambda: self.seen.append("Never"))

    def ended(self, call: Call) -> None:
        """Goes on until the client ends it, by a reset or otherwise."""
        call.send_nowait(b"open")
        call.on_cancel(lambda: self.seen.append("reset" if call.reset_by_peer else "otherwise"))

    async def wait(self, call: Call) -> None:
        """Say hello, then wait until released; a cancelled wait is seen."""
        try:
            await call.send(b"waiting")
            await self.let_go.wait()
            await call.send(b"released")
        except asyncio.CancelledError:
            self.seen.append("Wait")
            raise

    async def release(self, call: Call, message: bytes) -> bytes:
        self.let_go.set()
        return b""

    async def bidi(self, call: Call) -> None:
        async for message in call.messages():
            await call.send(message)

    async def collect(self, call: Call) -> None:
        """Answer the number of messages and of bytes."""
        sizes = [len(message) async for message in call.messages()]
        await call.send(b"%d %d" % (len(sizes), sum(sizes)))

    async def spread(self, call: Call) -> None:
        """``b"COUNT SIZE"``: so many messages of that size."""
        count, size = map(int, (await call.receive() or b"0 0").split())
        for at in range(count):
            self.held_up += not call.writable
            await call.send(b"%d" % (at % 10) * size)

    def pour(self, call: Call, message: bytes) -> None:
        """One message of so many bytes."""
        call.reply(b"x" * int(message))

    def refuse(self, call: Call, message: bytes) -> None:
        raise AtollError(Code.EXHAUSTED, message.decode())

    async def refuse_later(self, call: Call, message: bytes) -> bytes:
        raise AtollError(Code.EXHAUSTED, message.decode())

    async def refuse_stream(self, call: Call) -> None:
        raise AtollError(Code.EXHAUSTED, (await call.receive() or b"").decode())

    def push(self, call: Call) -> None:
        """2,000 messages of 20,000 bytes by callbacks alone."""
        numbers = iter(range(2_000))

        def more() -> None:
            for at in numbers:
                if not call.send_nowait(b"%d" % (at % 10) * 20_000):
                    self.held_up += 1
                    call.on_drain(more)
                    return
            call.finish(Status.OK, "", ((b"x-end", b"yes"),))

        more()

    def bug(self, call: Call, message: bytes) -> None:
        raise ValueError("a secret of the server")

    async def stream_bug(self, call: Call) -> None:
        await call.send(b"first")
        raise ValueError("a secret of the server")

    async def metadata(self, call: Call) -> None:
        """Send back the request's ``x-`` metadata as head and as trailers."""
        pairs = tuple((name.encode(), value) for name, value in call.metadata_items() if name[:2] == "x-")
        call.send_headers(pairs)
        call.send_nowait(repr(call.metadata("x-text")).encode())
        call.finish(Status.OK, "", pairs)

    def who(self, call: Call, message: bytes) -> None:
        peer = call.peer
        call.reply(f"{call.connection_id}|{peer.address}|{peer.tls_common_name}|{peer.spiffe_id}".encode())


def error_table(error: AtollError) -> tuple[Status, str]:
    return {Code.EXHAUSTED: Status.RESOURCE_EXHAUSTED}.get(error.code, Status.UNKNOWN), error.message


async def web(scope: Scope, receive: Receive, send: Send) -> None:
    """The HTTP/1 side: says the method, path and size of the body that it was sent."""
    size = 0
    while True:
        message = await receive()
        size += len(message.get("body", b""))
        if not message.get("more_body"):
            break
    if scope["path"] == "/bug":
        raise ValueError("a secret of the server")
    body = f"{scope['scheme']} {scope['method']} {scope['path']} {size}\n".encode()
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class EchoServer:
    """The service on a loop in a thread of its own. Use as a context manager."""

    def __init__(
        self, *, limits: Limits | None = None, tls: ssl.SSLContext | None = None, web: bool = True
    ) -> None:
        self._limits = limits
        self._web = web
        self._tls = tls
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._loop: asyncio.AbstractEventLoop
        self._stop: asyncio.Event
        self.service: EchoService
        self.grpc: GrpcServer
        self.listener: Listener
        self.drain_s = 5.0

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.listener.address.port}"

    def __enter__(self) -> EchoServer:
        self._thread.start()
        assert self._ready.wait(10), "the echo server did not start"
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self, drain_s: float = 0.5) -> None:
        """Stop within ``drain_s`` and a little; returns when the thread has ended."""
        self.begin_close(drain_s)
        self._thread.join(20)
        assert not self._thread.is_alive(), "the echo server did not stop"

    def begin_close(self, drain_s: float) -> None:
        self.drain_s = drain_s
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)

    def ask(self, question: Callable[[], T]) -> T:
        """Call ``question`` on the loop's thread."""

        async def answer() -> T:
            return question()

        return asyncio.run_coroutine_threadsafe(answer(), self._loop).result(10)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self.service = EchoService()
        clock = BootClock()
        self.grpc = GrpcServer(self.service.routes(), errors=error_table, clock=clock, limits=self._limits)
        http1 = Http1Server(web, clock) if self._web else None
        self.listener = listen(
            Address("127.0.0.1", 0),
            "--listen",
            grpc=self.grpc,
            http1=http1,
            tls=ServerTls(self._tls) if self._tls else None,
        )
        self._ready.set()
        await self._stop.wait()
        await self.listener.close(self.drain_s)
