"""Which entry stands for a key: the index over all origins, and what changed for those who look.

Rule: of several entries under one key the best stands for it: one whose client is there before one that is lost, then
the newest stamp; origin and client break ties, so that every node chooses the same one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import msgspec

from atoll.kit.sorted_keys import SortedKeys
from atoll.store.api import Cancel, prefix_end
from atoll.wire.nodes.entry import Entry


class Change(msgspec.Struct, frozen=True, gc=False):
    """The entry that stands for ``key`` before and after; None: there was none, or there is none now."""

    key: bytes
    before: Entry | None
    after: Entry | None

    @property
    def visible(self) -> bool:
        """False: only who holds the key changed, not what is held."""
        old, new = self.before, self.after
        return old is None or new is None or old.value != new.value or old.lost != new.lost


Sink: TypeAlias = Callable[[Sequence[Change]], None]


class Keys:
    """All entries by key. Changes are collected by ``set`` and ``remove`` and handed out by ``publish``."""

    def __init__(self) -> None:
        self._entries: dict[bytes, tuple[Entry, ...]] = {}  # the one that stands for the key first
        self._ordered = SortedKeys()
        self._before: dict[bytes, Entry | None] = {}
        self._sinks: dict[int, tuple[bytes, Sink]] = {}
        self._sinks_made = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: bytes) -> Entry | None:
        entries = self._entries.get(key)
        return entries[0] if entries else None

    def entries(self, key: bytes) -> tuple[Entry, ...]:
        """All that is held under ``key``, the one that stands for it first."""
        return self._entries.get(key, ())

    def items(self, prefix: bytes) -> list[Entry]:
        if not prefix:
            return [self._entries[key][0] for key in self._ordered]
        return [self._entries[key][0] for key in self._ordered.iterate(prefix, prefix_end(prefix))]

    def set(self, entry: Entry, old: Entry | None) -> None:
        """Put ``entry`` in; ``old`` is the one of the same origin and client that it replaces."""
        key = entry.key
        entries = self._entries.get(key)
        if not entries:
            self._ordered.add(key)
            self._before.setdefault(key, None)
            self._entries[key] = (entry,)
            return
        self._before.setdefault(key, entries[0])
        rest = tuple(each for each in entries if each is not old)
        self._entries[key] = tuple(sorted((*rest, entry), key=_rank, reverse=True)) if rest else (entry,)

    def remove(self, old: Entry) -> None:
        entries = self._entries[old.key]
        self._before.setdefault(old.key, entries[0])
        rest = tuple(each for each in entries if each is not old)
        if rest:
            self._entries[old.key] = rest
        else:
            del self._entries[old.key]
            self._ordered.discard(old.key)

    def watch(self, prefix: bytes, sink: Sink) -> Cancel:
        self._sinks_made += 1
        number = self._sinks_made
        self._sinks[number] = (prefix, sink)

        def cancel() -> None:
            self._sinks.pop(number, None)

        return cancel

    def publish(self) -> None:
        """Tell the watchers. What a watcher changes meanwhile is told after this, by its own ``publish``."""
        if not self._before:
            return
        before, self._before = self._before, {}
        changes = [Change(key, old, new) for key, old in before.items() if (new := self.get(key)) is not old]
        for prefix, sink in list(self._sinks.values()):
            heard = [change for change in changes if change.key.startswith(prefix)] if prefix else changes
            if heard:
                sink(heard)


def _rank(entry: Entry) -> tuple[bool, int, str, str]:
    return (not entry.lost, entry.stamp, entry.origin, entry.client)
