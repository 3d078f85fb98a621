"""HTTP/2 frames and gRPC messages as a load generator needs them: prepared to send, counted when received.

Rule: no decision of a server is checked here, only bytes are taken apart; the sizes are those of RFC 9113 and of
gRPC's length-prefixed message (one flag byte, four length bytes).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0x0, 0x1, 0x3, 0x4, 0x6, 0x7, 0x8
ACK = END_STREAM = 0x1
END_HEADERS = 0x4
WINDOW_BYTES_MAX = 2**31 - 1
WINDOW_BYTES_DEFAULT = 65_535
FRAME_BYTES_MAX = 16_384
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

_SETTING_INITIAL_WINDOW = 0x4


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">IBI", len(payload) << 8 | kind, flags, stream) + payload


def data(stream: int, payload: bytes, *, end: bool = False) -> bytes:
    """DATA frames, none longer than every server takes."""
    pieces = [payload[at : at + FRAME_BYTES_MAX] for at in range(0, len(payload), FRAME_BYTES_MAX)] or [b""]
    last = len(pieces) - 1
    flags = [END_STREAM if end and at == last else 0 for at in range(len(pieces))]
    return b"".join(frame(DATA, flag, stream, piece) for flag, piece in zip(flags, pieces, strict=True))


def message(payload: bytes) -> bytes:
    """One uncompressed gRPC message."""
    return b"\0" + struct.pack(">I", len(payload)) + payload


def opening() -> bytes:
    """What a client says first: it takes as much as a window can hold, so that it never slows the server."""
    settings = frame(SETTINGS, 0, 0, struct.pack(">HI", _SETTING_INITIAL_WINDOW, WINDOW_BYTES_MAX))
    return PREFACE + settings + window_update(0, WINDOW_BYTES_MAX - WINDOW_BYTES_DEFAULT)


def window_update(stream: int, size_bytes: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", size_bytes))


class FrameReader:
    """Bytes in, ``(kind, flags, stream, payload)`` out."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
        buffer = self._rest + data if self._rest else data
        at = 0
        while len(buffer) - at >= 9:
            length_and_kind, flags, stream = struct.unpack_from(">IBI", buffer, at)
            end = at + 9 + (length_and_kind >> 8)
            if end > len(buffer):
                break
            yield length_and_kind & 0xFF, flags, stream, buffer[at + 9 : end]
            at = end
        self._rest = buffer[at:]


class MessageReader:
    """A stream's DATA in, gRPC messages out."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        buffer = self._rest + data if self._rest else data
        at = 0
        while len(buffer) - at >= 5:
            end = at + 5 + struct.unpack_from(">I", buffer, at + 1)[0]
            if end > len(buffer):
                break
            yield buffer[at + 5 : end]
            at = end
        self._rest = buffer[at:]
