"""One HTTP/2 connection on the loop: bytes from the transport into the machine, facts to calls, output in batches.

Rule: one read of the transport makes at most one write to it. Answers given while its facts are handled, and
answers given later in the same turn of the loop, go out together.

A peer that does not read: the transport says so, we stop reading from it, held data stays bounded by the limits of
``wire.http2``, and after ``write_stall_s_max`` the connection is cut.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from atoll.runtime.grpc_call import Call, Link
from atoll.runtime.grpc_server import GrpcServer
from atoll.runtime.peer import peer_of
from atoll.wire.grpc import request
from atoll.wire.grpc.message import MessageFault
from atoll.wire.grpc.request import Refusal
from atoll.wire.grpc.status import Status
from atoll.wire.grpc.status import trailers as ending
from atoll.wire.http2.connection import ServerConnection
from atoll.wire.http2.facts import (
    DataReceived,
    Fact,
    Failed,
    PingAnswered,
    RequestStarted,
    StreamReset,
    TrailersReceived,
    Writable,
)

_UNKNOWN_METHOD = "unknown"  # in the statistics: a label that clients cannot multiply
_DRAIN_PING = b"atolldrn"
_ALIVE_PING = b"atollliv"
_LEAVE_PING_S_MAX = 1.0
_CERTIFICATE_LOOK_S_MAX = 60.0


class Http2Protocol(asyncio.Protocol):
    """``closed`` is called once, when the connection has ended."""

    def __init__(self, server: GrpcServer, closed: Callable[[Http2Protocol], None]) -> None:
        self._server = server
        self._closed = closed
        self._transport: asyncio.Transport
        self._link: Link
        self._wire = ServerConnection(server.limits.http2)
        # Not gRPC, so perhaps a client that takes an answer before its first byte of body for an error.
        self._refused: dict[int, Refusal] = {}
        self._flush_due = False
        self._write_paused = False
        self._lost = False
        self._leaving = False
        self._left = False
        self._fresh: list[Call] = []  # calls of this read; those that are not answered at once get a timer
        self._read_s = 0.0  # when the last bytes came
        self._timer: asyncio.TimerHandle | None = None
        self._certificate_timer: asyncio.TimerHandle | None = None

    # ----------------------------------------------------------------------------------- from the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        server = self._server
        loop = asyncio.get_running_loop()
        self._link = Link(
            wire=self._wire,
            limits=server.limits,
            errors=server.errors,
            clock=server.clock,
            loop=loop,
            operator_log=server.log,
            peer=peer_of(self._transport),
            stats=server.stats,
            connection_id=server.next_connection_id(),
            wake=self._wake,
            cut=self.cut,
            calls={},
        )
        server.stats.connections_opened += 1
        self._read_s = server.clock.now_s()
        self._pinged_s = self._read_s
        self._timer = loop.call_later(server.limits.handshake_s_max, self._on_handshake_late)
        if server.limits.ends_with_certificate and self._link.peer.certificate_ends_s:
            self._on_certificate_timer()
        self._flush()

    def data_received(self, data: bytes) -> None:
        link = self._link
        now_s = link.clock.now_s()
        self._read_s = now_s
        link.stats.received_bytes += len(data)
        self._flush_due = True  # what is sent from here on goes out below
        self._handle(self._wire.receive(data, now_s), now_s)
        for call in self._fresh:
            call.start_timer(now_s)
        self._fresh.clear()
        self._flush()

    def eof_received(self) -> bool:
        return False  # close: a gRPC client that has sent its last byte reads no answers either

    def pause_writing(self) -> None:
        self._write_paused = True
        self._transport.pause_reading()
        self._arm(self._server.limits.write_stall_s_max, self._on_stall)

    def resume_writing(self) -> None:
        self._write_paused = False
        self._transport.resume_reading()
        self._arm(self._server.limits.keepalive_interval_s, self._on_silence)
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        for timer in (self._timer, self._certificate_timer):
            if timer is not None:
                timer.cancel()
        for call in list(self._link.calls.values()):
            call.cancel(Status.CANCELLED)
        self._link.stats.connections_closed += 1
        self._closed(self)

    # -------------------------------------------------------------------------------------- for the listener

    @property
    def idle(self) -> bool:
        return not self._link.calls and not self._wire.streams_open

    def leave(self) -> None:
        """Begin a graceful end: no new calls once the client knows, then close after the last one."""
        self._leaving = True
        self._wire.announce_leave()
        self._wire.ping(_DRAIN_PING)  # its answer: the client has read the announcement
        self._link.loop.call_later(_LEAVE_PING_S_MAX, self._on_leave_late)
        self._wake()

    def cut(self) -> None:
        """End now: calls in flight are answered UNAVAILABLE, their handlers cancelled."""
        for call in list(self._link.calls.values()):
            call.abort(Status.UNAVAILABLE, "the server is stopping")
        self._wire.leave()
        self._flush()
        self._transport.close()

    def abort(self) -> None:
        self._transport.abort()

    # ------------------------------------------------------------------------------------------------ facts

    def _handle(self, facts: list[Fact], now_s: float) -> None:
        for fact in facts:
            kind = type(fact)
            if kind is RequestStarted:
                self._on_request(cast(RequestStarted, fact), now_s)
            elif kind is DataReceived:
                data = cast(DataReceived, fact)
                call = self._link.calls.get(data.stream_id)
                if call is not None:
                    self._on_body(call, data.data, data.ended)
                else:
                    self._on_stray(data.stream_id)
            elif kind is TrailersReceived:
                trailers = cast(TrailersReceived, fact)
                call = self._link.calls.get(trailers.stream_id)
                if call is not None:
                    self._on_body(call, b"", True)
                else:
                    self._on_stray(trailers.stream_id)
            else:
                self._on_rare(fact)

    def _on_rare(self, fact: Fact) -> None:
        if isinstance(fact, StreamReset):
            call = self._link.calls.get(fact.stream_id)
            self._refused.pop(fact.stream_id, None)
            if call is not None:
                call.reset_by_peer = fact.by_peer
                call.cancel(Status.CANCELLED)
        elif isinstance(fact, Writable):
            call = self._link.calls.get(fact.stream_id)
            if call is not None:
                call.drained()
        elif isinstance(fact, PingAnswered):
            if fact.opaque == _DRAIN_PING and self._leaving:
                self._depart()
        elif isinstance(fact, Failed):
            self._on_failed(fact)

    def _on_failed(self, fact: Failed) -> None:
        link = self._link
        name = fact.code.name
        link.stats.connection_faults[name] = link.stats.connection_faults.get(name, 0) + 1
        link.operator_log.info(
            "HTTP/2 peer broke the connection", peer=link.peer.address, code=name, why=fact.detail
        )
        self._write_paused = False  # GOAWAY is worth one more try
        self._flush()
        self._transport.close()

    def _on_request(self, fact: RequestStarted, now_s: float) -> None:
        head = request.parse(fact.fields, self._server.limits.http2.header_list_bytes_max)
        if isinstance(head, Refusal):
            if head.http_status == 200 or fact.ended:
                self._refuse(fact.stream_id, head)
            else:
                self._refused[fact.stream_id] = head
            return
        route = self._server.routes.get(head.path)
        if route is None:
            text = f"unknown method {head.path}"
            self._refuse(fact.stream_id, Refusal(200, Status.UNIMPLEMENTED, text))
            return
        call = Call(self._link, fact.stream_id, head, now_s)
        self._link.calls[fact.stream_id] = call
        self._link.stats.calls_started += 1
        if call.deadline_s is not None:
            self._fresh.append(call)
        if route.streams:
            call.open_inbox()
            call.guard(route.handler, call)
        else:
            call.handler = route.handler
        if fact.ended:
            self._on_body(call, b"", True)

    def _on_stray(self, stream_id: int) -> None:
        """The body of a request that is not gRPC has begun, or of a call that has ended."""
        refusal = self._refused.pop(stream_id, None)
        if refusal is not None:
            self._refuse(stream_id, refusal)

    def _refuse(self, stream_id: int, refusal: Refusal) -> None:
        stats = self._link.stats
        stats.calls_started += 1
        counted = (_UNKNOWN_METHOD, refusal.status)
        stats.calls_ended[counted] = stats.calls_ended.get(counted, 0) + 1
        end = ending(refusal.status, refusal.text)
        if refusal.http_status == 200:
            head = ((b":status", b"200"), (b"content-type", b"application/grpc"))
            self._wire.send_headers(stream_id, head + end, end=True)
            return
        body = refusal.text.encode() + b"\n"
        status = b"%d" % refusal.http_status
        plain = (
            (b":status", status),
            (b"content-type", b"text/plain"),
            (b"content-length", b"%d" % len(body)),
        )
        self._wire.send_headers(stream_id, plain)
        self._wire.send_data(stream_id, body, end=True)

    def _on_body(self, call: Call, data: bytes, ended: bool) -> None:
        try:
            call.feed(data, ended)
        except MessageFault as fault:
            call.abort(fault.status, fault.text)
            return
        if self._link.backlog_bytes > self._server.limits.backlog_bytes_max:
            call.abort(Status.RESOURCE_EXHAUSTED, "too many bytes of requests waiting on this connection")
        elif ended and call.handler is not None and call.message is not None:
            call.guard(call.handler, call, call.message)

    # ----------------------------------------------------------------------------------------------- output

    def _wake(self) -> None:
        if not self._flush_due:
            self._flush_due = True
            self._link.loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_due = False
        if self._write_paused or self._lost:
            return
        wire = self._wire
        data = wire.take_output()
        if data:
            self._link.stats.sent_bytes += len(data)
            self._transport.write(data)
        if wire.pending:
            self._handle(wire.pump(), self._read_s)
            if wire.output_bytes:
                self._wake()
        if self._left and self.idle and not wire.output_bytes:
            self._transport.close()

    # ----------------------------------------------------------------------------------------------- timers

    def _arm(self, delay_s: float, action: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._link.loop.call_later(delay_s, action)

    def _on_handshake_late(self) -> None:
        if self._wire.configured:
            self._arm(self._server.limits.keepalive_interval_s, self._on_silence)
        else:
            self._transport.abort()

    def _on_silence(self) -> None:
        limits = self._server.limits
        silent_s = self._link.clock.now_s() - self._read_s
        if silent_s < limits.keepalive_interval_s:
            self._arm(limits.keepalive_interval_s - silent_s, self._on_silence)
            return
        self._wire.ping(_ALIVE_PING)
        self._pinged_s = self._link.clock.now_s()
        self._wake()
        self._arm(limits.keepalive_timeout_s, self._on_ping_late)

    def _on_ping_late(self) -> None:
        if self._read_s >= self._pinged_s:  # not "within the timeout": a late timer is not the peer's fault
            self._arm(self._server.limits.keepalive_interval_s, self._on_silence)
            return
        self._link.operator_log.info("HTTP/2 peer does not answer pings", peer=self._link.peer.address)
        self._transport.abort()

    def _on_stall(self) -> None:
        self._link.operator_log.warning("HTTP/2 peer takes in nothing", peer=self._link.peer.address)
        self._transport.abort()

    def _on_certificate_timer(self) -> None:
        """A stream without an end must not outlive what it was let in by; its client comes again with a newer one."""
        link = self._link
        left_s = link.peer.certificate_ends_s - link.clock.wall_s()
        if left_s > 0:
            delay_s = min(left_s, _CERTIFICATE_LOOK_S_MAX)  # the wall clock may be set meanwhile
            self._certificate_timer = link.loop.call_later(delay_s, self._on_certificate_timer)
            return
        link.operator_log.info("the certificate of a connection is over", peer=link.peer.address)
        self.cut()

    def _on_leave_late(self) -> None:
        """The peer did not answer the ping of the announcement; it has had time enough."""
        if not self._left:
            self._depart()
            self._wake()

    def _depart(self) -> None:
        self._left = True
        self._wire.leave()
