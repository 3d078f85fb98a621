"""A view of one range kept up with the store: read whole once, followed by a watch, read whole again after a gap.

Rule: the watch is the only way in. While the store is away nothing is applied and what was seen stands. ``apply`` is told
revisions in order, and of each that was seen, although nothing in the range changed in it.

    following = Following(store, PREFIX, view_changed, "mesh")
    await following.load()                      # raises what the store says
    tasks.start("...", following.follow())
    await following.at(result.revision)         # read your own write
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypeAlias

from atoll.errors import AtollError
from atoll.runtime import loop
from atoll.runtime.logs import Log
from atoll.store.api import KeyValue, Range, Store, Watch, prefix_end

PAGE_KEYS = 500
RETRY_S = 0.5

Apply: TypeAlias = Callable[[Sequence[KeyValue], int, bool], Awaitable[None] | None]
"""Keys (``version`` 0: deleted), their revision, and whether they are all that there is. What it awaits is waited for."""


class Following:
    """``revision``: up to which everything was applied."""

    def __init__(self, store: Store, prefix: bytes, apply: Apply, log_name: str) -> None:
        self.revision = 0
        self._store = store
        self._prefix = prefix
        self._apply_to_view = apply
        self._log = Log(log_name)
        self._is_whole = False
        self._waiting: list[tuple[int, loop.Future[None]]] = []

    async def load(self) -> None:
        """Read everything, once. Raises what the store says."""
        found, revision = await self._everything()
        await self._apply(found, revision, whole=True)
        self._is_whole = True

    async def follow(self) -> None:
        """Keep up until cancelled, after ``load`` or without; a store that is away is tried again and again."""
        while True:
            try:
                if not self._is_whole:
                    await self.load()
                await self._follow_once()
            except AtollError as error:
                what = self._prefix.decode(errors="replace").lstrip("\0")
                self._log.warning("a watch of the store ended", what=what, error=error.message)
            self._is_whole = False
            await loop.sleep(RETRY_S)

    async def at(self, revision: int, within_s: float = 1.0) -> bool:
        """Wait until everything up to ``revision`` was applied; False when it was not ``within_s``."""
        if self.revision >= revision:
            return True
        reached = loop.new_future()
        self._waiting.append((revision, reached))
        try:
            async with loop.bounded(within_s, "catching up with the store"):
                await reached
        except AtollError:
            return False
        finally:
            self._waiting = [each for each in self._waiting if each[1] is not reached]
        return True

    async def _follow_once(self) -> None:
        batches = self._store.watch(Watch(self._prefix, prefix_end(self._prefix), self.revision + 1))
        has_begun = False
        async with contextlib.aclosing(batches):
            async for batch in batches:
                # The first batch says when the watch was made; what happened before that may still be on its way.
                if has_begun or batch.events:
                    await self._apply([event.kv for event in batch.events], batch.revision, whole=False)
                has_begun = True

    async def _everything(self) -> tuple[list[KeyValue], int]:
        """All keys, at one revision."""
        found: list[KeyValue] = []
        begin, end, revision = self._prefix, prefix_end(self._prefix), 0
        while True:
            page = await self._store.range(Range(begin, end, revision=revision, limit=PAGE_KEYS))
            revision = revision or page.revision
            found += page.kvs
            if not page.more:
                return found, revision
            begin = page.kvs[-1].key + b"\0"

    async def _apply(self, kvs: Sequence[KeyValue], revision: int, *, whole: bool) -> None:
        pending = self._apply_to_view(kvs, revision, whole)
        if pending is not None:
            await pending
        self.revision = max(self.revision, revision)
        for wanted, reached in self._waiting:
            if wanted <= self.revision and not reached.done():
                reached.set_result(None)


def with_deletions(known: Iterable[bytes], found: Sequence[KeyValue], revision: int) -> list[KeyValue]:
    """``found``, which is everything, after the deletions of what was ``known`` and is not in it."""
    present = {kv.key for kv in found}
    return [*(KeyValue(key, mod_revision=revision) for key in known if key not in present), *found]
