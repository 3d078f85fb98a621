"""The view of policy documents kept up with the store.

Rule: the watch is the only way into the view. While the store is away the view stands still, as good as its last revision.
A document of a newer release is left as it was known before, and logged: one must not take the others away.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

from atoll.errors import AtollError
from atoll.planes.mesh.model import document_view
from atoll.planes.mesh.model.document_view import DocumentView
from atoll.runtime import loop
from atoll.runtime.logs import Log
from atoll.store.api import KeyValue, Range, Store, Watch, prefix_end

PAGE_KEYS = 500
RETRY_S = 0.5


class DocumentFollower:
    """``on_change`` hears of each view whose policies differ from those of the one before."""

    def __init__(self, store: Store, view: DocumentView) -> None:
        self.view = view
        self.on_change: list[Callable[[DocumentView], None]] = []
        self._store = store
        self._log = Log("mesh documents")
        self._waiting: list[tuple[int, loop.Future[None]]] = []

    async def load(self) -> None:
        """Read everything, once. Raises what the store says."""
        found, revision = await self._everything()
        present = {kv.key for kv in found}
        known = [document_view.place_of(key) for key in self.view.held]
        gone = [KeyValue(place, mod_revision=revision) for place in known if place not in present]
        self._apply([*gone, *found], revision)

    async def follow(self) -> None:
        """Keep up until cancelled. After ``load``."""
        while True:
            try:
                await self._follow_once()
            except AtollError as error:
                self._log.warning("the watch of policy documents ended", error=error.message)
            await loop.sleep(RETRY_S)
            try:
                await self.load()
            except AtollError as error:
                self._log.warning("policy documents not read again yet", error=error.message)

    async def at(self, revision: int, within_s: float = 1.0) -> bool:
        """Wait until the view is at ``revision``; False when it is not ``within_s``."""
        if self.view.revision >= revision:
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
        place = document_view.PREFIX
        batches = self._store.watch(Watch(place, prefix_end(place), self.view.revision + 1))
        async with contextlib.aclosing(batches):
            async for batch in batches:
                self._apply([event.kv for event in batch.events], batch.revision)

    async def _everything(self) -> tuple[list[KeyValue], int]:
        """All records, at one revision."""
        found: list[KeyValue] = []
        begin, end, revision = document_view.PREFIX, prefix_end(document_view.PREFIX), 0
        while True:
            page = await self._store.range(Range(begin, end, revision=revision, limit=PAGE_KEYS))
            revision = revision or page.revision
            found += page.kvs
            if not page.more:
                return found, revision
            begin = page.kvs[-1].key + b"\0"

    def _apply(self, kvs: Sequence[KeyValue], revision: int) -> None:
        before, self.view = self.view, self.view.after(kvs, revision)
        for name, why in self.view.unreadable.items():
            if name not in before.unreadable:
                self._log.error("a policy document cannot be read", document=name, why=why)
        if self.view.policies is not before.policies:
            for hear in self.on_change:
                hear(self.view)
        for wanted, reached in self._waiting:
            if wanted <= self.view.revision and not reached.done():
                reached.set_result(None)
