"""The entries of one origin, in the order of their versions.

Rule: an origin is one run of one node; it alone gives versions, one for each change. Whoever holds the origin at
version v has for every key either the entry of v or an older one whose newer version is above v; so what is missing at
v is exactly what has a version above v.

Theory: a state-based delta log. The map itself is the log: an entry that changes moves to the end, so a receiver that
is behind gets the newest of each key and nothing in between, and what waits for a slow one is a number, not a queue.
Deletions stay as graves for a while; whoever is behind the oldest grave kept gets the whole origin anew. A version
names one change, so the list of versions held is the content; the digest is over that list, values are not in it.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Sequence
from itertools import takewhile
from typing import Final, TypeVar

from atoll.wire.nodes.entry import Entry, Grave, Identity
from atoll.wire.nodes.messages import Batch

GRAVES_MAX: Final = 10_000
BATCH_CHANGES_MAX: Final = 2_000
BATCH_BYTES_MAX: Final = 1_048_576
_CHANGE_BYTES: Final = 64  # beside what is counted by length

C = TypeVar("C", Entry, Grave)


class Cursor:
    """How far a receiver is. ``covered``: of deletions it needs only those above; in a chain that began at 0, that is
    the version at which the chain began.
    """

    __slots__ = ("covered", "since")

    def __init__(self, since: int) -> None:
        self.since = self.covered = since


class Origin:
    """``version`` is that of the newest change held; ``floor`` that below which graves were forgotten."""

    def __init__(self, who: Identity) -> None:
        self.who = who
        self.version = 0
        self.floor = 0
        self.entries: dict[tuple[bytes, str], Entry] = {}
        self.graves: dict[tuple[bytes, str], Grave] = {}

    def set(self, entry: Entry) -> Entry | None:
        """Put in the newest change; returns what it replaces."""
        name = (entry.key, entry.client)
        old = self.entries.pop(name, None)
        self.entries[name] = entry
        if self.graves:
            self.graves.pop(name, None)
        self.version = max(self.version, entry.version)
        return old

    def bury(self, grave: Grave) -> Entry | None:
        """Take in the newest change, a deletion; returns what it removes."""
        name = (grave.key, grave.client)
        old = self.entries.pop(name, None)
        self.graves.pop(name, None)
        self.graves[name] = grave
        self.version = max(self.version, grave.version)
        if len(self.graves) > GRAVES_MAX:
            self.floor = self.graves.pop(next(iter(self.graves))).version
        return old

    def newest(self, key: bytes, client: str) -> int:
        """The version of the newest change of that name which is held; 0: none."""
        held = self.entries.get((key, client)) or self.graves.get((key, client))
        return held.version if held else 0

    def begin_at(self, version: int) -> None:
        """All entries up to ``version`` are here now, though not its deletions, and in no order."""
        self.entries = dict(sorted(self.entries.items(), key=lambda item: item[1].version))
        self.graves = {name: grave for name, grave in self.graves.items() if grave.version > version}
        self.floor = version
        self.version = max(self.version, version)

    def digest(self) -> bytes:
        versions = array("Q", [entry.version for entry in self.entries.values()])
        return hashlib.blake2b(versions.tobytes(), digest_size=8).digest()

    def after(self, cursor: Cursor) -> Batch:
        """The next batch for the receiver at ``cursor``, which moves on to its end."""
        if cursor.covered < self.floor or not cursor.since:
            cursor.since, cursor.covered = 0, self.version
        since = cursor.since
        entries = _above(self.entries, since)
        graves = _above(self.graves, since) if since else []
        changes: list[Entry | Grave] = [*entries, *graves]
        if graves:
            changes.sort(key=_version)
        to = self._end(changes)
        if to < self.version:
            entries = [entry for entry in entries if entry.version <= to]
            graves = [grave for grave in graves if grave.version <= to]
        cursor.since, cursor.covered = to, max(to, cursor.covered)
        return Batch(self.who, since, to, to == self.version, tuple(entries), tuple(graves))

    def _end(self, changes: Sequence[Entry | Grave]) -> int:
        """The version up to which ``changes`` fit one batch."""
        size_bytes = 0
        for count, change in enumerate(changes, start=1):
            size_bytes += _size_bytes(change)
            if count < len(changes) and (count >= BATCH_CHANGES_MAX or size_bytes >= BATCH_BYTES_MAX):
                return change.version
        return self.version


def _above(changes: dict[tuple[bytes, str], C], since: int) -> list[C]:
    """Those above ``since``; the newest are at the end."""
    if not since:
        return list(changes.values())
    newest_first = takewhile(lambda change: change.version > since, reversed(changes.values()))
    return list(newest_first)[::-1]


def _version(change: Entry | Grave) -> int:
    return change.version


def _size_bytes(change: Entry | Grave) -> int:
    value_bytes = len(change.value) if isinstance(change, Entry) else 0
    return _CHANGE_BYTES + len(change.key) + len(change.client) + value_bytes
