"""The head of a gRPC request: which method, until when, how encoded, with which metadata (PROTOCOL-HTTP2).

Rule: whatever is wrong with a head has an answer that the caller can read: an HTTP status where the request is
not gRPC at all, a gRPC status where it is.
"""

from __future__ import annotations

import binascii

import msgspec

from atoll.wire.grpc import timeout
from atoll.wire.grpc.status import Status
from atoll.wire.http2.fields import Fields, Pairs

ENCODINGS = (b"identity", b"gzip")
_RESERVED = frozenset((b"te", b"content-type", b"user-agent", b"content-length"))


class Refusal(msgspec.Struct, frozen=True):
    """Why a head cannot become a call. ``http_status`` is 200 where ``status`` says it all."""

    http_status: int
    status: Status
    text: str


class Head(msgspec.Struct, frozen=True, gc=False):
    """A legal head. ``metadata``: names in lower case; values of ``-bin`` names are decoded."""

    path: str
    timeout_s: float | None
    encoding: bytes
    metadata: Pairs
    authority: str


def parse(fields: Fields, size_bytes_max: int) -> Head | Refusal:
    """The head in ``fields``; kept in ``fields.memo``, as the same fields often come again."""
    memo = fields.memo
    if isinstance(memo, (Head, Refusal)):
        return memo
    parsed = _parse(fields, size_bytes_max)
    fields.memo = parsed
    return parsed


def _parse(fields: Fields, size_bytes_max: int) -> Head | Refusal:
    named = dict(fields.pairs)
    if named[b":method"] != b"POST":
        return Refusal(405, Status.UNKNOWN, "a gRPC request must be a POST")
    kind = named.get(b"content-type", b"").lower()
    if not (kind == b"application/grpc" or kind.startswith((b"application/grpc+", b"application/grpc;"))):
        return Refusal(415, Status.UNKNOWN, "content-type must be application/grpc")
    if fields.size_bytes > size_bytes_max:
        text = f"header list of {fields.size_bytes} bytes, at most {size_bytes_max}"
        return Refusal(200, Status.RESOURCE_EXHAUSTED, text)
    encoding = named.get(b"grpc-encoding", b"identity")
    if encoding not in ENCODINGS:
        text = f"grpc-encoding {encoding.decode('ascii', 'replace')!r} is not supported; use identity or gzip"
        return Refusal(200, Status.UNIMPLEMENTED, text)
    timeout_s = None
    if b"grpc-timeout" in named:
        timeout_s = timeout.decode_s(named[b"grpc-timeout"])
        if timeout_s is None:
            return Refusal(200, Status.INTERNAL, "malformed grpc-timeout")
    metadata = _metadata(fields.pairs)
    if metadata is None:
        return Refusal(200, Status.INTERNAL, "malformed binary metadata")
    path = named[b":path"].decode("ascii", "replace")
    return Head(path, timeout_s, encoding, metadata, named.get(b":authority", b"").decode("ascii", "replace"))


def _metadata(pairs: Pairs) -> Pairs | None:
    kept: list[tuple[bytes, bytes]] = []
    for name, value in pairs:
        if name[:1] == b":" or name[:5] == b"grpc-" or name in _RESERVED:
            continue
        if name.endswith(b"-bin"):
            decoded = _decode_binary(value)
            if decoded is None:
                return None
            kept.extend((name, part) for part in decoded)
        else:
            kept.append((name, value))
    return tuple(kept)


def _decode_binary(value: bytes) -> list[bytes] | None:
    """Base64 with or without padding; several values of one name may come joined by commas."""
    parts: list[bytes] = []
    for part in value.split(b","):
        bare = part.strip().rstrip(b"=")
        try:
            parts.append(binascii.a2b_base64(bare + b"=" * (-len(bare) % 4), strict_mode=True))
        except binascii.Error:
            return None
    return parts


def encode_metadata(pairs: Pairs) -> Pairs:
    """Metadata as fields: values of ``-bin`` names in base64 without padding."""
    return tuple(
        (name, binascii.b2a_base64(value, newline=False).rstrip(b"=") if name.endswith(b"-bin") else value)
        for name, value in pairs
    )
