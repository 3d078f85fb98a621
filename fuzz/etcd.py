"""Mutated messages of etcd's API: bytes changed, cut, doubled and spliced, and numbers at their limits; from a seed.

Rule: a case is a function of the corpus and its seed, so a seed in a failure's text is enough to have it again.
The corpus has one file a request, named ``Service.Method.NUMBER.bin``.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any, NamedTuple

from google.protobuf.message import DecodeError

from atoll.wire.etcd.services import METHODS

CORPUS = Path(__file__).parent / "corpus" / "etcd"
CASE_BYTES_MAX = 10_000

NUMBERS = (0, 1, -1, 2, 127, 128, 2**31 - 1, -(2**31), 2**32, 2**63 - 1, -(2**63))
TEXTS = (b"", b"\0", b"a", b"\xff", b"\xff" * 9, b"\0atoll/", b"\0atoll/x", b"a/" * 40, b"x" * 3000)
_BYTES = (0x00, 0x01, 0x7F, 0x80, 0xFF, 0x0A, 0x12, 0x1A, 0x08, 0x10)


class Case(NamedTuple):
    method: str  # "KV.Range"
    data: bytes


def corpus() -> list[Case]:
    """All kept requests, in a fixed order."""
    return [
        Case(file.name.rpartition(".")[0].rpartition(".")[0], file.read_bytes())
        for file in sorted(CORPUS.glob("*.bin"))
    ]


class Mutator:
    def __init__(self, cases: list[Case]) -> None:
        self._cases = cases

    def case(self, seed: int) -> Case:
        pick = random.Random(seed)
        method, data = pick.choice(self._cases)
        for _ in range(pick.choice((0, 1, 1, 2))):
            data = _field_changed(method, data, pick)
        for _ in range(pick.choice((0, 0, 0, 1, 1, 3))):
            data = self._bytes_changed(data, pick)
        return Case(method, data[:CASE_BYTES_MAX])

    def _bytes_changed(self, data: bytes, pick: random.Random) -> bytes:
        at = pick.randint(0, len(data))
        to = min(len(data), at + pick.choice((0, 1, 2, 8)))
        match pick.randint(0, 4):
            case 0:
                return data[:at] + bytes([pick.choice(_BYTES)]) + data[at + 1 :]
            case 1:
                return data[:at] + pick.choice(TEXTS)[:64] + data[at:]
            case 2:
                return data[:at] + data[to:]
            case 3:
                return data[:to] + data[at:]
            case _:
                return data[:at] + pick.choice(self._cases).data[at:]


def _field_changed(method: str, data: bytes, pick: random.Random) -> bytes:
    """One field of the message, or of one inside it, set to something at its limit."""
    try:
        whole = METHODS[method].request.FromString(data)
    except DecodeError:
        return data
    message = whole
    while inner := [value for field, value in message.ListFields() if _is_message(field)]:
        if pick.random() < 0.3:
            break
        value = pick.choice(inner)
        message = pick.choice(list(value)) if not hasattr(value, "ListFields") else value
    scalars = [
        field for field in message.DESCRIPTOR.fields if not _is_message(field) and not field.is_repeated
    ]
    if scalars:
        field = pick.choice(scalars)
        setattr(message, field.name, _extreme(field, pick))
    changed: bytes = whole.SerializeToString()
    return changed


def _is_message(field: Any) -> bool:
    return field.message_type is not None


def _extreme(field: Any, pick: random.Random) -> Any:
    if field.type == field.TYPE_BOOL:
        return pick.random() < 0.5
    if field.type == field.TYPE_BYTES:
        return pick.choice(TEXTS)
    if field.type == field.TYPE_STRING:
        return pick.choice(TEXTS).decode("latin-1")
    bits = {field.TYPE_ENUM: 32, field.TYPE_INT64: 64}.get(field.type)
    number = pick.choice(NUMBERS)
    if bits is None:
        return abs(number) % 2**32 if field.type == field.TYPE_UINT32 else abs(number)
    limit = 1 << (bits - 1)
    return max(-limit, min(number, limit - 1))
