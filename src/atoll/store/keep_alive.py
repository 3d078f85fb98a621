"""Renewals of leases over one stream that comes and goes: which answer belongs to which renewal. A machine.

One rule: an answer is given to a renewal only if it was sent at or after the renewal began, because the caller
counts the lease's time from that moment. etcd answers in order, but by lease id only; so a renewal whose time ran
out stays in its lease's queue until its answer has passed.

Repeating a renewal is harmless; whatever was sent on a stream that broke is sent again on the next one.
"""

from __future__ import annotations

import heapq
from collections import deque

from atoll.errors import AtollError, Reason
from atoll.store import etcd_errors
from atoll.store.failover import Failover, Situation


class _Renewal:
    def __init__(self, number: int, lease: int) -> None:
        self.number = number
        self.lease = lease
        self.over = False


class KeepAlives:
    """Numbers are the caller's names for renewals."""

    def __init__(self) -> None:
        self._pending: dict[int, _Renewal] = {}
        self._queues: dict[int, deque[_Renewal]] = {}  # by lease: sent on this stream, in order
        self._deadlines: list[tuple[float, int]] = []
        self.open = False
        self.last_used_s = float("-inf")

    def __len__(self) -> int:
        return len(self._pending)

    def renew(self, number: int, lease: int, now_s: float, timeout_s: float) -> bool:
        """Begin a renewal. True: send it on the stream now; False: it goes out when the stream opens."""
        renewal = _Renewal(number, lease)
        self._pending[number] = renewal
        heapq.heappush(self._deadlines, (now_s + timeout_s, number))
        self.last_used_s = now_s
        if self.open:
            self._queues.setdefault(lease, deque()).append(renewal)
        return self.open

    def opened(self) -> list[int]:
        """A stream is there: the leases to send on it, in order."""
        self.open = True
        for renewal in self._pending.values():
            self._queues.setdefault(renewal.lease, deque()).append(renewal)
        return [renewal.lease for renewal in self._pending.values()]

    def lost(self) -> None:
        self.open = False
        self._queues.clear()

    def heard(self, lease: int) -> int | None:
        """An answer for ``lease``: the number of the renewal that it finishes, or None."""
        queue = self._queues.get(lease)
        if not queue:
            return None
        renewal = queue.popleft()
        if not queue:
            del self._queues[lease]
        if renewal.over:
            return None
        del self._pending[renewal.number]
        return renewal.number

    def expire(self, now_s: float) -> list[int]:
        """Renewals whose time is over; they are finished, their answers (if any) will be ignored."""
        over = []
        while self._deadlines and self._deadlines[0][0] <= now_s:
            _, number = heapq.heappop(self._deadlines)
            renewal = self._pending.pop(number, None)
            if renewal is not None:
                renewal.over = True
                over.append(number)
        return over

    def next_due_s(self) -> float | None:
        return self._deadlines[0][0] if self._deadlines else None

    def close(self) -> list[int]:
        """All that is pending; nothing is, afterwards."""
        numbers = list(self._pending)
        self._pending.clear()
        self.lost()
        return numbers


def too_late(failover: Failover) -> AtollError:
    """A renewal is idempotent: whether it was applied does not matter to who repeats it."""
    situation = failover.situation()
    reason = Reason.NO_LEADER if situation is Situation.NO_LEADER else Reason.TIMEOUT
    message = f"the lease was not renewed in time, {situation.value}: {failover.describe()}"
    return etcd_errors.unavailable(message, reason)
