"""A Nacos 2.x client as a load generator needs it: many connections on one loop, gRPC over bare frames.

Rule: it behaves as the vendor's clients do on the wire (check, set up, acknowledge pushes, one connection is one
client) and checks nothing that it is not asked for. Header tables are not kept: a call is taken for failed when its
stream ends without a message. The doubt: request windows are trusted to be wide enough, so a body stays below 60 KiB.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, cast

import hpack
import msgspec

from atoll.wire.nacos import payload
from bench.load import framing

CONNECT_S_MAX = 3.0
CALL_S_MAX = 3.0
GRPC_ABOVE = 1000
BODY_BYTES_MAX = 60_000
ABILITIES = {"fuzzyWatch": True}
VERSION = "Nacos-Load-Client:v1"

Body: TypeAlias = Mapping[str, Any]
OnPush: TypeAlias = Callable[[str, dict[str, Any]], None]

_PING_FLAGS_ACK = framing.frame(framing.SETTINGS, framing.ACK, 0, b"")


class Lost(Exception):
    """The connection is gone, or did not answer in time."""


class Refused(Exception):
    """The server's own no; the text has its code and reason."""


def _head(path: str) -> bytes:
    fields = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "localhost")]
    fields += [("te", "trailers"), ("content-type", "application/grpc")]
    never = [hpack.NeverIndexedHeaderTuple(name, value) for name, value in fields]
    return hpack.Encoder().encode(never)


_UNARY_HEAD = _head(payload.REQUEST_PATH)
_STREAM_HEAD = _head(payload.STREAM_PATH)


class Connection(asyncio.Protocol):
    """One client of one node. Made by ``connect``; ``on_push`` is called on the loop for every push but the set-up's,
    which is acknowledged afterwards; ``lost`` ends with the connection.
    """

    def __init__(self, on_push: OnPush) -> None:
        self._on_push = on_push
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._frames = framing.FrameReader()
        self._readers: dict[int, framing.MessageReader] = {}
        self._answers: dict[int, asyncio.Future[bytes]] = {}
        self._next_stream = 1
        self._bi_stream = 0
        self._unrefilled_bytes = 0
        self._set_up = self._loop.create_future()
        self.lost: asyncio.Future[None] = self._loop.create_future()
        self.on_bytes: Callable[[bytes], None] | None = None  # instead of ``on_push``: the Payload as it came
        self.id = ""

    # ----------------------------------------------------------------------------------------- in use

    async def call(self, type_name: str, body: Body, within_s: float = CALL_S_MAX) -> dict[str, Any]:
        """Raises ``Lost`` and ``Refused``."""
        answer = self.start_call(type_name, msgspec.json.encode(body))
        try:
            async with asyncio.timeout(within_s):
                data = await answer
        except TimeoutError as error:
            raise Lost(f"{type_name}: no answer within {within_s} s") from error
        return read_answer(type_name, data)

    def start_call(self, type_name: str, body: bytes) -> asyncio.Future[bytes]:
        """Send a request; its answer is the Payload's bytes."""
        return self.start_prepared(prepared(type_name, body))

    def start_prepared(self, message: bytes) -> asyncio.Future[bytes]:
        answer: asyncio.Future[bytes] = self._loop.create_future()
        if self.lost.done():
            answer.set_exception(Lost("the connection is gone"))
            return answer
        stream = self._open(_UNARY_HEAD)
        self._answers[stream] = answer
        self._transport.write(
            framing.frame(framing.HEADERS, framing.END_HEADERS, stream, _UNARY_HEAD)
            + framing.data(stream, message, end=True)
        )
        return answer

    def close(self) -> None:
        """A clean end: the stream's last word, then GOAWAY."""
        if not self.lost.done():
            goodbye = framing.frame(framing.GOAWAY, 0, 0, b"\0" * 8)
            self._transport.write(
                framing.frame(framing.DATA, framing.END_STREAM, self._bi_stream, b"") + goodbye
            )
            self._transport.close()

    def abort(self) -> None:
        """Gone without a word."""
        self._transport.abort()

    async def set_up(self, labels: Mapping[str, str]) -> None:
        """The handshake. Raises ``Lost`` and ``Refused``."""
        checked = await self.call("ServerCheckRequest", {}, CONNECT_S_MAX)
        self.id = checked.get("connectionId", "")
        self._bi_stream = self._open(_STREAM_HEAD)
        body = {"clientVersion": VERSION, "tenant": "", "labels": dict(labels), "abilityTable": ABILITIES}
        message = prepared("ConnectionSetupRequest", msgspec.json.encode(body))
        self._transport.write(
            framing.frame(framing.HEADERS, framing.END_HEADERS, self._bi_stream, _STREAM_HEAD)
            + framing.frame(framing.DATA, 0, self._bi_stream, message)
        )
        try:
            async with asyncio.timeout(CONNECT_S_MAX):
                await self._set_up
        except TimeoutError as error:
            raise Lost("no SetupAckRequest") from error

    # --------------------------------------------------------------------------------- from the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(framing.opening())

    def connection_lost(self, exc: Exception | None) -> None:
        error = Lost(str(exc or "closed by the server"))
        for waiting in (*self._answers.values(), self._set_up):
            if not waiting.done():
                waiting.set_exception(error)
                waiting.exception()  # whoever waits is told; nobody else needs to be
        self._answers.clear()
        if not self.lost.done():
            self.lost.set_result(None)

    def data_received(self, data: bytes) -> None:
        for kind, flags, stream, content in self._frames.feed(data):
            if kind == framing.DATA:
                self._refill(len(content))
                self._take(stream, content)
            if kind in (framing.DATA, framing.HEADERS) and flags & framing.END_STREAM:
                self._ended(stream)
            elif kind == framing.SETTINGS and not flags & framing.ACK:
                self._transport.write(_PING_FLAGS_ACK)
            elif kind == framing.PING and not flags & framing.ACK:
                self._transport.write(framing.frame(framing.PING, framing.ACK, 0, content))
            elif kind == framing.RST_STREAM:
                self._ended(stream)
            elif kind == framing.GOAWAY:
                self._transport.close()

    # --------------------------------------------------------------------------------------------- inside

    def _open(self, head: bytes) -> int:
        stream = self._next_stream
        self._next_stream += 2
        self._readers[stream] = framing.MessageReader()
        return stream

    def _take(self, stream: int, content: bytes) -> None:
        reader = self._readers.get(stream)
        for message in reader.feed(content) if reader else ():
            if stream == self._bi_stream:
                self._pushed(message)
            elif (answer := self._answers.pop(stream, None)) is not None and not answer.done():
                answer.set_result(message)

    def _pushed(self, message: bytes) -> None:
        if self.on_bytes is not None and self._set_up.done():
            self._pushed_bytes(message)
            return
        push = payload.decode(message)
        body = msgspec.json.decode(push.body)
        if push.type == "SetupAckRequest":
            if not self._set_up.done():
                self._set_up.set_result(None)
            return
        self._on_push(push.type, body)
        answer = {"requestId": body.get("requestId", ""), "resultCode": 200, "errorCode": 0, "success": True}
        name = push.type.removesuffix("Request") + "Response"
        self._transport.write(
            framing.frame(framing.DATA, 0, self._bi_stream, prepared(name, msgspec.json.encode(answer)))
        )
        if push.type == "ConnectResetRequest":
            self._transport.close()

    def _pushed_bytes(self, message: bytes) -> None:
        """As fast as Python can: the id is cut out, and put into an answer of which only the id differs."""
        self.on_bytes(message)  # type: ignore[misc]  # the caller has looked
        start = message.index(_ID_FIELD) + len(_ID_FIELD)
        request_id = message[start : message.index(b'"', start)]
        body = _ACK_BODY % request_id
        self._transport.write(framing.frame(framing.DATA, 0, self._bi_stream, _prepared_ack(body)))

    def _ended(self, stream: int) -> None:
        self._readers.pop(stream, None)
        if stream == self._bi_stream:
            self._transport.close()
        answer = self._answers.pop(stream, None)
        if answer is not None and not answer.done():
            answer.set_exception(Lost("the call ended without an answer"))

    def _refill(self, size_bytes: int) -> None:
        self._unrefilled_bytes += size_bytes
        if self._unrefilled_bytes > 1 << 28:
            self._transport.write(framing.window_update(0, self._unrefilled_bytes))
            self._unrefilled_bytes = 0


_ID_FIELD = b'"requestId":"'
_ACK_BODY = b'{"requestId":"%b","resultCode":200,"errorCode":0,"success":true}'
_ACK = payload.Envelope("NotifySubscriberResponse")  # acknowledgements are told apart by their id alone


def _prepared_ack(body: bytes) -> bytes:
    return framing.message(_ACK.around(body))


def prepared(type_name: str, body: bytes) -> bytes:
    """A whole gRPC message, to be sent as often as wanted."""
    if len(body) > BODY_BYTES_MAX:
        raise ValueError(
            f"{type_name}: a body of {len(body)} bytes; this client sends at most {BODY_BYTES_MAX}"
        )
    return framing.message(payload.encode(type_name, body, {}, "127.0.0.1"))


def read_answer(type_name: str, data: bytes) -> dict[str, Any]:
    """The body of an answer. Raises ``Refused``."""
    answer: dict[str, Any] = msgspec.json.decode(payload.decode(data).body)
    if answer.get("resultCode") != 200:
        raise Refused(f"{type_name}: {answer.get('errorCode')} {answer.get('message')}")
    return answer


async def connect(address: str, on_push: OnPush, labels: Mapping[str, str] | None = None) -> Connection:
    """A connection that is set up. ``address`` is the ``host:port`` that a client is configured with; gRPC is
    ``GRPC_ABOVE``. Raises ``Lost`` and ``Refused``.
    """
    host, _, port = address.rpartition(":")
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(CONNECT_S_MAX):
            _, connection = await loop.create_connection(
                lambda: Connection(on_push), host, int(port) + GRPC_ABOVE
            )
    except (OSError, TimeoutError) as error:
        raise Lost(f"{address}: {error or 'no connection in time'}") from error
    try:
        await connection.set_up(labels or {"source": "sdk", "module": "naming"})
    except (Lost, Refused):
        connection.abort()
        raise
    return connection
