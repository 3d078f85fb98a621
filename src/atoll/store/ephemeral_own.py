"""What the clients of this node hold, and for how long after their connection broke.

Rule: a connection that broke without a word keeps its entries: unchanged for ``unhealthy_after_s``, marked as lost
until ``removed_after_s``. Whoever registers the same key meanwhile, on whichever node, takes it over; when that was
quick nobody sees a change. A client that is registered elsewhere under its own name has moved there.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import msgspec

from atoll.store.ephemeral_keys import Keys
from atoll.store.ephemeral_origin import Origin
from atoll.wire.nodes.entry import Entry, Grave, Identity

NEVER_S: Final = float("inf")
YIELD_AFTER_S: Final = 2.0  # by then everybody has heard of whoever took over


class Damping(msgspec.Struct, frozen=True):
    """Times after a connection broke without a clean close, in seconds."""

    unhealthy_after_s: float = 0.8
    removed_after_s: float = 10.0


class Stamp:
    """A Lamport clock (Lamport, 1978): above every stamp that was seen."""

    __slots__ = ("newest",)

    def __init__(self) -> None:
        self.newest = 0

    def next(self) -> int:
        self.newest += 1
        return self.newest

    def seen(self, stamp: int) -> None:
        self.newest = max(self.newest, stamp)


class Own:
    """The origin that this node writes. ``now_s`` is on the boot clock and never goes back."""

    def __init__(self, who: Identity, damping: Damping, keys: Keys, stamp: Stamp) -> None:
        self.origin = Origin(who)
        self._damping = damping
        self._keys = keys
        self._stamp = stamp
        self._clients: dict[str, dict[bytes, None]] = {}
        self._broken: dict[str, float] = {}  # client: since when
        self._to_mark: deque[tuple[float, str]] = deque()  # since when, client; stale ones are passed over
        self._to_remove: deque[tuple[float, str]] = deque()
        self._to_yield: deque[tuple[float, Entry]] = deque()  # since when

    # ------------------------------------------------------------------------------------------- acts

    def put(self, client: str, key: bytes, value: bytes) -> None:
        if client in self._broken:
            self._mend(client)
        self._set(client, key, value)
        self._clients.setdefault(client, {})[key] = None
        for entry in self._keys.entries(key):
            if entry.client in self._broken and self._is_mine(entry):
                self._bury(entry)

    def delete(self, client: str, key: bytes) -> bool:
        entry = self.origin.entries.get((key, client))
        if entry is None:
            return False
        self._bury(entry, self._stamp.next())
        return True

    def drop(self, client: str, clean: bool, now_s: float) -> None:
        held = self._clients.get(client)
        if held is None or (client in self._broken and not clean):
            return
        if clean:
            for entry in self.of_client(client):
                self._bury(entry, self._stamp.next())
            return
        self._broken[client] = now_s
        self._to_mark.append((now_s, client))
        self._to_remove.append((now_s, client))
        for entry in self.of_client(client):
            for each in self._keys.entries(entry.key):
                is_held = not each.lost and not (self._is_mine(each) and each.client in self._broken)
                if is_held and each.stamp > entry.stamp:  # somebody has taken it over already
                    self._to_yield.append((now_s, entry))

    def of_client(self, client: str) -> list[Entry]:
        return [self.origin.entries[key, client] for key in self._clients.get(client, ())]

    def heard_of(self, other: Entry | Grave, now_s: float) -> None:
        """Another node says that a client of its own holds a key, or did."""
        client = other.client
        is_held = isinstance(other, Entry) and not other.lost
        for entry in self._keys.entries(other.key):
            if not self._is_mine(entry):
                continue
            if other.stamp <= entry.stamp:
                continue  # two who give way to each other would leave nobody
            is_broken = entry.client in self._broken
            if isinstance(other, Entry) and other.lost and not is_broken:
                # Held here and no more there, though the stamps say otherwise: they are of a time when this node had
                # not heard of the other. Its grave must say nothing against what is held.
                self._set(entry.client, entry.key, entry.value)
            elif is_held and (is_broken or entry.client == client):
                self._to_yield.append((now_s, entry))
            elif is_broken and isinstance(other, Grave):
                self._bury(entry)

    # ------------------------------------------------------------------------------------------- time

    def due_s(self) -> float:
        mark_s = self._to_mark[0][0] + self._damping.unhealthy_after_s if self._to_mark else NEVER_S
        remove_s = self._to_remove[0][0] + self._damping.removed_after_s if self._to_remove else NEVER_S
        yield_s = self._to_yield[0][0] + YIELD_AFTER_S if self._to_yield else NEVER_S
        return min(mark_s, remove_s, yield_s)

    def tick(self, now_s: float) -> None:
        while self._to_yield and self._to_yield[0][0] + YIELD_AFTER_S <= now_s:
            _, entry = self._to_yield.popleft()
            mine = self.origin.entries.get((entry.key, entry.client))
            if mine is not None and mine.stamp == entry.stamp:  # not registered anew meanwhile
                self._bury(mine)
        for client in self._ripe(self._to_mark, self._damping.unhealthy_after_s, now_s):
            for entry in self.of_client(client):
                self._mark(entry)
        for client in self._ripe(self._to_remove, self._damping.removed_after_s, now_s):
            for entry in self.of_client(client):
                self._bury(entry)

    def _ripe(self, waiting: deque[tuple[float, str]], after_s: float, now_s: float) -> list[str]:
        """Take out the clients whose time has come, and that have not come back since they broke."""
        ripe = []
        while waiting and waiting[0][0] + after_s <= now_s:
            since_s, client = waiting.popleft()
            if self._broken.get(client) == since_s:
                ripe.append(client)
        return ripe

    # ---------------------------------------------------------------------------------------- entries

    def _set(self, client: str, key: bytes, value: bytes) -> None:
        origin = self.origin
        entry = Entry(key, client, value, origin.who.node, origin.version + 1, self._stamp.next())
        self._keys.set(entry, origin.set(entry))

    def _mark(self, entry: Entry) -> None:
        """As lost; it is as old as before, and newer than nobody who has taken over."""
        marked = msgspec.structs.replace(entry, version=self.origin.version + 1, lost=True)
        self._keys.set(marked, self.origin.set(marked))

    def _bury(self, entry: Entry, stamp: int = 0) -> None:
        """``stamp``: the client gave the key back just then. What gives way, or is given up, keeps its age, so that
        its grave says nothing against whoever took over.
        """
        client, key = entry.client, entry.key
        self.origin.bury(Grave(key, client, self.origin.version + 1, stamp or entry.stamp))
        self._keys.remove(entry)
        held = self._clients[client]
        del held[key]
        if not held:
            del self._clients[client]
            self._broken.pop(client, None)

    def _is_mine(self, entry: Entry) -> bool:
        return self.origin.entries.get((entry.key, entry.client)) is entry

    def _mend(self, client: str) -> None:
        """A client whose connection had broken speaks again under its old name."""
        del self._broken[client]
        for entry in self.of_client(client):
            if entry.lost:
                self._set(client, entry.key, entry.value)
