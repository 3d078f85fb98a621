"""Mutated HTTP/2 conversations: structured (whole frames) and random (bytes), each from one seed.

Rule: a case is a function of the corpus and its seed, so a seed in a failure's text is enough to have it again.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from atoll.wire.http2 import frames
from atoll.wire.http2.frames import FRAME_HEADER_BYTES, PREFACE, ErrorCode, Setting

CORPUS = Path(__file__).parent / "corpus" / "http2"
CASE_BYTES_MAX = 200_000

STREAM_IDS = (0, 1, 2, 3, 5, 7, 13, 255, 2**31 - 1)
NUMBERS = (0, 1, 2, 127, 128, 16_384, 65_535, 65_536, 2**24 - 1, 2**31 - 1, 2**31, 2**32 - 1)
BLOCK_PIECES = (
    b"\x82",  # indexed: one byte, and an index beyond every table
    b"\xff\xff\xff\xff\x7f",
    b"\x40\x01a\x01b",  # a literal into the table, and out of it
    b"\xbe",
    b"\x00\x02te\x08trailers",
    b"\x3f\xe1\xff\x03",  # table size updates
    b"\x20",
    b"\x00\x7f\xff\xff\xff\xff\x7f",  # an absurd length
    b"\x00\x81\xff\x81\xff",  # Huffman padding
)


class Frame(NamedTuple):
    kind: int
    flags: int
    stream_id: int
    payload: bytes

    def encode(self) -> bytes:
        return frames.frame(self.kind & 0xFF, self.flags & 0xFF, self.stream_id & 0xFFFFFFFF, self.payload)


def corpus() -> dict[str, bytes]:
    """All kept conversations, by name."""
    return {file.stem: file.read_bytes() for file in sorted(CORPUS.glob("*.bin"))}


def split(conversation: bytes) -> list[Frame]:
    """The whole frames after the preface."""
    found = []
    at = len(PREFACE)
    while at + FRAME_HEADER_BYTES <= len(conversation):
        high, low, kind, flags, stream_id = frames.read_header(conversation, at)
        end = at + FRAME_HEADER_BYTES + (high << 8 | low)
        if end > len(conversation):
            break
        found.append(Frame(kind, flags, stream_id, conversation[at + FRAME_HEADER_BYTES : end]))
        at = end
    return found


class Mutator:
    """``case(seed)``: one mutated conversation."""

    def __init__(self, conversations: Sequence[bytes]) -> None:
        self._conversations = [split(conversation) for conversation in conversations]
        self._rng = random.Random(0)
        self._moves: tuple[Callable[[list[Frame]], None], ...] = (
            self._drop,
            self._repeat,
            self._swap,
            self._change_header,
            self._change_payload,
            self._change_block,
            self._insert,
            self._splice,
            self._cut_block,
            self._many,
        )

    def case(self, seed: int) -> bytes:
        rng = self._rng = random.Random(seed)
        parts = list(rng.choice(self._conversations))
        for _ in range(rng.choice((1, 1, 2, 3, 5))):
            rng.choice(self._moves)(parts)
        encoded = PREFACE + b"".join(part.encode() for part in parts)
        if rng.random() < 0.3:
            encoded = self._damage(bytearray(encoded))
        return encoded[:CASE_BYTES_MAX]

    def pieces(self, case: bytes, seed: int) -> list[bytes]:
        """``case`` as it might come from a socket."""
        rng = random.Random(seed)
        bounds = [0, *sorted(rng.randrange(len(case) + 1) for _ in range(rng.choice((0, 1, 4)))), len(case)]
        return [case[start:end] for start, end in zip(bounds, bounds[1:], strict=False)]

    def _at(self, parts: list[Frame]) -> int:
        return self._rng.randrange(len(parts)) if parts else 0

    def _drop(self, parts: list[Frame]) -> None:
        if parts:
            del parts[self._at(parts)]

    def _repeat(self, parts: list[Frame]) -> None:
        at = self._at(parts)
        parts[at:at] = parts[at : at + self._rng.choice((1, 1, 2, 5))]

    def _swap(self, parts: list[Frame]) -> None:
        if parts:
            one, other = self._at(parts), self._at(parts)
            parts[one], parts[other] = parts[other], parts[one]

    def _change_header(self, parts: list[Frame]) -> None:
        if not parts:
            return
        rng, at = self._rng, self._at(parts)
        part = parts[at]
        parts[at] = rng.choice(
            (
                part._replace(kind=rng.randrange(12)),
                part._replace(flags=part.flags ^ (1 << rng.randrange(8))),
                part._replace(flags=rng.randrange(256)),
                part._replace(stream_id=rng.choice(STREAM_IDS)),
                part._replace(stream_id=part.stream_id + rng.choice((-2, -1, 1, 2))),
            )
        )

    def _change_payload(self, parts: list[Frame]) -> None:
        if parts:
            at = self._at(parts)
            parts[at] = parts[at]._replace(payload=self._damage(bytearray(parts[at].payload)))

    def _change_block(self, parts: list[Frame]) -> None:
        """Put a piece of HPACK into a field block."""
        blocks = [at for at, part in enumerate(parts) if part.kind in (1, 9)]
        if blocks:
            at = self._rng.choice(blocks)
            payload = parts[at].payload
            cut = self._rng.randrange(len(payload) + 1)
            piece = self._rng.choice(BLOCK_PIECES) * self._rng.choice((1, 1, 3, 400))
            parts[at] = parts[at]._replace(payload=(payload[:cut] + piece + payload[cut:])[:16_384])

    def _insert(self, parts: list[Frame]) -> None:
        parts.insert(self._at(parts), self._fresh())

    def _fresh(self) -> Frame:
        rng = self._rng
        stream_id, number = rng.choice(STREAM_IDS), rng.choice(NUMBERS)
        setting = rng.choice((*Setting, 0, 77)).to_bytes(2, "big") + number.to_bytes(4, "big")
        return rng.choice(
            (
                Frame(8, 0, stream_id, number.to_bytes(4, "big")),
                Frame(3, 0, stream_id, rng.choice(tuple(ErrorCode)).to_bytes(4, "big")),
                Frame(4, 0, 0, setting * rng.choice((1, 3, 300))),
                Frame(4, 1, 0, b""),
                Frame(6, rng.choice((0, 1)), 0, rng.randbytes(8)),
                Frame(7, 0, 0, number.to_bytes(4, "big") * 2 + b"debug"),
                Frame(0, rng.choice((0, 1, 8, 9)), stream_id, rng.randbytes(rng.choice((0, 1, 5, 300)))),
                Frame(0, rng.choice((0, 1)), stream_id, b"\0" + number.to_bytes(4, "big") + b"message"),
                Frame(0, 1, stream_id, b"\1\0\0\0\x04\x1f\x8b\x08\0"),
                Frame(rng.randrange(256), rng.randrange(256), stream_id, rng.randbytes(rng.randrange(40))),
            )
        )

    def _splice(self, parts: list[Frame]) -> None:
        other = self._rng.choice(self._conversations)
        parts[self._at(parts) :] = other[self._at(other) :]

    def _cut_block(self, parts: list[Frame]) -> None:
        """Send a field block as HEADERS and CONTINUATION frames."""
        blocks = [at for at, part in enumerate(parts) if part.kind == 1]
        if blocks:
            at = self._rng.choice(blocks)
            part = parts[at]
            cut = self._rng.randrange(len(part.payload) + 1)
            empty = [Frame(9, 0, part.stream_id, b"")] * self._rng.choice((0, 1, 30))
            rest = Frame(9, self._rng.choice((4, 4, 0)), part.stream_id, part.payload[cut:])
            head = part._replace(flags=part.flags & ~4, payload=part.payload[:cut])
            parts[at : at + 1] = [head, *empty, rest]

    def _many(self, parts: list[Frame]) -> None:
        """A small flood."""
        at = self._at(parts)
        part = self._rng.choice((parts[at], self._fresh())) if parts else self._fresh()
        count = self._rng.choice((20, 300))
        if part.kind in (1, 3):
            flood = [part._replace(stream_id=part.stream_id + 2 * step) for step in range(count)]
        else:
            flood = [part] * count
        parts[at:at] = flood

    def _damage(self, raw: bytearray) -> bytes:
        rng = self._rng
        for _ in range(rng.choice((1, 1, 2, 8))):
            at = rng.randrange(len(raw) + 1)
            move = rng.randrange(5)
            if move == 0 and at < len(raw):
                raw[at] ^= 1 << rng.randrange(8)
            elif move == 1 and at < len(raw):
                raw[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
            elif move == 2:
                del raw[at : at + rng.choice((1, 2, 9))]
            elif move == 3:
                raw[at:at] = rng.randbytes(rng.choice((1, 4, 9)))
            else:
                raw[at:at] = raw[at : at + rng.randrange(30)]
        return bytes(raw)
