"""Bytes to frames (RFC 9113, sections 3.4, 4 and 6.10): preface, sizes, and field blocks put together again.

Rule: judges a frame by its header and its place among the others, never by its stream's state. A field block comes
out as one HEADERS frame without padding and priority, however many CONTINUATION frames it came in; nothing is kept
of a frame or a block that exceeds its limit.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

from atoll.wire.http2 import frames
from atoll.wire.http2.frames import (
    ACK,
    END_HEADERS,
    FRAME_BYTES_MAX,
    FRAME_HEADER_BYTES,
    PADDED,
    PREFACE,
    PRIORITY_FLAG,
    STREAM_ID_MAX,
    ConnectionFault,
    ErrorCode,
    FrameType,
)
from atoll.wire.http2.limits import Limits

Frame: TypeAlias = tuple[int, int, int, bytes]  # type, flags, stream, payload

_PRIORITY_BYTES = 5


class FrameReader:
    """The inbound byte stream of one connection. ``greeted``: preface and first SETTINGS have come."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._buffer = b""
        self._started = False  # the preface has been read
        self.greeted = False
        self._block: list[bytes] = []  # HEADERS and CONTINUATION payloads of an unfinished block
        self._block_bytes = 0
        self._block_stream_id = 0  # not 0: only CONTINUATION on this stream is legal
        self._block_flags = 0

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that ``data`` completed; must be read to its end. Raises ``ConnectionFault`` in its place
        among them, after which the reader is of no use.
        """
        buffer = self._buffer + data if self._buffer else data
        offset = 0 if self._started else self._take_preface(buffer)
        size = len(buffer)
        while self._started and size - offset >= FRAME_HEADER_BYTES:
            high, low, kind, flags, stream_id = frames.read_header(buffer, offset)
            length = (high << 8) | low
            if length > FRAME_BYTES_MAX:
                raise ConnectionFault(
                    ErrorCode.FRAME_SIZE_ERROR, f"frame of {length} bytes, at most {FRAME_BYTES_MAX}"
                )
            start = offset + FRAME_HEADER_BYTES
            if size - start < length:
                break
            offset = start + length
            stream_id &= STREAM_ID_MAX
            self._check_place(kind, flags, stream_id)
            payload = buffer[start:offset]
            if kind == FrameType.HEADERS:
                payload = _block_of(flags, stream_id, payload)
            if kind == FrameType.CONTINUATION or (kind == FrameType.HEADERS and not flags & END_HEADERS):
                whole = self._collect(kind, flags, stream_id, payload)
                if whole is None:
                    continue
                kind, flags, payload = FrameType.HEADERS, self._block_flags, whole
            yield kind, flags, stream_id, payload
        self._buffer = buffer[offset:]

    def _take_preface(self, buffer: bytes) -> int:
        """How much of ``buffer`` was the preface; 0 while there is only a part of it."""
        if not buffer.startswith(PREFACE[: len(buffer)]):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "not the HTTP/2 connection preface")
        self._started = len(buffer) >= len(PREFACE)
        return len(PREFACE) if self._started else 0

    def _check_place(self, kind: int, flags: int, stream_id: int) -> None:
        if not self.greeted:
            if kind != FrameType.SETTINGS or flags & ACK:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "the first frame must be SETTINGS")
            self.greeted = True
        if self._block_stream_id and (kind != FrameType.CONTINUATION or stream_id != self._block_stream_id):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "field block not continued by the next frame")

    def _collect(self, kind: int, flags: int, stream_id: int, payload: bytes) -> bytes | None:
        """Keep a part of a block; the whole of it once the last part has come."""
        if kind == FrameType.HEADERS:
            self._block, self._block_bytes = [], 0
            self._block_stream_id, self._block_flags = stream_id, flags
        elif not self._block_stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "CONTINUATION without HEADERS")
        self._block.append(payload)
        self._block_bytes += len(payload)
        if len(self._block) > self._limits.continuation_frames_max + 1:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "too many CONTINUATION frames")
        if self._block_bytes > self._limits.header_block_bytes_max:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "field block too large")
        if not flags & END_HEADERS:
            return None
        whole, self._block, self._block_stream_id = b"".join(self._block), [], 0
        return whole


def _block_of(flags: int, stream_id: int, payload: bytes) -> bytes:
    """The field block's part in a HEADERS frame."""
    if not stream_id:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "HEADERS on stream 0")
    if flags & PADDED:
        payload = unpad(payload)
    if flags & PRIORITY_FLAG:
        if len(payload) < _PRIORITY_BYTES:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "HEADERS too short for its priority")
        payload = payload[_PRIORITY_BYTES:]
    return payload


def unpad(payload: bytes) -> bytes:
    """What is left of a padded frame's payload (RFC 9113, 6.1)."""
    if not payload or payload[0] >= len(payload):
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "padding longer than its frame")
    return payload[1 : len(payload) - payload[0]]
