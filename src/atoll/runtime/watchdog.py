"""The watchdog of ``atoll lead``: kills the program at its deadline, or when the supervisor is gone.

Rule: it waits for two things only, the next line on standard input and the deadline, and knows nothing else. End of
file means that the supervisor died (kill -9 included: the kernel closes the pipe), and the program dies with it.
A stopped supervisor sends no new deadline, and the program dies at the last one.

Run as a file by an interpreter of its own (``python -I -S watchdog.py``): no event loop, no package, no site; its
own session, so that no signal of a terminal reaches it; memory locked and real-time priority where the system
allows it, so that a machine short of memory or time does not make it late. It imports nothing of Atoll.

Lines in: ``guard GROUP MARK`` once, then ``until NANOSECONDS`` (boot-time clock) any number of times. Line out:
``ok NANOSECONDS`` for each ``until``; the supervisor counts a deadline only when it has this answer. There is no line
that ends it: the supervisor kills its watchdog before it reaps the program, so that the group's number cannot have
been given to somebody else when the watchdog kills.

The doubt: what it kills is the process group, every process of the program's session, and every process that
carries the mark in its environment. A process that made a session of its own *and* cleared its environment escapes.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time

CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
WAIT_S_MAX = 0.05  # select(2) sleeps on the monotonic clock, which stands still in suspend: look again soon
SWEEPS_MAX = 50
SWEEP_PAUSE_S = 0.004
LINE_BYTES_MAX = 4096
MCL_CURRENT_AND_FUTURE = 1 | 2


def kill_program(group: int, mark: bytes) -> None:
    """Kill the group at once, then look for what left it until nothing is found."""
    for _ in range(SWEEPS_MAX):
        try:
            os.killpg(group, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass
        if not kill_marked(group, mark):
            return
        time.sleep(SWEEP_PAUSE_S)


def kill_marked(session: int, mark: bytes) -> int:
    """Kill the live processes of ``session`` and those that carry ``mark``; returns how many there were."""
    found = 0
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid() and belongs(name, session, mark):
            found += 1
            try:
                os.kill(int(name), signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                pass
    return found


def belongs(name: str, session: int, mark: bytes) -> bool:
    """Whether the process is alive and of the program: by its session (proc(5), field 6), or by the mark."""
    try:
        with open(f"/proc/{name}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        if fields[0] in (b"Z", b"X"):
            return False
        if int(fields[3]) == session:
            return True
        with open(f"/proc/{name}/environ", "rb") as file:
            return mark in file.read().split(b"\0")
    except (OSError, IndexError):
        return False


def harden() -> None:
    """Best effort: both need a privilege or a limit that an ordinary user may not have."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    except (OSError, AttributeError):
        pass
    try:
        import ctypes

        ctypes.CDLL(None).mlockall(MCL_CURRENT_AND_FUTURE)
    except (ImportError, OSError, AttributeError):
        pass


class Watchdog:
    def __init__(self) -> None:
        self.group = 0
        self.mark = b""
        self.deadline_ns = 0
        self.buffer = b""

    def take(self, line: bytes) -> bool:
        """Act on one line; False: a new deadline came too late, the old one has passed."""
        words = line.split()
        if words[0] == b"guard":
            self.group, self.mark = int(words[1]), words[2]
        elif words[0] == b"until":
            if self.remaining_s() <= 0:
                return False
            self.deadline_ns = max(self.deadline_ns, int(words[1]))
            os.write(1, b"ok %d\n" % int(words[1]))
        return True

    def remaining_s(self) -> float:
        if not self.deadline_ns:
            return WAIT_S_MAX
        return (self.deadline_ns - time.clock_gettime_ns(CLOCK)) / 1e9

    def read(self) -> bool:
        """Take what has come; False at end of file, after the deadline, and on a line that is too long."""
        data = os.read(0, LINE_BYTES_MAX)
        *lines, self.buffer = (self.buffer + data).split(b"\n")
        if not data or len(self.buffer) > LINE_BYTES_MAX:
            return False
        return all(self.take(line) for line in lines)

    def run(self) -> None:
        """Returns when the program must die: end of file, or the deadline, whichever is first."""
        while (remaining_s := self.remaining_s()) > 0:
            readable, _, _ = select.select([0], [], [], min(remaining_s, WAIT_S_MAX))
            try:
                if readable and not self.read():
                    return
            except BrokenPipeError:  # nobody is left to hear the answer: the supervisor is gone
                return


def main() -> int:
    harden()
    watchdog = Watchdog()
    try:
        watchdog.run()
    finally:
        if watchdog.group:
            kill_program(watchdog.group, watchdog.mark)
    return 0


if __name__ == "__main__":
    sys.exit(main())
