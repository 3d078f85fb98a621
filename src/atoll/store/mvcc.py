"""The multi-version state of an embedded store: keys, their versions, the log of revisions, leases' keys.

Rule: pure. One writer at a time stages changes of the next revision (``put``, ``delete``), then ``seal`` s or
``abandon`` s them; sealed revisions can be undone newest first, which is how a failed disk write leaves no trace.

Theory: etcd's data model. A key has versions; the newest one is kept apart (``_live``) from those it replaced
(``_older``), so that a key without history costs one dict entry. A read at revision R takes the newest version
at or below R. Revisions are dense, hence the log is a list: revision R is entry ``R - _log_first``. A deletion
is a version with number 0 (a tombstone) until compaction forgets it. Compaction at C keeps of each key the
newest version at or below C unless that is a tombstone, and keeps all events of revision C itself, so that a
watch that resumes at C still sees a deletion there.

Doubt: everything is in memory, history included (docs/reference/store.md has the cost per key).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator

from atoll.kit.sorted_keys import SortedKeys
from atoll.store.api import RESERVED_PREFIX, Event, KeyValue, prefix_end

RESERVED_END = prefix_end(RESERVED_PREFIX)
NEVER_COMPACTED = -1
VERSION_OVERHEAD_BYTES = 64
"""What a version is counted for besides its key and value, in ``size_bytes``."""


COUNT_REVISIONS_MAX = 256
"""Counting a range at a revision so much older than the newest one looks at every key."""


def bound(key: bytes, end: bytes) -> bytes | None:
    """The exclusive end of ``[key, end)`` in the API's notation: None is "no end"."""
    if not end:
        return key + b"\0"
    return None if end == b"\0" else end


def _parts(key: bytes, end: bytes, public: bool) -> list[tuple[bytes, bytes | None]]:
    """``[key, end)`` without the reserved prefix where it is ``public``."""
    last = bound(key, end)
    if not public:
        return [(key, last)]
    before = RESERVED_PREFIX if last is None else min(last, RESERVED_PREFIX)
    return [(key, before), (max(key, RESERVED_END), last)]


def _mod_revision(kv: KeyValue) -> int:
    return kv.mod_revision


def _size_bytes(kv: KeyValue) -> int:
    return len(kv.key) + len(kv.value) + VERSION_OVERHEAD_BYTES


class State:
    """All of a store's data. Not thread-safe: the engine's lock guards it."""

    def __init__(self) -> None:
        self.revision = 1
        self.compact_revision = NEVER_COMPACTED
        self.leases: dict[int, int] = {}  # lease id -> granted TTL in seconds
        self.size_bytes = 0
        self._attached: dict[int, set[bytes]] = {}
        self._live: dict[bytes, KeyValue] = {}
        self._older: dict[bytes, list[KeyValue]] = {}
        self._keys = SortedKeys()
        self._dead = SortedKeys()  # those of ``_keys`` whose newest version is a tombstone
        self._log: list[tuple[Event, ...]] = []
        self._log_first = 2
        self._changes: list[Event] = []

    # ------------------------------------------------------------------------------------------- reading

    @property
    def staged(self) -> bool:
        """Whether changes wait for ``seal`` or ``abandon``."""
        return bool(self._changes)

    @property
    def staged_count(self) -> int:
        return len(self._changes)

    @property
    def reading_revision(self) -> int:
        """The newest revision a reader inside the staged transaction sees."""
        return self.revision + 1 if self._changes else self.revision

    def get(self, key: bytes, at: int) -> KeyValue | None:
        """``key`` as of revision ``at``; None where it did not exist or was deleted."""
        kv = self._live.get(key)
        if kv is None:
            return None
        if kv.mod_revision > at:
            older = self._older.get(key)
            position = bisect_right(older, at, key=_mod_revision) if older else 0
            if older is None or position == 0:
                return None
            kv = older[position - 1]
        return kv if kv.version else None

    def scan(
        self, key: bytes, end: bytes, at: int, public: bool = False, limit: int | None = None
    ) -> list[KeyValue]:
        """The keys in ``[key, end)`` as of ``at``, ascending; with ``limit`` the first so many.

        ``public`` leaves out the reserved prefix.
        """
        if not end:
            kv = None if public and key.startswith(RESERVED_PREFIX) else self.get(key, at)
            return [] if kv is None else [kv]
        live = self._live
        found: list[KeyValue] = []
        for first, last in _parts(key, end, public):
            keys = self._keys.between(first, last) if limit is None else self._keys.iterate(first, last)
            for each in keys:
                kv = live[each]
                if kv.mod_revision > at:
                    kv = self.get(each, at)
                if kv is not None and kv.version:
                    found.append(kv)
                    if limit is not None and len(found) >= limit:
                        return found
        return found

    def count(self, key: bytes, end: bytes, at: int, public: bool = False) -> int:
        """How many keys ``scan`` would find. Quick where ``at`` is close to the newest revision."""
        if not end or self.reading_revision - at > COUNT_REVISIONS_MAX:
            return len(self.scan(key, end, at, public))
        parts = _parts(key, end, public)
        count = sum(self._keys.count(*part) - self._dead.count(*part) for part in parts)
        newer = [event.kv.key for _, events in self.events(at + 1, self.revision) for event in events]
        if self.reading_revision > at:
            newer += [event.kv.key for event in self._changes]
        for changed in dict.fromkeys(newer):
            if any(first <= changed and (last is None or changed < last) for first, last in parts):
                alive = self._live[changed].version > 0
                count += (self.get(changed, at) is not None) - alive
        return count

    def attached(self, lease: int) -> list[bytes]:
        """The keys of ``lease``, ascending."""
        return sorted(self._attached.get(lease, ()))

    def attached_count(self, lease: int) -> int:
        return len(self._attached.get(lease, ()))

    def events(self, first: int, last: int) -> Iterator[tuple[int, tuple[Event, ...]]]:
        """Revision and events of the revisions ``first`` to ``last`` that are still in the log."""
        for revision in range(max(first, self._log_first), min(last, self.revision) + 1):
            yield revision, self._log[revision - self._log_first]

    def events_of_key(self, key: bytes, first: int, last: int) -> Iterator[tuple[int, tuple[Event, ...]]]:
        """As ``events``, only revisions in which ``key`` changed: a long history costs nothing."""
        versions = list(self._older.get(key, ()))
        if key in self._live:
            versions.append(self._live[key])
        changed = {kv.mod_revision for kv in versions if first <= kv.mod_revision <= last}
        if first <= self._log_first <= last and self._log:
            changed.add(self._log_first)  # a tombstone at the compaction revision is in the log alone
        for revision in sorted(changed):
            if revision >= self._log_first:
                yield revision, self._log[revision - self._log_first]

    def current(self) -> Iterator[KeyValue]:
        """Every living key at the newest revision, ascending."""
        for key in self._keys:
            kv = self._live[key]
            if kv.version:
                yield kv

    # ------------------------------------------------------------------------------------------- writing

    def put(self, key: bytes, value: bytes, lease: int) -> KeyValue | None:
        """Stage a put in the next revision; ``lease`` must exist or be 0. Returns what it replaced."""
        revision = self.revision + 1
        previous = self._replace(key)
        if previous is None:
            kv = KeyValue(key, value, revision, revision, 1, lease)
        else:
            kv = KeyValue(key, value, previous.create_revision, revision, previous.version + 1, lease)
        self._hold(kv)
        self._changes.append(Event(kv, previous))
        return previous

    def delete(self, keys: Iterable[bytes]) -> int:
        """Stage the deletion of those of ``keys`` that exist; returns their number."""
        revision = self.revision + 1
        deleted = 0
        for key in keys:
            kv = self._live.get(key)
            if kv is None or not kv.version:
                continue
            self._replace(key)
            tombstone = KeyValue(key, b"", 0, revision, 0, 0)
            self._hold(tombstone)
            self._dead.add(key)
            self._changes.append(Event(tombstone, kv))
            deleted += 1
        return deleted

    def seal(self) -> tuple[Event, ...]:
        """Make the staged changes the next revision. Without changes the revision stays; returns the events."""
        if not self._changes:
            return ()
        events = tuple(self._changes)
        self._changes = []
        self._log.append(events)
        self.revision += 1
        return events

    def abandon(self) -> None:
        """Forget the staged changes."""
        changes, self._changes = self._changes, []
        for event in reversed(changes):
            self._undo(event)

    def undo_revision(self) -> None:
        """Take back the newest revision, which must be newer than the compaction."""
        for event in reversed(self._log.pop()):
            self._undo(event)
        self.revision -= 1

    # -------------------------------------------------------------------------------- compaction, loading

    def compact(self, revision: int) -> list[KeyValue]:
        """Forget history below ``revision``; returns the versions that are gone, for the disk to follow."""
        gone: list[KeyValue] = []
        entries = self._log[: max(revision + 1 - self._log_first, 0)]
        for event in (event for entry in entries for event in entry):
            kv, previous = event.kv, event.prev
            if previous is not None and previous.mod_revision < self._log_first:
                gone.append(previous)
            if kv.mod_revision < revision and self.get(kv.key, revision) is not kv:
                gone.append(kv)
        for event in (event for entry in entries for event in entry):
            self._forget_superseded(event.kv.key, revision)
        self._trim_log(revision)
        self.compact_revision = revision
        self.size_bytes -= sum(_size_bytes(kv) for kv in gone)
        return gone

    def load(self, compact_revision: int, versions: Iterable[KeyValue]) -> list[KeyValue]:
        """Fill an empty state with ``versions``, ascending by revision and none missing, as a journal kept them.

        Returns versions that a compaction cut short had yet to remove.
        """
        gone: list[KeyValue] = []
        self.compact_revision = compact_revision
        self.revision = max(self.revision, compact_revision)
        self._log_first = max(compact_revision, 2)
        self._log = [()] if compact_revision >= 2 else []
        for kv in versions:
            if kv.mod_revision <= compact_revision:
                self._load_compacted(kv, gone)
            else:
                self._load_event(kv)
        self._keys = SortedKeys(self._live)
        self._dead = SortedKeys(key for key, kv in self._live.items() if not kv.version)
        return gone

    def _load_compacted(self, kv: KeyValue, gone: list[KeyValue]) -> None:
        previous = self._live.pop(kv.key, None)
        if previous is not None:
            self._let_go(previous)
            if previous.mod_revision < self.compact_revision:
                gone.append(previous)
        if kv.version:
            self._hold(kv)
        if kv.mod_revision == self.compact_revision and self._log:
            self._log[0] += (Event(kv),)
            if not kv.version:
                self.size_bytes += _size_bytes(kv)
        elif not kv.version:
            gone.append(kv)

    def _load_event(self, kv: KeyValue) -> None:
        if kv.mod_revision > self.revision:
            self._log.append(())
            self.revision = kv.mod_revision
        previous = self._live.get(kv.key)
        if previous is not None:
            self._shelve(previous)
        self._hold(kv)
        self._log[-1] += (Event(kv, previous if previous is not None and previous.version else None),)

    def _forget_superseded(self, key: bytes, revision: int) -> None:
        """Drop the versions of ``key`` that a reader at ``revision`` or later cannot see."""
        live = self._live.get(key)
        if live is None:
            return
        older = self._older.pop(key, [])
        if live.mod_revision > revision:
            position = bisect_right(older, revision, key=_mod_revision)
            if position and older[position - 1].version:
                position -= 1
            if older[position:]:
                self._older[key] = older[position:]
        elif not live.version:
            del self._live[key]
            self._keys.discard(key)
            self._dead.discard(key)

    def _trim_log(self, revision: int) -> None:
        if revision < self._log_first:
            return
        del self._log[: revision - self._log_first]
        self._log_first = revision
        if self._log:
            self._log[0] = tuple(Event(event.kv) for event in self._log[0])

    # ------------------------------------------------------------------------------------------- details

    def _replace(self, key: bytes) -> KeyValue | None:
        """Move the newest version of ``key`` to its history; returns it if it was alive."""
        previous = self._live.get(key)
        if previous is None:
            self._keys.add(key)
            return None
        self._shelve(previous)
        if previous.version:
            return previous
        self._dead.discard(key)
        return None

    def _shelve(self, previous: KeyValue) -> None:
        older = self._older.get(previous.key)
        if older is None:
            self._older[previous.key] = [previous]
        else:
            older.append(previous)
        if previous.lease:
            self._detach(previous.lease, previous.key)

    def _hold(self, kv: KeyValue) -> None:
        """Make ``kv`` the newest version of its key."""
        self._live[kv.key] = kv
        self.size_bytes += _size_bytes(kv)
        if kv.lease:
            self._attached.setdefault(kv.lease, set()).add(kv.key)

    def _let_go(self, kv: KeyValue) -> None:
        self.size_bytes -= _size_bytes(kv)
        if kv.lease:
            self._detach(kv.lease, kv.key)

    def _undo(self, event: Event) -> None:
        key = event.kv.key
        self._let_go(self._live.pop(key))
        self._dead.discard(key)
        older = self._older.get(key)
        if older is None:
            self._keys.discard(key)
            return
        previous = older.pop()
        if not older:
            del self._older[key]
        self._live[key] = previous
        if not previous.version:
            self._dead.add(key)
        if previous.lease:
            self._attached.setdefault(previous.lease, set()).add(key)

    def _detach(self, lease: int, key: bytes) -> None:
        keys = self._attached[lease]
        keys.discard(key)
        if not keys:
            del self._attached[lease]
