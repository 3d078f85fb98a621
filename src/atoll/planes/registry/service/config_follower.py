"""The view of configuration kept up with the store.

Rule: the watch is the only way into the view, and a content that lies in chunks is fetched before its record enters the
view, so that what the view has can be served whatever becomes of the store. While the store is away the view stands
still; it is as good as its last revision. A record of a newer format, or one whose chunks are lost, is left as it was
known before, and logged: one unreadable item must not take the others away.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec

from atoll.errors import AtollError, Code, Reason
from atoll.planes.registry.model import config_keys as keys
from atoll.planes.registry.model.config_view import ConfigView, Held, Touched, read
from atoll.resources.config_item import Versioned
from atoll.store.api import KeyValue, Range, Store
from atoll.store.following import Following, with_deletions

V = TypeVar("V", bound=Versioned)

OnChange = Callable[[Sequence[Touched]], None]


class ConfigFollower(Following):
    """``on_change`` hears, after each revision, of the items that were written in it."""

    def __init__(self, store: Store, view: ConfigView, on_change: OnChange) -> None:
        super().__init__(store, keys.CONFIGS, self._take, "config")
        self.view = view
        self._on_change = on_change

    async def _take(self, kvs: Sequence[KeyValue], revision: int, whole: bool) -> None:
        if whole:
            kvs = with_deletions(self.view.places(), kvs, revision)
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

    async def _read(self, kv: KeyValue) -> Held:
        held = read(kv)
        return await with_content(self._store, held) if isinstance(held, Versioned) else held


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
