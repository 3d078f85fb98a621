"""A journal in memory that fails on purpose: full disk, failing fsync, crash.

Rule: what it holds survives a "crash" (make a second journal over the same ``disk``) if and only if it was
reported durable or, after a failed fsync, happened to reach the disk; which of the two, the caller decides.
Nothing happens by itself: ``commit`` is the disk's doing and is called by the test, by ``testing.World`` at a
virtual moment, or by ``flush`` where ``commits_at_once``.
"""

from __future__ import annotations

from collections.abc import Sequence

from atoll.errors import AtollError, Code, Reason
from atoll.store.api import KeyValue
from atoll.store.journal import Progress, Recovered, Write


class FakeDisk:
    """What outlives a crash, as an SQLite file would hold it."""

    def __init__(self) -> None:
        self.versions: list[KeyValue] = []
        self.leases: dict[int, int] = {}
        self.compact_revision = -1
        self.notes: dict[str, bytes] = {}
        self.size_bytes = 0

    def apply(self, write: Write) -> None:
        self.versions += [event.kv for event in write.events]
        self.size_bytes += sum(len(event.kv.key) + len(event.kv.value) for event in write.events)
        self.leases.update(write.leases_granted)
        for lease, _ in write.leases_revoked:
            self.leases.pop(lease, None)
        if write.compact_revision is not None:
            self.compact_revision = write.compact_revision
        self.notes.update(write.notes)

    def forget(self, versions: Sequence[KeyValue]) -> None:
        gone = {(kv.key, kv.mod_revision, kv.version) for kv in versions}
        self.versions = [kv for kv in self.versions if (kv.key, kv.mod_revision, kv.version) not in gone]
        self.size_bytes = sum(len(kv.key) + len(kv.value) for kv in self.versions)


class FakeJournal:
    """A ``Journal`` over a ``FakeDisk``."""

    def __init__(self, disk: FakeDisk, commits_at_once: bool = True) -> None:
        self.disk = disk
        self.commits_at_once = commits_at_once
        self.disk_full = False
        self.appended: list[Write] = []  # not durable yet
        self._progress: Progress | None = None
        self._broken = False

    def recover(self) -> Recovered:
        disk = self.disk
        return Recovered(
            tuple(disk.versions),
            disk.compact_revision,
            tuple(disk.leases.items()),
            tuple(disk.notes.items()),
        )

    def start(self, progress: Progress) -> None:
        self._progress = progress

    def append(self, write: Write) -> None:
        self.appended.append(write)

    def discard(self) -> None:
        self.appended.clear()

    def flush(self) -> None:
        if self.commits_at_once:
            self.commit()

    def forget(self, versions: Sequence[KeyValue], number: int) -> None:
        self.disk.forget(versions)

    def size_bytes(self) -> int:
        return self.disk.size_bytes

    def close(self) -> None:
        if not self.disk_full:
            self.commit()

    # ---------------------------------------------------------------------------------- the disk's doings

    def commit(self, writes_max: int | None = None) -> None:
        """Make the first ``writes_max`` appended writes durable (all by default), or lose all to a full disk."""
        if self._progress is None or self._broken or not self.appended:
            return
        if self.disk_full:
            text = "the disk is full; nothing of the write was kept"
            self._progress.lost(AtollError(Code.EXHAUSTED, text, reason=Reason.NO_SPACE))
            return
        cut = len(self.appended) if writes_max is None else writes_max
        written, self.appended = self.appended[:cut], self.appended[cut:]
        for write in written:
            self.disk.apply(write)
        self._progress.durable(written[-1].number)

    def fail_sync(self, writes_kept: int) -> None:
        """fsync fails: the first ``writes_kept`` appended writes did reach the disk, but nobody can know."""
        for write in self.appended[:writes_kept]:
            self.disk.apply(write)
        self.appended.clear()
        self._broken = True
        if self._progress is not None:
            text = "fsync failed; whether the writes are on the disk is not known"
            self._progress.unknown(AtollError(Code.UNKNOWN, text, retry_after_s=None))

    def crash(self) -> None:
        """The process is gone with everything that was not durable; nobody is told anything."""
        self.appended.clear()
        self._broken = True
