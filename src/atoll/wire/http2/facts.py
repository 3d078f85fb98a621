"""What a connection reports to its user. Facts are values; their order is the order of the bytes."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from atoll.wire.http2.fields import Fields
from atoll.wire.http2.frames import ErrorCode


class RequestStarted(msgspec.Struct, frozen=True, gc=False):
    """A new stream with a legal head. ``ended``: no body follows."""

    stream_id: int
    fields: Fields
    ended: bool


class DataReceived(msgspec.Struct, frozen=True, gc=False):
    """Part of a body. Whoever takes it in calls ``acknowledge``, or the stream's window runs dry."""

    stream_id: int
    data: bytes
    ended: bool


class TrailersReceived(msgspec.Struct, frozen=True, gc=False):
    stream_id: int
    fields: Fields


class StreamReset(msgspec.Struct, frozen=True, gc=False):
    """The stream is gone: by the peer's RST_STREAM, or by ours after the peer broke it."""

    stream_id: int
    code: int
    by_peer: bool
    detail: str = ""


class Writable(msgspec.Struct, frozen=True, gc=False):
    """A stream that was told to wait has room again."""

    stream_id: int


class PingAnswered(msgspec.Struct, frozen=True, gc=False):
    opaque: bytes


class PeerLeaves(msgspec.Struct, frozen=True, gc=False):
    """GOAWAY: the peer opens no more streams; those that are open go on."""

    code: int
    debug: bytes


class Failed(msgspec.Struct, frozen=True, gc=False):
    """The connection is over. GOAWAY is in the output; write it, then close. Always the last fact."""

    code: ErrorCode
    detail: str


Fact: TypeAlias = (
    RequestStarted
    | DataReceived
    | TrailersReceived
    | StreamReset
    | Writable
    | PingAnswered
    | PeerLeaves
    | Failed
)
