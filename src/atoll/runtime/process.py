"""This process as the system sees it: when it began, how much memory it holds.

Rule: where the system does not say (no ``/proc``), the answer is the nearest honest one: now, and 0.
"""

from __future__ import annotations

import contextlib
import os

from atoll.runtime.clock import BootClock


def started_s() -> float:
    """When this process began, on the boot-time clock, to 10 ms (proc(5), stat field 22: ticks since boot)."""
    with contextlib.suppress(OSError), open("/proc/self/stat", "rb") as file:
        ticks = int(file.read().rpartition(b")")[2].split()[19])
        return ticks / os.sysconf("SC_CLK_TCK")
    return BootClock().now_s()


def resident_bytes() -> int:
    """Resident memory (proc(5), statm)."""
    with contextlib.suppress(OSError), open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def end_now(code: int) -> None:
    """End the process without clean-up. What it had promised is durable already."""
    os._exit(code)
