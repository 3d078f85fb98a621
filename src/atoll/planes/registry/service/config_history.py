"""What configuration was before: pages of history, and going back.

Rule: history is read from the store when somebody asks and kept nowhere; while the store is away there is none. Going
back is a publish like any other, of what the entry holds: it makes a new entry itself and can be undone the same way.
"""

from __future__ import annotations

from atoll.errors import AtollError, Code, Reason
from atoll.planes.registry.model import config_decisions as decisions
from atoll.planes.registry.model import config_keys as keys
from atoll.planes.registry.model.config_decisions import Content, Decided, Stamp
from atoll.planes.registry.model.config_view import ConfigView
from atoll.planes.registry.policy.config_search import page_bounds
from atoll.planes.registry.service.config_follower import with_content
from atoll.planes.registry.service.config_writes import ConfigWriter
from atoll.resources.actor import Actor
from atoll.resources.config_item import ConfigKey, HistoryEntry
from atoll.resources.config_views import Details, HistoryPage, Published
from atoll.resources.records import decode
from atoll.runtime import loop
from atoll.store.api import Compare, KeyValue, Range, Relation, Store, Target, prefix_end


class ConfigHistory:
    def __init__(self, view: ConfigView, writer: ConfigWriter) -> None:
        self._view = view
        self._writer = writer
        self._store: Store = writer.store

    async def page(self, key: ConfigKey, page: int = 1, page_size: int = 100) -> HistoryPage:
        """Newest first; a content that lies in chunks is left out. Raises what the store says."""
        page, page_size = page_bounds(page, page_size)
        places = await self._places(key)
        start = (page - 1) * page_size
        found = await loop.gather(*(self._read(place) for place in places[start : start + page_size]))
        return HistoryPage(len(places), page, page_size, tuple(each for each in found if each is not None))

    async def entry(self, key: ConfigKey, entry_id: int) -> HistoryEntry:
        """One entry with its content. Raises NOT_FOUND / CONFIG_NOT_FOUND."""
        place = keys.history(key, entry_id)
        found = (await self._store.range(Range(place, place + b"\xff"))).kvs
        if not found:
            raise _no_entry(key, entry_id)
        return await with_content(self._store, _decode(found[0]))

    async def newest(self, key: ConfigKey, item_id: int = 0) -> HistoryEntry:
        """The newest entry, of the item with ``item_id`` if one is given. Raises NOT_FOUND / CONFIG_NOT_FOUND."""
        for place in await self._places(key):
            entry = await self._read(place)
            if entry is not None and item_id in (0, entry.item_id):
                return await with_content(self._store, entry)
        raise _no_entry(key, 0)

    async def rollback(self, actor: Actor, key: ConfigKey, entry_id: int, cas_md5: str = "") -> Published:
        """Publish what the entry holds, formal or gray as it was. ``cas_md5``: only if that is the current md5.

        Raises NOT_FOUND / CONFIG_NOT_FOUND and what a publish raises, but a content that was once published is not
        checked again.
        """
        entry = await self.entry(key, entry_id)
        content = Content(entry.content, entry.chunks_id, entry.chunks)
        details = Details(
            type=entry.type,
            tags=entry.tags,
            app_name=entry.app_name,
            desc=entry.desc,
            use=entry.use,
            effect=entry.effect,
            schema=entry.schema,
            encrypted_data_key=entry.encrypted_data_key,
            cas_md5=cas_md5,
            gray=entry.rule,
            gray_name=entry.gray_name,
            force=True,
            exact=True,
        )
        # The entry must still be there at the commit: as long as it is, its chunks are not swept away.
        there = Compare(keys.history(key, entry_id, entry.chunks_id), Target.VERSION, Relation.GREATER, 0)

        def decide(stamp: Stamp) -> Decided:
            decided = decisions.publish(self._view, key, content, details, stamp)
            return decisions.also(decided, Decided(guards=(there,), action="rollback"))

        def creates() -> bool:
            known = self._view.entry(key)
            return (known.gray(entry.gray_name) if entry.gray_name else known.item) is None

        done = await self._writer.commit(actor, f"config {key}", creates, decide)
        return Published(
            key, done.decided.md5, done.revision, bool(done.decided.operations), done.decided.history_id
        )

    async def _places(self, key: ConfigKey) -> list[bytes]:
        """The store's keys of all entries of ``key``, newest first."""
        prefix = keys.histories(key)
        found = await self._store.range(Range(prefix, prefix_end(prefix), keys_only=True))
        return [kv.key for kv in reversed(found.kvs)]

    async def _read(self, place: bytes) -> HistoryEntry | None:
        """None: it went out of date meanwhile."""
        found = (await self._store.range(Range(place))).kvs
        return _decode(found[0]) if found else None


def _decode(kv: KeyValue) -> HistoryEntry:
    return decode(HistoryEntry, kv.value, kv.mod_revision)


def _no_entry(key: ConfigKey, entry_id: int) -> AtollError:
    which = f"no history entry {entry_id}" if entry_id else "no history"
    return AtollError(
        Code.NOT_FOUND,
        f"{key} has {which}; it may have gone out of date",
        reason=Reason.CONFIG_NOT_FOUND,
    )
