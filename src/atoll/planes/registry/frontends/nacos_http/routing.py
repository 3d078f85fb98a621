"""From a path and its parameters to the entry of the catalog that answers it.

Rule: a path is compared as it came, byte for byte, after the context path; a second spelling of it (``//``, ``%2e``, a
trailing slash, ``;x``) is another path, and there is none there. Only the parts in braces are decoded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple
from urllib.parse import unquote

from atoll.wire.nacos.catalog.entry import Entry

CONTEXT = "/nacos"


class Found(NamedTuple):
    """The entries of one verb and path, those with a choice first; ``values`` are of the parts in braces."""

    entries: tuple[Entry, ...]
    values: Mapping[str, str]


_NO_VALUES: Mapping[str, str] = {}


class Routes:
    """Made once from the catalog."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._exact: dict[tuple[str, str], tuple[Entry, ...]] = {}
        self._patterns: list[tuple[tuple[str, ...], dict[str, tuple[Entry, ...]]]] = []
        self._paths: set[str] = set()
        grouped: dict[tuple[str, str], list[Entry]] = {}
        for entry in entries:
            grouped.setdefault((entry.path, entry.verb), []).append(entry)
        for (path, verb), found in sorted(grouped.items()):
            self._add(path, verb, tuple(sorted(found, key=lambda entry: not entry.when)))

    def _add(self, path: str, verb: str, entries: tuple[Entry, ...]) -> None:
        if "{" not in path:
            self._exact[verb, path] = entries
            self._paths.add(path)
            return
        parts = tuple(path.split("/"))
        for known, verbs in self._patterns:
            if known == parts:
                verbs[verb] = entries
                return
        self._patterns.append((parts, {verb: entries}))

    def find(self, verb: str, path: str) -> Found | None:
        """``path`` is raw, without the query. None: no such path, or not with this verb (``known`` tells)."""
        path = inside(path)
        entries = self._exact.get((verb, path))
        if entries is not None:
            return Found(entries, _NO_VALUES)
        for parts, verbs in self._patterns:
            values = _values(parts, path)
            if values is not None and verb in verbs:
                return Found(verbs[verb], values)
        return None

    def known(self, path: str) -> bool:
        """Some verb has this path."""
        path = inside(path)
        return path in self._paths or any(_values(parts, path) is not None for parts, _ in self._patterns)


def inside(path: str) -> str:
    """``path`` below the context path, which may be left out."""
    return path[len(CONTEXT) :] if path.startswith("/nacos/") else path


def choose(entries: tuple[Entry, ...], fields: Mapping[str, str]) -> Entry:
    """The entry whose choice the parameters make."""
    for entry in entries:
        if not entry.when:
            return entry
        name, equals, value = entry.when.partition("=")
        if fields.get(name) and (not equals or fields[name].lower() == value.lower()):
            return entry
    raise LookupError(f"{entries[0].path} has no entry without a choice")


def _values(parts: tuple[str, ...], path: str) -> Mapping[str, str] | None:
    given = path.split("/")
    if len(given) != len(parts):
        return None
    values: dict[str, str] = {}
    for part, text in zip(parts, given, strict=True):
        if part.startswith("{"):
            if not text:
                return None
            values[part[1:-1]] = unquote(text)
        elif part != text:
            return None
    return values
