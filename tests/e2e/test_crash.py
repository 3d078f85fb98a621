"""16 clients write to a SQLite store whose process is killed, whose disk is full, or whose fsync fails.

What each client was told is recorded outside of that process. Afterwards the store is opened again: nothing
acknowledged may be missing, nothing refused may be there, and no transaction may be there by half.
"""

from __future__ import annotations

import os
import random
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.e2e.crash.disks import build_fail_sync, small_disk
from tests.e2e.crash.rules import Told, violations
from tests.soaking import SoakReport

ROUNDS_A_STORE = 10  # then a new store, because entries pile up
KILL_AFTER_S = (0.05, 0.6)  # of the start of the process, or of its first acknowledgement, in turn
BOUND_S = 30.0
STOP_BOUND_S = 8.0  # the very next commit stops the store
TMPFS_BYTES = 8 * 1024 * 1024
BALLAST_BYTES = (5 * 1024 * 1024, 7 * 1024 * 1024)  # more than the store's log, which must be folded to go on


class Writing:
    """A writer process and what its clients were told."""

    def __init__(self, path: Path, environment: dict[str, str] | None = None) -> None:
        self.told = Told()
        self._rest = b""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.e2e.crash.writer", str(path)],
            stdout=subprocess.PIPE,
            env={**os.environ, **(environment or {})},
        )

    def listen(self, within_s: float, enough: str = "") -> bool:
        """Hear what the clients are told for ``within_s``, or until a line begins with ``enough``."""
        deadline = time.monotonic() + within_s
        pipe = self._process.stdout
        assert pipe is not None
        while (left_s := deadline - time.monotonic()) > 0:
            if not select.select([pipe], [], [], left_s)[0]:
                break
            chunk = os.read(pipe.fileno(), 65_536)
            lines = (self._rest + chunk).split(b"\n")
            self._rest = lines.pop()
            heard = [line.decode() for line in lines]
            self.told.hear(heard)
            if not chunk or (enough and any(line.startswith(enough) for line in heard)):
                return True
        return False

    def kill(self) -> None:
        """-9, and then hear what was said before."""
        self._process.kill()
        self.listen(BOUND_S)
        self._process.wait(BOUND_S)
        assert self._process.stdout is not None
        self._process.stdout.close()


@pytest.mark.soak("crash", few=3, full=200, chunk=20)
@pytest.mark.timeout(900)
def test_no_acknowledged_write_is_lost_when_the_writer_is_killed(
    tmp_path: Path, rounds: int, seed: int, soak_report: SoakReport
) -> None:
    found: list[str] = []
    reopen_s: list[float] = []
    acks = 0
    for number in range(rounds):
        path = tmp_path / f"store-{number // ROUNDS_A_STORE}.db"
        writing = Writing(path)
        if number % 2:
            writing.listen(BOUND_S, "ack")  # however long a busy machine takes to get there
        writing.listen(random.Random(seed + number).uniform(*KILL_AFTER_S))
        writing.kill()
        started = time.monotonic()
        found += [f"seed {seed + number}: {text}" for text in violations(path, writing.told)]
        reopen_s.append(time.monotonic() - started)
        acks += writing.told.acks
    soak_report.row(
        "kill -9 of the store's process, 16 clients writing",
        rounds=rounds,
        violations=len(found),
        samples={"reopen_and_check_s": reopen_s},
        figures={"acknowledged": acks},
    )
    assert not found
    assert acks > 0


@pytest.mark.soak("crash", few=2, full=100, chunk=20)
@pytest.mark.timeout(900)
def test_a_full_disk_loses_nothing_and_says_so(
    tmp_path: Path, rounds: int, seed: int, soak_report: SoakReport
) -> None:
    found: list[str] = []
    acks = refused = 0
    for number in range(rounds):
        chance = random.Random(seed + number)
        with small_disk(tmp_path / f"disk-{number}", TMPFS_BYTES) as folder:
            ballast = folder / "ballast"
            ballast.write_bytes(b"b" * chance.randrange(*BALLAST_BYTES))
            writing = Writing(folder / "store.db")
            assert writing.listen(BOUND_S, enough="full"), "the disk never filled up"
            writing.listen(chance.uniform(0, 0.1))
            if chance.random() < 0.5:  # room again: the same process must go on
                ballast.unlink()
                before = writing.told.acks
                writing.listen(BOUND_S, enough="ack")
                found += (
                    []
                    if writing.told.acks > before
                    else [
                        f"seed {seed + number}: no write once there was room; stopped={writing.told.stopped}, {len(writing.told.unknown)} unknown"
                    ]
                )
            refused += len(writing.told.refused)
            writing.kill()
            ballast.unlink(missing_ok=True)
            found += [
                f"seed {seed + number}: {text}" for text in violations(folder / "store.db", writing.told)
            ]
            acks += writing.told.acks
    soak_report.row(
        "full disk, then kill -9, 16 clients writing",
        rounds=rounds,
        violations=len(found),
        figures={"acknowledged": acks, "refused": refused},
    )
    assert not found
    assert acks > 0
    assert refused > 0


@pytest.fixture(scope="session")
def fail_sync(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library that makes fsync fail, compiled."""
    return build_fail_sync(tmp_path_factory.mktemp("fail-sync"))


@pytest.mark.soak("crash", few=2, full=100, chunk=20)
@pytest.mark.timeout(900)
def test_a_failing_fsync_stops_the_store_and_acknowledges_nothing(
    tmp_path: Path, fail_sync: Path, rounds: int, seed: int, soak_report: SoakReport
) -> None:
    found: list[str] = []
    acks = unknown = 0
    for number in range(rounds):
        folder = tmp_path / f"round-{number}"
        folder.mkdir()
        trigger = tmp_path / f"trigger-{number}"
        environment = {
            "LD_PRELOAD": str(fail_sync),
            "FAIL_SYNC_PREFIX": f"{folder}/",
            "FAIL_SYNC_TRIGGER": str(trigger),
        }
        writing = Writing(folder / "store.db", environment)
        assert writing.listen(BOUND_S, enough="ack")
        writing.listen(random.Random(seed + number).uniform(0, 0.2))
        trigger.touch()
        writing.listen(STOP_BOUND_S, enough="stopped")
        writing.kill()
        told = writing.told
        if not told.stopped or told.acks_after_unknown or not told.unknown:
            found.append(f"seed {seed + number}: stopped={told.stopped} unknown={len(told.unknown)}")
        found += [f"seed {seed + number}: {text}" for text in violations(folder / "store.db", told)]
        acks += told.acks
        unknown += len(told.unknown)
    soak_report.row(
        "failing fsync, 16 clients writing",
        rounds=rounds,
        violations=len(found),
        figures={"acknowledged": acks, "told that it is unknown": unknown},
    )
    assert not found
