"""Fuzzy watches: who wants to hear of items that come and go under a pattern.

Rule: a pattern is an exact namespace, and a group and a data id in each of which ``*`` stands for any text at the
beginning, at the end, or both. A watcher hears of each matching item once when it comes and once when it goes.

Source: Nacos 3.0's ``groupKeyPattern``; its limits on patterns of a client and on matches of a pattern.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from atoll.errors import AtollError, Code, Reason
from atoll.planes.registry.model.config_limits import ConfigLimits
from atoll.resources.config_item import ConfigKey


class Pattern(msgspec.Struct, frozen=True):
    """``group`` and ``data_id`` with ``*`` for any text."""

    namespace: str
    group: str = "*"
    data_id: str = "*"

    def matches(self, key: ConfigKey) -> bool:
        return (
            self.namespace == key.namespace
            and text_matches(self.group, key.group)
            and text_matches(self.data_id, key.data_id)
        )


class Came(msgspec.Struct, frozen=True):
    """``key`` is there now, or (``gone``) no longer."""

    key: ConfigKey
    gone: bool = False


Tell = Callable[[Pattern, Came], None]


class Watchers:
    """The fuzzy watches of a node."""

    def __init__(self, limits: ConfigLimits) -> None:
        self._limits = limits
        self._watches: dict[tuple[str, Pattern], Tell] = {}
        self._by_namespace: dict[str, dict[tuple[str, Pattern], Tell]] = {}

    def add(self, client: str, pattern: Pattern, tell: Tell) -> None:
        """Raises EXHAUSTED / RATE_LIMITED past the patterns that one client may watch."""
        mine = self.patterns(client)
        if pattern not in mine and len(mine) >= self._limits.patterns_max:
            raise AtollError(
                Code.EXHAUSTED,
                f"a client watches {len(mine)} patterns; at most {self._limits.patterns_max} are allowed",
                reason=Reason.RATE_LIMITED,
                facts={"point": "ConfigFuzzyWatch", "patterns_max": self._limits.patterns_max},
            )
        self._watches[client, pattern] = tell
        self._by_namespace.setdefault(pattern.namespace, {})[client, pattern] = tell

    def remove(self, client: str, pattern: Pattern) -> None:
        if self._watches.pop((client, pattern), None) is not None:
            there = self._by_namespace[pattern.namespace]
            del there[client, pattern]
            if not there:
                del self._by_namespace[pattern.namespace]

    def remove_client(self, client: str) -> None:
        for pattern in self.patterns(client):
            self.remove(client, pattern)

    def patterns(self, client: str) -> list[Pattern]:
        return [pattern for owner, pattern in self._watches if owner == client]

    def concerned(self, key: ConfigKey) -> list[tuple[Pattern, Tell]]:
        there = self._by_namespace.get(key.namespace, {})
        return [(pattern, tell) for (_, pattern), tell in there.items() if pattern.matches(key)]


def first_matches(pattern: Pattern, present: Iterable[ConfigKey], limits: ConfigLimits) -> list[ConfigKey]:
    """What a new watcher is told at once, in order. More than the limit are not told, as in Nacos."""
    return sorted(key for key in present if pattern.matches(key))[: limits.pattern_matches_max]


def text_matches(pattern: str, text: str) -> bool:
    """``*`` stands for any text, wherever it is."""
    first, *rest = pattern.split("*")
    if not rest:
        return pattern == text
    if not text.startswith(first):
        return False
    position = len(first)
    for part in rest[:-1]:
        found = text.find(part, position)
        if found < 0:
            return False
        position = found + len(part)
    return len(text) - len(rest[-1]) >= position and text.endswith(rest[-1])
