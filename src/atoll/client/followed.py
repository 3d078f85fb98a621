"""One thing that an application follows: its newest value, and whoever waits for the next one.

Rule: only the newest value is kept; whoever is slow misses values in between and never the last one. ``put`` and ``end``
may be called from another thread than the one that waits.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from typing import Generic, TypeVar

from atoll.runtime import loop

T = TypeVar("T")


class Followed(Generic[T]):
    """``value`` None: nothing is known yet. ``fresh``: told by a node, not read from a snapshot."""

    def __init__(self) -> None:
        self.value: T | None = None
        self.fresh = False
        self.ended = False
        self._waiting: tuple[loop.Event, ...] = ()
        self._lock = threading.Lock()  # for who waits; held for a moment

    def put(self, value: T, fresh: bool) -> None:
        self.value = value
        self.fresh = fresh
        self._wake()

    def end(self) -> None:
        """Nothing comes any more."""
        self.ended = True
        self._wake()

    def give_up(self) -> None:
        """Whoever waits for a first value looks for what there is instead."""
        if self.value is None:
            self._wake()

    async def known_within(self, within_s: float) -> bool:
        """Whether there is a value, at the latest after ``within_s`` seconds, or when it was given up."""
        event = self._listen()
        if self.value is None and not self.ended:
            await loop.wait_event(event, max(within_s, 0.0))
        self._forget(event)
        return self.value is not None

    async def changes(self, within_s: float | None = None) -> AsyncIterator[T]:
        """The value now, then each newest one, until the client is closed or none came for ``within_s`` seconds."""
        event = self._listen()
        if self.value is not None:
            event.set()
        try:
            while await loop.wait_event(event, within_s):
                event.clear()
                if self.ended or self.value is None:
                    return
                yield self.value
        finally:
            self._forget(event)

    def _wake(self) -> None:
        for event in self._waiting:
            event.set()

    def _listen(self) -> loop.Event:
        event = loop.Event()
        with self._lock:
            self._waiting = (*self._waiting, event)
        return event

    def _forget(self, event: loop.Event) -> None:
        with self._lock:
            self._waiting = tuple(each for each in self._waiting if each is not event)
