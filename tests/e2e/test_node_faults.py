"""A node whose disk or file fails it: it refuses to start or goes on, says which, and harms nothing."""

from __future__ import annotations

import json
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import atoll
from tests.e2e.crash.disks import build_fail_sync, read_only, small_disk
from tests.waiting import wait_until

pytestmark = pytest.mark.peers
DISK_BYTES = 8 * 1024 * 1024
STOP_WITHIN_S = 30.0


def etcdctl(node: atoll.Node, *arguments: str) -> subprocess.CompletedProcess[str]:
    line = ["etcdctl", "--endpoints", node.etcd, "--command-timeout", "20s", *arguments]
    return subprocess.run(line, capture_output=True, text=True, timeout=60)


def up(data: Path) -> subprocess.CompletedProcess[str]:
    """A node that is expected to end by itself."""
    return atoll.run("up", *atoll.any_ports("--data", str(data)))


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Path]:
    """The data folder of a node that ran, has one key, and was stopped."""
    node = atoll.Node(tmp_path).start()
    assert etcdctl(node, "put", "kept", "yes").stdout == "OK\n"
    node.process.terminate()
    assert node.process.wait(STOP_WITHIN_S) == 0
    yield node.data


def still_has_its_key(data: Path) -> bool:
    node = atoll.Node(data.parent).start()
    found = etcdctl(node, "get", "kept", "--print-value-only").stdout
    node.process.kill()
    return found == "yes\n"


def refused(data: Path, exit_code: int, *words: str) -> None:
    ended = up(data)
    assert ended.returncode == exit_code, ended.stderr
    last = ended.stderr.splitlines()[-1]
    assert last.startswith("atoll up: ") and all(word in last for word in words), last
    assert "Traceback" not in ended.stderr


def test_a_read_only_folder_is_refused(data: Path) -> None:
    with read_only(data):
        refused(data, 5, str(data))
    assert still_has_its_key(data)


def test_a_read_only_file_is_refused(data: Path) -> None:
    with read_only(data / "store.db"):
        refused(data, 5, "store.db")
    assert still_has_its_key(data)


def test_a_damaged_file_is_refused_and_left_as_it_is(data: Path) -> None:
    file = data / "store.db"
    whole = file.read_bytes()
    damaged = whole[:100] + bytes(byte ^ 0x5A for byte in whole[100:])
    file.write_bytes(damaged)
    ended = up(data)
    assert ended.returncode != 0
    assert str(file) in ended.stderr and "Traceback" not in ended.stderr
    assert file.read_bytes() == damaged
    file.write_bytes(whole)
    assert still_has_its_key(data)


def test_a_file_of_a_newer_release_is_refused_and_left_as_it_is(data: Path) -> None:
    file = data / "store.db"
    whole = file.read_bytes()
    with sqlite3.connect(file) as connection:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        connection.execute(f"PRAGMA user_version = {version + 1}")
    connection.close()
    newer = file.read_bytes()
    ended = up(data)
    assert ended.returncode != 0
    assert str(file) in ended.stderr and "newer" in ended.stderr and "Traceback" not in ended.stderr
    assert file.read_bytes() == newer
    file.write_bytes(whole)
    assert still_has_its_key(data)


def test_a_full_disk_refuses_writes_and_goes_on_with_reads_until_there_is_room(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", DISK_BYTES) as folder:
        node = atoll.Node(folder).start()
        try:
            assert "MiB are free" in node.text(), "the start-up text names a disk that is nearly full"
            assert etcdctl(node, "put", "kept", "yes").stdout == "OK\n"
            ballast = folder / "ballast"
            with pytest.raises(OSError, match="No space left"):
                ballast.write_bytes(b"b" * DISK_BYTES)
            big = "x" * 100_000
            wait_until(lambda: "space exceeded" in etcdctl(node, "put", "big", big).stderr, 60, "a refusal")
            assert etcdctl(node, "get", "kept", "--print-value-only").stdout == "yes\n"
            status = json.loads(node.run("status", "--json").stdout)
            assert status["store"]["alarms"] == ["NOSPACE"]
            ballast.unlink()
            assert etcdctl(node, "alarm", "disarm").returncode == 0
            assert etcdctl(node, "put", "kept", "still").stdout == "OK\n"
            node.process.terminate()
            assert node.process.wait(STOP_WITHIN_S) == 0
        finally:
            node.process.kill()


def test_a_full_disk_refuses_the_start(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 1024 * 1024) as folder:
        with pytest.raises(OSError, match="No space left"):
            (folder / "ballast").write_bytes(b"b" * DISK_BYTES)
        refused(folder / "data", 6, "No space left")


def test_a_disk_that_fails_ends_the_node_with_its_reason(tmp_path: Path) -> None:
    trigger = tmp_path / "trigger"
    environment = {
        "LD_PRELOAD": str(build_fail_sync(tmp_path)),
        "FAIL_SYNC_PREFIX": f"{tmp_path / 'data'}/",
        "FAIL_SYNC_TRIGGER": str(trigger),
    }
    node = atoll.Node(tmp_path, environment=environment).start()
    try:
        assert etcdctl(node, "put", "kept", "yes").stdout == "OK\n"
        trigger.touch()
        assert etcdctl(node, "put", "lost", "perhaps").returncode != 0
        assert node.process.wait(STOP_WITHIN_S) == 1
        assert "atoll up: the store stopped: " in node.text()
    finally:
        node.process.kill()
    trigger.unlink()
    assert still_has_its_key(node.data)
