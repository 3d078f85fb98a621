"""Which keys a new content changes.

Rule: a content that has keys (JSON, YAML, TOML, properties) is compared key by key, whatever its layout; any other, and
one that does not parse or is very large, line by line. Values are cut, because this is for people to look at.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from atoll.planes.registry.policy import content_check
from atoll.resources.config_views import KeyChange

SHOWN_MAX = 200
VALUE_CHARS_MAX = 200
COMPARED_CHARS_MAX = 1_000_000
LINES_MAX = 5_000

_PROPERTY = re.compile(r"\s*((?:\\.|[^\s=:\\])+)\s*[=:\s]?\s*(.*)", re.DOTALL)


def changes(kind: str, before: str, after: str) -> tuple[tuple[KeyChange, ...], int]:
    """The first of them, and how many more there are. ``before`` empty: there was none."""
    if before == after:
        return (), 0
    if max(len(before), len(after)) > COMPARED_CHARS_MAX:
        return (KeyChange("content", _cut(before), _cut(after)),), 0
    old, new = _keys(kind, before), _keys(kind, after)
    found = _by_lines(before, after) if old is None or new is None else _by_keys(old, new)
    return tuple(found[:SHOWN_MAX]), max(0, len(found) - SHOWN_MAX)


def _by_keys(old: Mapping[str, str], new: Mapping[str, str]) -> list[KeyChange]:
    paths = dict.fromkeys([*old, *new])
    return [
        KeyChange(path, _cut(old.get(path)), _cut(new.get(path)))
        for path in paths
        if old.get(path) != new.get(path)
    ]


def _by_lines(before: str, after: str) -> list[KeyChange]:
    old, new = before.splitlines(), after.splitlines()
    if max(len(old), len(new)) > LINES_MAX:
        return [KeyChange("content", _cut(before), _cut(after))]
    found = []
    for tag, start, end, new_start, new_end in difflib.SequenceMatcher(None, old, new).get_opcodes():
        if tag != "equal":
            removed = _cut("\n".join(old[start:end])) if end > start else None
            added = _cut("\n".join(new[new_start:new_end])) if new_end > new_start else None
            found.append(KeyChange(f"line {start + 1}", removed, added))
    return found


def _keys(kind: str, text: str) -> Mapping[str, str] | None:
    """Values by their path; None for a content that has no keys."""
    if not text:
        return {}
    if content_check.faults(kind, text) or not content_check.is_small(kind, text):
        return None
    if kind == "properties":
        return dict(_properties(text))
    value = content_check.value_of(kind, text)
    return dict(_flat("", value)) if isinstance(value, dict | list) else None


def _flat(path: str, value: Any) -> Iterator[tuple[str, str]]:
    """Depth is bounded by ``content_check``."""
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _flat(f"{path}.{name}" if path else str(name), inner)
    elif isinstance(value, list) and value:
        for number, inner in enumerate(value):
            yield from _flat(f"{path}[{number}]", inner)
    else:
        yield path, value if isinstance(value, str) else json.dumps(value, default=str)


def _properties(text: str) -> Iterator[tuple[str, str]]:
    lines = iter(text.splitlines())
    for line in lines:
        whole = line.lstrip()
        if not whole or whole[0] in "#!":
            continue
        while whole.endswith("\\"):
            whole = whole[:-1] + next(lines, "").lstrip()
        pair = _PROPERTY.fullmatch(whole)
        if pair is not None:
            yield pair[1], pair[2]


def _cut(text: str | None) -> str | None:
    if text is None or len(text) <= VALUE_CHARS_MAX:
        return text
    return text[:VALUE_CHARS_MAX] + "..."
