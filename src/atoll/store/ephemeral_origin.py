"""The entries of one origin, in the order of their versions.

Rule: an origin is one run of one node (its id and an incarnation that grows with every start); it alone gives
versions, one for each change. Whoever holds the origin at version v has for every key either the entry of v or an
older one whose newer version is above v; so what is missing at v is exactly what has a version above v.

Theory: a state-based delta log. The map itself is the log: an entry that changes moves to the end, so a receiver that
is behind gets the newest of each key and nothing in between, and what waits for a slow one is a number, not a queue.
Deletions stay as graves for a while; whoever is behind the oldest grave kept gets the whole origin anew.
"""

from __future__ import annotations

from typing import Final

import msgspec

from atoll.wire.nodes.entry import Entry

GRAVES_MAX: Final = 10_000


class Identity(msgspec.Struct, frozen=True, order=True, array_like=True):
    """One run of one node."""

    node: str
    incarnation: int


class Grave(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """``client`` no longer holds ``key``, since ``version``."""

    key: bytes
    client: str
    version: int
    stamp: int


class Origin:
    """``version`` is that of the newest change held; ``floor`` that below which graves were forgotten."""

    def __init__(self, identity: Identity) -> None:
        self.identity = identity
        self.version = 0
        self.floor = 0
        self.entries: dict[tuple[bytes, str], Entry] = {}
        self.graves: dict[tuple[bytes, str], Grave] = {}

    def set(self, entry: Entry) -> Entry | None:
        """Put in the newest change; returns what it replaces."""
        name = (entry.key, entry.client)
        old = self.entries.pop(name, None)
        self.entries[name] = entry
        self.graves.pop(name, None)
        self.version = entry.version
        return old

    def bury(self, grave: Grave) -> Entry | None:
        """Take in the newest change, a deletion; returns what it removes."""
        name = (grave.key, grave.client)
        old = self.entries.pop(name, None)
        self.graves.pop(name, None)
        self.graves[name] = grave
        self.version = grave.version
        if len(self.graves) > GRAVES_MAX:
            oldest = next(iter(self.graves))
            self.floor = self.graves.pop(oldest).version
        return old
