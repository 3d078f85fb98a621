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


def outcome(
    driver: Driver, request: Request, within_s: float = ANSWER_WITHIN_S, *, timeout_s: float | None = None
) -> Outcome:
    """The outcome of ``request``, an error included. ``timeout_s`` is the request's own, ``within_s`` the driver's."""
    answers: queue.Queue[Outcome] = queue.Queue()
    driver.submit(request, answers.put, timeout_s)
    try:
        return answers.get(timeout=max(within_s, 2 * (timeout_s or 0.0)))
    except queue.Empty:
        raise AssertionError(f"no answer within {within_s} s to {request}") from None


def ask(driver: Driver, request: Request, kind: type[R], *, timeout_s: float | None = None) -> R:
    """The result of ``request``, which must be a ``kind`` (``AtollError`` where it must fail)."""
    answer = outcome(driver, request, timeout_s=timeout_s)
    if not isinstance(answer, kind):
        raise AssertionError(f"{request} was answered with {answer!r}, not a {kind.__name__}")
    return answer


class Watching:
    """A watch and everything that it delivered."""

    def __init__(self, driver: Driver, watch: Watch) -> None:
        self.watch = watch
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

    @property
    def resumptions(self) -> int:
        """How often the driver found its store again."""
        return sum(batch.resumed for batch in self.batches)

    def wait_revision(self, revision: int) -> None:
        """Until an event of ``revision`` or a later one was delivered (or the watch has ended)."""

        def delivered() -> bool:
            events = self.events
            return bool(events) and events[-1].kv.mod_revision >= revision

        self._wait(lambda: delivered() or self.error is not None, f"event at revision {revision}")

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
