"""One watch over a connection that comes and goes: where to go on, what was delivered already. A machine.

One rule: the position is the revision after the newest one that was delivered *whole*; a watch that lost its
connection is created again from there, so that nothing is missed, and what it is told below the position is
dropped, so that nothing is told twice. When compaction ate the position, that is an error and never a gap.

What moves the position (etcd 3.4): the ``created`` answer to a watch "from now on", whose header names the
revision it begins after; a complete batch of events, by the revision of its last one; a progress report that
names this watch. An event batch's header does not: it carries the store's revision, which may be ahead of what
the watch was sent. Nor does a progress report for the whole stream (watch id -1): etcd before 3.4.25 sends it
although events are still on their way. A revision that comes in fragments counts when the last one is there.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from atoll.errors import AtollError, Code, Reason
from atoll.store.api import Event, WatchBatch

PERMISSION_DENIED = "etcdserver: permission denied"

Told: TypeAlias = WatchBatch | AtollError


class WatchAnswer(msgspec.Struct, frozen=True):
    """One response about one watch, as etcd's ``WatchResponse``; ``revision`` is the header's."""

    revision: int
    created: bool = False
    canceled: bool = False
    compact_revision: int = 0
    cancel_reason: str = ""
    fragment: bool = False
    events: tuple[Event, ...] = ()


class WatchResume:
    """Born before its first connection; ``lost`` at the end of each one, ``position`` at the begin of the next."""

    def __init__(self, start_revision: int) -> None:
        self._next = start_revision  # 0: from now on, wherever that is
        self._created = False
        self._resuming = False
        self._fragments: list[Event] = []
        self.ended = False

    @property
    def position(self) -> int:
        """The ``start_revision`` for the next creation."""
        return self._next

    def lost(self) -> None:
        """The connection is gone, and with it whatever was not complete."""
        self._fragments.clear()
        self._resuming = self._created

    def hear(self, answer: WatchAnswer) -> list[Told]:
        """What the watcher is to be told, in order. After an error it is told nothing more."""
        if self.ended:
            return []
        if answer.canceled:
            self.ended = True
            return [_end(answer)]
        if answer.created:
            return [self._begin(answer.revision)]
        self._fragments += answer.events
        if answer.fragment:
            return []
        events, self._fragments = self._fragments, []
        return self._advance(events) if events else self._progress(answer.revision)

    def _begin(self, revision: int) -> Told:
        """``revision`` is the store's when it took the watch; a resumed one may still have to catch up to it."""
        if self._resuming:
            self._resuming = False
            return WatchBatch(self._next - 1, resumed=True)
        self._created = True
        if self._next == 0:
            self._next = revision + 1
        return WatchBatch(revision)

    def _advance(self, events: list[Event]) -> list[Told]:
        fresh = tuple(event for event in events if event.kv.mod_revision >= self._next)
        if not fresh:
            return []
        newest = fresh[-1].kv.mod_revision
        self._next = newest + 1
        return [WatchBatch(newest, fresh)]

    def _progress(self, revision: int) -> list[Told]:
        if revision < self._next:
            return []
        self._next = revision + 1
        return [WatchBatch(revision)]


def _end(answer: WatchAnswer) -> AtollError:
    if answer.compact_revision:
        return AtollError(
            Code.INVALID,
            f"the watch fell behind: history up to revision {answer.compact_revision} was compacted; "
            "read the range again and watch from the revision of that answer",
            reason=Reason.COMPACTED,
            facts={"compact_revision": answer.compact_revision},
        )
    if answer.cancel_reason == PERMISSION_DENIED:
        return AtollError(Code.DENIED, "no permission to watch this range", reason=Reason.PERMISSION_DENIED)
    return AtollError(Code.INVALID, f"etcd refused the watch: {answer.cancel_reason or 'no reason given'}")
