"""What this node holds of the other origins, and when it gives one up.

Rule: an origin is given up only when a fresh view of the ordered store has no record of it and nobody who can be
reached hears it, or when a newer run of its node is there. What it held is then kept for ``claim_window_s``, for its
clients to come back on other nodes, and what nobody has claimed is removed. While the store is away nobody is given
up anew.

Theory: a key that was taken over while its old holder could not be reached is cut out of the copy of that holder. The
copy is then no longer what its version says, so it is taken anew as soon as the origin is heard again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from atoll.store.ephemeral_keys import Keys
from atoll.store.ephemeral_origin import Origin
from atoll.store.ephemeral_own import NEVER_S, Own, Stamp
from atoll.wire.nodes.entry import Entry, Grave, Identity
from atoll.wire.nodes.messages import Batch

REMOVED_REMEMBERED_S: Final = 3600.0
REMOVED_REMEMBERED_MAX: Final = 1000


class Replica:
    """A copy of one origin. ``gone_since_s`` None: not given up. ``cut``: see the theory."""

    def __init__(self, who: Identity) -> None:
        self.origin = Origin(who)
        self.is_heard = False
        self.gone_since_s: float | None = None
        self.is_cut = False
        self.naming: dict[tuple[bytes, str], None] | None = (
            None  # of a chain from 0: what it has named so far
        )
        self.chain_to = 0

    @property
    def is_whole(self) -> bool:
        """It is what its version says, so it may be handed on."""
        return self.naming is None and not self.is_cut

    def holds_at(self) -> int:
        """The version from which on changes are missing."""
        return self.origin.version if self.naming is None else self.chain_to


class Replicas:
    """All origins but this node's own."""

    def __init__(self, own: Own, keys: Keys, stamp: Stamp, claim_window_s: float) -> None:
        self._own = own.origin
        self._yield = own.heard_of
        self._keys = keys
        self._stamp = stamp
        self._claim_window_s = claim_window_s
        self._removed: dict[Identity, float] = {}  # given up for good, since when
        self.all: dict[Identity, Replica] = {}

    # ------------------------------------------------------------------------------------------ taking in

    def expect(self, who: Identity) -> Replica | None:
        """The copy of ``who``, begun if need be; None: it is this node's own run, or was removed for good."""
        is_own = who.node == self._own.who.node and who >= self._own.who
        if is_own or who in self._removed:
            return None
        return self.all.setdefault(who, Replica(who))

    def take(self, batch: Batch, now_s: float) -> bool:
        """Take ``batch`` in. False: something before it is missing."""
        replica = self.all.get(batch.who)
        if replica is None:
            return True
        if not batch.since:
            replica.naming = {}
        elif batch.since > replica.holds_at() or (
            replica.naming is not None and batch.since < replica.chain_to
        ):
            return False
        changes: list[Entry | Grave] = [*batch.entries, *batch.graves]
        if batch.graves and batch.entries:
            changes.sort(key=_version)
        for change in changes:
            self._stamp.seen(change.stamp)
            if replica.naming is not None:
                replica.naming[change.key, change.client] = None
            if replica.origin.newest(change.key, change.client) < change.version:
                self._take_new(replica, change, now_s)
        self._finish(replica, batch)
        return True

    def _take_new(self, replica: Replica, change: Entry | Grave, now_s: float) -> None:
        if isinstance(change, Entry):
            self._keys.set(change, replica.origin.set(change))
        elif old := replica.origin.bury(change):
            self._keys.remove(old)
        if replica.is_heard:
            self.claim(change)
            self._yield(change, now_s)

    def _finish(self, replica: Replica, batch: Batch) -> None:
        origin, naming = replica.origin, replica.naming
        if naming is None:
            origin.version = max(origin.version, batch.to)
            return
        replica.chain_to = batch.to
        if batch.complete:
            for name, entry in list(origin.entries.items()):
                if name not in naming and entry.version <= batch.to:
                    self._keys.remove(origin.entries.pop(name))
            origin.begin_at(batch.to)
            replica.naming = None

    # -------------------------------------------------------------------------------------------- claims

    def claim(self, change: Entry | Grave) -> None:
        """A client of a node that can be reached holds ``change.key``, or did: nobody whom nobody hears does."""
        if isinstance(change, Entry) and change.lost:
            return
        for entry in self._keys.entries(change.key):
            if entry.origin == self._own.who.node and entry is self._own.entries.get(
                (entry.key, entry.client)
            ):
                continue
            if isinstance(change, Grave) and entry.stamp > change.stamp:
                continue
            for replica in self.all.values():
                if not replica.is_heard and replica.origin.entries.get((entry.key, entry.client)) is entry:
                    self._cut(replica, entry)

    def _cut(self, replica: Replica, entry: Entry) -> None:
        del replica.origin.entries[entry.key, entry.client]
        self._keys.remove(entry)
        replica.is_cut = True

    def _cut_claimed(self, replica: Replica) -> None:
        """All that was claimed or given back by others before the origin was known not to be heard."""
        heard = [self._own, *(other.origin for other in self.all.values() if other.is_heard)]
        ended: dict[bytes, int] = {}
        for origin in heard:
            for grave in origin.graves.values():
                ended[grave.key] = max(grave.stamp, ended.get(grave.key, 0))
        nodes = {origin.who.node for origin in heard}
        for entry in list(replica.origin.entries.values()):
            held = any(
                other.stamp > entry.stamp and not other.lost and other.origin in nodes
                for other in self._keys.entries(entry.key)
            )
            if held or ended.get(entry.key, 0) > entry.stamp:
                self._cut(replica, entry)

    # ---------------------------------------------------------------------------------------- giving up

    def judge(self, heard: Mapping[Identity, None], members: Mapping[str, int] | None, now_s: float) -> None:
        """``heard``: the runs to which somebody has a link. ``members``: the runs that have a record in the ordered
        store, by node; None: the view is not fresh.
        """
        newest: dict[str, Identity] = {self._own.who.node: self._own.who}
        for who in heard:
            newest[who.node] = max(who, newest.get(who.node, who))
        for who, replica in list(self.all.items()):
            self._hear(replica, who in heard)
            is_member = members is not None and members.get(who.node) == who.incarnation
            if newest.get(who.node, who) > who or not (members is None or is_member or replica.is_heard):
                replica.gone_since_s = now_s if replica.gone_since_s is None else replica.gone_since_s
            elif is_member or replica.is_heard:
                replica.gone_since_s = None
            if replica.gone_since_s is not None and now_s - replica.gone_since_s >= self._claim_window_s:
                self._remove(replica, now_s)
        for who, since_s in list(self._removed.items()):
            is_member = members is not None and members.get(who.node) == who.incarnation
            if who in heard or is_member or now_s - since_s > REMOVED_REMEMBERED_S:
                del self._removed[who]  # its run is there after all, or nobody remembers it

    def gone_for(self, who: Identity, gone_for_s: float, now_s: float) -> None:
        """Somebody else has given ``who`` up already, that long ago."""
        replica = self.all.get(who)
        if replica is not None and replica.gone_since_s is not None:
            replica.gone_since_s = min(replica.gone_since_s, now_s - gone_for_s)

    def due_s(self) -> float:
        since = [each.gone_since_s for each in self.all.values() if each.gone_since_s is not None]
        return min(since) + self._claim_window_s if since else NEVER_S

    def _hear(self, replica: Replica, is_heard: bool) -> None:
        if is_heard and not replica.is_heard and replica.is_cut:
            replica.origin.version = 0
            replica.naming = None
            replica.is_cut = False
        was_heard, replica.is_heard = replica.is_heard, is_heard
        if was_heard and not is_heard:
            self._cut_claimed(replica)

    def _remove(self, replica: Replica, now_s: float) -> None:
        for entry in replica.origin.entries.values():
            self._keys.remove(entry)
        del self.all[replica.origin.who]
        self._removed[replica.origin.who] = now_s
        if len(self._removed) > REMOVED_REMEMBERED_MAX:
            del self._removed[next(iter(self._removed))]


def _version(change: Entry | Grave) -> int:
    return change.version
