"""Time, as one small interface: a boot-time clock for deadlines, a wall clock for people.

Rule: every deadline is on the boot-time clock (CLOCK_BOOTTIME, clock_gettime(2)), which goes on while the
machine is suspended; the monotonic clock would stop and hand an expired term back to its holder.
"""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """``testing.World`` has the other implementation: virtual time with a rate that drifts."""

    def now_s(self) -> float:
        """Seconds on the boot-time clock; only differences mean anything."""

    def wall_s(self) -> float:
        """Seconds since the Unix epoch, for logs and records, never for deadlines."""


class BootClock:
    """The live clock."""

    _clock_id = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

    def now_s(self) -> float:
        return time.clock_gettime(self._clock_id)

    def wall_s(self) -> float:
        return time.time()
