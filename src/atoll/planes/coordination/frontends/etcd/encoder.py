"""Events in bytes, once for all watchers that are given the same batch.

One rule: the store gives watchers of equal interest the same ``WatchBatch`` object, so its identity is the key of
the cache, and the cache holds the object, so that the identity cannot be reused meanwhile.

A batch is cut into parts between revisions, never inside one, and a part is put into bytes when it is first sent:
a catch-up batch may stand for gigabytes of which a slow client takes some kilobytes at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from atoll.store import etcd_messages
from atoll.store.api import Event, WatchBatch
from atoll.wire.etcd import messages

PART_BYTES_TARGET = 1_048_576
"""A part ends before the revision that would make it larger; a revision that is larger alone is a part alone."""
FRAGMENT_BYTES_MAX = 2_097_152
"""Above this a watcher that asked for ``fragment`` gets a part in pieces: etcd's request limit and 512 KiB."""
BATCHES_KEPT_MAX = 64
EVENT_OVERHEAD_BYTES = 48  # numbers and tags of one event, about


class Part:
    """Some whole revisions' events, up to ``revision``."""

    __slots__ = ("_body", "_fragments", "events", "revision")

    def __init__(self, events: Sequence[Event]) -> None:
        self.events = events
        self.revision = events[-1].kv.mod_revision
        self._body: bytes | None = None
        self._fragments: tuple[bytes, ...] | None = None

    def body(self) -> bytes:
        """The field ``events`` of a WatchResponse."""
        if self._body is None:
            self._body = _body(self.events)
        return self._body

    def fragments(self) -> tuple[bytes, ...]:
        """``body`` in pieces of at most ``FRAGMENT_BYTES_MAX`` where events allow it, at least one."""
        if self._fragments is None:
            whole = self.body()
            if len(whole) < FRAGMENT_BYTES_MAX:
                self._fragments = (whole,)
            else:
                sizes = ((event,) for event in self.events)
                self._fragments = tuple(_body(events) for events in _packed(sizes, FRAGMENT_BYTES_MAX))
        return self._fragments


class Encoder:
    """Remembers the parts of the last small batches."""

    def __init__(self) -> None:
        self._kept: dict[int, tuple[WatchBatch, Sequence[Part]]] = {}

    def parts(self, batch: WatchBatch) -> Sequence[Part]:
        """``batch``, which has events, in parts of about ``PART_BYTES_TARGET``."""
        kept = self._kept.get(id(batch))
        if kept is not None:
            return kept[1]
        if len(batch.events) == 1:
            parts = [Part(batch.events)]
        else:
            parts = [Part(events) for events in _packed(_revisions(batch.events), PART_BYTES_TARGET)]
        if len(parts) == 1:
            if len(self._kept) >= BATCHES_KEPT_MAX:
                del self._kept[next(iter(self._kept))]
            self._kept[id(batch)] = batch, parts
        return parts


def _body(events: Iterable[Event]) -> bytes:
    body: bytes = messages.WatchResponse(events=map(etcd_messages.event_message, events)).SerializeToString()
    return body


def _revisions(events: Sequence[Event]) -> Iterator[Sequence[Event]]:
    begin = 0
    for at in range(1, len(events) + 1):
        if at == len(events) or events[at].kv.mod_revision != events[begin].kv.mod_revision:
            yield events[begin:at]
            begin = at


def _packed(groups: Iterable[Sequence[Event]], bytes_max: int) -> Iterator[list[Event]]:
    """Whole ``groups`` together while they have at most about ``bytes_max``."""
    packed: list[Event] = []
    packed_bytes = 0
    for group in groups:
        group_bytes = sum(map(_size_bytes, group))
        if packed and packed_bytes + group_bytes > bytes_max:
            yield packed
            packed, packed_bytes = [], 0
        packed += group
        packed_bytes += group_bytes
    if packed:
        yield packed


def _size_bytes(event: Event) -> int:
    size_bytes = len(event.kv.key) + len(event.kv.value) + EVENT_OVERHEAD_BYTES
    if event.prev is not None:
        size_bytes += len(event.prev.key) + len(event.prev.value) + EVENT_OVERHEAD_BYTES
    return size_bytes
