"""Liveness by beats: who was heard of when, and what silence means.

Rule: silence for an instance's own ``timeout`` makes it unhealthy, silence for its ``delete`` timeout removes it (15 s
and 30 s unless its reserved metadata says otherwise); a beat makes it healthy again. Nothing is decided about an
instance before it was silent for that long on *this* node: after a restart or a take-over its time begins anew.
"""

from __future__ import annotations

import enum
from typing import Generic, TypeVar

import msgspec

from atoll.planes.registry.policy.push_window import Agenda
from atoll.resources import instance as instances
from atoll.resources.instance import Instance

INTERVAL_MS = 5_000
TIMEOUT_MS = 15_000
DELETE_MS = 30_000

T = TypeVar("T")


class Verdict(enum.Enum):
    UNHEALTHY = "unhealthy"
    REMOVED = "removed"


class Times(msgspec.Struct, frozen=True, gc=False):
    """Of one instance, in seconds."""

    timeout_s: float
    delete_s: float


def times_of(instance: Instance) -> Times:
    """By the reserved metadata; a delete timeout below the timeout removes without a stop at unhealthy."""
    timeout_ms = instances.beat_time_ms(instance, instances.BEAT_TIMEOUT, TIMEOUT_MS)
    delete_ms = instances.beat_time_ms(instance, instances.DELETE_TIMEOUT, DELETE_MS)
    return Times(timeout_ms / 1000, delete_ms / 1000)


class _Heard(msgspec.Struct, gc=False):
    at_s: float
    times: Times
    unhealthy: bool = False


class Beats(Generic[T]):
    """Of all instances that beat at this node. ``T`` says which, and is hashable."""

    def __init__(self) -> None:
        self._heard: dict[T, _Heard] = {}
        self._agenda: Agenda[T] = Agenda()

    def __len__(self) -> int:
        return len(self._heard)

    def __contains__(self, which: T) -> bool:
        return which in self._heard

    def beat(self, which: T, times: Times, now_s: float) -> bool:
        """``which`` lives. True: it was unhealthy, or is new here."""
        heard = self._heard.get(which)
        if heard is None:
            self._heard[which] = _Heard(now_s, times)
            self._agenda.add(which, now_s + min(times.timeout_s, times.delete_s))
            return True
        was, heard.unhealthy = heard.unhealthy, False
        if heard.times != times:
            heard.times = times
            self._agenda.add(which, now_s + min(times.timeout_s, times.delete_s))
        heard.at_s = now_s
        return was

    def in_time(self, which: T, now_s: float) -> bool:
        """``which`` was heard of here, and not too long ago."""
        heard = self._heard.get(which)
        return heard is not None and now_s - heard.at_s < heard.times.timeout_s

    def forget(self, which: T) -> None:
        self._heard.pop(which, None)
        self._agenda.discard(which)

    def next_s(self) -> float:
        return self._agenda.next_s()

    def tick(self, now_s: float) -> list[tuple[T, Verdict]]:
        """Who was silent for too long. A removed one is forgotten."""
        verdicts: list[tuple[T, Verdict]] = []
        for which in self._agenda.take(now_s):
            heard = self._heard[which]
            silent_s = now_s - heard.at_s
            if silent_s >= heard.times.delete_s:
                del self._heard[which]
                verdicts.append((which, Verdict.REMOVED))
                continue
            if silent_s >= heard.times.timeout_s and not heard.unhealthy:
                heard.unhealthy = True
                verdicts.append((which, Verdict.UNHEALTHY))
            waits_s = (
                heard.times.delete_s if heard.unhealthy else min(heard.times.timeout_s, heard.times.delete_s)
            )
            self._agenda.add(which, heard.at_s + waits_s)
        return verdicts
