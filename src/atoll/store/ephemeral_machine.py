"""The ephemeral tables as a machine without I/O: acts of clients and messages of peers in, messages and changes out.

Rule: every call is given the time, on the boot clock; what is to be sent is asked for by ``next_message`` when there
is room to send it. Nothing here depends on anything but the calls and their order, so a seed replays.

Theory: available before consistent. Each run of a node (an origin) writes its own entries under its own versions and
pushes them to all others; every second it says how far it is with everybody's, every ``digest_interval_s`` with a
digest, and whoever lacks something asks whoever has it, so that what a broken link lost arrives by another way.

Doubt: the work grows with the square of the number of nodes; it is meant for tens, not hundreds.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final

import msgspec

from atoll.store.ephemeral_keys import Keys
from atoll.store.ephemeral_link import Link
from atoll.store.ephemeral_origin import Origin
from atoll.store.ephemeral_own import NEVER_S, Damping, Own, Stamp
from atoll.store.ephemeral_replicas import Replica, Replicas
from atoll.wire.nodes.entry import Identity
from atoll.wire.nodes.messages import Batch, Known, Message, Status, Want

STATUS_INTERVAL_S: Final = 1.0


class Times(msgspec.Struct, frozen=True):
    """In seconds. ``claim_window_s``: for the clients of a node that is gone to come back elsewhere.
    ``silence_s_max``: after so long without a word a link counts as down. ``isolated_after_s``: without any peer and
    without the store, before this node sends its clients away.
    """

    damping: Damping = Damping()
    digest_interval_s: float = 5.0
    claim_window_s: float = 12.0
    silence_s_max: float = 3.0
    isolated_after_s: float = 5.0


class Effect(enum.Enum):
    """What the shell has to do beside sending."""

    SHED_CLIENTS = "shed_clients"


class Counts:
    """Since the start; read by metrics."""

    def __init__(self) -> None:
        self.batches_taken = 0
        self.gaps = 0  # batches before which something was missing
        self.repairs = 0  # copies whose digest differed
        self.origins_removed = 0


class Machine:
    """``who``: this run of this node."""

    def __init__(self, who: Identity, times: Times) -> None:
        self.who = who
        self.keys = Keys()
        self.counts = Counts()
        self._times = times
        self._stamp = Stamp()
        self.own = Own(who, times.damping, self.keys, self._stamp)
        self.replicas = Replicas(self.own, self.keys, self._stamp, times.claim_window_s)
        self.links: dict[Identity, Link] = {}
        self._members: Mapping[str, int] | None = None  # None: no fresh view of the store
        self._others_known = False
        self._alone_since_s: float | None = None
        self._was_shed = False
        self._effects: list[Effect] = []

    # ----------------------------------------------------------------------------------- acts of clients

    def put(self, client: str, key: bytes, value: bytes) -> None:
        self.own.put(client, key, value)
        if len(self.keys.entries(key)) > 1:
            self.replicas.claim(self.own.origin.entries[key, client])

    def delete(self, client: str, key: bytes) -> bool:
        """False: that client does not hold that key on this node."""
        return self.own.delete(client, key)

    def drop_client(self, client: str, clean: bool, now_s: float) -> None:
        self.own.drop(client, clean, now_s)

    # ------------------------------------------------------------------------------------ links and store

    def link_up(self, peer: Identity, now_s: float) -> None:
        self.links[peer] = Link(peer, now_s)
        self.replicas.expect(peer)
        self._judge(now_s)

    def link_down(self, peer: Identity, now_s: float) -> None:
        self.links.pop(peer, None)
        self._judge(now_s)

    def know_members(self, members: Mapping[str, int] | None, now_s: float) -> None:
        """The incarnations that have a record in the store, by node. None: the store is away, nobody knows."""
        self._members = members
        if members is not None:
            self._others_known = any(node != self.who.node for node in members)
        self._judge(now_s)

    def receive(self, peer: Identity, message: Message, now_s: float) -> None:
        link = self.links.get(peer)
        if link is None:
            return
        link.heard_s = now_s
        if isinstance(message, Status):
            self._take_status(link, message, now_s)
        elif isinstance(message, Batch):
            self.counts.batches_taken += 1
            if not self.replicas.take(message, now_s):
                self.counts.gaps += 1
                link.want(message.who, self.replicas.all[message.who].holds_at())
        elif isinstance(message, Want):
            link.take_want(message)

    def _take_status(self, link: Link, status: Status, now_s: float) -> None:
        self._stamp.seen(status.stamp)
        link.take_status(status, self.own.origin)
        for known in status.origins:
            self.replicas.expect(known.who)
        self._judge(now_s)
        for known in status.origins:
            replica = self.replicas.all.get(known.who)
            if replica is not None:
                if known.gone_for_s >= 0:
                    self.replicas.gone_for(known.who, known.gone_for_s, now_s)
                self._compare(link, known, replica)

    def _compare(self, link: Link, known: Known, replica: Replica) -> None:
        """Ask ``link`` for what it has and we have not. The origin itself is the best source, and sends unasked."""
        is_origin = known.who == link.peer
        if known.who in self.links and not is_origin:
            return
        if known.version > replica.holds_at():
            if not is_origin:
                link.want(known.who, replica.holds_at())
        elif known.digest and known.version == replica.origin.version and replica.is_whole:
            is_source = is_origin or link.peer.node < self.who.node
            if is_source and replica.origin.digest() != known.digest:
                self.counts.repairs += 1
                link.want(known.who, 0)

    # ------------------------------------------------------------------------------------------ sending

    def next_message(self, peer: Identity, now_s: float) -> Message | None:
        """What to say to ``peer`` now; None: nothing for the moment."""
        link = self.links.get(peer)
        if link is None:
            return None
        if link.status_due_s <= now_s:
            return self._status(link, now_s)
        return link.next_want() or link.next_batch(self.own.origin, self._copy)

    def _copy(self, who: Identity) -> Origin | None:
        """What may be handed on of another origin."""
        replica = self.replicas.all.get(who)
        return replica.origin if replica is not None and replica.is_whole else None

    def saying_due_s(self, peer: Identity) -> float:
        """When there is something to say to ``peer`` even if nothing happens."""
        link = self.links.get(peer)
        return NEVER_S if link is None else link.status_due_s

    def _status(self, link: Link, now_s: float) -> Status:
        link.status_due_s = now_s + STATUS_INTERVAL_S
        with_digest = link.digest_due_s <= now_s
        if with_digest:
            link.digest_due_s = now_s + self._times.digest_interval_s
        own = self.own.origin
        known = [Known(self.who, own.version, own.digest() if with_digest else b"", hears=True)]
        for who, replica in self.replicas.all.items():
            digest = replica.origin.digest() if with_digest and replica.is_whole else b""
            gone_for_s = -1.0 if replica.gone_since_s is None else now_s - replica.gone_since_s
            known.append(Known(who, replica.holds_at(), digest, who in self.links, gone_for_s))
        return Status(self._stamp.newest, tuple(known))

    # --------------------------------------------------------------------------------------------- time

    def due_s(self) -> float:
        """When ``tick`` has to be called next. What is to be said has its own time: ``saying_due_s``."""
        due_s = min(self.own.due_s(), self.replicas.due_s())
        for link in self.links.values():
            due_s = min(due_s, link.heard_s + self._times.silence_s_max)
        if self._alone_since_s is not None and not self._was_shed:
            due_s = min(due_s, self._alone_since_s + self._times.isolated_after_s)
        return due_s

    def tick(self, now_s: float) -> None:
        self.own.tick(now_s)
        if self.replicas.due_s() <= now_s:
            self._judge(now_s)
        is_long = (
            self._alone_since_s is not None and now_s - self._alone_since_s >= self._times.isolated_after_s
        )
        if is_long and not self._was_shed:
            self._was_shed = True
            self._effects.append(Effect.SHED_CLIENTS)

    def silent(self, now_s: float) -> list[Identity]:
        """The peers whose links are to be ended: nothing was heard over them for too long."""
        silence_s_max = self._times.silence_s_max
        return [link.peer for link in self.links.values() if now_s - link.heard_s >= silence_s_max]

    def take_effects(self) -> list[Effect]:
        effects, self._effects = self._effects, []
        return effects

    def is_synced(self) -> bool:
        """Every member's table has arrived as it was when its link began."""
        if self._members is None:
            return False
        others = [Identity(*item) for item in self._members.items() if item[0] != self.who.node]
        return all(who in self.links and self._has_first(self.links[who]) for who in others)

    def _has_first(self, link: Link) -> bool:
        for known in link.first or ():
            replica = self.replicas.all.get(known.who)
            if replica is not None and replica.origin.version < known.version:
                return False
        return link.first is not None

    def _judge(self, now_s: float) -> None:
        heard: dict[Identity, None] = dict.fromkeys(self.links)
        for link in self.links.values():
            heard.update((known.who, None) for known in link.known.values() if known.hears)
        before = len(self.replicas.all)
        self.replicas.judge(heard, self._members, now_s)
        self.counts.origins_removed += before - len(self.replicas.all)
        is_alone = self._others_known and not self.links and self._members is None
        if not is_alone:
            self._alone_since_s, self._was_shed = None, False
        elif self._alone_since_s is None:
            self._alone_since_s = now_s


__all__ = ["NEVER_S", "Counts", "Damping", "Effect", "Machine", "Times"]
