"""HTTP/1.1 on the loop: h11 reads and writes it, an ASGI application answers.

Rule: one request at a time on a connection, in order; a client that sends the next one early waits in its socket.
What the application raises is a 500 to the client and a traceback to the operator; a response that had begun is
cut off instead, so that nobody takes half of it for the whole.

Sources: RFC 9112; the ASGI specification 3.0, HTTP part 2.3. No WebSocket, no lifespan: the host starts and stops
applications itself. Every limit is in ``Limits``.
"""

from __future__ import annotations

import asyncio
import email.utils
import urllib.parse
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias, cast

import h11
import msgspec

from atoll.runtime.clock import Clock
from atoll.runtime.logs import Log
from atoll.runtime.peer import Peer, peer_of

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Application: TypeAlias = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

PEER = "atoll.peer"  # in an ASGI scope: the ``Peer``
_DISCONNECT: Message = {"type": "http.disconnect"}


class Limits(msgspec.Struct, frozen=True):
    """``head_bytes_max``: request line and fields. ``head_s_max``: from a request's first byte to its head's last.
    ``idle_s_max``: between requests. ``body_stall_s_max`` and ``write_stall_s_max``: no byte came, or went.
    """

    head_bytes_max: int = 16_384
    body_bytes_max: int = 25_165_824
    body_buffer_bytes_high: int = 65_536
    connections_max: int = 1_000
    head_s_max: float = 10.0
    idle_s_max: float = 75.0
    body_stall_s_max: float = 30.0
    write_stall_s_max: float = 60.0


class Http1Server:
    """An application and how it is served. One may stand behind several listeners."""

    def __init__(
        self, application: Application, clock: Clock, *, limits: Limits | None = None, log: Log | None = None
    ) -> None:
        self.application = application
        self.clock = clock
        self.limits = limits or Limits()
        self.log = log or Log("http")
        self.connections_open = 0


class Http1Protocol(asyncio.Protocol):
    """One connection. ``closed`` is called once, when it has ended."""

    def __init__(self, server: Http1Server, closed: Callable[[Http1Protocol], None]) -> None:
        self.server = server
        self._closed = closed
        self._transport: asyncio.Transport
        self._wire = h11.Connection(h11.SERVER, max_incomplete_event_size=server.limits.head_bytes_max)
        self._exchange: _Exchange | None = None
        self._peer: Peer
        self._leaving = False
        self._head_begun = False
        self._timer: asyncio.TimerHandle | None = None  # for what the client sends
        self._stall_timer: asyncio.TimerHandle | None = None  # for what it takes in
        self._writable = asyncio.Event()
        self._writable.set()

    # ----------------------------------------------------------------------------------- from the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._peer = peer_of(transport)
        self.server.connections_open += 1
        self._arm(self.server.limits.head_s_max)

    def data_received(self, data: bytes) -> None:
        if self._exchange is None and not self._head_begun:
            self._head_begun = True
            self._arm(self.server.limits.head_s_max)
        self._wire.receive_data(data)
        self._advance()

    def eof_received(self) -> bool:
        """Close: a client that left looks the same as one that has only stopped sending, and is far more common."""
        return False

    def pause_writing(self) -> None:
        self._writable.clear()
        loop = asyncio.get_running_loop()
        self._stall_timer = loop.call_later(self.server.limits.write_stall_s_max, self._transport.abort)

    def resume_writing(self) -> None:
        self._writable.set()
        if self._stall_timer is not None:
            self._stall_timer.cancel()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        self.resume_writing()
        self.server.connections_open -= 1
        if self._exchange is not None:
            self._exchange.disconnect()
        self._closed(self)

    # -------------------------------------------------------------------------------------- for the listener

    def leave(self) -> None:
        """Close after the answer that is under way."""
        self._leaving = True
        if self._exchange is None:
            self._transport.close()

    def cut(self) -> None:
        if self._exchange is not None:
            self._exchange.cancel()
        self._transport.close()

    def abort(self) -> None:
        self._transport.abort()

    # ------------------------------------------------------------------------------------- for the exchange

    @property
    def expects_continue(self) -> bool:
        return bool(self._wire.they_are_waiting_for_100_continue)

    @property
    def leaving(self) -> bool:
        return self._leaving

    @property
    def gone(self) -> bool:
        return self._transport.is_closing()

    def write(self, event: h11.Event) -> None:
        data = self._wire.send(event)
        if data and not self._transport.is_closing():
            self._transport.write(data)

    async def wait_writable(self) -> None:
        await self._writable.wait()

    @property
    def may_answer(self) -> bool:
        """No final response head has been written, and one can be."""
        return self._wire.our_state in (h11.IDLE, h11.SEND_RESPONSE) and not self.gone

    def want_body(self) -> None:
        """The application took what there was of the body, and there is more."""
        self._arm(self.server.limits.body_stall_s_max)
        self._transport.resume_reading()

    def exchange_done(self) -> None:
        """The answer is complete, or cannot be completed."""
        self._exchange = None
        if self._leaving or self._wire.our_state is not h11.DONE or self._wire.their_state is not h11.DONE:
            self._transport.close()
            return
        self._wire.start_next_cycle()
        self._arm(self.server.limits.idle_s_max)
        self._transport.resume_reading()
        self._advance()  # what the client sent early

    # --------------------------------------------------------------------------------------------- inside

    def _arm(self, delay_s: float) -> None:
        """Cut the connection after ``delay_s`` unless something comes first."""
        self._disarm()
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._transport.abort)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _advance(self) -> None:
        try:
            self._read_events()
        except h11.RemoteProtocolError as error:
            if self._exchange is not None:
                self._exchange.disconnect()
            self._refuse(error.error_status_hint, str(error))

    def _read_events(self) -> None:
        while not self.gone:
            event = self._wire.next_event()
            if event is h11.NEED_DATA:
                return
            if event is h11.PAUSED:  # the next request has begun; it has to wait
                self._transport.pause_reading()
                return
            if isinstance(event, h11.Request):
                self._begin(event)
            elif isinstance(event, h11.Data):
                self._on_body(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage):
                self._disarm()
                if self._exchange is not None:
                    self._exchange.feed(b"", more=False)

    def _begin(self, request: h11.Request) -> None:
        self._disarm()
        self._head_begun = False
        size_bytes = len(request.target) + sum(len(name) + len(value) for name, value in request.headers)
        if size_bytes > self.server.limits.head_bytes_max:  # h11 bounds only what comes in pieces
            self._refuse(431, f"request line and fields above {self.server.limits.head_bytes_max} bytes")
            return
        scope = self._scope(request)
        if scope is None:
            self._refuse(400, "request target is neither a path nor a URL")
            return
        self._exchange = _Exchange(self, scope)
        self._exchange.start()

    def _on_body(self, data: bytes) -> None:
        exchange = self._exchange
        if exchange is None:
            return
        if exchange.body_bytes + len(data) > self.server.limits.body_bytes_max:
            exchange.disconnect()
            self._refuse(413, f"body above {self.server.limits.body_bytes_max} bytes")
            return
        exchange.feed(data, more=True)
        if exchange.buffered_bytes > self.server.limits.body_buffer_bytes_high:
            self._disarm()  # now it is the application that is slow
            self._transport.pause_reading()
        else:
            self._arm(self.server.limits.body_stall_s_max)

    def _refuse(self, status: int, why: str) -> None:
        """Answer a request that no application will see, if an answer is still possible, and close."""
        if self.may_answer:
            body = why.encode() + b"\n"
            headers = [
                (b"content-type", b"text/plain"),
                (b"content-length", b"%d" % len(body)),
                (b"connection", b"close"),
            ]
            self.write(h11.Response(status_code=status, headers=headers))
            self.write(h11.Data(data=body))
            self.write(h11.EndOfMessage())
        self._transport.close()

    def _scope(self, request: h11.Request) -> MutableMapping[str, Any] | None:
        target = bytes(request.target)
        if target.startswith((b"http://", b"https://")):
            target = _path_of(target)
        if not target.startswith(b"/") and target != b"*":
            return None
        raw_path, _, query = target.partition(b"?")
        client = self._transport.get_extra_info("peername")
        server = self._transport.get_extra_info("sockname")
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": bytes(request.http_version).decode("ascii"),
            "method": bytes(request.method).decode("ascii"),
            "scheme": "https" if self._transport.get_extra_info("ssl_object") else "http",
            "path": urllib.parse.unquote(raw_path.decode("ascii")),
            "raw_path": raw_path,
            "query_string": query,
            "root_path": "",
            "headers": [(bytes(name), bytes(value)) for name, value in request.headers],
            "client": tuple(client[:2]) if isinstance(client, tuple) else None,
            "server": tuple(server[:2]) if isinstance(server, tuple) else None,
            PEER: self._peer,
        }


def _path_of(url: bytes) -> bytes:
    """The path and query of an absolute-form target (RFC 9112, 3.2.2)."""
    rest = url.partition(b"://")[2]
    _, slash, path = rest.partition(b"/")
    return slash + path if slash else b"/"


class _Exchange:
    """One request and its answer, as the application sees them."""

    def __init__(self, protocol: Http1Protocol, scope: MutableMapping[str, Any]) -> None:
        self._protocol = protocol
        self._scope = scope
        self._buffer = bytearray()
        self._more = True
        self._end_taken = False
        self._gone = False
        self._changed = asyncio.Event()
        self._head: Message | None = None
        self._complete = False
        self.body_bytes = 0
        self._task: asyncio.Task[None]

    @property
    def buffered_bytes(self) -> int:
        return len(self._buffer)

    def start(self) -> None:
        work = self._protocol.server.application(self._scope, self.receive, self.send)
        self._task = asyncio.ensure_future(work)
        self._task.add_done_callback(self._on_done)

    def feed(self, data: bytes, *, more: bool) -> None:
        self._buffer += data
        self.body_bytes += len(data)
        self._more = more
        self._changed.set()

    def disconnect(self) -> None:
        self._gone = True
        self._changed.set()

    def cancel(self) -> None:
        self.disconnect()
        self._task.cancel()

    async def receive(self) -> Message:
        protocol = self._protocol
        if not self._buffer and protocol.expects_continue and not self._gone:
            protocol.write(h11.InformationalResponse(status_code=100, headers=[]))
        while not (self._gone or self._complete or self._has_part):
            self._changed.clear()
            await self._changed.wait()
        if self._gone or not self._has_part:
            return _DISCONNECT
        body = bytes(self._buffer)
        self._buffer.clear()
        self._end_taken = not self._more
        if self._more:
            protocol.want_body()
        return {"type": "http.request", "body": body, "more_body": self._more}

    @property
    def _has_part(self) -> bool:
        """Bytes, or the news that there are no more."""
        return bool(self._buffer) or not (self._more or self._end_taken)

    async def send(self, message: Message) -> None:
        kind = message["type"]
        if self._complete or (kind == "http.response.start") != (self._head is None):
            raise RuntimeError(f"{kind} is out of place: http.response.start once, then http.response.body")
        if kind == "http.response.start":
            self._head = message
            return
        await self._protocol.wait_writable()
        if self._gone or self._protocol.gone:
            return
        self._write_body(message)

    def _write_body(self, message: Message) -> None:
        head = self._head
        if head:
            self._protocol.write(self._response(head))
            self._head = {}
        body = message.get("body", b"")
        if body and self._scope["method"] != "HEAD":
            self._protocol.write(h11.Data(data=body))
        if not message.get("more_body", False):
            self._protocol.write(h11.EndOfMessage())
            self._complete = True
            self._changed.set()

    def _response(self, head: Message) -> h11.Response:
        headers = [(bytes(name), bytes(value)) for name, value in head.get("headers", ())]
        if not any(name.lower() == b"date" for name, _ in headers):
            date = email.utils.formatdate(self._protocol.server.clock.wall_s(), usegmt=True)
            headers.append((b"date", date.encode()))
        if self._protocol.leaving:
            headers.append((b"connection", b"close"))
        return h11.Response(status_code=head["status"], headers=headers)

    def _on_done(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            operator_log = self._protocol.server.log
            operator_log.error(
                "HTTP request failed", error, method=self._scope["method"], path=self._scope["path"]
            )
        if not self._complete and self._protocol.may_answer:
            headers = [(b"content-type", b"text/plain"), (b"connection", b"close")]
            self._head = {"status": 500, "headers": headers}
            self._write_body({"body": b"internal error\n"})
        self._protocol.exchange_done()
