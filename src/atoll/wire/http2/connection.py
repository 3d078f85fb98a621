"""An HTTP/2 server connection (RFC 9113) without I/O: ``receive`` bytes and get facts, ``take_output`` and write.

Rule: a fault of the peer never raises out of here. One that is about a stream resets that stream, one that is
about the connection puts GOAWAY into the output and ``Failed`` at the end of the facts; how the bytes were cut
on their way makes no difference.

The theory: the facts are a function of the bytes, the clock readings given with them and the calls made.
Received data is credited to the connection's window at once and to the stream's window only when the user
acknowledges it, so one stream that nobody reads cannot stop the others; what a peer can make us hold is
``streams_max`` x ``stream_window_bytes``. Priorities are accepted and ignored, as RFC 9113 allows. The doubt:
streams that were reset by us are remembered in a bounded list (frames for them may still be under way); a peer
that is more than twice ``streams_max`` resets behind is taken for a broken one.
"""

from __future__ import annotations

import struct

from atoll.wire.http2 import frames
from atoll.wire.http2.facts import (
    DataReceived,
    Fact,
    Failed,
    PeerLeaves,
    PingAnswered,
    RequestStarted,
    StreamReset,
    TrailersReceived,
    Writable,
)
from atoll.wire.http2.fields import BlockDecoder, Fields, Pairs
from atoll.wire.http2.frames import (
    ACK,
    END_STREAM,
    FRAME_BYTES_MAX,
    PADDED,
    STREAM_ID_MAX,
    WINDOW_BYTES_DEFAULT,
    WINDOW_BYTES_MAX,
    ConnectionFault,
    ErrorCode,
    Setting,
    StreamFault,
)
from atoll.wire.http2.limits import Bucket, Limits, PingRule
from atoll.wire.http2.outbox import Outbox
from atoll.wire.http2.reader import FrameReader, unpad
from atoll.wire.http2.stream import MOVES, State, Step, Stream

_SETTINGS_TOKENS = 20.0
_TOO_SLOW = "the peer takes in too little of what waits for it"
_SETTING = struct.Struct(">HL")


class ServerConnection:
    """``receive`` is the only way in. After ``Failed`` nothing is read or sent any more."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._facts: list[Fact] = []
        self._reader = FrameReader(limits)
        self._streams: dict[int, Stream] = {}
        self._reset_ids: dict[int, None] = {}
        self._stream_id_last = 0
        self._stream_id_accepted_max = STREAM_ID_MAX
        self._decoder = BlockDecoder(limits)
        self._unacknowledged_bytes = 0
        self._outbox = Outbox(limits, self._sent_end)
        self._resets = Bucket(limits.resets_burst_max, limits.resets_per_s_max)
        self._controls = Bucket(limits.controls_burst_max, limits.controls_per_s_max)
        self._pings = PingRule(limits)
        self._now_s = 0.0
        self.failed = False
        self._handlers = (  # by frame type
            self._on_data,
            self._on_headers,
            self._on_priority,
            self._on_rst_stream,
            self._on_settings,
            self._on_push_promise,
            self._on_ping,
            self._on_goaway,
            self._on_window_update,
        )
        self._greet()

    # ---------------------------------------------------------------------------------------- for the user

    @property
    def streams_open(self) -> int:
        return len(self._streams)

    @property
    def output_bytes(self) -> int:
        return self._outbox.size_bytes

    @property
    def configured(self) -> bool:
        """The peer's preface and first SETTINGS have come."""
        return self._reader.greeted

    def receive(self, data: bytes, now_s: float) -> list[Fact]:
        """Take in ``data``, read at ``now_s``."""
        if self.failed:
            return []
        self._now_s = now_s
        try:
            for kind, flags, stream_id, payload in self._reader.feed(data):
                self._on_frame(kind, flags, stream_id, payload)
        except ConnectionFault as fault:
            self._fail(fault.code, fault.detail)
        return self._take_facts()

    def take_output(self) -> bytes:
        """Bytes to write now. Call ``pump`` after it was written where the transport has room for more."""
        return self._outbox.take()

    def pump(self) -> list[Fact]:
        """Encode held data that has room now."""
        self._pump()
        return self._take_facts()

    @property
    def held_bytes(self) -> int:
        """Of all streams: what waits for the peer's windows."""
        return self._outbox.held_bytes

    @property
    def pending(self) -> bool:
        """``pump`` may have something to do or to tell."""
        return bool(self._facts) or self._outbox.may_pump

    def send_headers(self, stream_id: int, pairs: Pairs, *, end: bool = False) -> None:
        """A response head, or trailers with ``end``. A stream that is gone swallows it: the peer knows."""
        stream = self._sending(stream_id)
        if stream is not None:
            self._outbox.headers(stream, pairs, end=end)

    def send_data(self, stream_id: int, data: bytes, *, end: bool = False) -> bool:
        """Send or hold ``data``. False: the stream holds a lot; wait for ``Writable`` before sending more.
        A stream that holds ``send_buffer_bytes_max`` already is reset instead (its user did not wait), and so is
        one of a connection that holds ``held_bytes_max``.
        """
        stream = self._sending(stream_id)
        if stream is None:
            return True
        if stream.held_bytes >= self._limits.send_buffer_bytes_max or self._is_full:
            self.reset(stream_id, ErrorCode.ENHANCE_YOUR_CALM, _TOO_SLOW)
            return False
        self._outbox.data(stream, data, end=end)
        stream.told_to_wait = stream.held_bytes > self._limits.send_buffer_bytes_high
        return not stream.told_to_wait

    def respond(self, stream_id: int, head: Pairs, data: bytes, trailers: Pairs) -> None:
        """A whole response at once."""
        stream = self._sending(stream_id)
        if stream is not None and self._is_full:
            self.reset(stream_id, ErrorCode.ENHANCE_YOUR_CALM, _TOO_SLOW)
        elif stream is not None:
            self._outbox.headers(stream, head, end=False)
            self._outbox.data(stream, data, end=False)
            self._outbox.headers(stream, trailers, end=True)

    def acknowledge(self, stream_id: int, size_bytes: int) -> None:
        """The user took in so many bytes of a body; the peer may send as many more."""
        stream = self._streams.get(stream_id)
        if stream is None or stream.state is State.HALF_CLOSED_REMOTE:
            return
        stream.unacknowledged_bytes += size_bytes
        if stream.unacknowledged_bytes * 2 >= self._limits.stream_window_bytes:
            self._outbox.write(frames.window_update(stream_id, stream.unacknowledged_bytes))
            stream.receive_window_bytes += stream.unacknowledged_bytes
            stream.unacknowledged_bytes = 0

    def reset(self, stream_id: int, code: ErrorCode, detail: str = "") -> None:
        """End a stream by RST_STREAM. With a ``detail`` the next facts tell the user of it."""
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        self._drop(stream)
        self._send_reset(stream_id, code)
        if detail:
            self._facts.append(StreamReset(stream_id, code, False, detail))

    def ping(self, opaque: bytes) -> None:
        """``opaque``: 8 bytes that come back in ``PingAnswered``."""
        self._outbox.write(frames.ping(opaque))

    def announce_leave(self) -> None:
        """First half of a graceful end (RFC 9113, 6.8): open nothing more, what is under way still counts."""
        self._outbox.write(frames.goaway(STREAM_ID_MAX, ErrorCode.NO_ERROR))

    def leave(self, code: ErrorCode = ErrorCode.NO_ERROR, debug: bytes = b"") -> None:
        """Second half: streams after the last one seen are refused."""
        self._stream_id_accepted_max = self._stream_id_last
        self._outbox.write(frames.goaway(self._stream_id_last, code, debug))

    # --------------------------------------------------------------------------------------------- inside

    def _greet(self) -> None:
        limits = self._limits
        self._outbox.write(
            frames.settings(
                {
                    Setting.MAX_CONCURRENT_STREAMS: limits.streams_max,
                    Setting.INITIAL_WINDOW_SIZE: limits.stream_window_bytes,
                    Setting.MAX_HEADER_LIST_SIZE: limits.header_list_bytes_max,
                }
            )
        )
        self._outbox.write(frames.window_update(0, limits.connection_window_bytes - WINDOW_BYTES_DEFAULT))

    def _take_facts(self) -> list[Fact]:
        facts = self._facts
        self._facts = []
        return facts

    def _fail(self, code: ErrorCode, detail: str) -> None:
        self.failed = True
        for stream in self._streams.values():
            self._outbox.forget(stream)
        self._streams.clear()
        self._outbox.write(frames.goaway(self._stream_id_last, code, detail.encode("ascii", "replace")[:256]))
        self._facts.append(Failed(code, detail))

    def _on_frame(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        if kind >= len(self._handlers):
            self._spend_control("unknown frames")
            return
        try:
            self._handlers[kind](flags, stream_id, payload)
        except StreamFault as fault:
            self._on_stream_fault(fault)

    def _on_stream_fault(self, fault: StreamFault) -> None:
        stream = self._streams.get(fault.stream_id)
        if stream is not None:
            self._drop(stream)
            self._facts.append(StreamReset(fault.stream_id, fault.code, False, fault.detail))
        self._send_reset(fault.stream_id, fault.code)
        self._spend_reset()

    def _send_reset(self, stream_id: int, code: ErrorCode) -> None:
        self._outbox.write(frames.rst_stream(stream_id, code))
        self._reset_ids[stream_id] = None
        if len(self._reset_ids) > 2 * self._limits.streams_max:
            del self._reset_ids[next(iter(self._reset_ids))]

    def _drop(self, stream: Stream) -> None:
        stream.state = MOVES[stream.state, Step.RESET]
        self._outbox.forget(stream)
        del self._streams[stream.stream_id]

    def _spend_control(self, what: str, tokens: float = 1.0) -> None:
        if not self._controls.take(self._now_s, tokens):
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, f"too many {what}")

    def _spend_reset(self) -> None:
        if not self._resets.take(self._now_s):
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "too many streams reset")

    @property
    def _is_full(self) -> bool:
        return self._outbox.held_bytes >= self._limits.held_bytes_max

    def _pump(self) -> None:
        for stream in self._outbox.pump():
            self._facts.append(Writable(stream.stream_id))

    # -------------------------------------------------------------------------------------- sending state

    def _sending(self, stream_id: int) -> Stream | None:
        """The stream, unless it is gone."""
        stream = self._streams.get(stream_id)
        if stream is None or self.failed:
            return None
        if (stream.state, Step.SEND_PART) not in MOVES or stream.ends_after_held:
            raise RuntimeError(f"stream {stream_id} has been ended; nothing can follow")
        return stream

    def _sent_end(self, stream: Stream) -> None:
        stream.state = MOVES[stream.state, Step.SEND_END]
        self._outbox.forget(stream)
        del self._streams[stream.stream_id]
        if stream.state is not State.CLOSED:  # the answer is complete before the request: RFC 9113, 8.1
            self._send_reset(stream.stream_id, ErrorCode.NO_ERROR)

    # ------------------------------------------------------------------------------------------ receiving

    def _on_headers(self, flags: int, stream_id: int, block: bytes) -> None:
        fields = self._decoder.decode(block)  # before any decision: it moves the shared table
        ends_stream = bool(flags & END_STREAM)
        stream = self._streams.get(stream_id)
        if stream is not None:
            self._on_trailers(stream, fields, ends_stream)
        elif stream_id > self._stream_id_last:
            self._on_request(stream_id, fields, ends_stream)
        else:
            self._on_closed_stream(stream_id, "HEADERS")

    def _on_request(self, stream_id: int, fields: Fields, ends_stream: bool) -> None:
        if not stream_id & 1:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a client's stream id must be odd")
        self._stream_id_last = stream_id
        if stream_id > self._stream_id_accepted_max:
            raise StreamFault(stream_id, ErrorCode.REFUSED_STREAM, "request after GOAWAY")
        if fields.flaw:
            raise StreamFault(stream_id, ErrorCode.PROTOCOL_ERROR, fields.flaw)
        if len(self._streams) >= self._limits.streams_max:
            raise StreamFault(stream_id, ErrorCode.REFUSED_STREAM, "too many concurrent streams")
        stream = Stream(stream_id, self._limits.stream_window_bytes, self._outbox.stream_window_bytes)
        stream.expected_bytes = fields.content_length_bytes
        self._streams[stream_id] = stream
        if ends_stream:
            self._end_body(stream)
        self._facts.append(RequestStarted(stream_id, fields, ends_stream))

    def _on_trailers(self, stream: Stream, fields: Fields, ends_stream: bool) -> None:
        if (stream.state, Step.RECEIVE_END) not in MOVES:
            raise StreamFault(stream.stream_id, ErrorCode.STREAM_CLOSED, "HEADERS after END_STREAM")
        if not ends_stream:
            raise StreamFault(stream.stream_id, ErrorCode.PROTOCOL_ERROR, "trailers without END_STREAM")
        if fields.trailer_flaw:
            raise StreamFault(stream.stream_id, ErrorCode.PROTOCOL_ERROR, fields.trailer_flaw)
        self._end_body(stream)
        self._facts.append(TrailersReceived(stream.stream_id, fields))

    def _end_body(self, stream: Stream) -> None:
        if stream.expected_bytes is not None and stream.expected_bytes != stream.received_bytes:
            raise StreamFault(
                stream.stream_id,
                ErrorCode.PROTOCOL_ERROR,
                f"content-length {stream.expected_bytes}, body {stream.received_bytes} bytes",
            )
        stream.state = MOVES[stream.state, Step.RECEIVE_END]

    def _on_closed_stream(self, stream_id: int, kind: str) -> None:
        """Late frames for a stream that we reset are legal; anything else on a closed stream is not."""
        if stream_id not in self._reset_ids:
            raise ConnectionFault(ErrorCode.STREAM_CLOSED, f"{kind} on closed stream {stream_id}")
        self._spend_control("frames on closed streams")

    def _on_data(self, flags: int, stream_id: int, payload: bytes) -> None:
        size = len(payload)
        self._credit_connection(size)
        stream = self._streams.get(stream_id)
        if stream is None:
            self._check_not_idle(stream_id, "DATA")
            self._on_closed_stream(stream_id, "DATA")
            return
        if (stream.state, Step.RECEIVE_DATA) not in MOVES:
            raise StreamFault(stream_id, ErrorCode.STREAM_CLOSED, "DATA after END_STREAM")
        if size > stream.receive_window_bytes:
            raise StreamFault(stream_id, ErrorCode.FLOW_CONTROL_ERROR, "DATA beyond the stream's window")
        stream.receive_window_bytes -= size
        if flags & PADDED:
            payload = unpad(payload)
            self.acknowledge(stream_id, size - len(payload))
        ended = bool(flags & END_STREAM)
        if payload:
            self._controls.give(2.0)
        elif not ended:
            self._spend_control("empty DATA frames")
            return
        stream.received_bytes += len(payload)
        if ended:
            self._end_body(stream)
        self._facts.append(DataReceived(stream_id, payload, ended))

    def _credit_connection(self, size: int) -> None:
        """Give back what came. Half a window is more than a frame, so this window never runs out."""
        self._unacknowledged_bytes += size
        if self._unacknowledged_bytes * 2 >= self._limits.connection_window_bytes:
            self._outbox.write(frames.window_update(0, self._unacknowledged_bytes))
            self._unacknowledged_bytes = 0

    def _check_not_idle(self, stream_id: int, kind: str) -> None:
        if not stream_id or stream_id > self._stream_id_last:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"{kind} on idle stream {stream_id}")

    def _on_priority(self, flags: int, stream_id: int, payload: bytes) -> None:
        self._spend_control("PRIORITY frames")
        if not stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "PRIORITY on stream 0")
        if len(payload) != 5:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "PRIORITY must have 5 bytes")

    def _on_rst_stream(self, flags: int, stream_id: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "RST_STREAM must have 4 bytes")
        self._check_not_idle(stream_id, "RST_STREAM")
        self._spend_reset()
        stream = self._streams.get(stream_id)
        if stream is not None:
            self._drop(stream)
            self._facts.append(StreamReset(stream_id, int.from_bytes(payload, "big"), True))

    def _on_push_promise(self, flags: int, stream_id: int, payload: bytes) -> None:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a client cannot push")

    def _on_ping(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "PING on a stream")
        if len(payload) != 8:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "PING must have 8 bytes")
        self._spend_control("PING frames")
        if flags & ACK:
            self._facts.append(PingAnswered(payload))
            return
        if not self._pings.allows(self._now_s, bool(self._streams), self._outbox.frames_sent):
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "too_many_pings")
        self._outbox.write(frames.ping(payload, ack=True))

    def _on_goaway(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "GOAWAY on a stream")
        if len(payload) < 8:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "GOAWAY must have at least 8 bytes")
        self._spend_control("GOAWAY frames")
        self._facts.append(PeerLeaves(int.from_bytes(payload[4:8], "big"), payload[8:264]))

    def _on_window_update(self, flags: int, stream_id: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "WINDOW_UPDATE must have 4 bytes")
        self._spend_control("WINDOW_UPDATE frames")
        increment = int.from_bytes(payload, "big") & WINDOW_BYTES_MAX
        if not stream_id:
            self._widen_connection(increment)
        else:
            self._check_not_idle(stream_id, "WINDOW_UPDATE")
            self._widen_stream(stream_id, increment)
        if self._outbox.may_pump:
            self._pump()

    def _widen_connection(self, increment: int) -> None:
        if not increment:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE by 0")
        self._outbox.window_bytes += increment
        if self._outbox.window_bytes > WINDOW_BYTES_MAX:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "connection window above 2^31-1")

    def _widen_stream(self, stream_id: int, increment: int) -> None:
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        if not increment:
            raise StreamFault(stream_id, ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE by 0")
        stream.send_window_bytes += increment
        self._outbox.widened(stream)
        if stream.send_window_bytes > WINDOW_BYTES_MAX:
            raise StreamFault(stream_id, ErrorCode.FLOW_CONTROL_ERROR, "stream window above 2^31-1")

    def _on_settings(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "SETTINGS on a stream")
        if len(payload) % 6 or (flags & ACK and payload):
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"SETTINGS of {len(payload)} bytes")
        self._spend_control("SETTINGS frames", _SETTINGS_TOKENS)
        if flags & ACK:
            return
        for key, value in _SETTING.iter_unpack(payload):
            _check_setting(key, value)
        window_bytes = dict(_SETTING.iter_unpack(payload)).get(Setting.INITIAL_WINDOW_SIZE)
        if window_bytes is not None:
            self._resize_windows(window_bytes)  # once, by the last of them: a frame has room for 2,700
        self._outbox.write(frames.settings_ack())
        if self._outbox.may_pump:
            self._pump()

    def _resize_windows(self, value: int) -> None:
        delta = value - self._outbox.stream_window_bytes
        self._outbox.stream_window_bytes = value
        for stream in self._streams.values():
            stream.send_window_bytes += delta
            self._outbox.widened(stream)
            if stream.send_window_bytes > WINDOW_BYTES_MAX:
                raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "stream window above 2^31-1")


def _check_setting(key: int, value: int) -> None:
    """RFC 9113, 6.5.2. What is not in it is ignored."""
    if key == Setting.ENABLE_PUSH and value > 1:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "ENABLE_PUSH must be 0 or 1")
    if key == Setting.MAX_FRAME_SIZE and not FRAME_BYTES_MAX <= value < 2**24:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"MAX_FRAME_SIZE {value} is out of range")
    if key == Setting.INITIAL_WINDOW_SIZE and value > WINDOW_BYTES_MAX:
        raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, f"INITIAL_WINDOW_SIZE {value} is out of range")
