"""What an operator does to the file of an embedded store: back up, restore, check, compact, defragment.

Rule: a command that changes a store owns it for that time and so refuses one that is in use; backing up and
checking only read, and work beside the process that has it. All calls block.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from atoll.errors import AtollError, Code, Reason
from atoll.runtime import disk
from atoll.runtime.clock import Clock
from atoll.store import migration, sqlite, sqlite_file
from atoll.store.api import (
    GENERATION_KEY,
    Compact,
    CompactResult,
    Put,
    PutResult,
    Range,
    RangeResult,
    StatusRequest,
    StatusResult,
)
from atoll.store.blocking import ask
from atoll.store.engine import Retention
from atoll.store.mvcc import State
from atoll.store.sqlite import Backup, SqliteStore, open_sqlite
from atoll.store.sqlite_check import Checked as Checked
from atoll.store.sqlite_check import check as check
from atoll.store.sqlite_file import Owner

CHUNK_BYTES = 1_048_576
DIGEST_BYTES = 32
_PAGE_BYTES = 512  # the smallest page of SQLite: files are a whole number of them
_KEEP_HISTORY = Retention(history_s=0, history_revisions_max=0)


class Restored(msgspec.Struct, frozen=True):
    """``replaced`` is where the store that was there before is kept, or empty."""

    revision: int
    generation: int
    replaced: str = ""


class Defragmented(msgspec.Struct, frozen=True):
    before_bytes: int
    after_bytes: int


def backup(path: Path, target: Path) -> Backup:
    """Copy the store at ``path``, in use or not, to the new file ``target``, and check the copy.

    Raises CONFLICT if ``target`` exists, CORRUPT if the store is damaged.
    """
    made = sqlite.copy_store(path, target)
    checked = check(target)
    if checked.problems:
        raise sqlite_file.corrupt(path, f"its copy {target} is not sound: {checked.problems[0]}")
    return made


def compact(path: Path, revision: int = 0) -> int:
    """Forget the history below ``revision`` (0: the newest) of a store that is not in use; returns it."""
    with _opened(path) as store:
        newest = ask(store, StatusRequest(), StatusResult).revision
        ask(store, Compact(revision or newest), CompactResult)
        store.wait_forgotten()
        return revision or newest


def defragment(path: Path) -> Defragmented:
    """Give unused room of a store that is not in use back to the disk."""
    before_bytes = path.stat().st_size if path.exists() else 0
    with _opened(path) as store:
        store.defragment()
    return Defragmented(before_bytes, path.stat().st_size)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[SqliteStore]:
    if not path.exists():
        raise AtollError(Code.NOT_FOUND, f"there is no store {path}; name one that exists")
    store = open_sqlite(path, retention=_KEEP_HISTORY)
    try:
        yield store
    finally:
        store.close()


# --------------------------------------------------------------------------------------------- restore


def restore(source: Path, path: Path, clock: Clock, replace: bool = False) -> Restored:
    """Make the store at ``path`` from the backup ``source``, under a new generation.

    ``source`` is a file of ``backup``, whose SHA-256 is read from ``source.sha256`` if that is there, or one of
    ``etcdctl snapshot save``, which ends with it. Without ``replace`` an existing store is a CONFLICT; with it
    the old one is kept beside. Raises CORRUPT for a backup that is not what was written.
    """
    if path.exists() and not replace:
        raise AtollError(Code.CONFLICT, f"there is a store {path} already; name another path, or replace it")
    if not path.parent.is_dir():
        disk.make_private_folder(path.parent)
    owner = Owner(path)
    beside = path.with_name(f".{path.name}.{os.getpid()}.restore")
    try:
        _copy_verified(source, beside)
        checked = check(beside)
        if checked.problems:
            raise sqlite_file.corrupt(source, checked.problems[0])
        target_generation = _generation_at(path)
        generation, revision = _renew_generation(beside, target_generation, clock.wall_s())
        replaced = _move_away(path, clock.wall_s())
        sqlite_file.put_in_place(beside, path)
    except OSError as error:
        raise disk.explain(error, f"cannot restore {source} to {path}") from error
    finally:
        for name in (beside.name, f"{beside.name}.lock", f"{beside.name}-wal", f"{beside.name}-shm"):
            beside.with_name(name).unlink(missing_ok=True)
        owner.release()
    return Restored(revision, generation, str(replaced or ""))


def _copy_verified(source: Path, beside: Path) -> None:
    """Copy ``source`` without the SHA-256 at its end, if it has one, and compare that or the one beside it."""
    size_bytes = source.stat().st_size
    trailing = size_bytes % _PAGE_BYTES == DIGEST_BYTES
    left_bytes = size_bytes - DIGEST_BYTES if trailing else size_bytes
    digest = hashlib.sha256()
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, disk.FILE_MODE)
    with source.open("rb") as reading, os.fdopen(descriptor, "wb") as writing:
        while left_bytes:
            chunk = reading.read(min(CHUNK_BYTES, left_bytes))
            if not chunk:
                raise sqlite_file.corrupt(source, "it became shorter while it was read")
            left_bytes -= len(chunk)
            digest.update(chunk)
            writing.write(chunk)
        tail = reading.read()
    note = source.with_name(source.name + ".sha256")
    expected = tail.hex() if trailing else note.read_text().split()[0] if note.exists() else ""
    if expected and expected != digest.hexdigest():
        raise sqlite_file.corrupt(source, f"its SHA-256 is {digest.hexdigest()}, not {expected}")


def _generation_at(path: Path) -> int:
    """The generation of the store that is to be replaced; 0 where there is none or it cannot be read."""
    if not path.exists():
        return 0
    try:
        recovered = sqlite_file.recover(path)
        state = State()
        state.load(recovered.compact_revision, recovered.versions)
    except AtollError as error:
        if error.reason in (Reason.CORRUPT, Reason.NEWER_FORMAT):
            return 0  # the present time, which the new generation is at least, stands in for it
        raise
    found = state.get(GENERATION_KEY, state.revision)
    return migration.generation_of(found.value) if found else 0


def _renew_generation(path: Path, target_generation: int, wall_s: float) -> tuple[int, int]:
    with _opened(path) as store:
        kvs = ask(store, Range(GENERATION_KEY), RangeResult).kvs
        source_generation = migration.generation_of(kvs[0].value) if kvs else 0
        generation = migration.next_generation(source_generation, target_generation, wall_s)
        revision = ask(store, Put(GENERATION_KEY, b"%d" % generation), PutResult).revision
    return generation, revision


def _move_away(path: Path, wall_s: float) -> Path | None:
    """Keep the old store, and its write-ahead log if it has one, under another name."""
    if not path.exists():
        return None
    away = path.with_name(f"{path.name}.replaced-{int(wall_s)}")
    for suffix in ("", "-wal"):
        old = path.with_name(path.name + suffix)
        if old.exists():
            old.rename(away.with_name(away.name + suffix))
    path.with_name(path.name + "-shm").unlink(missing_ok=True)
    return away
