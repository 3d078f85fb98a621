"""The watchdog of ``atoll lead`` with real processes: it kills at the deadline and at the end of its supervisor."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from atoll.runtime import watchdog
from atoll.runtime.clock import BootClock
from tests.waiting import wait_until

CLOCK = BootClock()
MARK = f"ATOLL_LEAD_MARK=test-{os.getpid()}"
FOREVER = "import time; time.sleep(3600)"
FAMILY = """
import os, subprocess, sys, time
body = "import time; time.sleep(3600)"
own_group = subprocess.Popen([sys.executable, "-c", body], process_group=0)
own_session = subprocess.Popen([sys.executable, "-c", body], start_new_session=True)
print(own_group.pid, own_session.pid, flush=True)
time.sleep(3600)
"""


class Pair:
    """A program in its own session and the watchdog over it; both are gone when the test is."""

    def __init__(self, body: str) -> None:
        name, value = MARK.split("=")
        self.program = subprocess.Popen(
            [sys.executable, "-c", body],
            stdout=subprocess.PIPE,
            start_new_session=True,
            env={**os.environ, name: value},
        )
        script = str(Path(watchdog.__file__))
        self.watchdog = subprocess.Popen(
            [sys.executable, "-I", "-S", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={}
        )
        self.say(f"guard {self.program.pid} {MARK}")

    def say(self, line: str) -> None:
        assert self.watchdog.stdin is not None
        self.watchdog.stdin.write(line.encode() + b"\n")
        self.watchdog.stdin.flush()

    def until(self, deadline_s: float) -> bytes:
        assert self.watchdog.stdout is not None
        self.say(f"until {int(deadline_s * 1e9)}")
        return self.watchdog.stdout.readline()

    def close(self) -> None:
        for process in (self.program, self.watchdog):
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    stream.close()


@pytest.fixture
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    made = Pair(getattr(request, "param", FOREVER))
    yield made
    made.close()


def is_alive(pid: int) -> bool:
    return watchdog.belongs(str(pid), os.getsid(pid), b"") if os.path.exists(f"/proc/{pid}") else False


def test_it_kills_at_the_deadline_and_not_before(pair: Pair) -> None:
    deadline_s = CLOCK.now_s() + 1.0
    assert pair.until(deadline_s) == b"ok %d\n" % int(deadline_s * 1e9)
    assert pair.program.wait(30) == -signal.SIGKILL
    assert deadline_s <= CLOCK.now_s() < deadline_s + 20
    assert pair.watchdog.wait(30) == 0


def test_a_new_deadline_in_time_moves_the_end(pair: Pair) -> None:
    first_s = CLOCK.now_s() + 1.0
    pair.until(first_s)
    assert pair.until(first_s + 3600).startswith(b"ok")
    wait_until(lambda: CLOCK.now_s() > first_s + 0.5, 30, "the first deadline to pass")
    assert pair.program.poll() is None
    assert pair.watchdog.poll() is None


def test_a_deadline_never_moves_back(pair: Pair) -> None:
    pair.until(CLOCK.now_s() + 3600)
    past_s = CLOCK.now_s() + 0.1
    assert pair.until(past_s).startswith(b"ok")
    wait_until(lambda: CLOCK.now_s() > past_s + 0.3, 30, "the smaller deadline to pass")
    assert pair.program.poll() is None


def test_a_watchdog_that_was_stopped_over_the_deadline_kills_although_a_new_one_waits_in_its_pipe(
    pair: Pair,
) -> None:
    deadline_s = CLOCK.now_s() + 1.0
    pair.until(deadline_s)
    pair.watchdog.send_signal(signal.SIGSTOP)
    pair.say(f"until {int((deadline_s + 3600) * 1e9)}")
    wait_until(lambda: CLOCK.now_s() > deadline_s, 30, "the deadline to pass")
    pair.watchdog.send_signal(signal.SIGCONT)
    assert pair.program.wait(30) == -signal.SIGKILL
    assert pair.watchdog.stdout is not None
    assert pair.watchdog.stdout.read() == b""


@pytest.mark.parametrize("pair", [FAMILY], indirect=True)
def test_the_end_of_the_supervisor_kills_what_left_group_or_session(pair: Pair) -> None:
    assert pair.program.stdout is not None and pair.watchdog.stdin is not None
    children = [int(word) for word in pair.program.stdout.readline().split()]
    assert [os.getpgid(pid) == pair.program.pid for pid in children] == [False, False]
    assert os.getsid(children[0]) == pair.program.pid != os.getsid(children[1])
    pair.until(CLOCK.now_s() + 3600)
    pair.watchdog.stdin.close()
    assert pair.program.wait(30) == -signal.SIGKILL
    for pid in children:
        wait_until(lambda pid=pid: not is_alive(pid), 30, f"the end of {pid}")  # type: ignore[misc]


def test_signals_of_a_service_manager_do_not_end_it(pair: Pair) -> None:
    pair.until(CLOCK.now_s() + 3600)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        pair.watchdog.send_signal(number)
    assert pair.until(CLOCK.now_s() + 3600).startswith(b"ok")
    assert pair.program.poll() is None


def test_it_is_small(pair: Pair) -> None:
    pair.until(CLOCK.now_s() + 3600)
    status = Path(f"/proc/{pair.watchdog.pid}/status").read_text()
    resident_kb = int(status.split("VmRSS:")[1].split()[0])
    assert resident_kb < 40_000


def test_a_program_that_died_already_is_no_trouble(pair: Pair) -> None:
    pair.program.kill()
    pair.program.wait()
    pair.until(CLOCK.now_s() + 0.2)
    assert pair.watchdog.wait(30) == 0
