"""gRPC status codes and the percent-encoding of status texts.

Rule: a text goes out as printable ASCII and comes back as it was, whatever characters it has. The field
``grpc-message`` is percent-encoded UTF-8 in which space to tilde, except ``%``, stand for themselves
(PROTOCOL-HTTP2, "Responses"). Numbers are those of the gRPC project's ``codes.proto``.
"""

from __future__ import annotations

import enum
import re
from functools import lru_cache

MESSAGE_BYTES_MAX = 4096
"""Longer texts are cut: clients refuse header lists above 8 KiB, and then lose the code as well."""

_UNSAFE = re.compile(rb"[^ -$&-~]")
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")


class Status(enum.IntEnum):
    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


def encode_message(text: str) -> bytes:
    """The value of ``grpc-message``, cut to at most ``MESSAGE_BYTES_MAX`` bytes, never inside an escape."""
    raw = text.encode("utf-8", "replace")
    encoded = _UNSAFE.sub(lambda match: b"%%%02X" % match[0][0], raw)
    if len(encoded) <= MESSAGE_BYTES_MAX:
        return encoded
    cut = encoded[:MESSAGE_BYTES_MAX]
    escape = cut.rfind(b"%", MESSAGE_BYTES_MAX - 2)
    return cut if escape < 0 else cut[:escape]


def decode_message(value: bytes) -> str:
    """The text of a ``grpc-message``; escapes that are none stay as they are (the specification asks for that)."""
    raw = _ESCAPE.sub(lambda match: bytes([int(match[1], 16)]), value)
    return raw.decode("utf-8", "replace")


@lru_cache(maxsize=1024)
def trailers(status: Status, text: str = "") -> tuple[tuple[bytes, bytes], ...]:
    """The fields that end every call."""
    fields = ((b"grpc-status", b"%d" % status),)
    return (*fields, (b"grpc-message", encode_message(text))) if text else fields
