"""However a client's bytes are cut on their way, the HTTP/2 machine learns the same and answers the same.

The conversations are built from legal and broken frames alike; the cut is what Hypothesis chooses.
"""

from __future__ import annotations

from typing import Any

import hpack
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.wire.http2 import frames
from atoll.wire.http2.connection import ServerConnection
from atoll.wire.http2.facts import Fact, RequestStarted, TrailersReceived
from atoll.wire.http2.frames import END_HEADERS, END_STREAM, PREFACE, ErrorCode, FrameType, Setting
from atoll.wire.http2.limits import Limits
from tests.unit.http2_peers import END, GRPC, OK, REQUEST

LIMITS = Limits(streams_max=4, stream_window_bytes=70_000, resets_burst_max=6, controls_burst_max=30)
STREAMS = st.sampled_from([0, 1, 1, 3, 3, 5, 7, 2])
FLAGS = st.sampled_from([0, END_STREAM, END_HEADERS, END_HEADERS | END_STREAM, 0x8, 0x20, 0xFF])
BLOCKS = st.sampled_from(
    [GRPC, REQUEST, (*REQUEST, (b"x-a", b"b")), (*REQUEST, (b"Bad", b"x")), ((b"t", b"1"),)]
)


class _Encoders:
    """Blocks are encoded with a dynamic table, as clients do, in the order in which they are sent."""

    def __init__(self) -> None:
        self.encoder = hpack.Encoder()

    def headers(self, stream_id: int, pairs: Any, flags: int) -> bytes:
        return frames.frame(FrameType.HEADERS, flags, stream_id, self.encoder.encode(pairs))


def frame(draw: st.DrawFn, encoders: _Encoders) -> bytes:
    kind = draw(
        st.sampled_from(
            ["headers", "headers", "headers", "data", "data", "window", "reset", "setting", "ping", "any"]
        )
    )
    stream_id = draw(STREAMS)
    if kind == "headers":
        return encoders.headers(
            stream_id, draw(BLOCKS), draw(FLAGS) | draw(st.sampled_from([0, END_HEADERS]))
        )
    if kind == "data":
        return frames.frame(FrameType.DATA, draw(FLAGS) & 0x9, stream_id, draw(st.binary(max_size=40)))
    if kind == "window":
        return frames.window_update(stream_id, draw(st.sampled_from([0, 1, 1_000, 2**31 - 1])))
    if kind == "reset":
        return frames.rst_stream(stream_id, ErrorCode.CANCEL)
    if kind == "setting":
        return frames.settings(
            {draw(st.sampled_from(list(Setting))): draw(st.sampled_from([0, 1, 20_000, 2**31]))}
        )
    if kind == "ping":
        return frames.ping(b"12345678", ack=draw(st.booleans()))
    return frames.frame(draw(st.integers(0, 255)), draw(FLAGS), stream_id, draw(st.binary(max_size=20)))


@st.composite
def conversations(draw: st.DrawFn) -> bytes:
    encoders = _Encoders()
    return (
        PREFACE
        + frames.settings({})
        + b"".join(frame(draw, encoders) for _ in range(draw(st.integers(1, 15))))
    )


def comparable(fact: Fact) -> Any:
    if isinstance(fact, (RequestStarted, TrailersReceived)):
        return type(fact), fact.stream_id, fact.fields.pairs
    return fact


def converse(pieces: list[bytes]) -> tuple[list[Any], bytes]:
    """All facts in comparable form, and all output, of a server that answers what it is asked."""
    connection = ServerConnection(LIMITS)
    facts: list[Any] = []
    for piece in pieces:
        facts += [comparable(fact) for fact in connection.receive(piece, 0.0)]
    for stream_id in (1, 3, 5, 7):
        connection.respond(stream_id, OK, b"x" * 100, END)
    return facts, connection.take_output()


@settings(max_examples=300, deadline=None)
@given(conversation=conversations(), data=st.data())
def test_any_cut_of_the_bytes_gives_the_same_facts(conversation: bytes, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(0, len(conversation)), max_size=12)))
    bounds = [0, *cuts, len(conversation)]
    pieces = [conversation[start:end] for start, end in zip(bounds, bounds[1:], strict=False)]
    whole = converse([conversation])
    assert converse(pieces) == whole
    assert converse([bytes((byte,)) for byte in conversation]) == whole
