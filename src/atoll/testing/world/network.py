"""Messages between named places: delayed, cut one way or both, lost.

Rule: a message is lost if the way is cut when it is sent or when it would arrive; whoever sent it is not told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from atoll.runtime.rng import Rng
from atoll.testing.world.virtual import Virtual

DELAY_S = (0.0005, 0.006)


class Network:
    """``late_from_s`` and ``late_to_s`` hold places whose messages leave, or arrive, up to so late, for a while."""

    def __init__(self, virtual: Virtual, rng: Rng) -> None:
        self._virtual = virtual
        self._rng = rng
        self._cut: dict[tuple[str, str], int] = {}
        self.late_from_s: dict[str, float] = {}
        self.late_to_s: dict[str, float] = {}

    def cut(self, ways: Iterable[tuple[str, str]]) -> None:
        for way in ways:
            self._cut[way] = self._cut.get(way, 0) + 1

    def mend(self, ways: Iterable[tuple[str, str]]) -> None:
        for way in ways:
            left = self._cut.get(way, 0) - 1
            if left > 0:
                self._cut[way] = left
            else:
                self._cut.pop(way, None)

    def mend_all(self) -> None:
        self._cut.clear()
        self.late_from_s.clear()
        self.late_to_s.clear()

    def is_cut(self, source: str, target: str) -> bool:
        return bool(self._cut) and (source, target) in self._cut

    def delay_s(self, source: str, target: str) -> float:
        most = DELAY_S[1]
        if self.late_from_s or self.late_to_s:
            most = max(most, self.late_from_s.get(source, 0.0), self.late_to_s.get(target, 0.0))
        return DELAY_S[0] + (most - DELAY_S[0]) * self._rng.random()

    def send(self, source: str, target: str, receive: Callable[..., None], *arguments: Any) -> None:
        if not self.is_cut(source, target):
            self._virtual.after(
                self.delay_s(source, target), self._arrive, source, target, receive, *arguments
            )

    def _arrive(self, source: str, target: str, receive: Callable[..., None], *arguments: Any) -> None:
        if not self.is_cut(source, target):
            receive(*arguments)


def both(ones: Iterable[str], others: Iterable[str]) -> list[tuple[str, str]]:
    """The ways between each of ``ones`` and each of ``others``, in both directions."""
    pairs = [(one, other) for one in ones for other in others]
    return pairs + [(other, one) for one, other in pairs]
