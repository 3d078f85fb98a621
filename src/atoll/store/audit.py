"""The audit log in the store: entries as part of the changes they tell of, sealed a moment later by the leader.

One rule: an entry is one more put of the transaction that makes the change, so that there is no change without its entry
and no entry without its change. Sealing moves entries from ``new/`` into blocks, in the store's order, in transactions
guarded by the previous seal and by the leader's term: two sealers cannot both extend the chain.

The doubt: an entry can be removed unseen during the (at most one) second before it is sealed.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

import msgspec

from atoll.errors import AtollError, Reason
from atoll.resources import audit as nouns
from atoll.resources.actor import Actor
from atoll.resources.audit import Block, Broken, Entry, Head, Numbered, Verdict
from atoll.runtime import loop
from atoll.runtime.clock import Clock
from atoll.runtime.logs import Log
from atoll.runtime.rng import Rng
from atoll.store.api import (
    RESERVED_PREFIX,
    Compare,
    Delete,
    Put,
    Range,
    RangeResult,
    Relation,
    SortOrder,
    SortTarget,
    Store,
    Target,
    Txn,
    Watch,
    prefix_end,
)
from atoll.store.term import Term

PREFIX = RESERVED_PREFIX + b"audit/"
NEW = PREFIX + b"new/"
BLOCKS = PREFIX + b"block/"
HEAD = PREFIX + b"head"
BASE = PREFIX + b"base"

ENTRIES_OF_BLOCK_MAX = 100  # each is one delete of a transaction with at most 128 operations
BLOCKS_READ_MAX = 50  # at a time
SEAL_GAP_S = 0.25  # the shortest time between two seals: what came meanwhile is one block
SEAL_RETRY_S = 1.0
HEAD_LOGGED_EVERY_S = 3_600.0


def hash_of(value: bytes | None) -> str:
    """What stands for ``value`` in an entry; empty for nothing."""
    return "" if value is None else hashlib.sha256(value).hexdigest()


def block_key(number: int) -> bytes:
    return BLOCKS + b"%016x" % number


class AuditWriter:
    """Makes entries. ``node`` is the id of this node, for actors that do not say."""

    def __init__(self, clock: Clock, rng: Rng, node: str = "") -> None:
        self._clock = clock
        self._rng = rng
        self._node = node

    def entry(self, actor: Actor, action: str, subject: str, before_hash: str, after_hash: str) -> Put:
        """To be put in the transaction of the change. ``action`` as ``config.publish``; hashes by ``hash_of``."""
        at_s = self._clock.wall_s()
        name = f"{int(at_s * 1000):012x}-{self._rng.getrandbits(64):016x}"
        texts = (actor.user, actor.address, actor.via, actor.node or self._node, action, subject)
        user, address, via, node, action, subject = (_cut(text) for text in texts)
        entry = Entry(name, at_s, user, address, via, node, action, subject, before_hash, after_hash)
        return Put(NEW + name.encode(), nouns.encode(entry))


class Sealer:
    """Leader-only: ``run`` seals what is new, each time something is, until it is cancelled."""

    name = "seal the audit log"

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._log = Log("audit")
        self._logged_s = float("-inf")

    async def run(self, term: Term) -> None:
        while term.holds():
            try:
                await self._follow(term)
            except AtollError as error:
                self._log.warning("not sealed", error=error.message)
                await loop.sleep(SEAL_RETRY_S)

    async def _follow(self, term: Term) -> None:
        async with aclosing(self._store.watch(Watch(NEW, prefix_end(NEW), no_delete=True))) as batches:
            async for (
                _
            ) in batches:  # the first one says that the watch stands: what was there before is sealed then
                while await self.seal(term):
                    await loop.sleep(SEAL_GAP_S)
                await loop.sleep(SEAL_GAP_S)

    async def seal(self, term: Term) -> int:
        """Seal one block. Returns how many entries are in it, 0 where there was none. Raises CONFLICT."""
        found = await self._store.txn(Txn((), (_range_new(ENTRIES_OF_BLOCK_MAX), Range(HEAD))))
        new, heads = (each for each in found.results if isinstance(each, RangeResult))
        if not new.kvs:
            return 0
        head = nouns.decode(Head, heads.kvs[0].value) if heads.kvs else Head()
        revision = heads.kvs[0].mod_revision if heads.kvs else 0
        block, after = nouns.seal(head, tuple(each.value.decode() for each in new.kvs))
        term.check()
        guards = (
            *term.guards(),
            Compare(HEAD, Target.MOD, Relation.EQUAL, revision),
            Compare(block_key(block.number), Target.CREATE, Relation.EQUAL, 0),
        )
        deletes = [Delete(each.key) for each in new.kvs]
        puts = [Put(block_key(block.number), nouns.encode(block)), Put(HEAD, nouns.encode(after))]
        await self._store.commit(guards, [*puts, *deletes])
        self._note_head(after)
        return len(new.kvs)

    def _note_head(self, head: Head) -> None:
        """A link outside the store: with it a chain that was computed anew is told from the old one."""
        if self._clock.now_s() - self._logged_s >= HEAD_LOGGED_EVERY_S:
            self._logged_s = self._clock.now_s()
            self._log.info("sealed", entries=head.entries, link=head.link)


class AuditLog:
    """Reading the log: the newest entries first, and the check of the whole chain."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def head(self) -> Head:
        return await self._head(HEAD)

    async def base(self) -> Head:
        return await self._head(BASE)

    async def newest(
        self, wanted: Callable[[Entry], bool], count_max: int, before: int = 0
    ) -> tuple[list[Numbered], int]:
        """At most ``count_max`` entries that are ``wanted``, newest first, only those with a number below ``before``
        (0: all, what is not sealed yet included); and from where to go on, 0 at the end.
        """
        found: list[Numbered] = []
        if not before:
            unsealed = await self._store.range(_range_new(0))
            entries = [nouns.decode(Entry, each.value) for each in reversed(unsealed.kvs)]
            found = [Numbered(0, entry) for entry in entries if wanted(entry)]
        base, head = await self.base(), await self.head()
        number = head.blocks
        while number > base.blocks:
            low = max(base.blocks + 1, number - BLOCKS_READ_MAX + 1)
            for block in reversed(await self._blocks(low, number)):
                for offset in reversed(range(len(block.entries))):
                    at = block.first + offset
                    if before and at >= before:
                        continue
                    if len(found) >= count_max:
                        return found[:count_max], at + 1
                    entry = nouns.decode(Entry, block.entries[offset].entry)
                    if wanted(entry):
                        found.append(Numbered(at, entry))
            number = low - 1
        return found[:count_max], 0

    async def verify(self, anchor: Head | None = None) -> Verdict:
        """Compute the whole chain again, from the first block in the store on. ``anchor`` is an end of the chain that
        was noted elsewhere: the chain must run through it.
        """
        base, end = await self.base(), await self.head()
        unsealed = (await self._store.range(Range(NEW, prefix_end(NEW), count_only=True))).count
        head, broken = base, None
        try:
            async for block in self.blocks(base.blocks + 1, end.blocks):
                after = nouns.follow(head, block)
                broken = after if isinstance(after, Broken) else _off_anchor(block, anchor)
                if isinstance(after, Broken) or broken:
                    break
                head = after
        except AtollError as error:
            if error.reason is not Reason.CORRUPT:
                raise
            broken = Broken(head.blocks + 1, head.entries + 1, error.message)
        if broken is None:
            broken = _cut_off(head, end, anchor)
        verdict = Verdict(head.blocks, head.entries, head.link, base.entries, unsealed)
        if broken is None:
            return verdict
        return msgspec.structs.replace(
            verdict, broken_block=broken.block, broken_entry=broken.entry, problem=broken.problem
        )

    async def blocks(self, first: int, last: int) -> AsyncGenerator[Block, None]:
        """The blocks from number ``first`` to ``last``, in the order of their keys."""
        key, end = block_key(first), block_key(last + 1)
        while key < end:
            part = await self._store.range(Range(key, end, limit=BLOCKS_READ_MAX))
            for each in part.kvs:
                yield nouns.decode(Block, each.value)
            if not part.more:
                return
            key = part.kvs[-1].key + b"\0"

    async def _blocks(self, first: int, last: int) -> list[Block]:
        return [block async for block in self.blocks(first, last)]

    async def _head(self, key: bytes) -> Head:
        found = await self._store.range(Range(key))
        return nouns.decode(Head, found.kvs[0].value) if found.kvs else Head()


def _range_new(limit: int) -> Range:
    return Range(
        NEW, prefix_end(NEW), limit=limit, sort_order=SortOrder.ASCEND, sort_target=SortTarget.CREATE
    )


def _cut(text: str) -> str:
    return text[: nouns.TEXT_CHARS_MAX]


def _off_anchor(block: Block, anchor: Head | None) -> Broken | None:
    if anchor is None or not block.first <= anchor.entries < block.first + len(block.entries):
        return None
    if block.entries[anchor.entries - block.first].link == anchor.link:
        return None
    return Broken(
        block.number, block.first, "the chain does not run through the link that was noted elsewhere"
    )


def _cut_off(end: Head, head: Head, anchor: Head | None) -> Broken | None:
    """What is wrong where the blocks end."""
    if end.link != head.link or end.entries != head.entries:
        problem = f"the log ends here, but {head.entries} entries were sealed"
        return Broken(end.blocks + 1, end.entries + 1, problem)
    if anchor is not None and anchor.entries > end.entries:
        problem = f"the log ends here, but a link of entry {anchor.entries} was noted elsewhere"
        return Broken(end.blocks + 1, end.entries + 1, problem)
    return None
