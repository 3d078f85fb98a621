"""``sqlite:PATH``: the embedded store on disk, and its journal.

Rule: one thread writes. It takes everything that waits, makes it one SQLite transaction (write-ahead log,
``synchronous=FULL``: one fsync), and then reports all of it durable. While the disk is busy the next group
gathers by itself, so the group's size follows the load and nobody waits for a timer.

Failures (sqlite.org, "Result and Extended Result Codes"): SQLITE_FULL is reported before the commit record is
written whole, so the group is lost for certain. Any other error, above all an fsync that failed, leaves open
what the disk holds (the kernel drops the dirty pages of a failed fsync and reports success the next time), so
the journal stops, and reopening decides.

The write-ahead log is folded into the file by this thread, not by SQLite's own automatism, because that one
swallows the errors of its fsync.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

import msgspec

from atoll.errors import AtollError, Code, Reason
from atoll.runtime import disk
from atoll.runtime.clock import BootClock
from atoll.runtime.rng import new_token, system_rng
from atoll.runtime.worker import Worker
from atoll.store import blocking, migration, sqlite_file
from atoll.store.api import KeyValue, Limits, Range, RangeResult
from atoll.store.embedded import Embedded
from atoll.store.engine import Engine, Retention
from atoll.store.journal import Progress, Recovered, Write
from atoll.store.sqlite_file import POSITION_BITS, Owner, checksum, note_checksum

CHECKPOINT_PAGES = 1_000
"""The write-ahead log is folded into the file beyond so many pages (of 4 KiB)."""
LOG_BYTES = CHECKPOINT_PAGES * 4_160
"""The log is made this long at once: what fits before it is folded, with its frames' heads."""
TRANSACTION_PAGES = 2
"""What a transaction adds to the log besides pages that are new: the last page of a table, and its parent."""
FORGET_ROWS_MAX = 200
"""Compacted rows removed with one group of writes, so that writers wait a millisecond, not for the whole removal."""
POSITION_MASK = (1 << POSITION_BITS) - 1

_INSERT = "INSERT INTO history VALUES (?, ?, ?, ?, ?, ?, ?)"
_FORGET = "DELETE FROM history WHERE id BETWEEN ? AND ? AND key = ? AND version = ?"
_Row = tuple[int, bytes, bytes, int, int, int, int]
Job = Callable[[sqlite3.Connection], None]


class SqliteJournal:
    """A ``Journal`` in the file at ``path``, which must be there and owned by this process."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._progress: Progress | None = None
        self._wake = threading.Condition()
        self._appended: deque[Write] = deque()
        self._gone: deque[KeyValue] = deque()
        self._jobs: deque[Job] = deque()
        self._closing = False
        self._failed = False
        self._size_bytes = path.stat().st_size
        self._page_bytes = 4096
        self._pages = 0
        self._log_pages = 0
        self._worker: Worker | None = None

    # ------------------------------------------------------------------------------------------- Journal

    def recover(self) -> Recovered:
        return sqlite_file.recover(self._path)

    def start(self, progress: Progress) -> None:
        """Raises DENIED or EXHAUSTED where the file cannot be written."""
        self._progress = progress
        with contextlib.ExitStack() as undo:
            self._open(undo)
            undo.pop_all()
        self._worker = Worker("atoll-store-journal", self._run)

    def _open(self, undo: contextlib.ExitStack) -> None:
        """``undo`` closes what a failure left open."""
        try:
            self._connection = sqlite_file.connect(self._path, read_only=False)
            undo.callback(self._connection.close)
            for setting in ("journal_mode = WAL", "synchronous = FULL", "wal_autocheckpoint = 0"):
                self._connection.execute(f"PRAGMA {setting}").fetchall()
            [self._page_bytes] = self._connection.execute("PRAGMA page_size").fetchone()
            self._measure()
            sqlite_file.lengthen_log(self._path, LOG_BYTES)
        except sqlite3.Error as error:
            raise sqlite_file.explain(error, self._path, "opening") from error

    def append(self, write: Write) -> None:
        self._appended.append(write)

    def discard(self) -> None:
        self._appended.clear()

    def flush(self) -> None:
        with self._wake:
            self._wake.notify()

    def forget(self, versions: Sequence[KeyValue], number: int) -> None:
        self._gone.extend(versions)
        self.flush()

    def size_bytes(self) -> int:
        return self._size_bytes

    def close(self) -> None:
        with self._wake:
            self._closing = True
            self._wake.notify()
        if self._worker is not None:
            self._worker.wait_end()

    def run(self, job: Job) -> None:
        """Run ``job`` on the journal's thread, between two groups, and wait for it. Raises what it raises."""
        ended = threading.Event()
        errors: list[AtollError] = []

        def work(connection: sqlite3.Connection) -> None:
            try:
                job(connection)
                self._measure()
            except sqlite3.Error as error:
                errors.append(sqlite_file.explain(error, self._path, "maintaining"))
            finally:
                ended.set()

        with self._wake:
            if self._closing or self._failed:
                raise AtollError(Code.UNAVAILABLE, "the store is closed", reason=Reason.CLOSED)
            self._jobs.append(work)
            self._wake.notify()
        ended.wait()
        if errors:
            raise errors[0]

    # ------------------------------------------------------------------------------------ the one thread

    def _run(self) -> None:
        while self._wait():
            group = [self._appended.popleft() for _ in range(len(self._appended))]
            gone = list(itertools.islice(self._gone, FORGET_ROWS_MAX))
            if group or gone:
                self._commit(group, gone)
            elif self._jobs:
                self._jobs.popleft()(self._connection)
            if self._log_pages > CHECKPOINT_PAGES and not self._failed:
                self._checkpoint()
        self._connection.close()

    def _wait(self) -> bool:
        """Until there is something to do; False when all is done and the journal is to close."""
        with self._wake:
            while not self._failed:
                if self._appended or self._jobs or (self._gone and not self._closing):
                    return True
                if self._closing:
                    return False
                self._wake.wait()
            while not self._closing:
                self._wake.wait()
            return False

    def _commit(self, group: list[Write], gone: list[KeyValue]) -> None:
        progress = self._progress
        if progress is None:
            return

        def write(connection: sqlite3.Connection) -> None:
            _forget(connection, gone)
            _write(connection, group)

        error = self._in_transaction(write)
        if error is None:
            for _ in gone:
                self._gone.popleft()
            if group:
                progress.durable(group[-1].number)
            self._maintain("measuring", self._measure)  # after the answers: nobody waits for it
        elif error.reason is not Reason.NO_SPACE:
            progress.unknown(error)
        elif group:
            progress.lost(error)
        else:
            self._gone.clear()  # the rows stay until the next start, which finds them

    def _in_transaction(self, work: Job) -> AtollError | None:
        """NO_SPACE: nothing was kept. Another error: it is not known, and the journal has failed."""
        connection = self._connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            work(connection)
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorname", "") == "SQLITE_FULL":
                return self._after_full(error)
            self._failed = True
            text = f"writing to the store {self._path} failed: {error}"
            return AtollError(Code.UNKNOWN, text)
        return None

    def _after_full(self, error: sqlite3.Error) -> AtollError:
        """Leave the transaction; fold the log into the file, which lets its room be used again."""
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")
        self._checkpoint()
        return sqlite_file.explain(error, self._path, "writing to")

    def _checkpoint(self) -> None:
        self._log_pages = 0

        def fold() -> None:
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

        self._maintain("folding the log of", fold)

    def _maintain(self, doing: str, work: Callable[[], None]) -> None:
        """``work`` changes nothing that was acknowledged. A full disk puts it off; another error stops the journal."""
        try:
            work()
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorname", "") != "SQLITE_FULL" and self._progress is not None:
                self._failed = True
                text = f"{doing} the store {self._path} failed: {error}"
                self._progress.unknown(AtollError(Code.UNKNOWN, text))

    def _measure(self) -> None:
        [pages] = self._connection.execute("PRAGMA page_count").fetchone()
        self._log_pages += max(pages - self._pages, 0) + TRANSACTION_PAGES
        self._pages = pages
        self._size_bytes = pages * self._page_bytes


def _forget(connection: sqlite3.Connection, gone: list[KeyValue]) -> None:
    if gone:
        firsts = [kv.mod_revision << POSITION_BITS for kv in gone]
        rows = [
            (first, first | POSITION_MASK, kv.key, kv.version) for first, kv in zip(firsts, gone, strict=True)
        ]
        connection.executemany(_FORGET, rows)


def _write(connection: sqlite3.Connection, group: list[Write]) -> None:
    rows: list[_Row] = []
    for write in group:
        if write.events:
            row = write.events[0].kv.mod_revision << POSITION_BITS
            for event in write.events:
                kv = event.kv
                key, value = kv.key, kv.value
                crc = checksum(row, key, value)
                rows.append((row, key, value, kv.create_revision, kv.version, kv.lease, crc))
                row += 1
        if write.leases_granted:
            connection.executemany("INSERT INTO lease VALUES (?, ?)", write.leases_granted)
        for lease, _ in write.leases_revoked:
            connection.execute("DELETE FROM lease WHERE id = ?", (lease,))
        if write.compact_revision is not None:
            compaction = ("compact_revision", write.compact_revision)
            connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", compaction)
        for name, value in write.notes:
            note = (name, value, note_checksum(name, value))
            connection.execute("INSERT OR REPLACE INTO note VALUES (?, ?, ?)", note)
    if rows:
        connection.executemany(_INSERT, rows)


class Backup(msgspec.Struct, frozen=True):
    """What a backup is: ``path``, its SHA-256 in lower-case hexadecimal, its size."""

    path: str
    sha256: str
    size_bytes: int


class SqliteStore(Embedded):
    """The ``Driver`` of ``sqlite:PATH``, with what is there to do with its file while it is in use."""

    def __init__(self, path: Path, owner: Owner, limits: Limits | None, retention: Retention | None) -> None:
        self.path = path
        self._owner = owner
        self._journal = SqliteJournal(path)
        super().__init__(Engine(self._journal, BootClock(), system_rng(), limits, retention))

    def close(self) -> None:
        super().close()
        self._owner.release()

    def holds(self, key: bytes) -> bool:
        return blocking.ask(self, Range(key, count_only=True), RangeResult).count > 0

    def defragment(self) -> None:
        """Give room of compacted history back to the disk. Blocks, as writers do meanwhile; reads go on."""

        def vacuum(connection: sqlite3.Connection) -> None:
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            sqlite_file.lengthen_log(self.path, LOG_BYTES)

        self._journal.run(vacuum)

    def wait_forgotten(self) -> None:
        """Until the rows of finished compactions are gone from the file."""
        self._journal.run(lambda _: None)

    def backup(self, target: Path) -> Backup:
        """Write a consistent copy of what is durable now to ``target``, a new file. Blocks; others do not."""
        return copy_store(self.path, target)

    def snapshot(self) -> SnapshotFile:
        """A copy as of now, beside the store until it is open, then without a name: it goes with its reader."""
        target = self.path.with_name(f".{self.path.name}.snapshot-{new_token(8)}")
        try:
            backup = self.backup(target)
            return SnapshotFile(target.open("rb"), backup)
        except OSError as error:
            raise disk.explain(error, f"cannot read the copy {target}") from error
        finally:
            target.unlink(missing_ok=True)
            target.with_name(target.name + ".sha256").unlink(missing_ok=True)


class SnapshotFile:
    """An ``embedded.Snapshot``."""

    def __init__(self, file: BinaryIO, backup: Backup) -> None:
        self._file = file
        self.size_bytes = backup.size_bytes
        self.sha256 = bytes.fromhex(backup.sha256)

    def read(self, size_bytes: int) -> bytes:
        return self._file.read(size_bytes)

    def close(self) -> None:
        self._file.close()


def open_sqlite(
    path: Path,
    limits: Limits | None = None,
    retention: Retention | None = None,
    accept_unfinished: bool = False,
) -> SqliteStore:
    """Open the store at ``path``, or make it. Raises IN_USE, CORRUPT, NEWER_FORMAT, DENIED, NO_SPACE, and
    CONFLICT for what an interrupted migration left, unless that is to be accepted.
    """
    if not path.parent.is_dir():
        disk.make_private_folder(path.parent)
    owner = Owner(path)
    opened = False
    try:
        if not path.exists() or path.stat().st_size == 0:
            sqlite_file.create(path)
        elif not os.access(path, os.R_OK | os.W_OK):  # SQLite would quietly open it for reading only
            text = f"the store {path} cannot be written; change its mode, or name another path"
            raise AtollError(Code.DENIED, text, reason=Reason.PERMISSION_DENIED)
        store = SqliteStore(path, owner, limits, retention)
        opened = accept_unfinished or not store.holds(migration.UNFINISHED_KEY)
        if not opened:
            store.close()
            raise migration.unfinished(str(path))
        return store
    finally:
        if not opened:
            owner.release()


def copy_store(path: Path, target: Path) -> Backup:
    """Copy the store at ``path``, in use or not, to the new file ``target``, and its SHA-256 beside it.

    ``target.sha256`` is what ``sha256sum`` reads. Raises CONFLICT if ``target`` exists.
    """
    if target.exists():
        raise AtollError(Code.CONFLICT, f"{target} exists already; name a new file for the backup")
    sqlite_file.check_header(path)
    beside = target.with_name(f".{target.name}.{os.getpid()}.new")
    try:
        os.close(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, disk.FILE_MODE))
        connection = sqlite_file.connect(path, read_only=True)
        try:
            connection.execute("VACUUM INTO ?", (str(beside),))
        finally:
            connection.close()
        with beside.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        size_bytes = beside.stat().st_size
        sqlite_file.put_in_place(beside, target)
        note = target.with_name(target.name + ".sha256")
        disk.write_private_file(note, f"{sha256}  {target.name}\n".encode())
    except OSError as error:
        raise disk.explain(error, f"cannot write the backup {target}") from error
    except sqlite3.Error as error:
        raise sqlite_file.explain(error, path, "copying") from error
    finally:
        beside.unlink(missing_ok=True)
    return Backup(str(target), sha256, size_bytes)
