"""Who is there: one leased record a node in the ordered store, written by its node and read by all.

Rule: a node joins by writing its record and leaves by revoking its lease; there is no list that anybody edits. What is
known of the others counts only while it is fresh: each look at the store renews this node's lease and reads all records
at one revision; when a look fails, nobody knows who is a member until one succeeds. A node that dies is forgotten when
its lease ends, at most ``TTL_S`` and the store's own second later.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import aclosing

import msgspec

from atoll.errors import AtollError, Code, Reason
from atoll.runtime import loop, rng
from atoll.runtime.logs import Log
from atoll.store.api import (
    RESERVED_PREFIX,
    Compare,
    Put,
    Range,
    Relation,
    Store,
    Target,
    Watch,
    prefix_end,
)
from atoll.store.peers import Member

MEMBERS = RESERVED_PREFIX + b"nodes/member/"
CLUSTER = RESERVED_PREFIX + b"nodes/cluster"
TTL_S = 10
LOOK_EVERY_S = 2.0
LOOK_S_MAX = 2.0
LOOK_AGAIN_S = 0.5


class Membership:
    """``on_change`` hears after every look: the members by node, or None for a look that failed."""

    def __init__(
        self, store: Store, me: Member, on_change: Callable[[Mapping[str, Member] | None], None]
    ) -> None:
        self.me = me
        self.cluster = ""
        self._store = store
        self._on_change = on_change
        self._lease = 0
        self._written: Member | None = None
        self._wake = loop.Event()
        self._log = Log("membership")
        self._was_fresh = True

    async def join(self) -> None:
        """Write this node's record and look once. Raises what the store says."""
        self.cluster = await self._cluster_id()
        self._on_change(await self._look())

    def announce(self, me: Member) -> None:
        """This node is reached otherwise from now on."""
        self.me = me
        self._wake.set()

    async def run(self) -> None:
        """Look again and again, for as long as the node runs. Raises CONFLICT / IN_USE: another process is this node."""
        while True:
            fresh = await self._look_once()
            await loop.wait_event(self._wake, LOOK_EVERY_S if fresh else LOOK_AGAIN_S)
            self._wake.clear()

    async def follow(self) -> None:
        """Look as soon as a record changes; beside ``run``."""
        while True:
            try:
                watch = Watch(MEMBERS, prefix_end(MEMBERS))
                async with aclosing(self._store.watch(watch)) as batches:
                    async for _ in batches:
                        self._wake.set()
            except AtollError as error:
                self._log.info("members are not watched", why=error.message)
            await loop.sleep(LOOK_EVERY_S)

    async def leave(self, within_s: float) -> None:
        """Take the record back. A store that is away takes it back by itself."""
        if not self._lease:
            return
        try:
            async with loop.bounded(within_s, "leaving the cluster"):
                await self._store.lease_revoke(self._lease)
        except AtollError as error:
            self._log.info("this node's record ends by itself", why=error.message)

    # --------------------------------------------------------------------------------------------- inside

    async def _look_once(self) -> bool:
        try:
            async with loop.bounded(LOOK_S_MAX, "looking for members"):
                members = await self._look()
        except AtollError as error:
            if error.reason is Reason.IN_USE:
                raise
            if self._was_fresh:
                self._log.warning("who is a member is not known", why=error.message)
            self._was_fresh = False
            self._on_change(None)
            return False
        self._was_fresh = True
        self._on_change(members)
        return True

    async def _look(self) -> Mapping[str, Member]:
        if self._lease and (await self._store.lease_keep_alive(self._lease)).ttl_s <= 0:
            self._lease, self._written = 0, None
        if not self._lease:
            self._lease = (await self._store.lease_grant(TTL_S)).lease
        found = await self._store.range(Range(MEMBERS, prefix_end(MEMBERS)))
        members = {each.node: each for each in (_read(kv.value) for kv in found.kvs) if each is not None}
        mine = members.get(self.me.node)
        if mine is not None and mine.incarnation > self.me.incarnation:
            raise _taken(self.me)
        if self._written != self.me or mine != self.me:
            record = Put(MEMBERS + self.me.node.encode(), msgspec.json.encode(self.me), lease=self._lease)
            await self._store.put(record)
            self._written = self.me
        return {**members, self.me.node: self.me}

    async def _cluster_id(self) -> str:
        """The id that all nodes of one store share; drawn by the first."""
        drawn = rng.new_token(12).encode()
        try:
            await self._store.commit(
                [Compare(CLUSTER, Target.CREATE, Relation.EQUAL, 0)], [Put(CLUSTER, drawn)]
            )
        except AtollError as error:
            if error.code is not Code.CONFLICT:
                raise
        return (await self._store.range(Range(CLUSTER))).kvs[0].value.decode()


def _taken(me: Member) -> AtollError:
    text = (
        f"another process runs as node {me.node}: a data folder belongs to one node at a time, "
        "and a copy of it without its identity file to another"
    )
    return AtollError(Code.CONFLICT, text, reason=Reason.IN_USE)


def _read(value: bytes) -> Member | None:
    """None: a record of a release that writes it in a way this one cannot read."""
    try:
        return msgspec.json.decode(value, type=Member)
    except msgspec.MsgspecError:
        return None
