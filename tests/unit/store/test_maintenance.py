"""Backing up, restoring, checking, compacting, defragmenting and migrating embedded stores."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from pathlib import Path

import pytest

from atoll.errors import AtollError, Code, Reason
from atoll.runtime.clock import BootClock
from atoll.store import maintenance, migration
from atoll.store.api import (
    GENERATION_KEY,
    RESERVED_PREFIX,
    Cancel,
    Delete,
    DeleteResult,
    Done,
    Driver,
    LeaseGrant,
    LeaseResult,
    LeaseTimeToLive,
    Put,
    PutResult,
    Range,
    RangeResult,
    Request,
    StatusRequest,
    StatusResult,
    Watch,
    WatchSink,
)
from atoll.store.memory import open_memory
from atoll.store.sqlite import open_sqlite
from atoll.testing.asking import ask

ALL = Range(b"\0", b"\0")


class FixedClock(BootClock):
    """The wall clock is set by hand."""

    def __init__(self, wall_s: float) -> None:
        self._wall_s = wall_s

    def wall_s(self) -> float:
        return self._wall_s


def _fill(driver: Driver) -> None:
    ask(driver, LeaseGrant(60, 7), LeaseResult)
    ask(driver, LeaseGrant(90, 8), LeaseResult)
    ask(driver, Put(b"election/8", b"first", lease=8), PutResult)
    ask(driver, Put(b"election/7", b"second", lease=7), PutResult)
    ask(driver, Put(RESERVED_PREFIX + b"node", b"own"), PutResult)
    for number in range(300):
        ask(driver, Put(b"key-%03d" % number, b"value" * (number % 7)), PutResult)
    ask(driver, Delete(b"key-000"), DeleteResult)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store with keys, leases and history that nobody has open."""
    store = open_sqlite(tmp_path / "store.db")
    _fill(store)
    store.close()
    return store.path


def _contents(driver: Driver) -> dict[bytes, tuple[bytes, int]]:
    return {kv.key: (kv.value, kv.lease) for kv in ask(driver, ALL, RangeResult).kvs}


def _generation(driver: Driver) -> int:
    return ask(driver, StatusRequest(), StatusResult).generation


# --------------------------------------------------------------------------------- backup and restore


def test_a_restored_store_has_everything_and_a_new_generation(path: Path, tmp_path: Path) -> None:
    backup = tmp_path / "backup.db"
    maintenance.backup(path, backup)
    target = tmp_path / "elsewhere" / "store.db"
    restored = maintenance.restore(backup, target, FixedClock(1_000.7))
    assert (restored.generation, restored.replaced) == (1_000, "")
    original, copy = open_sqlite(path), open_sqlite(target)
    expected = {**_contents(original), GENERATION_KEY: (b"1000", 0)}
    assert _contents(copy) == expected
    assert _generation(copy) == 1_000
    assert ask(copy, LeaseTimeToLive(8, keys=True), LeaseResult).keys == (b"election/8",)
    assert ask(copy, Range(b"key-000", revision=6), RangeResult).count == 1  # history came along
    original.close()
    copy.close()
    assert not [file for file in target.parent.iterdir() if "restore" in file.name]


def test_generations_never_go_backwards(path: Path, tmp_path: Path) -> None:
    backup = tmp_path / "backup.db"
    maintenance.backup(path, backup)
    first = maintenance.restore(backup, path, FixedClock(5_000), replace=True)
    second = maintenance.restore(backup, path, FixedClock(10), replace=True)  # a clock that went back
    third = maintenance.restore(Path(second.replaced), tmp_path / "third.db", FixedClock(10))
    assert [first.generation, second.generation, third.generation] == [5_000, 5_001, 5_001]


def test_restore_replaces_only_when_told_and_keeps_the_old_store(path: Path, tmp_path: Path) -> None:
    backup = tmp_path / "backup.db"
    maintenance.backup(path, backup)
    store = open_sqlite(path)
    ask(store, Put(b"later"), PutResult)
    with pytest.raises(AtollError) as caught:
        maintenance.restore(backup, path, BootClock(), replace=True)
    assert caught.value.reason is Reason.IN_USE
    store.close()
    with pytest.raises(AtollError) as caught:
        maintenance.restore(backup, path, BootClock())
    assert caught.value.code is Code.CONFLICT
    restored = maintenance.restore(backup, path, BootClock(), replace=True)
    old, new = open_sqlite(Path(restored.replaced)), open_sqlite(path)
    assert b"later" in _contents(old)
    assert b"later" not in _contents(new)
    old.close()
    new.close()


def test_a_damaged_store_is_replaced_with_its_log(path: Path, tmp_path: Path) -> None:
    backup = tmp_path / "backup.db"
    maintenance.backup(path, backup)
    path.write_bytes(b"scribbled over" * 1_000)
    path.with_name(path.name + "-wal").write_bytes(b"and its log")
    restored = maintenance.restore(backup, path, FixedClock(77), replace=True)
    assert restored.generation == 77
    kept = Path(restored.replaced)
    assert kept.read_bytes().startswith(b"scribbled")
    assert kept.with_name(kept.name + "-wal").read_bytes() == b"and its log"
    store = open_sqlite(path)
    assert b"key-001" in _contents(store)
    store.close()


def test_a_changed_backup_is_refused(path: Path, tmp_path: Path) -> None:
    backup, target = tmp_path / "backup.db", tmp_path / "target.db"
    maintenance.backup(path, backup)
    raw = bytearray(backup.read_bytes())
    raw[-1] ^= 1
    backup.write_bytes(raw)
    with pytest.raises(AtollError) as caught:
        maintenance.restore(backup, target, BootClock())
    assert caught.value.reason is Reason.CORRUPT
    assert "SHA-256" in caught.value.message
    assert not target.exists()


def test_a_snapshot_of_etcdctl_carries_its_digest_at_the_end(path: Path, tmp_path: Path) -> None:
    backup, target = tmp_path / "backup.db", tmp_path / "target.db"
    maintenance.backup(path, backup)
    raw = backup.read_bytes()
    snapshot = tmp_path / "snapshot.db"
    snapshot.write_bytes(raw + hashlib.sha256(raw).digest())
    assert maintenance.restore(snapshot, target, BootClock()).revision > 1
    assert not maintenance.check(target).problems
    snapshot.write_bytes(raw + hashlib.sha256(raw + b"x").digest())
    with pytest.raises(AtollError) as caught:
        maintenance.restore(snapshot, tmp_path / "other.db", BootClock())
    assert caught.value.reason is Reason.CORRUPT


def test_something_else_is_not_restored(tmp_path: Path) -> None:
    other = tmp_path / "other.txt"
    other.write_text("not a backup")
    target = tmp_path / "target.db"
    with pytest.raises(AtollError) as caught:
        maintenance.restore(other, target, BootClock())
    assert caught.value.reason is Reason.CORRUPT
    with pytest.raises(AtollError) as caught:
        maintenance.restore(tmp_path / "missing.db", target, BootClock())
    assert caught.value.code is Code.NOT_FOUND
    assert not target.exists()


# ------------------------------------------------------------------------ check, compact, defragment


def test_check_counts_what_is_there_and_leaves_no_trace(path: Path) -> None:
    before = sorted(
        (file.name, file.read_bytes()) for file in path.parent.iterdir() if "lock" not in file.name
    )
    checked = maintenance.check(path)
    assert (checked.problems, checked.revision, checked.keys, checked.leases) == ((), 305, 302, 2)
    assert checked.versions == 304
    after = sorted(
        (file.name, file.read_bytes()) for file in path.parent.iterdir() if "lock" not in file.name
    )
    assert after == before


def test_check_works_beside_the_owner(path: Path) -> None:
    store = open_sqlite(path)
    ask(store, Put(b"more"), PutResult)
    assert maintenance.check(path).keys == 303
    store.close()


@pytest.mark.parametrize("damage", ["value", "page", "lease", "truncated"])
def test_check_names_what_is_wrong(path: Path, damage: str) -> None:
    raw = bytearray(path.read_bytes())
    if damage == "value":
        raw[raw.index(b"second") + 1] ^= 1
        path.write_bytes(raw)
    elif damage == "page":
        raw[3 * 4096 : 4 * 4096] = os.urandom(4096)
        path.write_bytes(raw)
    elif damage == "truncated":
        os.truncate(path, len(raw) - 8192)
    else:
        connection = sqlite3.connect(path)
        connection.execute("DELETE FROM lease WHERE id = 7")
        connection.commit()
        connection.close()
    assert maintenance.check(path).problems


def test_compact_then_defragment_make_the_file_smaller(path: Path) -> None:
    store = open_sqlite(path)
    for number in range(200):
        ask(store, Put(b"hot", b"x" * 4_000 + b"%d" % number), PutResult)
    store.close()
    assert maintenance.compact(path) == 505
    assert maintenance.check(path).versions == 303
    room = maintenance.defragment(path)
    assert room.after_bytes < room.before_bytes / 5
    store = open_sqlite(path)
    assert _contents(store)[b"hot"][0].endswith(b"x199")
    assert ask(store, Range(b"hot", revision=504), AtollError).reason is Reason.COMPACTED
    store.close()


def test_commands_on_a_store_that_is_not_there(tmp_path: Path) -> None:
    for command in (maintenance.compact, maintenance.defragment, maintenance.check):
        with pytest.raises(AtollError) as caught:
            command(tmp_path / "missing.db")
        assert caught.value.code is Code.NOT_FOUND
    assert not (tmp_path / "missing.db").exists()


# --------------------------------------------------------------------------------------------- migrate


def test_migration_moves_keys_leases_and_the_order_of_candidates(path: Path) -> None:
    source, target = open_sqlite(path), open_memory()
    ask(target, Put(GENERATION_KEY, b"9000"), PutResult)  # what an earlier life of the target reached
    migrated = migration.migrate(source, target, wall_s=500)
    assert (migrated.keys, migrated.leases, migrated.generation) == (302, 2, 9_001)
    assert _contents(target) == {**_contents(source), GENERATION_KEY: (b"9001", 0)}
    assert ask(target, LeaseTimeToLive(8), LeaseResult).granted_ttl_s == 90
    candidates = ask(target, Range(b"election/", b"election0"), RangeResult).kvs
    assert [kv.value for kv in sorted(candidates, key=lambda kv: kv.create_revision)] == [b"first", b"second"]
    source.close()
    target.close()


def test_migration_refuses_a_target_with_keys(path: Path) -> None:
    source, target = open_sqlite(path), open_memory()
    ask(target, Put(b"mine"), PutResult)
    with pytest.raises(AtollError) as caught:
        migration.migrate(source, target, wall_s=500)
    assert caught.value.code is Code.CONFLICT
    assert list(_contents(target)) == [b"mine"]
    source.close()
    target.close()


class Failing:
    """A driver that breaks down after some requests."""

    def __init__(self, driver: Driver, requests: int) -> None:
        self._driver = driver
        self.requests_left = requests

    def submit(self, request: Request, done: Done, timeout_s: float | None = None) -> None:
        if self.requests_left == 0:
            done(AtollError(Code.UNAVAILABLE, "the power went"))
            return
        self.requests_left -= 1
        self._driver.submit(request, done, timeout_s)

    def watch(self, watch: Watch, sink: WatchSink) -> Cancel:
        return self._driver.watch(watch, sink)

    def close(self) -> None:
        self._driver.close()


def test_an_interrupted_migration_is_refused_until_it_is_finished(path: Path, tmp_path: Path) -> None:
    source, target_path = open_sqlite(path), tmp_path / "target.db"
    before = _contents(source)
    requests, finished = 0, False
    while not finished:
        target = open_sqlite(target_path, accept_unfinished=True)
        broken = Failing(target, requests)
        try:
            migration.migrate(source, broken, wall_s=500)
            finished = True
        except AtollError as error:
            assert error.message == "the power went"
        unfinished = target.holds(migration.UNFINISHED_KEY)
        target.close()
        if unfinished:
            with pytest.raises(AtollError) as caught:
                open_sqlite(target_path)
            assert "atoll store migrate" in caught.value.message
        assert unfinished or finished or requests < 3
        assert _contents(source) == before
        requests += 1
    assert requests > 8
    target = open_sqlite(target_path)
    assert _contents(target) == {**before, GENERATION_KEY: (b"500", 0)}
    source.close()
    target.close()
    assert maintenance.check(target_path).problems == ()
