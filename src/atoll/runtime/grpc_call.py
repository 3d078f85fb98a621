"""One gRPC call as a handler sees it, in two styles: callbacks for the hot path, coroutines for streams.

Rule: a call ends exactly once, by ``reply``, ``finish``, ``fail`` or cancellation; whatever a handler says after
that is ignored, because the peer may be gone at any moment and no handler should have to ask first.

All methods belong to the loop's thread. A handler whose work is done elsewhere comes back by
``runtime.loop.call_from_thread``. Deadlines are on the boot clock (``runtime.clock``).
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, TypeAlias

import msgspec

from atoll.errors import AtollError
from atoll.runtime.clock import Clock
from atoll.runtime.logs import Log
from atoll.runtime.peer import Peer
from atoll.wire.grpc import message as framing
from atoll.wire.grpc.message import MessageFault, MessageReader
from atoll.wire.grpc.request import Head, encode_metadata
from atoll.wire.grpc.status import Status, trailers
from atoll.wire.http2 import limits as http2_limits
from atoll.wire.http2.connection import ServerConnection
from atoll.wire.http2.fields import Pairs

ErrorTable: TypeAlias = Callable[[AtollError], tuple[Status, str]]
"""A frontend's one table from Atoll's errors to its protocol's status and text."""

_HEAD: Pairs = (
    (b":status", b"200"),
    (b"content-type", b"application/grpc"),
    (b"grpc-accept-encoding", b"identity,gzip"),
)
_TIMER_S_MAX = 86_400.0
_OK = trailers(Status.OK)


class Limits(msgspec.Struct, frozen=True):
    """What one gRPC server grants. Names end in their unit; ``http2`` has those of the connection itself.

    ``message_bytes_max``: of one message, after decompression; above: RESOURCE_EXHAUSTED.
    ``inbox_bytes_high``: whole messages waiting for a streaming handler before its peer's window stays shut.
    ``backlog_bytes_max``: of all requests of a connection, what no handler has taken yet, messages that are not yet
    whole included; the call that goes beyond gets RESOURCE_EXHAUSTED.
    ``handshake_s_max``: from accept to the client's first SETTINGS. ``keepalive_*``: our own pings to a peer
    that is silent. ``write_stall_s_max``: how long a peer may take in nothing of what waits for it.
    ``ends_with_certificate``: a connection is cut when the certificate that its client showed is over.
    """

    http2: http2_limits.Limits = http2_limits.Limits()
    message_bytes_max: int = 4_194_304
    inbox_bytes_high: int = 262_144
    backlog_bytes_max: int = 67_108_864
    connections_max: int = 10_000
    handshake_s_max: float = 10.0
    keepalive_interval_s: float = 7_200.0
    keepalive_timeout_s: float = 20.0
    write_stall_s_max: float = 120.0
    ends_with_certificate: bool = False


class Stats:
    """Counted on the hot path as plain integers; whoever exports metrics reads them when asked."""

    def __init__(self) -> None:
        self.connections_opened = 0
        self.connections_closed = 0
        self.calls_started = 0
        self.calls_ended: dict[tuple[str, Status], int] = {}  # by method and status
        self.seconds: dict[str, float] = {}  # summed duration of ended calls by method
        self.received_bytes = 0
        self.sent_bytes = 0
        self.connection_faults: dict[str, int] = {}  # by HTTP/2 error code

    @property
    def connections_open(self) -> int:
        return self.connections_opened - self.connections_closed

    @property
    def calls_open(self) -> int:
        return self.calls_started - sum(self.calls_ended.values())


@dataclasses.dataclass(slots=True)
class Link:
    """What the calls of one connection share. Made by the protocol that owns the transport."""

    wire: ServerConnection
    limits: Limits
    errors: ErrorTable
    clock: Clock
    loop: asyncio.AbstractEventLoop
    operator_log: Log
    peer: Peer
    stats: Stats
    connection_id: int
    wake: Callable[[], None]  # something was sent: write soon, together with what else is sent now
    cut: Callable[[], None]  # end the connection now, telling the peer
    calls: dict[int, Call]
    backlog_bytes: int = 0  # of requests, not yet taken by a handler


class Call:
    """``method`` is the path, ``"/etcdserverpb.KV/Range"``; ``deadline_s`` None: the client set none."""

    __slots__ = (
        "_cancel_hooks",
        "_drain_hooks",
        "_half_closed",
        "_head",
        "_headers_sent",
        "_inbox",
        "_inbox_bytes",
        "_link",
        "_reader",
        "_started_s",
        "_stream_id",
        "_task",
        "_timer",
        "_waiter",
        "_withheld_bytes",
        "_writable",
        "deadline_s",
        "ended",
        "handler",
        "message",
        "method",
        "reset_by_peer",
    )

    def __init__(self, link: Link, stream_id: int, head: Head, now_s: float) -> None:
        self._link = link
        self._stream_id = stream_id
        self._head = head
        self.method = head.path
        self._started_s = now_s
        timeout_s = head.timeout_s
        self.deadline_s: float | None = None if timeout_s is None else now_s + timeout_s
        self.ended = False
        self.reset_by_peer = (
            False  # True in hooks of ``on_cancel``: the client took the call back by a word of its own
        )
        self.handler: Callable[[Call, bytes], None] | None = None  # of a unary call
        self.message: bytes | None = None  # the unary call's, once it is whole
        self._headers_sent = False
        self._half_closed = False
        self._writable = True
        self._reader: MessageReader | None = None
        self._inbox: deque[bytes] | None = None  # only streaming calls have one
        self._inbox_bytes = 0
        self._withheld_bytes = 0
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._cancel_hooks: list[Callable[[], None]] | None = None
        self._drain_hooks: list[Callable[[], None]] | None = None

    # ------------------------------------------------------------------------------------- who and what

    @property
    def peer(self) -> Peer:
        return self._link.peer

    @property
    def connection_id(self) -> int:
        """The same for all calls of one connection, never used again by the same server."""
        return self._link.connection_id

    def cut_connection(self) -> None:
        """End the whole connection now: its calls are answered UNAVAILABLE and cancelled, the client is told."""
        self._link.cut()

    @property
    def authority(self) -> str:
        """The ``:authority`` that the client asked for, usually ``host:port``."""
        return self._head.authority

    def metadata(self, name: str) -> str | None:
        """The first value of a metadata key (lower case, not ``-bin``), or None."""
        wanted = name.encode("ascii")
        for key, value in self._head.metadata:
            if key == wanted:
                return value.decode("utf-8", "replace")
        return None

    def metadata_items(self) -> Iterator[tuple[str, bytes]]:
        """All metadata in order; ``-bin`` values decoded."""
        return ((key.decode("ascii"), value) for key, value in self._head.metadata)

    # ---------------------------------------------------------------------------------------- answering

    def reply(self, message: bytes, trailing: Pairs = ()) -> None:
        """Answer a unary call: one message and OK."""
        if self.ended:
            return
        link = self._link
        end = _OK + encode_metadata(trailing) if trailing else _OK
        data = b"\0" + len(message).to_bytes(4, "big") + message
        if self._headers_sent:
            link.wire.send_data(self._stream_id, data)
            link.wire.send_headers(self._stream_id, end, end=True)
        else:
            link.wire.respond(self._stream_id, _HEAD, data, end)
        self._end(Status.OK)

    def fail(self, status: Status, text: str, trailing: Pairs = ()) -> None:
        """End the call with a status other than OK. ``text`` is for the caller."""
        self.finish(status, text, trailing)

    def fail_error(self, error: AtollError) -> None:
        """``fail`` by the frontend's error table."""
        self.finish(*self._link.errors(error))

    def finish(self, status: Status = Status.OK, text: str = "", trailing: Pairs = ()) -> None:
        """End a streaming call; what was sent before arrives before."""
        if self.ended:
            return
        end = trailers(status, text)
        if trailing:
            end += encode_metadata(trailing)
        self._link.wire.send_headers(self._stream_id, end if self._headers_sent else _HEAD + end, end=True)
        self._end(status)

    def send_headers(self, metadata: Pairs = ()) -> None:
        """Send the response's head now rather than with the first message. At most once, before any message."""
        if self.ended:
            return
        if self._headers_sent:
            raise RuntimeError(f"{self.method}: the response's head has been sent already")
        self._headers_sent = True
        self._link.wire.send_headers(self._stream_id, _HEAD + encode_metadata(metadata))
        self._link.wake()

    @property
    def writable(self) -> bool:
        """False: the client reads more slowly than we send; wait by ``drain`` or ``on_drain``."""
        return self._writable or self.ended

    @property
    def held_bytes(self) -> int:
        """What waits for the client to take it in, of all calls of its connection."""
        return self._link.wire.held_bytes

    def send_nowait(self, message: bytes) -> bool:
        """Send one message of a stream, without waiting; returns ``writable``.

        A sender that never waits loses its call (RST_STREAM) when ``send_buffer_bytes_max`` are waiting.
        """
        if self.ended:
            return True
        if not self._headers_sent:
            self.send_headers()
        self._writable = self._link.wire.send_data(self._stream_id, framing.encode(message))
        self._link.wake()
        return self._writable

    async def send(self, message: bytes) -> None:
        """Send one message of a stream; waits while the client is behind."""
        if not self._writable:
            await self.drain()
        self.send_nowait(message)

    async def drain(self) -> None:
        """Wait until ``writable``."""
        while not self.writable:
            room = asyncio.Event()
            self.on_drain(room.set)
            await room.wait()

    def on_drain(self, hook: Callable[[], None]) -> None:
        """Call ``hook`` once, when the call is writable again or has ended; at once if that is so now."""
        if self.writable:
            hook()
        elif self._drain_hooks is None:
            self._drain_hooks = [hook]
        else:
            self._drain_hooks.append(hook)

    def on_cancel(self, hook: Callable[[], None]) -> None:
        """Call ``hook`` once if the call ends without the handler: the client cancelled or went away, the
        deadline passed, the server is stopping. At once if the call has ended. (Coroutine handlers are
        cancelled besides.)
        """
        if self.ended:
            hook()
        elif self._cancel_hooks is None:
            self._cancel_hooks = [hook]
        else:
            self._cancel_hooks.append(hook)

    # ---------------------------------------------------------------------------------------- listening

    async def receive(self) -> bytes | None:
        """The next message of the client's stream; None: the client has sent its last."""
        inbox = self._inbox
        if inbox is None:
            raise RuntimeError(
                f"{self.method}: only streaming handlers receive; a unary one is given its message"
            )
        while not inbox:
            if self._half_closed or self.ended:
                return None
            if self._waiter is not None:
                raise RuntimeError(f"{self.method}: two readers on one call")
            self._waiter = self._link.loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        message = inbox.popleft()
        self._inbox_bytes -= len(message)
        self._link.backlog_bytes -= 0 if self.ended else len(message)
        if self._withheld_bytes and self._inbox_bytes * 2 <= self._link.limits.inbox_bytes_high:
            self._acknowledge_withheld()
        return message

    def messages(self) -> AsyncIterator[bytes]:
        """All messages of the client's stream, to its end."""
        return _Messages(self)

    # ------------------------------------------------------------------ for the protocol that owns the link

    def open_inbox(self) -> None:
        self._inbox = deque()

    def start_task(self, work: Coroutine[Any, Any, None]) -> None:
        self._task = self._link.loop.create_task(work)
        self._task.add_done_callback(self._on_task_done)

    def start_timer(self, now_s: float) -> None:
        """Arm the deadline. It is on the boot clock, so the loop's timer only asks to look at it."""
        if self.deadline_s is not None and not self.ended:
            delay_s = min(max(self.deadline_s - now_s, 0.0), _TIMER_S_MAX)
            self._timer = self._link.loop.call_later(delay_s, self._on_timer)

    def feed(self, data: bytes, ended: bool) -> None:
        """Take in a piece of the request's body. Raises ``MessageFault``."""
        link = self._link
        reader = self._reader
        if reader is None:
            reader = self._reader = MessageReader(link.limits.message_bytes_max, self._head.encoding)
        before_bytes = reader.buffered_bytes
        messages = reader.feed(data)
        link.backlog_bytes += reader.buffered_bytes - before_bytes
        self._half_closed = ended
        if ended and reader.buffered_bytes:
            raise MessageFault(Status.INTERNAL, "grpc: the request ended inside a message")
        if self._inbox is None:
            self._feed_unary(messages, len(data))
        else:
            self._feed_inbox(self._inbox, messages, len(data))

    def _feed_unary(self, messages: list[bytes], taken_bytes: int) -> None:
        if messages:
            if len(messages) > 1 or self.message is not None:
                raise MessageFault(Status.INTERNAL, "grpc: a unary request has more than one message")
            self.message = messages[0]
        if not self._half_closed:
            self._link.wire.acknowledge(self._stream_id, taken_bytes)
        elif self.message is None:
            raise MessageFault(Status.INTERNAL, "grpc: a unary request has no message")

    def _feed_inbox(self, inbox: deque[bytes], messages: list[bytes], taken_bytes: int) -> None:
        for message in messages:
            inbox.append(message)
            self._inbox_bytes += len(message)
            self._link.backlog_bytes += len(message)
        self._withheld_bytes += taken_bytes
        if self._inbox_bytes <= self._link.limits.inbox_bytes_high:
            self._acknowledge_withheld()
        if self._waiter is not None and not self._waiter.done() and (messages or self._half_closed):
            self._waiter.set_result(None)

    def drained(self) -> None:
        self._writable = True
        hooks, self._drain_hooks = self._drain_hooks, None
        for hook in hooks or ():
            self.guard(hook)

    def cancel(self, status: Status) -> None:
        """The call ended, and not by its handler. ``status`` is for the statistics."""
        if self.ended:
            return
        self._end(status)
        if self._task is not None:
            self._task.cancel()
        hooks, self._cancel_hooks = self._cancel_hooks, None
        for hook in hooks or ():
            self.guard(hook)

    def abort(self, status: Status, text: str) -> None:
        """End the call for the handler: tell the client, then cancel."""
        if self.ended:
            return
        end = trailers(status, text)
        self._link.wire.send_headers(self._stream_id, end if self._headers_sent else _HEAD + end, end=True)
        self._link.wake()
        self.cancel(status)

    def guard(self, work: Callable[..., None], *arguments: object) -> None:
        """Call into the handler's code; what it raises ends this call alone."""
        try:
            work(*arguments)
        except AtollError as error:
            self.fail_error(error)
        except Exception as error:  # noqa: BLE001 - the border where a bug becomes INTERNAL of this call alone
            self.fail_internal(error)

    def fail_internal(self, error: BaseException) -> None:
        """A bug in a handler: the caller learns nothing of it, the operator all."""
        self._link.operator_log.error(
            "gRPC handler failed", error, method=self.method, peer=self._link.peer.address
        )
        self.finish(Status.INTERNAL, "internal error")

    # --------------------------------------------------------------------------------------------- inside

    def _on_task_done(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            self.abort(Status.CANCELLED, "the handler was cancelled")
            return
        error = task.exception()
        if error is None:
            self.finish()
        elif isinstance(error, AtollError):
            self.fail_error(error)
        else:
            self.fail_internal(error)

    def _acknowledge_withheld(self) -> None:
        self._link.wire.acknowledge(self._stream_id, self._withheld_bytes)
        self._withheld_bytes = 0
        self._link.wake()

    def _on_timer(self) -> None:
        now_s = self._link.clock.now_s()
        if self.deadline_s is not None and now_s < self.deadline_s:
            self.start_timer(now_s)
        else:
            self.abort(Status.DEADLINE_EXCEEDED, "deadline exceeded")

    def _end(self, status: Status) -> None:
        self.ended = True
        link = self._link
        link.calls.pop(self._stream_id, None)
        if self._reader is not None:
            link.backlog_bytes -= self._reader.buffered_bytes + self._inbox_bytes
        stats = link.stats
        counted = (self.method, status)
        stats.calls_ended[counted] = stats.calls_ended.get(counted, 0) + 1
        took_s = link.clock.now_s() - self._started_s
        stats.seconds[self.method] = stats.seconds.get(self.method, 0.0) + took_s
        if self._timer is not None:
            self._timer.cancel()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        if self._drain_hooks is not None:
            self.drained()
        link.wake()


class _Messages:
    """Not an async generator: one that a handler leaves early would have to be closed by somebody."""

    __slots__ = ("_call",)

    def __init__(self, call: Call) -> None:
        self._call = call

    def __aiter__(self) -> _Messages:
        return self

    async def __anext__(self) -> bytes:
        message = await self._call.receive()
        if message is None:
            raise StopAsyncIteration
        return message
