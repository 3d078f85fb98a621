"""Frozen records as JSON with a format number, and the fields of a newer release kept through a rewrite.

Rule: a record class derives from ``Record``. What this release does not know is collected in ``unknown`` when a record
is read and written back with it, so that an older node does not strip what a newer one wrote; a newer *format*, whose
meaning would be guessed, is refused instead.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from atoll.errors import AtollError, Code, Reason

FORMAT = 1

NOTHING: Mapping[str, Any] = {}


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """``revision`` is the store's when it was last written, 0 for a record that is not read from a store."""

    unknown: Mapping[str, Any] = NOTHING
    revision: int = 0


R = TypeVar("R", bound=Record)

_NOT_STORED = ("unknown", "revision")


def encode(record: Record) -> bytes:
    known = {
        name: value for name, default in _stored(type(record)) if (value := getattr(record, name)) != default
    }
    return msgspec.json.encode({**record.unknown, "format": FORMAT, **known})


@functools.cache
def _stored(kind: type[Record]) -> tuple[tuple[str, Any], ...]:
    """Names and defaults of what is written; asked once a class, since msgspec evaluates its annotations each time."""
    fields = msgspec.structs.fields(kind)
    return tuple((field.name, field.default) for field in fields if field.name not in _NOT_STORED)


def decode(kind: type[R], data: bytes, revision: int = 0) -> R:
    """Raises ``AtollError`` INVALID: CORRUPT for what is no such record, NEWER_FORMAT for one of a later release."""
    try:
        document = msgspec.json.decode(data, type=dict[str, Any])
        found = document.pop("format", None)
        if isinstance(found, int) and found > FORMAT:
            text = (
                f"this {kind.__name__} has format {found}; this release reads up to {FORMAT}: use a newer one"
            )
            raise AtollError(Code.INVALID, text, reason=Reason.NEWER_FORMAT)
        names = kind.__struct_fields__
        unknown = {name: value for name, value in document.items() if name not in names}
        record = msgspec.convert(document, kind)
    except msgspec.MsgspecError as error:
        text = f"not a {kind.__name__} record: {error}"
        raise AtollError(Code.INVALID, text, reason=Reason.CORRUPT) from error
    return msgspec.structs.replace(record, unknown=unknown, revision=revision)
