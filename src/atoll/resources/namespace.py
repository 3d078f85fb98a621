"""A namespace: services and configuration of the same name in two of them have nothing to do with each other.

Rule: ``public`` is always there and has no record unless somebody described it; ``""``, ``null`` and ``public`` are
spellings of the same one, and stored data knows only ``public`` (Nacos stores ``""`` for configuration until 2.x).
"""

from __future__ import annotations

import re

import msgspec

from atoll.errors import AtollError, Code, Reason
from atoll.resources.records import Record

PUBLIC = "public"
ID_CHARS_MAX = 64
NAME_CHARS_MAX = 256
DESCRIPTION_CHARS_MAX = 256

_ID = re.compile(r"[\w-]+", re.ASCII)


class Namespace(Record, frozen=True, kw_only=True):
    """``id`` is what clients name; ``name`` and ``description`` are for people."""

    id: str
    name: str = ""
    description: str = ""
    created_s: float = 0.0  # Unix time


class NamespaceView(msgspec.Struct, frozen=True):
    """A namespace with what is in it, as lists show it. ``kind``: ``global`` (public) or ``custom``."""

    id: str
    name: str
    description: str
    kind: str
    configs: int
    services: int
    configs_max: int  # its quota, 0: none


def canonical(text: str | None) -> str:
    """The one spelling of a namespace's id."""
    return PUBLIC if text in (None, "", "null", PUBLIC) else str(text)


def require_id(text: str) -> str:
    """``text`` if it can be a namespace's id. Raises INVALID / PARAMETER_INVALID."""
    if len(text) <= ID_CHARS_MAX and _ID.fullmatch(text):
        return text
    raise AtollError(
        Code.INVALID,
        f"namespace id {text[:80]!r}: must be 1 to {ID_CHARS_MAX} letters, digits, '-' or '_'",
        reason=Reason.PARAMETER_INVALID,
        facts={"parameter": "namespaceId"},
    )
