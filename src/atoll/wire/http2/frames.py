"""HTTP/2 frames: names, numbers and encoders (RFC 9113, sections 4 and 6).

Rule: encoders return finished bytes and judge nothing; what may be sent when is ``connection``'s matter.
"""

from __future__ import annotations

import enum
import struct

from atoll.errors import ProtocolFault

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FRAME_HEADER_BYTES = 9
FRAME_BYTES_MAX = 16_384  # the smallest legal SETTINGS_MAX_FRAME_SIZE; Atoll never asks for more
WINDOW_BYTES_DEFAULT = 65_535
WINDOW_BYTES_MAX = 2**31 - 1
STREAM_ID_MAX = 2**31 - 1

END_STREAM = 0x1
ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
PRIORITY_FLAG = 0x20

_HEADER = struct.Struct(">HBBBL")  # length as high 16 and low 8 bits, type, flags, stream
read_header = _HEADER.unpack_from


class FrameType(enum.IntEnum):
    DATA = 0
    HEADERS = 1
    PRIORITY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PUSH_PROMISE = 5
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9


class ErrorCode(enum.IntEnum):
    NO_ERROR = 0x0
    PROTOCOL_ERROR = 0x1
    INTERNAL_ERROR = 0x2
    FLOW_CONTROL_ERROR = 0x3
    SETTINGS_TIMEOUT = 0x4
    STREAM_CLOSED = 0x5
    FRAME_SIZE_ERROR = 0x6
    REFUSED_STREAM = 0x7
    CANCEL = 0x8
    COMPRESSION_ERROR = 0x9
    CONNECT_ERROR = 0xA
    ENHANCE_YOUR_CALM = 0xB
    INADEQUATE_SECURITY = 0xC
    HTTP_1_1_REQUIRED = 0xD


class Setting(enum.IntEnum):
    HEADER_TABLE_SIZE = 1
    ENABLE_PUSH = 2
    MAX_CONCURRENT_STREAMS = 3
    INITIAL_WINDOW_SIZE = 4
    MAX_FRAME_SIZE = 5
    MAX_HEADER_LIST_SIZE = 6


class ConnectionFault(ProtocolFault):
    """The peer broke the connection; it ends with GOAWAY ``code``."""

    def __init__(self, code: ErrorCode, detail: str) -> None:
        super().__init__("http2", detail)
        self.code = code


class StreamFault(ProtocolFault):
    """The peer broke one stream; it ends with RST_STREAM ``code`` and the connection goes on."""

    def __init__(self, stream_id: int, code: ErrorCode, detail: str) -> None:
        super().__init__("http2", detail)
        self.stream_id = stream_id
        self.code = code


def frame(kind: int, flags: int, stream_id: int, payload: bytes) -> bytes:
    size = len(payload)
    return _HEADER.pack(size >> 8, size & 0xFF, kind, flags, stream_id) + payload


def settings(values: dict[Setting, int]) -> bytes:
    payload = b"".join(struct.pack(">HL", key, value) for key, value in values.items())
    return frame(FrameType.SETTINGS, 0, 0, payload)


def settings_ack() -> bytes:
    return frame(FrameType.SETTINGS, ACK, 0, b"")


def ping(opaque: bytes, *, ack: bool = False) -> bytes:
    return frame(FrameType.PING, ACK if ack else 0, 0, opaque)


def goaway(last_stream_id: int, code: ErrorCode, debug: bytes = b"") -> bytes:
    return frame(FrameType.GOAWAY, 0, 0, struct.pack(">LL", last_stream_id, code) + debug)


def rst_stream(stream_id: int, code: ErrorCode) -> bytes:
    return frame(FrameType.RST_STREAM, 0, stream_id, code.to_bytes(4, "big"))


def window_update(stream_id: int, increment_bytes: int) -> bytes:
    return frame(FrameType.WINDOW_UPDATE, 0, stream_id, increment_bytes.to_bytes(4, "big"))


def headers(stream_id: int, block: bytes, *, end_stream: bool) -> bytes:
    """HEADERS and, where ``block`` needs more than one frame, CONTINUATION frames."""
    flags = END_STREAM if end_stream else 0
    if len(block) <= FRAME_BYTES_MAX:
        return frame(FrameType.HEADERS, flags | END_HEADERS, stream_id, block)
    parts = [block[at : at + FRAME_BYTES_MAX] for at in range(0, len(block), FRAME_BYTES_MAX)]
    last = len(parts) - 1
    encoded = [frame(FrameType.HEADERS, flags, stream_id, parts[0])]
    for index, part in enumerate(parts[1:], 1):
        encoded.append(frame(FrameType.CONTINUATION, END_HEADERS if index == last else 0, stream_id, part))
    return b"".join(encoded)
