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

    # ------------------------------------------------------------------------------------------- acts

    def put(self, client: str, key: bytes, value: bytes) -> None:
        if client in self._broken:
            self._mend(client)
        self._set(client, key, value, lost=False)
        self._clients.setdefault(client, {})[key] = None
        for entry in self._keys.entries(key):
            if entry.client in self._broken:
                self._bury(entry.client, key)

    def delete(self, client: str, key: bytes) -> bool:
        if (key, client) not in self.origin.entries:
            return False
        self._bury(client, key)
        return True

    def drop(self, client: str, clean: bool, now_s: float) -> None:
        held = self._clients.get(client)
        if held is None or (client in self._broken and not clean):
            return
        if clean:
            for key in list(held):
                self._bury(client, key)
            return
        self._broken[client] = now_s
        self._to_mark.append((now_s, client))
        self._to_remove.append((now_s, client))
        for key in list(held):
            if any(each.client not in self._broken and not each.lost for each in self._keys.entries(key)):
                self._bury(client, key)  # somebody has taken it over already

    def of_client(self, client: str) -> list[Entry]:
        return [self.origin.entries[key, client] for key in self._clients.get(client, ())]

    def heard_of(self, other: Entry | Grave) -> None:
        """Another node says that a client of its own holds a key, or did."""
        client = other.client
        is_held = isinstance(other, Entry) and not other.lost
        for entry in self._keys.entries(other.key):
            mine = self.origin.entries.get((entry.key, entry.client))
            if mine is not entry:
                continue
            if (entry.client in self._broken and (is_held or other.stamp > entry.stamp)) or (
                entry.client == client and is_held and other.stamp > entry.stamp
            ):
                self._bury(entry.client, entry.key)

    # ------------------------------------------------------------------------------------------- time

    def due_s(self) -> float:
        mark_s = self._to_mark[0][0] + self._damping.unhealthy_after_s if self._to_mark else NEVER_S
        remove_s = self._to_remove[0][0] + self._damping.removed_after_s if self._to_remove else NEVER_S
        return min(mark_s, remove_s)

    def tick(self, now_s: float) -> None:
        for client in self._ripe(self._to_mark, self._damping.unhealthy_after_s, now_s):
            for entry in self.of_client(client):
                self._set(client, entry.key, entry.value, lost=True)
        for client in self._ripe(self._to_remove, self._damping.removed_after_s, now_s):
            for key in list(self._clients[client]):
                self._bury(client, key)

    def _ripe(self, waiting: deque[tuple[float, str]], after_s: float, now_s: float) -> list[str]:
        """Take out the clients whose time has come, and that have not come back since they broke."""
        ripe = []
        while waiting and waiting[0][0] + after_s <= now_s:
            since_s, client = waiting.popleft()
            if self._broken.get(client) == since_s:
                ripe.append(client)
        return ripe

    # ---------------------------------------------------------------------------------------- entries

    def _set(self, client: str, key: bytes, value: bytes, lost: bool) -> None:
        origin = self.origin
        entry = Entry(key, client, value, origin.who.node, origin.version + 1, self._stamp.next(), lost)
        self._keys.set(entry, origin.set(entry))

    def _bury(self, client: str, key: bytes) -> None:
        old = self.origin.bury(Grave(key, client, self.origin.version + 1, self._stamp.next()))
        if old is not None:
            self._keys.remove(old)
        held = self._clients[client]
        del held[key]
        if not held:
            del self._clients[client]
            self._broken.pop(client, None)

    def _mend(self, client: str) -> None:
        """A client whose connection had broken speaks again under its old name."""
        del self._broken[client]
        for entry in self.of_client(client):
            if entry.lost:
                self._set(client, entry.key, entry.value, lost=False)
