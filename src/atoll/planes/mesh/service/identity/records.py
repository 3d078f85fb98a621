"""The authority's records, kept up with the store: the one place that reads and writes them.

Rule: the watch is the only way into the view. While the store is away the view stands still and goes on being used: who was
allowed stays allowed, who is trusted stays trusted. A record of a newer release is left as it was known before, and logged.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from atoll.errors import AtollError, Code
from atoll.planes.mesh.model import authority_keys as keys
from atoll.planes.mesh.model.authority_decisions import Decided
from atoll.planes.mesh.model.authority_view import AuthorityView
from atoll.resources.actor import Actor
from atoll.runtime import loop
from atoll.runtime.logs import Log
from atoll.store.api import KeyValue, Range, Store, Watch, prefix_end
from atoll.store.audit import AuditWriter, hash_of

ATTEMPTS_MAX = 20
PAGE_KEYS = 500
RETRY_S = 0.5
SEEN_WITHIN_S = 1.0


class Records:
    """``changed`` is called after each revision that touched something, on the loop."""

    def __init__(self, store: Store, audit: AuditWriter) -> None:
        self.view = AuthorityView()
        self.store = store
        self.audit = audit
        self.changed: Callable[[], None] = _nobody
        self._log = Log("authority")
        self._moved = loop.Event()

    async def load(self) -> None:
        """Read everything, once. Raises what the store says."""
        found: list[KeyValue] = []
        begin, end, revision = keys.AUTHORITY, prefix_end(keys.AUTHORITY), 0
        while True:
            page = await self.store.range(Range(begin, end, revision=revision, limit=PAGE_KEYS))
            revision = revision or page.revision
            found += page.kvs
            if not page.more:
                break
            begin = page.kvs[-1].key + b"\0"
        present = {kv.key for kv in found}
        gone = [KeyValue(key, mod_revision=revision) for key in self.view.places() if key not in present]
        self._apply([*gone, *found], revision)

    async def follow(self) -> None:
        """Keep up until cancelled. After ``load``."""
        while True:
            try:
                await self._follow_once()
            except AtollError as error:
                self._log.warning("the watch of the authority ended", error=error.message)
            await loop.sleep(RETRY_S)
            try:
                await self.load()
            except AtollError as error:
                self._log.warning("the authority is not read again yet", error=error.message)

    async def commit(self, actor: Actor, decide: Callable[[AuthorityView], Decided]) -> Decided:
        """Decide on the view, write under its guards, decide again when they failed; then wait for the view to show it.
        Raises what ``decide`` raises, what the store says, and CONFLICT when others always were faster.
        """
        for _ in range(ATTEMPTS_MAX):
            seen = self.view.revision
            decided = decide(self.view)
            if not decided.operations:
                return decided
            entry = self.audit.entry(
                actor, decided.action, decided.subject, hash_of(decided.before), hash_of(decided.after)
            )
            try:
                done = await self.store.commit(decided.guards, [*decided.operations, entry])
            except AtollError as error:
                if error.code is not Code.CONFLICT:
                    raise
                await self.at(seen + 1)  # what it lost against is on its way to the view
                continue
            await self.at(done.revision)
            return decided
        text = "the mesh's authority is changed by others all the time; repeat"
        raise AtollError(Code.CONFLICT, text, retry_after_s=0.5)

    async def at(self, revision: int, within_s: float = SEEN_WITHIN_S) -> bool:
        """Wait until the view is at ``revision``; False when it is not ``within_s``."""
        try:
            async with loop.bounded(within_s, "catching up with the store"):
                while self.view.revision < revision:
                    self._moved.clear()
                    await self._moved.wait()
        except AtollError:
            return False
        return True

    async def _follow_once(self) -> None:
        watch = Watch(keys.AUTHORITY, prefix_end(keys.AUTHORITY), self.view.revision + 1)
        batches = self.store.watch(watch)
        async with contextlib.aclosing(batches):
            async for batch in batches:
                self._apply([event.kv for event in batch.events], batch.revision)

    def _apply(self, kvs: list[KeyValue], revision: int) -> None:
        for kv in kvs:
            try:
                self.view.apply(kv)
            except AtollError as error:
                self._log.error(
                    "a record of the authority cannot be read", key=repr(kv.key), why=error.message
                )
        self.view.revision = max(self.view.revision, revision)
        self._moved.set()
        if kvs:
            self.changed()


def _nobody() -> None:
    return None
