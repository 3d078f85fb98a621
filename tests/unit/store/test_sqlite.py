"""The SQLite driver: what survives, who may open it, and what it refuses to touch."""

from __future__ import annotations

import hashlib
import os
import queue
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from atoll.errors import AtollError, Code, Reason
from atoll.store import sqlite_file
from atoll.store.api import (
    Compact,
    CompactResult,
    Delete,
    DeleteResult,
    Driver,
    KeyValue,
    LeaseGrant,
    LeaseResult,
    LeaseTimeToLive,
    Limits,
    NoteResult,
    Outcome,
    Put,
    PutResult,
    Range,
    RangeResult,
    Request,
    StatusRequest,
    StatusResult,
    Txn,
    TxnResult,
    Watch,
    WatchBatch,
)
from atoll.store.sqlite import LOG_BYTES, SqliteStore, open_sqlite
from tests.waiting import wait_until

R = TypeVar("R")
ALL = Range(b"\0", b"\0")


def ask(driver: Driver, request: Request, kind: type[R]) -> R:
    outcome = answer(driver, request)
    assert isinstance(outcome, kind), outcome
    return outcome


def answer(driver: Driver, request: Request) -> Outcome:
    answers: queue.Queue[Outcome] = queue.Queue()
    driver.submit(request, answers.put)
    return answers.get(timeout=20)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "store.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    store = open_sqlite(path)
    yield store
    store.close()


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _refusal(path: Path) -> AtollError:
    """Opening ``path`` must fail and change neither it nor its log."""
    files = [path, path.with_name(path.name + "-wal")]
    before = [_digest(file) if file.exists() else None for file in files]
    with pytest.raises(AtollError) as caught:
        open_sqlite(path)
    assert [_digest(file) if file.exists() else None for file in files] == before
    assert str(path) in caught.value.message
    return caught.value


# --------------------------------------------------------------------------------------------- survival


def test_everything_is_there_again(path: Path) -> None:
    store = open_sqlite(path)
    ask(store, LeaseGrant(60, 7), LeaseResult)
    ask(store, LeaseGrant(60, 8), LeaseResult)
    ask(store, Txn(success=(Put(b"a", b"1"), Put(b"b", b"2", lease=7))), TxnResult)
    ask(store, Put(b"a", b"3"), PutResult)
    ask(store, Delete(b"b"), DeleteResult)
    ask(store, Put(b"b", b"4", lease=8), PutResult)
    store.close()
    store = open_sqlite(path)
    a, b = KeyValue(b"a", b"3", 2, 3, 2), KeyValue(b"b", b"4", 5, 5, 1, 8)
    assert ask(store, ALL, RangeResult) == RangeResult(5, (a, b), False, 2)
    older = ask(store, Range(b"\0", b"\0", revision=2), RangeResult)
    assert [kv.value for kv in older.kvs] == [b"1", b"2"]
    assert ask(store, LeaseTimeToLive(8, keys=True), LeaseResult).keys == (b"b",)
    batches: list[WatchBatch | AtollError] = []
    store.watch(Watch(b"\0", b"\0", start_revision=2), batches.append)
    events = [event for batch in batches if isinstance(batch, WatchBatch) for event in batch.events]
    assert [(event.kv.key, event.kv.mod_revision, event.kv.version) for event in events] == [
        (b"a", 2, 1),
        (b"b", 2, 1),
        (b"a", 3, 2),
        (b"b", 4, 0),
        (b"b", 5, 1),
    ]
    store.close()


def test_a_copy_taken_without_closing_opens_with_everything(store: SqliteStore, tmp_path: Path) -> None:
    """The files as a crash would leave them: the log has not been folded into the store."""
    for number in range(20):
        ask(store, Put(b"%d" % number), PutResult)
    crashed = tmp_path / "crashed.db"
    for suffix in ("", "-wal"):
        shutil.copy(store.path.with_name(store.path.name + suffix), crashed.with_name(crashed.name + suffix))
    reopened = open_sqlite(crashed)
    assert ask(reopened, ALL, RangeResult).count == 20
    reopened.close()


def test_commits_overwrite_a_log_that_is_long_already(store: SqliteStore, tmp_path: Path) -> None:
    log = store.path.with_name(store.path.name + "-wal")
    assert log.stat().st_size == LOG_BYTES
    crashed = tmp_path / "crashed.db"
    for file in (store.path, log):  # nothing but zeros: no header, no frame
        shutil.copy(file, crashed.with_name(file.name.replace(store.path.name, crashed.name)))
    for number in range(1200):  # through some folds
        ask(store, Put(b"%d" % number), PutResult)
    assert log.stat().st_size == LOG_BYTES
    store.defragment()
    assert log.stat().st_size == LOG_BYTES
    reopened = open_sqlite(crashed)
    assert ask(reopened, Put(b"first"), PutResult).revision == 2
    reopened.close()


def test_a_log_that_cannot_be_long_stays_as_it_was(store: SqliteStore) -> None:
    log = store.path.with_name(store.path.name + "-wal")
    sqlite_file.lengthen_log(store.path, 1 << 62)
    assert log.stat().st_size == LOG_BYTES
    assert ask(store, Put(b"a"), PutResult).revision == 2


def test_compaction_removes_rows_and_defragmentation_gives_room_back(store: SqliteStore) -> None:
    for number in range(300):
        ask(store, Put(b"k%d" % (number % 3), b"x" * 4_000), PutResult)
    before = ask(store, StatusRequest(), StatusResult).size_bytes
    ask(store, Compact(301), CompactResult)
    reader = sqlite3.connect(store.path)
    wait_until(lambda: reader.execute("SELECT count(*) FROM history").fetchone() == (3,), 20, "3 rows")
    reader.close()
    store.defragment()
    assert ask(store, StatusRequest(), StatusResult).size_bytes < before / 10
    assert ask(store, ALL, RangeResult).count == 3


def test_compaction_outlives_a_restart(path: Path) -> None:
    store = open_sqlite(path)
    for _ in range(3):
        ask(store, Put(b"a"), PutResult)
    ask(store, Delete(b"a"), DeleteResult)
    ask(store, Compact(5), CompactResult)
    store.close()
    store = open_sqlite(path)
    status = ask(store, StatusRequest(), StatusResult)
    assert (status.revision, status.compact_revision) == (5, 5)
    assert ask(store, Range(b"a", revision=4), AtollError).reason is Reason.COMPACTED
    batches: list[WatchBatch | AtollError] = []
    store.watch(Watch(b"a", start_revision=5), batches.append)
    assert isinstance(batches[1], WatchBatch)
    assert batches[1].events[0].is_delete
    assert ask(store, Put(b"a"), PutResult).revision == 6
    store.close()


def test_compacting_all_that_was_deleted_does_not_lose_the_revision(path: Path) -> None:
    store = open_sqlite(path)
    ask(store, Put(b"a"), PutResult)
    ask(store, Delete(b"a"), DeleteResult)
    ask(store, Put(b"b"), PutResult)
    ask(store, Delete(b"b"), DeleteResult)
    ask(store, Compact(4), CompactResult)
    ask(store, Compact(5), CompactResult)
    store.close()
    store = open_sqlite(path)
    assert ask(store, Put(b"a"), PutResult).revision == 6
    store.close()


# -------------------------------------------------------------------------------------------- ownership


def test_files_are_private(store: SqliteStore) -> None:
    ask(store, Put(b"a"), PutResult)
    modes = {file.name: file.stat().st_mode & 0o777 for file in store.path.parent.iterdir()}
    assert set(modes.values()) == {0o600}, modes
    assert store.path.parent.stat().st_mode & 0o777 == 0o700


def test_a_folder_that_was_there_keeps_its_mode(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    folder.mkdir(mode=0o755)
    open_sqlite(folder / "store.db").close()
    assert folder.stat().st_mode & 0o777 == 0o755


OPENS = """
import pathlib, sys
from atoll.errors import AtollError
from atoll.store.sqlite import LOG_BYTES, open_sqlite
try:
    open_sqlite(pathlib.Path(sys.argv[1])).close()
except AtollError as error:
    sys.exit(f"{error.reason.name}: {error.message}")
"""


def test_a_second_process_is_refused_and_told_who_has_it(store: SqliteStore) -> None:
    second = subprocess.run(
        [sys.executable, "-c", OPENS, str(store.path)], capture_output=True, text=True, timeout=60
    )
    assert second.returncode == 1
    assert second.stderr.startswith("IN_USE: ")
    assert f"in use by process {os.getpid()}" in second.stderr
    assert _refusal(store.path).reason is Reason.IN_USE  # nor may this process open it twice
    ask(store, Put(b"a"), PutResult)


# --------------------------------------------------------------------------------- what is left untouched


def test_a_file_that_is_no_store_is_left_alone(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("something dear to somebody\n" * 100)
    assert _refusal(text).reason is Reason.CORRUPT
    other = tmp_path / "other.db"
    connection = sqlite3.connect(other)
    connection.execute("CREATE TABLE history (id INTEGER)")
    connection.commit()
    connection.close()
    refusal = _refusal(other)
    assert refusal.reason is Reason.CORRUPT
    assert "another program" in refusal.message


def test_a_newer_format_is_left_alone(path: Path) -> None:
    open_sqlite(path).close()
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {sqlite_file.FORMAT + 1}")
    connection.close()
    assert _refusal(path).reason is Reason.NEWER_FORMAT


def _filled(path: Path) -> None:
    store = open_sqlite(path)
    for number in range(200):
        ask(store, Put(b"key-%03d" % number, b"value-%03d" % number * 20), PutResult)
    store.close()


def _flip(path: Path, position: int) -> None:
    raw = bytearray(path.read_bytes())
    raw[position] ^= 0x10
    path.write_bytes(raw)


def test_notes_are_kept_and_checked(path: Path) -> None:
    store = open_sqlite(path)
    answers: queue.Queue[Outcome] = queue.Queue()
    store.put_note("accounts", b"before", answers.put)
    store.put_note("accounts", b"a note with a value", answers.put)
    assert [answers.get(timeout=20), answers.get(timeout=20)] == [NoteResult(1), NoteResult(1)]
    store.close()
    store = open_sqlite(path)
    assert store.note("accounts") == b"a note with a value"
    assert store.note("another") is None
    store.close()
    _flip(path, path.read_bytes().index(b"a note with a value"))
    assert _refusal(path).reason is Reason.CORRUPT


def test_a_flipped_bit_in_a_value_is_found(path: Path) -> None:
    _filled(path)
    _flip(path, path.read_bytes().index(b"value-150"))
    refusal = _refusal(path)
    assert refusal.reason is Reason.CORRUPT
    assert "checksum" in refusal.message


@pytest.mark.parametrize("damage", ["page overwritten", "cut short", "row missing", "row of another type"])
def test_a_damaged_file_is_left_alone(path: Path, damage: str) -> None:
    _filled(path)
    if damage == "page overwritten":
        raw = bytearray(path.read_bytes())
        raw[5 * 4096 : 6 * 4096] = os.urandom(4096)
        path.write_bytes(raw)
    elif damage == "cut short":
        os.truncate(path, path.stat().st_size // 2)
    else:
        connection = sqlite3.connect(path)
        row = 100 << sqlite_file.POSITION_BITS
        if damage == "row missing":
            connection.execute("DELETE FROM history WHERE id = ?", (row,))
        else:
            connection.execute("UPDATE history SET key = 'text' WHERE id = ?", (row,))
        connection.commit()
        connection.close()
    assert _refusal(path).reason is Reason.CORRUPT


def test_a_damaged_file_with_a_log_is_left_alone(store: SqliteStore, tmp_path: Path) -> None:
    for number in range(200):
        ask(store, Put(b"key-%03d" % number, b"value-%03d" % number * 20), PutResult)
    crashed = tmp_path / "crashed.db"
    log = crashed.with_name(crashed.name + "-wal")
    shutil.copy(store.path, crashed)
    shutil.copy(store.path.with_name(store.path.name + "-wal"), log)
    connection = sqlite_file.connect(crashed, read_only=False)
    connection.execute("DELETE FROM history WHERE id = ?", (100 << sqlite_file.POSITION_BITS,))
    for file in (crashed, log):
        shutil.copy(file, file.with_name("holed-" + file.name))
    connection.close()
    assert _refusal(tmp_path / "holed-crashed.db").reason is Reason.CORRUPT


def test_a_log_without_its_file_is_not_built_upon(path: Path) -> None:
    path.parent.mkdir()
    path.with_name(path.name + "-wal").write_bytes(b"something")
    with pytest.raises(AtollError) as caught:
        open_sqlite(path)
    assert caught.value.reason is Reason.CORRUPT
    assert not path.exists()


def test_a_folder_that_cannot_be_made_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(AtollError) as caught:
        open_sqlite(tmp_path / "file" / "data" / "store.db")
    assert caught.value.code is Code.INVALID


# ----------------------------------------------------------------------------------------------- limits


def test_the_quota_is_on_the_file(path: Path) -> None:
    store = open_sqlite(path, Limits(quota_bytes=100_000))
    refused = None
    for number in range(100):
        outcome = answer(store, Put(b"%d" % (number % 5), b"x" * 4_000))
        if isinstance(outcome, AtollError):
            refused = outcome
            break
    assert refused is not None
    assert refused.reason is Reason.NO_SPACE
    revision = ask(store, ALL, RangeResult).revision
    ask(store, Compact(revision), CompactResult)

    def smaller() -> bool:
        store.defragment()
        return store.path.stat().st_size < 60_000

    wait_until(smaller, 20, "the compacted rows to go")
    assert store.engine.disarm("NOSPACE")
    ask(store, Put(b"0", b"x"), PutResult)
    store.close()


def test_a_backup_of_a_store_in_use_is_whole(store: SqliteStore, tmp_path: Path) -> None:
    for number in range(50):
        ask(store, Put(b"%d" % number), PutResult)
    target = tmp_path / "copy.db"
    backup = store.backup(target)
    assert backup.sha256 == _digest(target)
    assert backup.size_bytes == target.stat().st_size
    note = target.with_name("copy.db.sha256").read_text()
    assert note == f"{backup.sha256}  copy.db\n"
    ask(store, Put(b"later"), PutResult)
    with pytest.raises(AtollError) as caught:
        store.backup(target)
    assert caught.value.code is Code.CONFLICT
    copy = open_sqlite(target)
    assert ask(copy, ALL, RangeResult).count == 50
    copy.close()
