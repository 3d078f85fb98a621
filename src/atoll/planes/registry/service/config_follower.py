"""The view of configuration kept up with the store.

Rule: the watch is the only way into the view, and a content that lies in chunks is fetched before its record enters the
view, so that what the view has can be served whatever becomes of the store. While the store is away the view stands
still; it is as good as its last revision. A record of a newer format, or one whose chunks are lost, is left as it was
known before, and logged: one unreadable item must not take the others away.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec

from atoll.errors import AtollError, Code, Reason
from atoll.planes.registry.model import config_keys as keys
from atoll.planes.registry.model.config_view import ConfigView, Held, Touched, read
from atoll.resources.config_item import Versioned
from atoll.runtime import loop
from atoll.runtime.logs import Log
from atoll.store.api import KeyValue, Range, Store, Watch, prefix_end

PAGE_KEYS = 500
RETRY_S = 0.5

V = TypeVar("V", bound=Versioned)

OnChange = Callable[[Sequence[Touched]], None]


class ConfigFollower:
    """``on_change`` hears, after each revision, of the items that were written in it."""

    def __init__(self, store: Store, view: ConfigView, on_change: OnChange) -> None:
        self.view = view
        self._store = store
        self._on_change = on_change
        self._log = Log("config")
        self._waiting: list[tuple[int, loop.Future[None]]] = []

    async def load(self) -> None:
        """Read everything, once. Raises what the store says."""
        found, revision = await self._everything()
        present = {kv.key for kv in found}
        gone = [
            KeyValue(place, mod_revision=revision) for place in self.view.places() if place not in present
        ]
        await self._apply([*gone, *found], revision)

    async def follow(self) -> None:
        """Keep up until cancelled. After ``load``."""
        while True:
            try:
                await self._follow_once()
            except AtollError as error:
                self._log.warning("the watch of configuration ended", error=error.message)
            await loop.sleep(RETRY_S)
            try:
                await self.load()
            except AtollError as error:
                self._log.warning("configuration not read again yet", error=error.message)

    async def _follow_once(self) -> None:
        watch = Watch(keys.CONFIGS, prefix_end(keys.CONFIGS), self.view.revision + 1)
        batches = self._store.watch(watch)
        async with contextlib.aclosing(batches):
            async for batch in batches:
                await self._apply([event.kv for event in batch.events], batch.revision)

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

    # --------------------------------------------------------------------------------------- applying

    async def _apply(self, kvs: Sequence[KeyValue], revision: int) -> None:
        held: list[tuple[KeyValue, Held]] = []
        for kv in kvs:
            try:
                held.append((kv, await self._read(kv)))
            except AtollError as error:
                if error.code is not Code.INVALID:
                    raise
                self._log.error(
                    "a record of configuration cannot be read", key=repr(kv.key), why=error.message
                )
        touched = [each for kv, value in held if (each := self.view.apply(kv, value)) is not None]
        self.view.revision = max(self.view.revision, revision)
        if touched:
            self._on_change(touched)
        for wanted, reached in self._waiting:
            if wanted <= self.view.revision and not reached.done():
                reached.set_result(None)

    async def _read(self, kv: KeyValue) -> Held:
        held = read(kv)
        return await with_content(self._store, held) if isinstance(held, Versioned) else held

    async def _everything(self) -> tuple[list[KeyValue], int]:
        """All records, at one revision."""
        found: list[KeyValue] = []
        begin, end, revision = keys.CONFIGS, prefix_end(keys.CONFIGS), 0
        while True:
            page = await self._store.range(Range(begin, end, revision=revision, limit=PAGE_KEYS))
            revision = revision or page.revision
            found += page.kvs
            if not page.more:
                return found, revision
            begin = page.kvs[-1].key + b"\0"


async def with_content(store: Store, version: V) -> V:
    """``version`` with its content put together. Raises INVALID / CORRUPT when chunks of it are missing."""
    if not version.chunks:
        return version
    parts = []
    for number in range(version.chunks):
        found = (await store.range(Range(keys.chunk(version.chunks_id, number)))).kvs
        if not found:
            text = f"chunk {number} of {version.chunks} of {version.key} is not in the store"
            raise AtollError(Code.INVALID, text, reason=Reason.CORRUPT)
        parts.append(found[0].value)
    return msgspec.structs.replace(version, content=b"".join(parts).decode())
