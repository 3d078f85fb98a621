"""The directory kept up with the ordered store.

Rule: the watch is the only way in. While the store is away the directory stands still, and is as good as the last
revision that it has seen. A record that this release cannot read is left as it was known before, and logged: one
record must not take the others away.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence

from atoll.errors import AtollError
from atoll.planes.registry.model.directory import Directory
from atoll.resources.naming_keys import NAMING
from atoll.resources.service import ServiceKey
from atoll.runtime import loop
from atoll.runtime.logs import Log
from atoll.store.api import KeyValue, Range, Store, Watch, prefix_end

PAGE_KEYS = 1_000
RETRY_S = 0.5


class NamingFollower:
    """``on_change`` hears which services look different, after every revision."""

    def __init__(
        self, store: Store, directory: Directory, on_change: Callable[[Iterable[ServiceKey]], None]
    ) -> None:
        self.revision = 0
        self._store = store
        self._directory = directory
        self._on_change = on_change
        self._log = Log("naming")
        self._waiting: list[tuple[int, loop.Future[None]]] = []

    async def load(self) -> None:
        """Read everything, once. Raises what the store says."""
        found, revision = await self._everything()
        touched = dict.fromkeys(self._directory.reset_stored())
        self._apply(found, touched, revision)

    async def follow(self) -> None:
        """Keep up until cancelled. A store that is away is tried again and again."""
        while True:
            try:
                if not self.revision:
                    await self.load()
                await self._follow_once()
            except AtollError as error:
                self._log.warning("the watch of naming ended", error=error.message)
                self.revision = 0
            await loop.sleep(RETRY_S)

    async def at(self, revision: int, within_s: float = 1.0) -> bool:
        """Wait until ``revision`` has been seen; False when that did not happen ``within_s``."""
        if self.revision >= revision:
            return True
        reached = loop.new_future()
        waiting = (revision, reached)
        self._waiting.append(waiting)
        try:
            async with loop.bounded(within_s, "catching up with the store"):
                await reached
        except AtollError:
            return False
        finally:
            if waiting in self._waiting:
                self._waiting.remove(waiting)
        return True

    async def _follow_once(self) -> None:
        watch = Watch(NAMING, prefix_end(NAMING), self.revision + 1)
        batches = self._store.watch(watch)
        async with contextlib.aclosing(batches):
            async for batch in batches:
                self._apply([event.kv for event in batch.events], {}, batch.revision)

    def _apply(self, kvs: Sequence[KeyValue], touched: dict[ServiceKey, None], revision: int) -> None:
        for kv in kvs:
            try:
                touched.update(dict.fromkeys(self._directory.apply_stored(kv)))
            except AtollError as error:
                self._log.error("a record of naming cannot be read", key=repr(kv.key), why=error.message)
        self.revision = max(self.revision, revision)
        if touched:
            self._on_change(touched)
        for wanted, reached in self._waiting:
            if wanted <= self.revision and not reached.done():
                reached.set_result(None)

    async def _everything(self) -> tuple[list[KeyValue], int]:
        """All records, at one revision."""
        found: list[KeyValue] = []
        begin, end, revision = NAMING, prefix_end(NAMING), 0
        while True:
            page = await self._store.range(Range(begin, end, revision=revision, limit=PAGE_KEYS))
            revision = revision or page.revision
            found += page.kvs
            if not page.more:
                return found, revision
            begin = page.kvs[-1].key + b"\0"
