"""When a change is told: soon after quiet, and merged with its neighbours in a storm.

Rule: the first change after ``merge_s`` of quiet goes out ``first_s`` later, time enough for a batch to arrive whole;
what follows within ``merge_s`` of a push waits for the end of that window and goes out as one. Upstream waits 500 ms
for every change; nobody is helped by waiting for neighbours that do not come.
"""

from __future__ import annotations

import heapq
from typing import Generic, TypeVar

import msgspec

T = TypeVar("T")


class Window(msgspec.Struct, frozen=True):
    """Seconds."""

    first_s: float = 0.015
    merge_s: float = 0.5
    retry_s: float = 1.0  # after a push that failed


def due_s(window: Window, now_s: float, told_s: float | None) -> float:
    """When a change of now is told, the last having been told at ``told_s``."""
    first = now_s + window.first_s
    return first if told_s is None else max(first, told_s + window.merge_s)


class Agenda(Generic[T]):
    """What is due when; each thing at most once, at its earliest time. ``T`` is hashable."""

    def __init__(self) -> None:
        self._due: dict[T, float] = {}
        self._heap: list[tuple[float, int, T]] = []
        self._made = 0

    def __len__(self) -> int:
        return len(self._due)

    def add(self, what: T, at_s: float) -> None:
        if at_s >= self._due.get(what, float("inf")):
            return
        self._due[what] = at_s
        self._made += 1
        heapq.heappush(self._heap, (at_s, self._made, what))

    def discard(self, what: T) -> None:
        self._due.pop(what, None)

    def next_s(self) -> float:
        """When the next thing is due; infinity: nothing is."""
        while self._heap and self._due.get(self._heap[0][2]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else float("inf")

    def take(self, now_s: float) -> list[T]:
        """Everything due by now, the earliest first; it is on the agenda no more."""
        taken: list[T] = []
        while self.next_s() <= now_s:
            what = heapq.heappop(self._heap)[2]
            del self._due[what]
            taken.append(what)
        return taken
