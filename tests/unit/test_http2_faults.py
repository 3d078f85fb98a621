"""What the HTTP/2 machine answers to a peer that breaks the protocol or floods it: code, scope, and its own calm."""

from __future__ import annotations

import pytest

from atoll.wire.http2 import frames
from atoll.wire.http2.connection import ServerConnection
from atoll.wire.http2.facts import DataReceived, RequestStarted, StreamReset
from atoll.wire.http2.frames import (
    ACK,
    END_HEADERS,
    END_STREAM,
    PADDED,
    PREFACE,
    ErrorCode,
    FrameType,
    Setting,
)
from atoll.wire.http2.limits import Limits
from tests.unit import http2_peers as peers
from tests.unit.http2_peers import GRPC, OK, REQUEST, data, headers, request

F = FrameType
frame = frames.frame
OPEN = headers(1)
CLOSED_BY_BOTH = request(1)

CONNECTION_FAULTS = {
    "frame too large": (frame(F.DATA, 0, 1, b"x" * 16_385), ErrorCode.FRAME_SIZE_ERROR),
    "HEADERS on stream 0": (headers(0), ErrorCode.PROTOCOL_ERROR),
    "HEADERS on an even stream": (request(2), ErrorCode.PROTOCOL_ERROR),
    "HEADERS on a lower stream": (request(5) + request(3), ErrorCode.STREAM_CLOSED),
    "HEADERS shorter than its priority": (frame(F.HEADERS, 0x24, 1, b"abcd"), ErrorCode.FRAME_SIZE_ERROR),
    "padding longer than HEADERS": (
        frame(F.HEADERS, END_HEADERS | PADDED, 1, b"\x05ab"),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "bad HPACK index": (frame(F.HEADERS, END_HEADERS, 1, b"\xff\xff\x01"), ErrorCode.COMPRESSION_ERROR),
    "HPACK cut off": (frame(F.HEADERS, END_HEADERS, 1, b"\x40\x05ab"), ErrorCode.COMPRESSION_ERROR),
    "HPACK empty integer": (frame(F.HEADERS, END_HEADERS, 1, b"\xff"), ErrorCode.COMPRESSION_ERROR),
    "block not continued": (frame(F.HEADERS, 0, 1, b"\x82") + data(1, b""), ErrorCode.PROTOCOL_ERROR),
    "block continued elsewhere": (
        frame(F.HEADERS, 0, 1, b"\x82") + frame(F.CONTINUATION, END_HEADERS, 3, b""),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "CONTINUATION alone": (frame(F.CONTINUATION, END_HEADERS, 1, b""), ErrorCode.PROTOCOL_ERROR),
    "DATA on stream 0": (data(0, b"x"), ErrorCode.PROTOCOL_ERROR),
    "DATA on an idle stream": (data(1, b"x"), ErrorCode.PROTOCOL_ERROR),
    "padding longer than DATA": (OPEN + frame(F.DATA, PADDED, 1, b"\x04abc"), ErrorCode.PROTOCOL_ERROR),
    "RST_STREAM on an idle stream": (frames.rst_stream(1, ErrorCode.CANCEL), ErrorCode.PROTOCOL_ERROR),
    "RST_STREAM on stream 0": (frames.rst_stream(0, ErrorCode.CANCEL), ErrorCode.PROTOCOL_ERROR),
    "RST_STREAM of 3 bytes": (OPEN + frame(F.RST_STREAM, 0, 1, b"abc"), ErrorCode.FRAME_SIZE_ERROR),
    "PRIORITY on stream 0": (frame(F.PRIORITY, 0, 0, b"12345"), ErrorCode.PROTOCOL_ERROR),
    "PRIORITY of 4 bytes": (frame(F.PRIORITY, 0, 1, b"1234"), ErrorCode.FRAME_SIZE_ERROR),
    "SETTINGS on a stream": (frame(F.SETTINGS, 0, 1, b""), ErrorCode.PROTOCOL_ERROR),
    "SETTINGS of 5 bytes": (frame(F.SETTINGS, 0, 0, b"12345"), ErrorCode.FRAME_SIZE_ERROR),
    "SETTINGS ACK with content": (frame(F.SETTINGS, ACK, 0, b"123456"), ErrorCode.FRAME_SIZE_ERROR),
    "ENABLE_PUSH 2": (frames.settings({Setting.ENABLE_PUSH: 2}), ErrorCode.PROTOCOL_ERROR),
    "INITIAL_WINDOW_SIZE 2^31": (
        frames.settings({Setting.INITIAL_WINDOW_SIZE: 2**31}),
        ErrorCode.FLOW_CONTROL_ERROR,
    ),
    "MAX_FRAME_SIZE too small": (frames.settings({Setting.MAX_FRAME_SIZE: 16_383}), ErrorCode.PROTOCOL_ERROR),
    "PUSH_PROMISE": (frame(F.PUSH_PROMISE, END_HEADERS, 1, b"\0\0\0\2"), ErrorCode.PROTOCOL_ERROR),
    "PING on a stream": (frame(F.PING, 0, 1, b"12345678"), ErrorCode.PROTOCOL_ERROR),
    "PING of 7 bytes": (frame(F.PING, 0, 0, b"1234567"), ErrorCode.FRAME_SIZE_ERROR),
    "GOAWAY on a stream": (frame(F.GOAWAY, 0, 1, b"12345678"), ErrorCode.PROTOCOL_ERROR),
    "GOAWAY of 7 bytes": (frame(F.GOAWAY, 0, 0, b"1234567"), ErrorCode.FRAME_SIZE_ERROR),
    "WINDOW_UPDATE of 3 bytes": (frame(F.WINDOW_UPDATE, 0, 0, b"123"), ErrorCode.FRAME_SIZE_ERROR),
    "WINDOW_UPDATE 0": (frames.window_update(0, 0), ErrorCode.PROTOCOL_ERROR),
    "WINDOW_UPDATE on an idle stream": (frames.window_update(1, 1), ErrorCode.PROTOCOL_ERROR),
    "connection window above 2^31-1": (frames.window_update(0, 2**31 - 1), ErrorCode.FLOW_CONTROL_ERROR),
    "new initial window overflows a stream": (
        OPEN
        + frames.window_update(1, 2**31 - 1 - 65_535)
        + frames.settings({Setting.INITIAL_WINDOW_SIZE: 65_536}),
        ErrorCode.FLOW_CONTROL_ERROR,
    ),
}


@pytest.mark.parametrize(("broken", "code"), CONNECTION_FAULTS.values(), ids=CONNECTION_FAULTS)
def test_a_fault_of_the_connection_ends_it_with_its_code(broken: bytes, code: ErrorCode) -> None:
    connection = peers.started()
    assert peers.fault_of(connection.receive(broken, 0.0)) is code
    last = peers.sent(connection.take_output())[-1]
    assert last[0] == FrameType.GOAWAY and int.from_bytes(last[3][4:8], "big") == code
    assert connection.receive(request(9), 0.0) == [] and connection.take_output() == b""


STREAM_FAULTS = {
    "DATA after END_STREAM": (request(1) + data(1, b"x"), ErrorCode.STREAM_CLOSED),
    "HEADERS after END_STREAM": (request(1) + headers(1, flags=END_STREAM), ErrorCode.STREAM_CLOSED),
    "trailers without END_STREAM": (OPEN + headers(1, ((b"a", b"b"),)), ErrorCode.PROTOCOL_ERROR),
    "pseudo field in trailers": (
        OPEN + headers(1, ((b":path", b"b"),), END_STREAM),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "WINDOW_UPDATE 0": (OPEN + frames.window_update(1, 0), ErrorCode.PROTOCOL_ERROR),
    "stream window above 2^31-1": (
        OPEN + frames.window_update(1, 2**31 - 1),
        ErrorCode.FLOW_CONTROL_ERROR,
    ),
    "no :path": (headers(1, (REQUEST[0], REQUEST[1]), END_STREAM), ErrorCode.PROTOCOL_ERROR),
    "two :path": (headers(1, (*REQUEST, REQUEST[2]), END_STREAM), ErrorCode.PROTOCOL_ERROR),
    "unknown pseudo field": (headers(1, (*REQUEST, (b":x", b"y")), END_STREAM), ErrorCode.PROTOCOL_ERROR),
    "response pseudo field": (headers(1, (*REQUEST, OK[0]), END_STREAM), ErrorCode.PROTOCOL_ERROR),
    "pseudo field last": (headers(1, ((b"a", b"b"), *REQUEST), END_STREAM), ErrorCode.PROTOCOL_ERROR),
    "upper case": (headers(1, (*REQUEST, (b"Upper", b"y")), END_STREAM), ErrorCode.PROTOCOL_ERROR),
    "empty name": (headers(1, (*REQUEST, (b"", b"y")), END_STREAM), ErrorCode.PROTOCOL_ERROR),
    "line break in a value": (
        headers(1, (*REQUEST, (b"a", b"b\r\nc")), END_STREAM),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "space before a value": (headers(1, (*REQUEST, (b"a", b" b")), END_STREAM), ErrorCode.PROTOCOL_ERROR),
    "connection field": (headers(1, (*REQUEST, (b"connection", b"x")), END_STREAM), ErrorCode.PROTOCOL_ERROR),
    "te: gzip": (headers(1, (*REQUEST, (b"te", b"gzip")), END_STREAM), ErrorCode.PROTOCOL_ERROR),
    "content-length of words": (
        headers(1, (*REQUEST, (b"content-length", b"ten"))),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "content-length too long": (
        headers(1, (*REQUEST, (b"content-length", b"3"))) + data(1, b"ab", END_STREAM),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "content-length too short": (
        headers(1, (*REQUEST, (b"content-length", b"1"))) + data(1, b"ab", END_STREAM),
        ErrorCode.PROTOCOL_ERROR,
    ),
}


@pytest.mark.parametrize(("broken", "code"), STREAM_FAULTS.values(), ids=STREAM_FAULTS)
def test_a_fault_of_a_stream_resets_it_and_the_connection_goes_on(broken: bytes, code: ErrorCode) -> None:
    connection = peers.started()
    facts = connection.receive(broken, 0.0)
    assert not connection.failed
    resets = [f for f in peers.sent(connection.take_output()) if f[0] == FrameType.RST_STREAM]
    assert [(f[2], int.from_bytes(f[3], "big")) for f in resets] == [(1, code)]
    announced = any(isinstance(fact, RequestStarted) for fact in facts)
    told = any(isinstance(fact, StreamReset) and not fact.by_peer for fact in facts)
    assert told == announced, "the user hears of the reset exactly if it heard of the stream"
    assert connection.streams_open == 0
    (fact,) = connection.receive(request(3), 0.0)
    assert isinstance(fact, RequestStarted)


@pytest.mark.parametrize("greeting", [b"GET / HTTP/1.1\r\n\r\n" + b" " * 20, PREFACE[:-1] + b"x"])
def test_what_is_not_the_preface_is_refused(greeting: bytes) -> None:
    assert peers.fault_of(ServerConnection(Limits()).receive(greeting, 0.0)) is ErrorCode.PROTOCOL_ERROR


@pytest.mark.parametrize("first", [request(1), frames.settings_ack(), frames.ping(b"12345678")])
def test_the_first_frame_must_be_settings(first: bytes) -> None:
    assert (
        peers.fault_of(ServerConnection(Limits()).receive(PREFACE + first, 0.0)) is ErrorCode.PROTOCOL_ERROR
    )


# -------------------------------------------------------------------------------------------- flow control


def test_data_beyond_the_streams_window_resets_the_stream() -> None:
    connection = peers.started(Limits(stream_window_bytes=1_000))
    facts = connection.receive(OPEN + data(1, b"x" * 1_000) + data(1, b"y"), 0.0)
    assert [type(fact) for fact in facts] == [RequestStarted, DataReceived, StreamReset]
    assert peers.of_type(StreamReset, facts)[0].code == ErrorCode.FLOW_CONTROL_ERROR


def test_windows_below_the_protocols_default_cannot_be_configured() -> None:
    with pytest.raises(ValueError, match="connection_window_bytes"):
        Limits(connection_window_bytes=65_534)


# ------------------------------------------------------------------------------------------------- floods


def flood(connection: ServerConnection, piece: bytes, count: int, now_s: float = 1.0) -> int | None:
    """After how many pieces the connection ended with ENHANCE_YOUR_CALM; None: it did not."""
    for at in range(1, count + 1):
        code = peers.fault_of(connection.receive(piece, now_s))
        connection.take_output()
        if code is not None:
            assert code is ErrorCode.ENHANCE_YOUR_CALM
            return at
    return None


def test_rapid_reset_ends_the_connection() -> None:
    connection = peers.started(Limits(resets_burst_max=20))
    for at in range(21):
        stream_id = 2 * at + 1
        facts = connection.receive(headers(stream_id) + frames.rst_stream(stream_id, ErrorCode.CANCEL), 0.0)
        assert (peers.fault_of(facts) is ErrorCode.ENHANCE_YOUR_CALM) == (at == 20)


def test_resets_provoked_from_us_count_as_well() -> None:
    connection = peers.started(Limits(resets_burst_max=20))
    for at in range(21):
        facts = connection.receive(headers(2 * at + 1, (*REQUEST, (b"Bad", b"x"))), 0.0)
        assert (peers.fault_of(facts) is ErrorCode.ENHANCE_YOUR_CALM) == (at == 20)


def test_cancelling_now_and_then_is_free() -> None:
    connection = peers.started(Limits(resets_burst_max=20, resets_per_s_max=10.0))
    for at in range(300):
        stream_id = 2 * at + 1
        facts = connection.receive(
            headers(stream_id) + frames.rst_stream(stream_id, ErrorCode.CANCEL), at * 0.1
        )
        assert peers.fault_of(facts) is None


CONTROL_FLOODS = {
    "PING ACK": frames.ping(b"12345678", ack=True),
    "PRIORITY": frame(F.PRIORITY, 0, 1, b"12345"),
    "WINDOW_UPDATE": frames.window_update(1, 1),
    "empty DATA": data(1, b""),
    "unknown type": frame(0x42, 0, 0, b"?"),
    "GOAWAY": frames.goaway(0, ErrorCode.NO_ERROR),
}


@pytest.mark.parametrize("piece", [frames.settings({}), frames.settings_ack()], ids=["SETTINGS", "ACK"])
def test_a_flood_of_settings_ends_the_connection(piece: bytes) -> None:
    connection = peers.started(Limits(controls_burst_max=200))
    assert flood(connection, piece, 200) == 11


def test_many_settings_in_one_frame_cost_one_walk_over_the_streams() -> None:
    connection = peers.started()
    connection.receive(OPEN, 0.0)
    values = [1, 2**31 - 1, 7] * 900
    payload = b"".join(b"\0\4" + value.to_bytes(4, "big") for value in values)
    assert connection.receive(frame(F.SETTINGS, 0, 0, payload), 0.0) == []
    connection.send_headers(1, OK)
    connection.take_output()
    connection.send_data(1, b"x" * 20)
    assert peers.sent(connection.take_output()) == [(F.DATA, 0, 1, b"x" * 7)]


@pytest.mark.parametrize("piece", CONTROL_FLOODS.values(), ids=CONTROL_FLOODS)
def test_a_flood_of_control_frames_ends_the_connection(piece: bytes) -> None:
    connection = peers.started(Limits(controls_burst_max=100))
    connection.receive(OPEN, 0.0)
    assert flood(connection, piece, 200) == 101


def test_control_frames_that_go_with_data_are_free() -> None:
    connection = peers.started(Limits(controls_burst_max=30))
    connection.receive(OPEN, 0.0)
    piece = data(1, b"x") + frames.window_update(0, 1) + frames.window_update(1, 1)
    assert flood(connection, piece, 1_000) is None


def test_pings_that_come_too_often_end_the_connection_as_grpc_says() -> None:
    connection = peers.started()
    connection.receive(OPEN, 0.0)
    ping = frames.ping(b"12345678")
    assert [peers.fault_of(connection.receive(ping, 10.0 + at)) for at in range(3)] == [None] * 3
    assert peers.fault_of(connection.receive(ping, 13.0)) is ErrorCode.ENHANCE_YOUR_CALM
    assert peers.sent(connection.take_output())[-1][3].endswith(b"too_many_pings")


def test_pings_five_seconds_apart_are_fine_while_a_call_is_open() -> None:
    connection = peers.started()
    connection.receive(OPEN, 0.0)
    for at in range(100):
        assert peers.fault_of(connection.receive(frames.ping(b"12345678"), at * 5.0)) is None


def test_pings_without_a_call_are_early_even_when_a_minute_apart() -> None:
    connection = peers.started()
    faults = [peers.fault_of(connection.receive(frames.ping(b"12345678"), at * 60.0)) for at in range(4)]
    assert faults == [None, None, None, ErrorCode.ENHANCE_YOUR_CALM]


def test_what_we_send_forgives_pings() -> None:
    connection = peers.started()
    connection.receive(OPEN, 0.0)
    connection.send_headers(1, OK)
    for at in range(100):
        connection.send_data(1, b"x")
        assert peers.fault_of(connection.receive(frames.ping(b"12345678"), at * 0.01)) is None


def test_a_continuation_flood_ends_the_connection() -> None:
    connection = peers.started(Limits(continuation_frames_max=8))
    connection.receive(frame(F.HEADERS, 0, 1, b""), 0.0)
    assert flood(connection, frame(F.CONTINUATION, 0, 1, b""), 100) == 9


def test_a_block_that_grows_without_end_ends_the_connection() -> None:
    connection = peers.started(Limits(header_block_bytes_max=20_000))
    connection.receive(frame(F.HEADERS, 0, 1, b"\0" * 10_000), 0.0)
    assert flood(connection, frame(F.CONTINUATION, 0, 1, b"\0" * 6_000), 5) == 2


def test_a_header_bomb_ends_the_connection_before_it_is_unpacked() -> None:
    connection = peers.started(Limits(header_list_bytes_fatal=65_536))
    value = b"v" * 4_000
    bomb = b"\x40\x01a\x7f" + bytes((4_000 - 127 & 0x7F | 0x80, (4_000 - 127) >> 7)) + value  # into the table
    bomb += b"\xbe" * 10_000  # and ten thousand times out of it: 40 MB
    parts = frame(F.HEADERS, END_HEADERS, 1, bomb)
    assert peers.fault_of(connection.receive(parts, 0.0)) is ErrorCode.ENHANCE_YOUR_CALM


def test_a_header_list_above_the_soft_limit_is_reported_with_its_size() -> None:
    connection = peers.started(Limits(header_list_bytes_max=1_000))
    (fact,) = connection.receive(headers(1, (*GRPC, (b"x", b"v" * 1_000))), 0.0)
    assert isinstance(fact, RequestStarted) and fact.fields.size_bytes > 1_000


def test_streams_above_the_limit_are_refused_and_those_below_are_served() -> None:
    connection = peers.started(Limits(streams_max=3))
    facts = connection.receive(b"".join(headers(at) for at in (1, 3, 5, 7)), 0.0)
    assert [fact.stream_id for fact in peers.of_type(RequestStarted, facts)] == [1, 3, 5]
    ((_, _, stream_id, payload),) = peers.sent(connection.take_output())
    assert (stream_id, int.from_bytes(payload, "big")) == (7, ErrorCode.REFUSED_STREAM)
    connection.send_headers(3, OK, end=True)
    assert len(connection.receive(headers(9), 0.0)) == 1
