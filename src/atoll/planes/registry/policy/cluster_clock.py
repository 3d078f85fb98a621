"""The clock of answers: ``last_ref_time_ms``, which no client may see go back, whichever node it asks.

Rule: it runs with the boot clock from the wall clock of the start, and jumps ahead to whatever another node has shown
(a hybrid logical clock): the node that is furthest ahead sets the time of all. Clients drop answers that are older than
what they have, so a node that were behind would be ignored after a client moved to it.

Doubt: what a node handed out in the moment before a client moved may not have been heard of; ``service`` tells the
others its time every second, which is less than a client takes to find another node. A single node that restarts with
its wall clock set back is behind until that much time has passed.
"""

from __future__ import annotations

from typing import Final

AHEAD_MS_MAX: Final = 400 * 24 * 3600 * 1000  # a stamp further ahead than this is taken for nonsense


class ClusterClock:
    """Milliseconds since the Unix epoch, roughly; never goes back."""

    def __init__(self, wall_s: float, boot_s: float) -> None:
        self._offset_ms = (wall_s - boot_s) * 1000

    def now_ms(self, boot_s: float) -> int:
        return int(boot_s * 1000 + self._offset_ms)

    def seen(self, stamp_ms: int, boot_s: float) -> None:
        """Another node has shown ``stamp_ms``."""
        ahead_ms = stamp_ms - self.now_ms(boot_s)
        if 0 < ahead_ms <= AHEAD_MS_MAX:
            self._offset_ms += ahead_ms
