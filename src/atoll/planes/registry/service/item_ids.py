"""Numbers for items: unique in a cluster, small, never used twice.

Rule: a node takes a block of them from the store at a time, under a guard, and hands them out from memory; what it has
not handed out when it ends is lost, which costs nothing.
"""

from __future__ import annotations

from atoll.errors import AtollError, Code
from atoll.runtime import loop
from atoll.store.api import RESERVED_PREFIX, Compare, Put, Range, Relation, Store, Target

PLACE = RESERVED_PREFIX + b"registry/config-ids"
BLOCK = 1_000
ATTEMPTS_MAX = 20


class ItemIds:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._next = 0
        self._end = 0
        self._lock = loop.Lock()

    async def next(self) -> int:
        """Raises what the store says, at most once in ``BLOCK`` times."""
        async with self._lock:
            if self._next == self._end:
                await self._take_block()
            self._next += 1
            return self._next

    async def _take_block(self) -> None:
        for _ in range(ATTEMPTS_MAX):
            found = (await self._store.range(Range(PLACE))).kvs
            taken, revision = (int(found[0].value), found[0].mod_revision) if found else (0, 0)
            guard = Compare(PLACE, Target.MOD, Relation.EQUAL, revision)
            try:
                await self._store.commit([guard], [Put(PLACE, b"%d" % (taken + BLOCK))])
            except AtollError as error:
                if error.code is Code.CONFLICT:
                    continue
                raise
            self._next, self._end = taken, taken + BLOCK
            return
        raise AtollError(Code.CONFLICT, "other nodes take all numbers for items; repeat", retry_after_s=0.5)
