"""Configuration as one node knows it: every item, its gray releases, staged releases and quotas, at one revision.

Rule: ``apply`` is the only way in, one event of the store at a time, in their order; contents that lie in chunks have
been put together before. Reading costs a few dictionary look-ups and never waits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from atoll.planes.registry.model import config_keys as keys
from atoll.planes.registry.model import gray
from atoll.resources.config_item import Capacity, ConfigItem, ConfigKey, GrayRelease
from atoll.resources.consumer import Consumer
from atoll.resources.namespace import Namespace
from atoll.resources.records import decode
from atoll.resources.rollout import Rollout
from atoll.store.api import KeyValue

Held = ConfigItem | GrayRelease | Rollout | Capacity | Namespace | None


class Entry:
    """All that is known under one key. ``grays`` in the order in which they are asked."""

    __slots__ = ("grays", "item", "rollout")

    def __init__(self) -> None:
        self.item: ConfigItem | None = None
        self.grays: tuple[GrayRelease, ...] = ()
        self.rollout: Rollout | None = None

    @property
    def empty(self) -> bool:
        return self.item is None and not self.grays and self.rollout is None

    def gray(self, name: str) -> GrayRelease | None:
        return next((each for each in self.grays if each.name == name), None)

    def served(self, consumer: Consumer) -> ConfigItem | GrayRelease | None:
        return (gray.choose(self.grays, consumer) if self.grays else None) or self.item


_EMPTY = Entry()


class Touched(NamedTuple):
    """An item that was written. ``change``: 1, its formal version came to be; -1, it is gone; 0, neither."""

    key: ConfigKey
    change: int = 0


class ConfigView:
    """``revision``: everything up to it is in here."""

    def __init__(self) -> None:
        self.revision = 0
        self._entries: dict[ConfigKey, Entry] = {}
        self._ids: dict[int, ConfigKey] = {}
        self._counts: Counter[tuple[str, str]] = Counter()  # items by ("namespace" or "group", name)
        self._capacities: dict[tuple[str, str], Capacity] = {}
        self._count_revisions: dict[bytes, int] = {}
        self._namespaces: dict[str, Namespace] = {}

    # --------------------------------------------------------------------------------------- reading

    def entry(self, key: ConfigKey) -> Entry:
        """What is known of ``key``; an empty entry, never to be changed, where nothing is."""
        return self._entries.get(key, _EMPTY)

    def item(self, key: ConfigKey) -> ConfigItem | None:
        return self.entry(key).item

    def items(self) -> Iterator[ConfigItem]:
        """All formal versions, in no particular order."""
        return (entry.item for entry in self._entries.values() if entry.item is not None)

    def rollouts(self) -> list[Rollout]:
        found = [entry.rollout for entry in self._entries.values() if entry.rollout is not None]
        return sorted(found, key=lambda each: each.key)

    def key_of(self, item_id: int) -> ConfigKey | None:
        return self._ids.get(item_id)

    def count(self, scope: str, name: str) -> int:
        """Items in a namespace, or in a group over all namespaces."""
        return self._counts[scope, name]

    def total(self) -> int:
        return len(self._ids)

    def namespaces(self) -> list[str]:
        """Those with an item in them."""
        return sorted(name for scope, name in self._counts if scope == "namespace")

    def namespace(self, name: str) -> Namespace | None:
        """Its record, if it has one."""
        return self._namespaces.get(name)

    def namespace_records(self) -> list[Namespace]:
        return [self._namespaces[name] for name in sorted(self._namespaces)]

    def capacity(self, scope: str, name: str) -> Capacity | None:
        return self._capacities.get((scope, name))

    def capacities(self) -> list[Capacity]:
        return [self._capacities[place] for place in sorted(self._capacities)]

    def count_revision(self, place: bytes) -> int:
        return self._count_revisions.get(place, 0)

    def chunks_named(self) -> set[str]:
        """The names of all chunks that a version in here lies in."""
        versions = (each for entry in self._entries.values() for each in (entry.item, *entry.grays))
        return {each.chunks_id for each in versions if each is not None and each.chunks}

    def places(self) -> Iterator[bytes]:
        """The store's keys of all that is in here."""
        for key, entry in self._entries.items():
            if entry.item is not None:
                yield keys.item(key)
            if entry.rollout is not None:
                yield keys.rollout(key)
            yield from (keys.gray(key, each.name) for each in entry.grays)
        yield from (keys.capacity(*place) for place in self._capacities)
        yield from (keys.namespace(name) for name in self._namespaces)
        yield from self._count_revisions

    # --------------------------------------------------------------------------------------- changing

    def apply(self, kv: KeyValue, held: Held) -> Touched | None:
        """Take in one event whose value ``read`` has read (None: a deletion, or nothing to keep). Returns the item
        whose served versions may have changed.
        """
        if kv.key.startswith(keys.ITEMS):
            return self._set_item(keys.parse(kv.key[len(keys.ITEMS) :])[0], held)
        if kv.key.startswith(keys.GRAYS):
            return self._set_gray(*keys.parse(kv.key[len(keys.GRAYS) :]), held)
        if kv.key.startswith(keys.ROLLOUTS):
            self._set_rollout(keys.parse(kv.key[len(keys.ROLLOUTS) :])[0], held)
        elif kv.key.startswith(keys.CAPACITIES):
            scope, _, name = kv.key[len(keys.CAPACITIES) :].decode().partition("/")
            if isinstance(held, Capacity):
                self._capacities[scope, name] = held
            else:
                self._capacities.pop((scope, name), None)
        elif kv.key.startswith(keys.NAMESPACES):
            name = kv.key[len(keys.NAMESPACES) :].decode()
            if isinstance(held, Namespace):
                self._namespaces[name] = held
            else:
                self._namespaces.pop(name, None)
        elif kv.key.startswith(keys.COUNTS):
            self._count_revisions[kv.key] = kv.mod_revision if kv.version else 0
        return None

    def _set_item(self, key: ConfigKey, held: Held) -> Touched:
        entry = self._entries.setdefault(key, Entry())
        if entry.item is not None:
            self._ids.pop(entry.item.id, None)
        change = (held is not None) - (entry.item is not None)
        for place in (("namespace", key.namespace), ("group", key.group)):
            self._counts[place] += change
            if not self._counts[place]:
                del self._counts[place]
        entry.item = held if isinstance(held, ConfigItem) else None
        if entry.item is not None:
            self._ids[entry.item.id] = key
        self._forget_if_empty(key, entry)
        return Touched(key, change)

    def _set_gray(self, key: ConfigKey, name: str, held: Held) -> Touched:
        entry = self._entries.setdefault(key, Entry())
        others = [each for each in entry.grays if each.name != name]
        entry.grays = gray.order([*others, held] if isinstance(held, GrayRelease) else others)
        self._forget_if_empty(key, entry)
        return Touched(key)

    def _set_rollout(self, key: ConfigKey, held: Held) -> None:
        entry = self._entries.setdefault(key, Entry())
        entry.rollout = held if isinstance(held, Rollout) else None
        self._forget_if_empty(key, entry)

    def _forget_if_empty(self, key: ConfigKey, entry: Entry) -> None:
        if entry.empty:
            del self._entries[key]


def read(kv: KeyValue) -> Held:
    """The record of one event. None: a deletion, or a key that holds none. Raises INVALID for what cannot be read."""
    if not kv.version:
        return None
    if kv.key.startswith(keys.ITEMS):
        return decode(ConfigItem, kv.value, kv.mod_revision)
    if kv.key.startswith(keys.GRAYS):
        return decode(GrayRelease, kv.value, kv.mod_revision)
    if kv.key.startswith(keys.ROLLOUTS):
        return decode(Rollout, kv.value, kv.mod_revision)
    if kv.key.startswith(keys.NAMESPACES):
        return decode(Namespace, kv.value, kv.mod_revision)
    if kv.key.startswith(keys.CAPACITIES):
        return decode(Capacity, kv.value, kv.mod_revision)
    return None
