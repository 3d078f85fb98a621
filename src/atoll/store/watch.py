"""Who watches what: finds the watchers of each revision's events, and serves history to late starters. Pure.

Rule: a watcher gets every matching event from its start revision on, once, in order, all of a revision in one
batch. A watcher whose next revision lies in the past reads the log until it reaches the newest revision, and
only then joins the live ones; both steps happen under the engine's lock, so nothing fits between them.

Theory: watchers with equal (key, end, filters) share one ``_Group`` and so one batch: a thousand watchers of one
key cost a thousand calls, not a thousand searches. Groups of single keys are found by the key; the groups of
ranges are tried one after the other, because they are few.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from atoll.errors import AtollError
from atoll.store import mvcc
from atoll.store.api import RESERVED_PREFIX, Event, Watch, WatchBatch, WatchSink

CATCH_UP_REVISIONS_MAX = 4_096
"""How many revisions of history one step of catching up looks at while it holds the lock."""

Delivery = tuple[Callable[[WatchBatch | AtollError], None], WatchBatch]
Revisions = Sequence[tuple[int, tuple[Event, ...]]]


class _Interest(NamedTuple):
    """What a watch wants; equal interests share one group."""

    key: bytes
    end: bytes
    prev_kv: bool
    no_put: bool
    no_delete: bool
    public: bool

    def pick(self, events: Iterable[Event]) -> list[Event]:
        picked = [event for event in events if self._wants(event)]
        return picked if self.prev_kv else [Event(event.kv) for event in picked]

    def _wants(self, event: Event) -> bool:
        key = event.kv.key
        if not self.end:
            inside = key == self.key
        else:
            inside = key >= self.key and (self.end == b"\0" or key < self.end)
        if not inside or (self.public and key.startswith(RESERVED_PREFIX)):
            return False
        return not (self.no_delete if event.kv.version == 0 else self.no_put)


class Watcher:
    """One watch. ``next_revision`` is the first revision that it has not been served."""

    __slots__ = ("cancelled", "interest", "next_revision", "sink")

    def __init__(self, watch: Watch, sink: WatchSink, next_revision: int, public: bool) -> None:
        key, end = watch.key or b"\0", watch.end
        self.interest = _Interest(key, end, watch.prev_kv, watch.no_put, watch.no_delete, public)
        self.sink = sink
        self.next_revision = next_revision
        self.cancelled = False

    def give(self, item: WatchBatch | AtollError) -> None:
        """Hand ``item`` to the sink, unless the watch was cancelled after it was put in the outbox."""
        if not self.cancelled and self.sink(item) is False:
            self.cancelled = True


class Hub:
    """The watchers that have caught up. Not thread-safe: the engine's lock guards it."""

    def __init__(self) -> None:
        self._keys: dict[bytes, dict[_Interest, dict[Watcher, None]]] = {}
        self._ranges: dict[_Interest, dict[Watcher, None]] = {}

    def join(self, watcher: Watcher) -> None:
        self._groups_for(watcher.interest).setdefault(watcher.interest, {})[watcher] = None

    def leave(self, watcher: Watcher) -> None:
        interest = watcher.interest
        groups = self._ranges if interest.end else self._keys.get(interest.key, {})
        members = groups.get(interest, {})
        members.pop(watcher, None)
        if not members:
            groups.pop(interest, None)
            if not interest.end and not groups:
                self._keys.pop(interest.key, None)

    def watchers(self) -> list[Watcher]:
        groups = [self._ranges, *self._keys.values()]
        return [watcher for group in groups for members in group.values() for watcher in members]

    def publish(self, revisions: Revisions) -> list[Delivery]:
        """What each watcher is to be given for the next ``revisions``: one batch each, of all of them."""
        if not self._keys and not self._ranges:
            return []
        deliveries: list[Delivery] = []
        for interest, members in self._touched(revisions):
            deliveries += _deliver(interest, members, revisions)
        return deliveries

    def _touched(self, revisions: Revisions) -> Iterator[tuple[_Interest, dict[Watcher, None]]]:
        if self._keys:
            changed = dict.fromkeys(event.kv.key for _, events in revisions for event in events)
            for key in changed:
                yield from self._keys.get(key, {}).items()
        yield from self._ranges.items()

    def _groups_for(self, interest: _Interest) -> dict[_Interest, dict[Watcher, None]]:
        return self._ranges if interest.end else self._keys.setdefault(interest.key, {})


def _deliver(interest: _Interest, members: Iterable[Watcher], revisions: Revisions) -> Iterator[Delivery]:
    starts: dict[int, WatchBatch | None] = {}
    for watcher in members:
        first = max(watcher.next_revision, revisions[0][0])
        if first not in starts:
            events = [event for revision, events in revisions if revision >= first for event in events]
            picked = interest.pick(events)
            starts[first] = WatchBatch(picked[-1].kv.mod_revision, tuple(picked)) if picked else None
        batch = starts[first]
        if batch is not None:
            yield watcher.give, batch


def catch_up(state: mvcc.State, watcher: Watcher, newest: int) -> WatchBatch | None:
    """Serve ``watcher`` the next part of history, at most up to ``newest``; moves its ``next_revision``."""
    interest = watcher.interest
    first = watcher.next_revision
    if interest.end:
        last = min(newest, first + CATCH_UP_REVISIONS_MAX - 1)
        revisions = state.events(first, last)
    else:
        last = newest
        revisions = state.events_of_key(interest.key, first, last)
    picked = interest.pick(event for _, events in revisions for event in events)
    watcher.next_revision = last + 1
    return WatchBatch(picked[-1].kv.mod_revision, tuple(picked)) if picked else None
