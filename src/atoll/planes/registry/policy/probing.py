"""What a row of probes says of an instance, and when it is probed again.

Rule: three results of one kind in a row change its health (``check_times``); a refusal that cannot be a busy moment
(nobody listens, a wrong answer) makes it unhealthy at once. The time between two probes follows how long they take,
weighed with the past, within the bounds of the switches: a slow service is asked less often.

Source: nacos-wire 9.2.
"""

from __future__ import annotations

import enum

import msgspec

from atoll.planes.registry.model.switches import CheckTimes, Switches

FIRST_AFTER_S = (
    2.0  # and up to FIRST_SPREAD_S more, so that a restart does not probe everything in one moment
)
FIRST_SPREAD_S = 5.0


class Outcome(enum.Enum):
    """Of one probe."""

    OK = "ok"
    SOFT = "soft"  # may be a busy moment: no answer in time, 302, 503
    HARD = "hard"  # cannot be one: connection refused, another status, an error of the database


class Found(msgspec.Struct, frozen=True):
    """``cause`` for people; ``took_s``: how long it took."""

    outcome: Outcome
    cause: str = ""
    took_s: float = 0.0


class Row(msgspec.Struct):
    """The last probes of one instance. ``pace_ms``: the weighed time that they took."""

    oks: int = 0
    fails: int = 0
    pace_ms: float = -1.0


def judge(row: Row, found: Found, healthy: bool, check_times: int) -> bool | None:
    """Count ``found`` in. The health that the instance has from now on, None: as it was."""
    if found.outcome is Outcome.OK:
        row.oks, row.fails = row.oks + 1, 0
        return True if not healthy and row.oks >= check_times else None
    row.oks, row.fails = 0, row.fails + 1
    if healthy and (found.outcome is Outcome.HARD or row.fails >= check_times):
        return False
    return None


def next_after_s(row: Row, took_s: float, times: CheckTimes) -> float:
    """How long to wait before the next probe, the last having taken ``took_s``."""
    took_ms = took_s * 1000
    row.pace_ms = took_ms if row.pace_ms < 0 else times.factor * row.pace_ms + (1 - times.factor) * took_ms
    return min(max(row.pace_ms, times.min_ms), times.max_ms) / 1000


def times_of(kind: str, switches: Switches) -> CheckTimes:
    """The bounds for one kind of checker."""
    return {"HTTP": switches.http, "MYSQL": switches.mysql}.get(kind, switches.tcp)


def judge_status(status: int, expected: int) -> Outcome:
    """Of an HTTP probe. Upstream stores the expected status and takes 200 alone; here it is honoured."""
    if status == expected:
        return Outcome.OK
    return Outcome.SOFT if status in (302, 503) else Outcome.HARD
