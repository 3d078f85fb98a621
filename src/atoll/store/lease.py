"""The timers of leases: which lease ends when. Pure; the time is an argument.

Rule: the durable part of a lease (id, granted time, keys) is in ``mvcc.State``; here is only its deadline, which
is never written down: a renewal is not a commit, and after a restart every lease gets its full time again.

Theory: a heap of (deadline, lease) with lazy deletion. A renewal only moves the deadline in the table; the old
heap entry is found stale when it surfaces, and is then pushed again at the new deadline. So the heap holds one
entry a lease, and keep-alives, by far the most frequent operation, cost no heap operation.
"""

from __future__ import annotations

import heapq


class LeaseTimers:
    """Deadlines on the boot-time clock, in seconds."""

    def __init__(self) -> None:
        self._deadlines: dict[int, float] = {}
        self._heap: list[tuple[float, int]] = []
        self._queued: dict[int, float] = {}  # the heap entry that stands for a lease

    def __len__(self) -> int:
        return len(self._deadlines)

    def start(self, lease: int, ttl_s: float, now_s: float) -> None:
        """Begin (or begin again) the full time of ``lease``."""
        deadline_s = now_s + ttl_s
        self._deadlines[lease] = deadline_s
        queued_s = self._queued.get(lease)
        if queued_s is None or deadline_s < queued_s:
            self._push(lease, deadline_s)

    def stop(self, lease: int) -> None:
        self._deadlines.pop(lease, None)

    def remaining_s(self, lease: int, now_s: float) -> float:
        """Seconds until ``lease`` ends, below 0 when it is due. ``lease`` must be known."""
        return self._deadlines[lease] - now_s

    def due(self, now_s: float) -> list[int]:
        """The leases whose time is over, in the order in which it ended. They stay due until stopped."""
        ended: list[int] = []
        while self._heap and self._heap[0][0] <= now_s:
            queued_s, lease = heapq.heappop(self._heap)
            if self._queued.get(lease) != queued_s:
                continue
            del self._queued[lease]
            deadline_s = self._deadlines.get(lease)
            if deadline_s is None:
                continue
            if deadline_s <= now_s:
                ended.append(lease)
            else:
                self._push(lease, deadline_s)
        for lease in ended:
            self._push(lease, self._deadlines[lease])
        return ended

    def next_s(self) -> float | None:
        """No lease ends before this moment; None without leases."""
        return self._heap[0][0] if self._heap else None

    def _push(self, lease: int, deadline_s: float) -> None:
        heapq.heappush(self._heap, (deadline_s, lease))
        self._queued[lease] = deadline_s
