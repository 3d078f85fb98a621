"""Virtual time: a heap of things to do, and boot-time clocks whose rates are wrong on purpose.

Rule: everything that happens in a World is one entry of the heap; two runs with one seed do the same things in the
same order, whatever PYTHONHASHSEED is, because ties are broken by the order of entry and nothing iterates over sets.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable
from typing import Any

WALL_EPOCH_S = 1_700_000_000.0


class Virtual:
    """True time, in seconds from 0. ``note`` adds a line to the trace, which is always hashed and kept on wish."""

    def __init__(self, keep_trace: bool = False) -> None:
        self.now_s = 0.0
        self.events = 0
        self._heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._entries = 0
        self._hash = hashlib.blake2b(digest_size=16)
        self._keep = keep_trace
        self.trace: list[str] = []

    def at(self, when_s: float, action: Callable[..., None], *arguments: Any) -> None:
        self._entries += 1
        heapq.heappush(self._heap, (when_s, self._entries, action, arguments))

    def after(self, delay_s: float, action: Callable[..., None], *arguments: Any) -> None:
        self.at(self.now_s + delay_s, action, *arguments)

    def run_until(self, end_s: float) -> None:
        heap = self._heap
        while heap and heap[0][0] <= end_s:
            when_s, _, action, arguments = heapq.heappop(heap)
            self.now_s = max(self.now_s, when_s)
            self.events += 1
            action(*arguments)
        self.now_s = end_s

    def run_while(self, condition: Callable[[], bool], until_s: float) -> bool:
        """Let time pass while ``condition`` holds; False if it still held at ``until_s``."""
        heap = self._heap
        while condition():
            if not heap or heap[0][0] > until_s:
                self.now_s = until_s
                return not condition()
            when_s, _, action, arguments = heapq.heappop(heap)
            self.now_s = max(self.now_s, when_s)
            self.events += 1
            action(*arguments)
        return True

    def note(self, who: str, what: str) -> None:
        line = f"{self.now_s:10.6f}  {who:<10} {what}"
        self._hash.update(line.encode())
        if self._keep:
            self.trace.append(line)

    @property
    def trace_hash(self) -> str:
        return self._hash.hexdigest()


class DriftingClock:
    """A ``runtime.clock.Clock`` that runs at ``rate`` times true time and began at ``offset_s``."""

    def __init__(self, virtual: Virtual, rate: float, offset_s: float = 0.0) -> None:
        self._virtual = virtual
        self.rate = rate
        self.offset_s = offset_s

    def now_s(self) -> float:
        return self.offset_s + self._virtual.now_s * self.rate

    def wall_s(self) -> float:
        return WALL_EPOCH_S + self.now_s()

    def true_s(self, local_s: float) -> float:
        """The moment of true time at which this clock shows ``local_s``."""
        return (local_s - self.offset_s) / self.rate
