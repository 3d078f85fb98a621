"""The words of ``runtime.loop`` for code that blocks its own thread: what the generated sync twins stand on.

Rule: each name means what it means in ``loop``, without a loop; a twin differs from its original by nothing else.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator
from typing import Any, Generic, Protocol, TypeVar

from atoll.errors import AtollError, Code, Reason
from atoll.runtime.clock import BootClock

T = TypeVar("T")
Out = TypeVar("Out", covariant=True)


class Event:
    """``asyncio.Event`` for threads."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        self._event.set()

    def clear(self) -> None:
        self._event.clear()

    def is_set(self) -> bool:
        return self._event.is_set()

    def wait_within(self, within_s: float | None) -> bool:
        return self._event.wait(within_s)


class Queue(Generic[T]):
    """``asyncio.Queue`` for threads; unbounded."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[T] = queue.SimpleQueue()

    def put_nowait(self, item: T) -> None:
        self._queue.put(item)

    def get(self) -> T:
        return self._queue.get()

    def get_within(self, within_s: float) -> T | None:
        """The next item, or None when none came in ``within_s`` seconds."""
        try:
            return self._queue.get(timeout=max(within_s, 0.0))
        except queue.Empty:
            return None


class Waits(Protocol[Out]):
    """Something that yields items and can be asked to wait no longer than so long."""

    def next_within(self, within_s: float) -> Out | None: ...

    def next_item(self) -> Out: ...


def each_within(items: Waits[T], within_s: float | None, what: str) -> Generator[T, None, None]:
    """Each of ``items``, for ``within_s`` seconds in all; then UNAVAILABLE / TIMEOUT says that ``what`` took too
    long. None: for as long as it takes.
    """
    clock = BootClock()
    end_s = None if within_s is None else clock.now_s() + within_s
    while True:
        item = items.next_item() if end_s is None else items.next_within(end_s - clock.now_s())
        if item is None:
            text = f"{what} took longer than {within_s:g} s"
            raise AtollError(Code.UNAVAILABLE, text, reason=Reason.TIMEOUT, retry_after_s=1.0)
        yield item


def wait_event(event: Event, within_s: float | None) -> bool:
    """Wait until ``event`` is set; False when that did not happen in ``within_s`` seconds. None: for ever."""
    return event.wait_within(within_s)


def next_within(items: Queue[T], within_s: float) -> T | None:
    """The next item, or None when none came in ``within_s`` seconds."""
    return items.get_within(within_s)


def in_thread(function: Callable[..., T], *arguments: Any) -> T:
    """Run ``function`` here: the caller may block."""
    return function(*arguments)


def call_from_thread(function: Callable[..., None]) -> Callable[..., None]:
    """``function`` itself: without a loop any thread may call it."""
    return function
