"""Patterns over services: which services a fuzzy watch is about.

Rule: a namespace is named exactly; group and service name may be exact, ``*``, ``abc*``, ``*abc`` or ``*abc*``
(nacos-wire 4.7). No other form has a meaning, so none is guessed at.
"""

from __future__ import annotations

import msgspec

from atoll.resources import namespace as namespaces
from atoll.resources import service as services
from atoll.resources.service import ServiceKey

SEPARATOR = ">>"
PATTERN_CHARS_MAX = 1024


class Pattern(msgspec.Struct, frozen=True, gc=False):
    """``namespace`` canonical; ``group`` and ``name`` with stars."""

    namespace: str
    group: str
    name: str

    def matches(self, key: ServiceKey) -> bool:
        return (
            key.namespace == self.namespace
            and matches_part(self.group, key.group)
            and matches_part(self.name, key.name)
        )


def parse(text: str) -> Pattern:
    """``namespace>>group>>name``. Raises INVALID for another form."""
    parts = text.split(SEPARATOR)
    if len(parts) != 3 or len(text) > PATTERN_CHARS_MAX:
        expected = "NAMESPACE>>GROUP>>SERVICE, where GROUP and SERVICE are exact, *, a*, *a or *a*"
        raise services.invalid("groupKeyPattern", f"{text[:100]!r} is no pattern; expected {expected}")
    namespace, group, name = parts
    for part in (group, name):
        if part in ("", "**") or "*" in part.removeprefix("*").removesuffix("*"):
            raise services.invalid("groupKeyPattern", f"{part!r} is none of: exact, *, a*, *a, *a*")
    return Pattern(namespaces.require_id(namespaces.canonical(namespace)), group, name)


def matches_part(pattern: str, text: str) -> bool:
    """One part of a pattern against one part of a name."""
    if pattern == "*":
        return True
    starts, ends = pattern.endswith("*"), pattern.startswith("*")
    core = pattern.removeprefix("*").removesuffix("*")
    if starts and ends:
        return core in text
    if starts:
        return text.startswith(core)
    return text.endswith(core) if ends else text == core
