"""The ephemeral table as a machine without I/O: who holds what, and for how long after its connection broke.

Rule: a registration is an act of one node on its own entries, done at once. A connection that broke without a word
keeps its entries, unchanged for ``unhealthy_after_s``, marked as lost until ``removed_after_s``; whoever registers the
same key meanwhile, on whichever node, takes it over, and if that was quick nobody sees a change.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import msgspec

from atoll.store.ephemeral_keys import Keys
from atoll.store.ephemeral_origin import Grave, Identity, Origin
from atoll.wire.nodes.entry import Entry

NEVER_S: Final = float("inf")


class Damping(msgspec.Struct, frozen=True):
    """Times after a connection broke without a clean close, in seconds."""

    unhealthy_after_s: float = 0.8
    removed_after_s: float = 10.0


class Machine:
    """``now_s`` of every call is on the boot clock and never goes back."""

    def __init__(self, identity: Identity, damping: Damping) -> None:
        self.keys = Keys()
        self.own = Origin(identity)
        self._damping = damping
        self._stamp = 0
        self._clients: dict[str, dict[bytes, None]] = {}
        self._broken: dict[str, float] = {}  # client: since when
        self._to_mark: deque[tuple[float, str]] = deque()  # since when, client; stale ones are passed over
        self._to_remove: deque[tuple[float, str]] = deque()

    # -------------------------------------------------------------------------------- acts of this node

    def put(self, client: str, key: bytes, value: bytes) -> None:
        if client in self._broken:
            self._mend(client)
        self._set(client, key, value, lost=False)
        self._clients.setdefault(client, {})[key] = None
        self._take_over(key, client)

    def delete(self, client: str, key: bytes) -> bool:
        """False: that client does not hold that key."""
        if (key, client) not in self.own.entries:
            return False
        self._bury(client, key)
        return True

    def drop_client(self, client: str, clean: bool, now_s: float) -> None:
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
            if any(each.client != client and not each.lost for each in self.keys.entries(key)):
                self._bury(client, key)  # somebody has taken it over already

    def of_client(self, client: str) -> list[Entry]:
        return [self.own.entries[key, client] for key in self._clients.get(client, ())]

    # ------------------------------------------------------------------------------------------- time

    def due_s(self) -> float:
        """When ``tick`` has to be called next."""
        mark = self._to_mark[0][0] + self._damping.unhealthy_after_s if self._to_mark else NEVER_S
        remove = self._to_remove[0][0] + self._damping.removed_after_s if self._to_remove else NEVER_S
        return min(mark, remove)

    def tick(self, now_s: float) -> None:
        for client in self._ripe(self._to_mark, now_s - self._damping.unhealthy_after_s):
            for entry in self.of_client(client):
                self._set(client, entry.key, entry.value, lost=True)
        for client in self._ripe(self._to_remove, now_s - self._damping.removed_after_s):
            for key in list(self._clients[client]):
                self._bury(client, key)

    def _ripe(self, waiting: deque[tuple[float, str]], until_s: float) -> list[str]:
        """Take out the clients that broke by ``until_s`` and have not come back since."""
        ripe = []
        while waiting and waiting[0][0] <= until_s:
            since_s, client = waiting.popleft()
            if self._broken.get(client) == since_s:
                ripe.append(client)
        return ripe

    # ---------------------------------------------------------------------------------------- entries

    def _set(self, client: str, key: bytes, value: bytes, lost: bool) -> None:
        self._stamp += 1
        own = self.own
        entry = Entry(key, client, value, own.identity.node, own.version + 1, self._stamp, lost)
        self.keys.set(entry, own.set(entry))

    def _bury(self, client: str, key: bytes) -> None:
        self._stamp += 1
        old = self.own.bury(Grave(key, client, self.own.version + 1, self._stamp))
        if old is not None:
            self.keys.remove(old)
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

    def _take_over(self, key: bytes, client: str) -> None:
        """What broken clients of this node hold under ``key`` goes: somebody is there who holds it."""
        for entry in self.keys.entries(key):
            if entry.client in self._broken and entry.client != client:
                self._bury(entry.client, key)
