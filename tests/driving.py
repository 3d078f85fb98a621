"""Driving a ``Driver`` from a test's own thread: ask and wait, watch and collect."""

from __future__ import annotations

import threading
from typing import Any, TypeVar

from atoll.errors import AtollError
from atoll.store.api import Driver, Event, Outcome, Request, Watch, WatchBatch
from tests.waiting import wait_until

R = TypeVar("R")

LATE_S = 5.0  # after a request's own time, a driver has certainly answered


def outcome_of(driver: Driver, request: Request, timeout_s: float = 10.0) -> Outcome:
    """The outcome of ``request``; fails when ``done`` is not called, or is called twice."""
    outcomes: list[Outcome] = []
    answered = threading.Event()

    def done(outcome: Outcome) -> None:
        outcomes.append(outcome)
        answered.set()

    driver.submit(request, done, timeout_s)
    assert answered.wait(timeout_s + LATE_S), f"no outcome of {request}"
    assert len(outcomes) == 1, outcomes
    return outcomes[0]


def ask(driver: Driver, request: Request, kind: type[R], timeout_s: float = 10.0) -> R:
    """The result of ``request``, of ``kind``; raises its error."""
    outcome: Any = outcome_of(driver, request, timeout_s)
    if isinstance(outcome, AtollError):
        raise outcome
    assert isinstance(outcome, kind)
    return outcome


class Collector:
    """A watch and everything that it was told."""

    def __init__(self, driver: Driver, watch: Watch) -> None:
        self.watch = watch
        self.batches: list[WatchBatch] = []
        self.error: AtollError | None = None
        self._busy = threading.Lock()
        self.cancel = driver.watch(watch, self._tell)

    def _tell(self, told: WatchBatch | AtollError) -> None:
        assert self._busy.acquire(blocking=False), "told from two threads at once"
        assert self.error is None, "told something after an error"
        if isinstance(told, AtollError):
            self.error = told
        else:
            self.batches.append(told)
        self._busy.release()

    @property
    def events(self) -> list[Event]:
        return [event for batch in list(self.batches) for event in batch.events]

    @property
    def resumed(self) -> int:
        return sum(batch.resumed for batch in list(self.batches))

    def wait_created(self, within_s: float = 10.0) -> WatchBatch:
        wait_until(lambda: bool(self.batches), within_s, "the watch to be created")
        return self.batches[0]

    def wait_revision(self, revision: int, within_s: float = 20.0) -> None:
        """Until an event of ``revision`` or a later one was told."""
        wait_until(
            lambda: bool(self.events) and self.events[-1].kv.mod_revision >= revision,
            within_s,
            f"an event at revision {revision}",
        )

    def wait_error(self, within_s: float = 20.0) -> AtollError:
        return wait_until(lambda: self.error, within_s, "the watch's error")
