"""A session: a lease that is kept alive beside the application's own threads and loop, and its own deadline.

Rule: what is held through a session is held until its deadline, counted from when the last successful renewal was
*sent*. A keep-alive's answer is not proof (etcd 3.4.23 may acknowledge a dead lease): the deadline keeps two
holders apart only as far as the store ends leases in time, so whatever must never be done twice is guarded by the
holder's token, like a leader's writes.

``Renewals`` decides and does no I/O; ``Session`` carries it out on a thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from atoll.errors import AtollError, Code, Reason
from atoll.runtime.actor import Actor
from atoll.runtime.clock import BootClock, Clock
from atoll.store.api import Driver, LeaseKeepAlive, LeaseResult, LeaseRevoke, Outcome
from atoll.store.ballot import span_s

RETRY_S_MAX: Final = 1.0


class Renewals:
    """When to renew a lease, how long it is good for, and whether it is over. Times on the boot-time clock."""

    def __init__(self, ttl_s: float, granted_s: float, drift_max: float) -> None:
        self._ttl_s = ttl_s
        self._span_s = span_s(ttl_s, drift_max, 0.0)
        self._next_s = granted_s + ttl_s / 3
        self.deadline_s = granted_s + self._span_s
        self.over = ""

    @property
    def wake_at_s(self) -> float | None:
        return None if self.over else min(self._next_s, self.deadline_s)

    @property
    def timeout_s(self) -> float:
        return self._ttl_s / 3

    def is_due(self, now_s: float) -> bool:
        """Whether to send a renewal now. A session whose deadline passed is over, for ever."""
        if not self.over and now_s >= self.deadline_s:
            self.over = "it could not be renewed before its deadline"
        if self.over or now_s < self._next_s:
            return False
        self._next_s = now_s + self._ttl_s / 3
        return True

    def answered(self, now_s: float, sent_s: float, outcome: Outcome) -> None:
        if self.over:
            return
        if isinstance(outcome, LeaseResult) and outcome.ttl_s > 0:
            self.deadline_s = max(self.deadline_s, sent_s + self._span_s)
        elif isinstance(outcome, LeaseResult) or _says_dead(outcome):
            self.over = "the store says that its lease is over"
        else:
            self._next_s = min(self._next_s, now_s + min(RETRY_S_MAX, self._ttl_s / 20))


def _says_dead(outcome: Outcome) -> bool:
    return isinstance(outcome, AtollError) and outcome.reason is Reason.LEASE_NOT_FOUND


class Renewed(msgspec.Struct, frozen=True):
    sent_s: float
    outcome: Outcome


class Session:
    """Keeps ``lease``, granted with ``ttl_s`` by a request sent at ``granted_s``, alive until ``close``. Any thread
    may call it. ``on_over`` is called once, on the session's thread, if the lease ends before that.
    """

    def __init__(
        self,
        driver: Driver,
        granted: LeaseResult,
        granted_s: float,
        *,
        drift_max: float = 0.01,
        clock: Clock | None = None,
    ) -> None:
        self._driver = driver
        self._clock = clock or BootClock()
        self._renewals = Renewals(granted.ttl_s, granted_s, drift_max)
        self._told = False
        self._closed = False
        self.lease = granted.lease
        self.on_over: Callable[[str], None] | None = None
        self._actor: Actor[Renewed] = Actor(f"session {granted.lease:x}", self._clock, self._turn)
        self._actor.start(self._renewals.wake_at_s)

    @property
    def deadline_s(self) -> float:
        return self._renewals.deadline_s

    def holds(self) -> bool:
        return not self._closed and not self._renewals.over and self._clock.now_s() < self.deadline_s

    def check(self) -> None:
        """Raises CONFLICT / LEASE_NOT_FOUND when the session is over."""
        if not self.holds():
            why = "it was closed" if self._closed else self._renewals.over or "its deadline passed"
            text = f"the session with lease {self.lease:x} is over: {why}; open another one"
            raise AtollError(Code.CONFLICT, text, reason=Reason.LEASE_NOT_FOUND, facts={"lease": self.lease})

    def close(self) -> None:
        """End the lease, and with it all that is held through it. Does not wait for the store. Idempotent."""
        if not self._closed:
            self._closed = True
            self._actor.stop()
            self._driver.submit(LeaseRevoke(self.lease), lambda outcome: None)

    def _turn(self, message: Renewed | None) -> float | None:
        now_s = self._clock.now_s()
        if message:
            self._renewals.answered(now_s, message.sent_s, message.outcome)
        if self._renewals.is_due(now_s):
            self._driver.submit(
                LeaseKeepAlive(self.lease),
                lambda outcome: self._actor.post(Renewed(now_s, outcome)),
                self._renewals.timeout_s,
            )
        if self._renewals.over and not self._told:
            self._told = True
            if self.on_over:
                self.on_over(self._renewals.over)
        return self._renewals.wake_at_s
