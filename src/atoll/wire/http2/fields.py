"""Field blocks: HPACK both ways (RFC 7541, by PyPI's ``hpack``) and the rules for requests (RFC 9113, section 8).

Rule: decoding never trusts size or form; what comes out is a legal request or trailer section, or a fault.

Two caches carry the speed. Inbound: a block that left the dynamic table as it was means the same again until
the table changes, so its decoded, validated form is kept by its bytes (a gRPC client that repeats a call
sends the same few indexed bytes each time). Outbound: blocks are written without the dynamic table, so they
depend on nothing and are cached for all connections. The doubt: a client that indexes a fresh value with
every call (a counter in its metadata) gets no use of the inbound cache.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TypeAlias

from hpack import Decoder, HPACKError, OversizedHeaderListError
from hpack.table import HeaderTable

from atoll.wire.http2.frames import ConnectionFault, ErrorCode
from atoll.wire.http2.limits import Limits

Pair: TypeAlias = tuple[bytes, bytes]
Pairs: TypeAlias = tuple[Pair, ...]

FIELD_OVERHEAD_BYTES = 32  # RFC 9113, 6.5.2: what a field costs besides its name and value
_CACHE_BLOCKS_MAX = 64
_CACHE_BLOCK_BYTES_MAX = 1_024

_NAME = re.compile(rb":?[!#$%&'*+\-.^_`|~0-9a-z]+")
_VALUE = re.compile(rb"(?:[^\x00-\x20\x7f](?:[^\x00\x0a\x0d]*[^\x00-\x20\x7f])?)?")
_HOP_BY_HOP = frozenset((b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"))
_REQUEST_PSEUDO = frozenset((b":method", b":scheme", b":path", b":authority"))


class Fields:
    """A decoded section. ``memo`` belongs to the layer above, which may keep there what it derived from it."""

    __slots__ = ("content_length_bytes", "flaw", "memo", "pairs", "size_bytes", "trailer_flaw")

    def __init__(self, pairs: Pairs) -> None:
        self.pairs = pairs
        self.memo: object = None
        self.size_bytes = sum(len(n) + len(v) + FIELD_OVERHEAD_BYTES for n, v in pairs)
        self.content_length_bytes: int | None = None
        form = _form_flaw(pairs)
        self.flaw = form or _request_flaw(pairs) or self._length_flaw()
        self.trailer_flaw = form or (
            "pseudo field in trailers" if any(n[:1] == b":" for n, _ in pairs) else ""
        )

    def _length_flaw(self) -> str:
        lengths = {value for name, value in self.pairs if name == b"content-length"}
        if not lengths:
            return ""
        value = lengths.pop()
        if lengths or not value.isdigit() or len(value) > 18:
            return "content-length is not one number"
        self.content_length_bytes = int(value)
        return ""


def _form_flaw(pairs: Pairs) -> str:
    regular = False
    for name, value in pairs:
        if not _NAME.fullmatch(name):
            return f"bad field name {name[:64]!r}"
        if not _VALUE.fullmatch(value):
            return f"bad value of field {name.decode('ascii')}"
        if name[0] == 0x3A:
            if regular:
                return "pseudo field after a regular one"
        else:
            regular = True
            if name in _HOP_BY_HOP or (name == b"te" and value != b"trailers"):
                return f"field {name.decode('ascii')} is not for HTTP/2"
    return ""


def _request_flaw(pairs: Pairs) -> str:
    pseudo = [name for name, _ in pairs if name[0] == 0x3A]
    named = dict(pairs)
    if len(set(pseudo)) != len(pseudo) or not _REQUEST_PSEUDO.issuperset(pseudo):
        return "pseudo fields repeated or unknown"
    if not named.get(b":method") or not named.get(b":scheme") or not named.get(b":path"):
        return "one of :method, :scheme, :path is missing"  # CONNECT has no scheme; nothing here is a proxy
    return ""


class BlockDecoder:
    """The inbound half of HPACK on one connection."""

    def __init__(self, limits: Limits) -> None:
        self._decoder = Decoder(max_header_list_size=limits.header_list_bytes_fatal)
        self._cache: dict[bytes, Fields] = {}

    def decode(self, block: bytes) -> Fields:
        """Raises ``ConnectionFault``: after a bad block the two tables differ, and nothing can be read."""
        known = self._cache.get(block)
        return self._decode(block) if known is None else known

    def _decode(self, block: bytes) -> Fields:
        # The table changed if it has another front entry (an insertion is a new object, and holding on to the
        # old front keeps its address from being used again), another length (eviction) or another size limit.
        table = self._decoder.header_table
        entries = table.dynamic_entries
        front, count, size_max = (entries[0] if entries else None), len(entries), table.maxsize
        try:
            headers = self._decoder.decode(block, raw=True)
        except OversizedHeaderListError as error:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, f"header list too large: {error}") from error
        except (HPACKError, IndexError, ValueError) as error:
            raise ConnectionFault(ErrorCode.COMPRESSION_ERROR, f"bad field block: {error}") from error
        fields = Fields(tuple((bytes(header[0]), bytes(header[1])) for header in headers))
        now_front = entries[0] if entries else None
        if now_front is not front or len(entries) != count or table.maxsize != size_max:
            self._cache.clear()
        elif len(block) <= _CACHE_BLOCK_BYTES_MAX:
            if len(self._cache) >= _CACHE_BLOCKS_MAX:
                self._cache.clear()
            self._cache[block] = fields
        return fields


_STATIC: dict[Pair, int] = {pair: at for at, pair in reversed(list(enumerate(HeaderTable.STATIC_TABLE, 1)))}
_STATIC_NAMES: dict[bytes, int] = {
    name: at for at, (name, _) in reversed(list(enumerate(HeaderTable.STATIC_TABLE, 1)))
}

NO_DYNAMIC_TABLE = b"\x20"
"""A table size update to 0 (RFC 7541, 6.3): opens the first block we send, so that any SETTINGS_HEADER_TABLE_SIZE
of the peer is obeyed from then on."""


@lru_cache(maxsize=1024)
def encode(pairs: Pairs) -> bytes:
    """A block that uses the static table only: indexed fields, else literals without indexing."""
    parts: list[bytes] = []
    for name, value in pairs:
        at = _STATIC.get((name, value))
        if at is not None and value:
            parts.append(_integer(at, 7, 0x80))
            continue
        at = _STATIC_NAMES.get(name, 0)
        parts.append(_integer(at, 4, 0x00))
        if not at:
            parts.append(_integer(len(name), 7, 0x00) + name)
        parts.append(_integer(len(value), 7, 0x00) + value)
    return b"".join(parts)


def _integer(value: int, prefix_bits: int, pattern: int) -> bytes:
    """RFC 7541, 5.1."""
    limit = (1 << prefix_bits) - 1
    if value < limit:
        return bytes((pattern | value,))
    encoded = bytearray((pattern | limit,))
    value -= limit
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
