"""Watchdogs and launcher of ``atoll lead`` as the supervisor uses them, in this process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from atoll.host.lead import guard
from atoll.runtime import launcher, loop
from atoll.runtime.clock import BootClock
from tests.e2e.lead import is_alive
from tests.waiting import wait_until

CLOCK = BootClock()
WITHIN_S = 30.0


class Heard:
    """What the guard told."""

    def __init__(self) -> None:
        self.confirmed: loop.Queue[float] = loop.Queue()
        self.watchdog_ended = loop.Event()
        self.program_ended: loop.Queue[int] = loop.Queue()

    def ears(self) -> guard.Ears:
        return guard.Ears(self.confirmed.put_nowait, self.watchdog_ended.set, self.program_ended.put_nowait)


@asynccontextmanager
async def guarded() -> AsyncIterator[tuple[guard.Guard, Heard]]:
    heard = Heard()
    made = guard.Guard(f"test-{os.getpid()}", heard.ears())
    try:
        yield made, heard
    finally:
        made.kill()
        if made.program.status is None:
            assert await loop.next_within(heard.program_ended, WITHIN_S) is not None
            made.kill()


def scenario(work: Callable[[guard.Guard, Heard], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        async with guarded() as (made, heard):
            await work(made, heard)

    loop.run(run())


def test_a_deadline_counts_when_both_watchdogs_have_confirmed_it() -> None:
    async def work(made: guard.Guard, heard: Heard) -> None:
        made.arm(CLOCK.now_s() + 3600)
        assert await loop.next_within(heard.confirmed, WITHIN_S) is not None
        os.kill(made.watchdog_pids[0], signal.SIGSTOP)
        made.arm(CLOCK.now_s() + 3700)
        made.arm(CLOCK.now_s() + 3800)
        assert await loop.next_within(heard.confirmed, 1.0) is None
        os.kill(made.watchdog_pids[0], signal.SIGCONT)
        assert await loop.next_within(heard.confirmed, WITHIN_S) is not None

    scenario(work)


def test_the_program_starts_with_its_environment_and_its_code_is_heard() -> None:
    async def work(made: guard.Guard, heard: Heard) -> None:
        made.arm(CLOCK.now_s() + 3600)
        await loop.next_within(heard.confirmed, WITHIN_S)
        body = "import os, sys; sys.exit(int(os.environ['CODE']) + ('ATOLL_LEAD_MARK' in os.environ))"
        made.release([sys.executable, "-c", body], {"CODE": "6"})
        assert await loop.next_within(heard.program_ended, WITHIN_S) == 7

    scenario(work)


def test_a_program_that_cannot_be_run_is_exit_code_127() -> None:
    async def work(made: guard.Guard, heard: Heard) -> None:
        made.release(["/no/such/program"], {})
        assert await loop.next_within(heard.program_ended, WITHIN_S) == 127

    scenario(work)


def test_both_watchdogs_kill_at_the_deadline() -> None:
    """Also a launcher that is stopped, and although nobody told it to become the program."""

    async def work(made: guard.Guard, heard: Heard) -> None:
        os.kill(made.program.pid, signal.SIGSTOP)
        made.arm(CLOCK.now_s() + 0.5)
        assert await loop.next_within(heard.program_ended, WITHIN_S) == -signal.SIGKILL

    scenario(work)


def test_the_end_of_a_watchdog_is_heard() -> None:
    async def work(made: guard.Guard, heard: Heard) -> None:
        os.kill(made.watchdog_pids[1], signal.SIGKILL)
        assert await loop.wait_event(heard.watchdog_ended, WITHIN_S)

    scenario(work)


PARENT = """
import os, subprocess, sys, time
reader, writer = os.pipe()
line = [sys.executable, "-I", "-S", sys.argv[1], str(reader), str(os.getpid()), "lead"]
child = subprocess.Popen(line, pass_fds=[reader, writer], start_new_session=True)
print(child.pid, flush=True)
time.sleep(3600)
"""


def test_the_launcher_dies_with_its_supervisor() -> None:
    """It holds the other end of its own pipe here, so that no end of file tells it: the kernel must."""
    line = [sys.executable, "-c", PARENT, str(Path(launcher.__file__))]
    with subprocess.Popen(line, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        wait_until(lambda: b"pipe" in _waits_in(pid), WITHIN_S, "the launcher to wait on its pipe")
        parent.kill()
    try:
        wait_until(lambda: not is_alive(pid), WITHIN_S, "the end of the launcher")
    finally:
        if is_alive(pid):
            os.kill(pid, signal.SIGKILL)


def _waits_in(pid: int) -> bytes:
    """In which function of the kernel it waits (proc(5), wchan)."""
    return Path(f"/proc/{pid}/wchan").read_bytes()
