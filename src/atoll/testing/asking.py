"""A driver's callbacks as plain calls: ask and wait, watch and collect. For tests and the conformance kit.

Rule: every wait has a bound, after which ``AssertionError`` says what did not come.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import TypeVar

from atoll.errors import AtollError
from atoll.store.api import Driver, Event, Outcome, Request, Watch, WatchBatch

R = TypeVar("R")
ANSWER_WITHIN_S = 20.0


def outcome(driver: Driver, request: Request, within_s: float = ANSWER_WITHIN_S) -> Outcome:
    """The outcome of ``request``, an error included."""
    answers: queue.Queue[Outcome] = queue.Queue()
    driver.submit(request, answers.put)
    try:
        return answers.get(timeout=within_s)
    except queue.Empty:
        raise AssertionError(f"no answer within {within_s} s to {request}") from None


def ask(driver: Driver, request: Request, kind: type[R]) -> R:
    """The result of ``request``, which must be a ``kind`` (``AtollError`` where it must fail)."""
    answer = outcome(driver, request)
    if not isinstance(answer, kind):
        raise AssertionError(f"{request} was answered with {answer!r}, not a {kind.__name__}")
    return answer


class Watching:
    """A watch and everything that it delivered."""

    def __init__(self, driver: Driver, watch: Watch) -> None:
        self._changed = threading.Condition()
        self._items: list[WatchBatch | AtollError] = []
        self.cancel = driver.watch(watch, self._take)

    def _take(self, item: WatchBatch | AtollError) -> None:
        with self._changed:
            self._items.append(item)
            self._changed.notify_all()

    @property
    def batches(self) -> list[WatchBatch]:
        return [item for item in list(self._items) if isinstance(item, WatchBatch)]

    @property
    def events(self) -> list[Event]:
        return [event for batch in self.batches for event in batch.events]

    @property
    def error(self) -> AtollError | None:
        last = self._items[-1] if self._items else None
        return last if isinstance(last, AtollError) else None

    def wait_created(self) -> int:
        """The revision at which the watch was created, or ended by an error: then 0."""
        self._wait(lambda: bool(self._items), "the first batch")
        return self.batches[0].revision if self.batches else 0

    def wait_events(self, count: int) -> list[Event]:
        """All events, once there are at least ``count`` (or the watch has ended)."""
        self._wait(lambda: len(self.events) >= count or self.error is not None, f"{count} events")
        return self.events

    def wait_error(self) -> AtollError:
        self._wait(lambda: self.error is not None, "the end of the watch")
        error = self.error
        if error is None:
            raise AssertionError("the watch went on after its error")
        return error

    def _wait(self, condition: Callable[[], bool], what: str) -> None:
        with self._changed:
            if not self._changed.wait_for(condition, ANSWER_WITHIN_S):
                raise AssertionError(f"no {what} within {ANSWER_WITHIN_S} s; delivered: {self._items[-3:]}")
