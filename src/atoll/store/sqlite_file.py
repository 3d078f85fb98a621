"""The file of an embedded store: its format, who owns it, how it is made and read.

Rule: a file is changed only after it was found to be a store of a format that this version writes, all of it was
read, and this process owns it. Anything else is refused and left untouched, byte for byte.

Format 1 (``PRAGMA application_id`` "ATOL", ``PRAGMA user_version`` 1), readable with any SQLite tool:

- ``history``: one row a version of a key. ``id`` is ``revision * 2**20 + position within the revision``, so that
  rows are only ever appended and are read back in order. ``version`` 0 is a deletion. ``checksum`` is CRC-32 of
  the id's low 32 bits, the key and the value, because SQLite itself would not notice a flipped bit in a value.
- ``lease``: id and granted time; renewals are not written.
- ``note``: small values kept beside the keys (``Engine.put_note``); ``checksum`` is CRC-32 of name and value.
- ``meta``: ``compact_revision``. The views ``versions`` and ``current_keys`` are for people.

Ownership is an exclusive flock(2) on ``PATH.lock`` that holds the owner's process id. The lock goes with its
process, however that ends; the file stays, because removing it would let two processes lock two files.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import zlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from atoll.errors import AtollError, Code, Reason
from atoll.runtime import disk
from atoll.store.api import KeyValue
from atoll.store.journal import Recovered
from atoll.store.mvcc import NEVER_COMPACTED

APPLICATION_ID = int.from_bytes(b"ATOL", "big")
FORMAT = 1
POSITION_BITS = 20
"""A revision has at most 2**20 events, and there are at most 2**43 revisions: 21 years at 13,000 a second."""

OPENING_BYTES_MIN = 65_536
"""Opening needs room for SQLite's shared-memory file; with less, its I/O errors mean a full disk."""

_MAGIC = b"SQLite format 3\0"
_HEADER_BYTES = 100
_SCHEMA = f"""
CREATE TABLE history (
    id INTEGER PRIMARY KEY,
    key BLOB NOT NULL,
    value BLOB NOT NULL,
    create_revision INTEGER NOT NULL,
    version INTEGER NOT NULL,
    lease INTEGER NOT NULL,
    checksum INTEGER NOT NULL
);
CREATE TABLE lease (id INTEGER PRIMARY KEY, ttl_s INTEGER NOT NULL);
CREATE TABLE note (name TEXT PRIMARY KEY, value BLOB NOT NULL, checksum INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE meta (name TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;
CREATE VIEW versions AS
    SELECT id >> {POSITION_BITS} AS revision, CAST(key AS TEXT) AS key_text, version, lease, key, value FROM history;
CREATE VIEW current_keys AS
    SELECT * FROM versions AS newest WHERE version > 0
    AND NOT EXISTS (SELECT 1 FROM versions AS later WHERE later.key = newest.key AND later.revision > newest.revision);
"""


def checksum(row: int, key: bytes, value: bytes) -> int:
    """What ``history.checksum`` holds for a row."""
    return zlib.crc32(value, zlib.crc32(key, row & 0xFFFFFFFF))


def note_checksum(name: str, value: bytes) -> int:
    """What ``note.checksum`` holds."""
    return zlib.crc32(value, zlib.crc32(name.encode()))


# ---------------------------------------------------------------------------------------------- errors


def explain(error: sqlite3.Error, path: Path, doing: str) -> AtollError:
    """The ``AtollError`` for an error of SQLite while nothing of the request can have been kept."""
    name = getattr(error, "sqlite_errorname", "")
    text = f"{doing} the store {path}: {error}"
    starved = name.startswith(("SQLITE_IOERR", "SQLITE_CANTOPEN")) and (
        disk.free_bytes(path.parent) < OPENING_BYTES_MIN
    )
    if name == "SQLITE_FULL" or starved:
        return AtollError(Code.EXHAUSTED, f"{text}; make room on its disk", reason=Reason.NO_SPACE)
    if name.startswith(("SQLITE_READONLY", "SQLITE_PERM", "SQLITE_AUTH")):
        return AtollError(Code.DENIED, f"{text}; it must be writable", reason=Reason.PERMISSION_DENIED)
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_FORMAT")):
        return corrupt(path, str(error))
    return AtollError(Code.UNAVAILABLE, text)


def corrupt(path: Path, why: str) -> AtollError:
    text = (
        f"the store {path} is damaged ({why}); it was left as it is: restore a backup, or name another path"
    )
    return AtollError(Code.INVALID, text, reason=Reason.CORRUPT)


# ----------------------------------------------------------------------------------------------- owner


class Owner:
    """The exclusive ownership of one store. Raises IN_USE, DENIED or EXHAUSTED; ``release`` is idempotent."""

    def __init__(self, path: Path) -> None:
        self._path = path.with_name(path.name + ".lock")
        try:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, disk.FILE_MODE)
        except OSError as error:
            raise disk.explain(error, f"cannot lock the store {path}") from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(self._descriptor, 20, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(self._descriptor)
            text = f"the store {path} is in use by process {holder}; stop it, or name another path"
            raise AtollError(Code.CONFLICT, text, reason=Reason.IN_USE) from error
        try:
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, b"%d\n" % os.getpid(), 0)
        except OSError as error:
            os.close(self._descriptor)
            raise disk.explain(error, f"cannot lock the store {path}") from error

    def release(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


# ------------------------------------------------------------------------------------- making, checking


def create(path: Path) -> None:
    """Make an empty store at ``path``, whole or not at all. The folder is made if it is missing."""
    if not path.parent.is_dir():
        disk.make_private_folder(path.parent)
    if _has_log(path):
        raise corrupt(path, "its write-ahead log is there, but the file itself is missing or empty")
    beside = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        os.close(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, disk.FILE_MODE))
        connection = connect(beside, read_only=False)
        try:
            connection.executescript(
                f"BEGIN; {_SCHEMA} PRAGMA application_id = {APPLICATION_ID};"
                f" PRAGMA user_version = {FORMAT}; COMMIT;"
            )
        finally:
            connection.close()
        put_in_place(beside, path)
    except OSError as error:
        raise disk.explain(error, f"cannot make the store {path}") from error
    except sqlite3.Error as error:
        raise explain(error, path, "making") from error
    finally:
        beside.unlink(missing_ok=True)


def put_in_place(beside: Path, path: Path) -> None:
    """Make ``beside`` durable, then rename it to ``path``, durable when this returns. Raises OSError."""
    descriptor = os.open(beside, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    beside.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def check_header(path: Path) -> None:
    """Refuse what is not a store, or of a newer format, without opening it as a database."""
    try:
        with path.open("rb") as file:
            header = file.read(_HEADER_BYTES)
    except OSError as error:
        raise disk.explain(error, f"cannot read the store {path}") from error
    if header[: len(_MAGIC)] != _MAGIC or len(header) < _HEADER_BYTES:
        text = f"{path} is not a store (nor an SQLite file); it was left as it is: name another path"
        raise AtollError(Code.INVALID, text, reason=Reason.CORRUPT)
    application_id, user_version = int.from_bytes(header[68:72], "big"), int.from_bytes(header[60:64], "big")
    if application_id != APPLICATION_ID:
        text = f"{path} is an SQLite file of another program; it was left as it is: name another path"
        raise AtollError(Code.INVALID, text, reason=Reason.CORRUPT)
    if user_version > FORMAT:
        text = (
            f"the store {path} has format {user_version}, this version of Atoll knows formats up to {FORMAT};"
            " it was left as it is: run a newer Atoll"
        )
        raise AtollError(Code.INVALID, text, reason=Reason.NEWER_FORMAT)


def connect(path: Path, read_only: bool) -> sqlite3.Connection:
    """A connection in autocommit mode, to be used by one thread at a time. Raises sqlite3.Error."""
    return _connect(path, "mode=ro" if read_only else "mode=rw")


def connect_owned(path: Path) -> sqlite3.Connection:
    """For reading what this process owns and has not opened yet: leaves no trace beside the file."""
    return _connect(path, "mode=ro" if _has_log(path) else "mode=ro&immutable=1")


def _has_log(path: Path) -> bool:
    log = path.with_name(path.name + "-wal")
    return log.exists() and log.stat().st_size > 0


def lengthen_log(path: Path, size_bytes: int) -> None:
    """Write zeros behind the write-ahead log of the open store at ``path``, so that commits overwrite what is there.

    fdatasync of a file that grows waits for the file system's own journal, and so for whatever neighbours wrote:
    measured, 290 us against 160 us alone, and ten times as much beside a busy test suite. To SQLite zeros are the end of
    the log: a frame counts only with the header's salts (sqlite.org, "The SQLite Database File Format", 4.1). Where
    there is no room, or writing fails, the log stays as it was, and commits find out for themselves.
    """
    descriptor = os.open(path.with_name(path.name + "-wal"), os.O_RDWR)
    try:
        end = os.fstat(descriptor).st_size
        if end < size_bytes and not _wrote_zeros(descriptor, end, size_bytes - end):
            os.ftruncate(descriptor, end)
    finally:
        os.close(descriptor)


def _wrote_zeros(descriptor: int, start: int, count: int) -> bool:
    try:
        os.posix_fallocate(descriptor, start, count)
        written = os.pwrite(descriptor, bytes(count), start)
        os.fsync(descriptor)
    except OSError:
        return False
    return written == count


def _connect(path: Path, query: str) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?{query}"
    return sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=5.0)


# --------------------------------------------------------------------------------------------- reading


def recover(path: Path) -> Recovered:
    """Everything in the store at ``path``, owned and not open. ``versions`` is read while it is iterated, once.

    Reads through a read-only connection, so that a damaged file is not even checkpointed. Raises CORRUPT, also
    during the iteration.
    """
    check_header(path)
    try:
        with contextlib.closing(connect_owned(path)) as connection:
            small = read_small(connection, path)
    except sqlite3.Error as error:
        raise explain(error, path, "reading") from error
    return msgspec.structs.replace(small, versions=_versions(path, small.compact_revision))


def read_small(connection: sqlite3.Connection, path: Path) -> Recovered:
    """All but ``versions``. Raises CORRUPT for what is not what was written, sqlite3.Error."""
    found = connection.execute("SELECT value FROM meta WHERE name = 'compact_revision'").fetchone()
    leases = [(int(lease), int(ttl_s)) for lease, ttl_s in connection.execute("SELECT * FROM lease")]
    notes = []
    for name, value, expected in connection.execute("SELECT name, value, checksum FROM note"):
        if note_checksum(name, value) != expected:
            raise corrupt(path, f"its note {name!r} has a wrong checksum")
        notes.append((name, value))
    return Recovered((), int(found[0]) if found else NEVER_COMPACTED, leases, notes)


def _versions(path: Path, compact_revision: int) -> Iterator[KeyValue]:
    try:
        with contextlib.closing(connect_owned(path)) as connection:
            yield from versions_in(connection, path, compact_revision)
    except sqlite3.Error as error:
        raise explain(error, path, "reading") from error


def versions_in(connection: sqlite3.Connection, path: Path, compact_revision: int) -> Iterator[KeyValue]:
    """Every version in the file, in order. Raises CORRUPT for a row that is not what was written."""
    rows = connection.execute(
        "SELECT id, key, value, create_revision, version, lease, checksum FROM history ORDER BY id"
    )
    newest = max(compact_revision, 1)
    try:
        for row, key, value, create_revision, version, lease, expected in rows:
            if checksum(row, key, value) != expected:
                raise corrupt(path, f"row {row} of its history has a wrong checksum")
            revision = row >> POSITION_BITS
            if revision > newest + 1:
                raise corrupt(path, f"revision {newest + 1} of its history is missing")
            newest = max(revision, newest)
            yield KeyValue(key, value, create_revision, revision, version, lease)
    except TypeError as error:
        raise corrupt(path, f"a row of its history has a value of the wrong type: {error}") from error
