"""How a candidate stands in an election: its identity, its wishes and its limits.

Rule: what is wrong with them is said when they are made, not when the first term ends early.
"""

from __future__ import annotations

from typing import Final

import msgspec

from atoll.errors import AtollError, Code
from atoll.resources.election import Keys
from atoll.store import ballot

TTL_S_MIN: Final = 1
DRIFT_MAX: Final = 0.5


class Candidacy(msgspec.Struct, frozen=True):
    """Who stands where, and how carefully. The name and limits are checked; raises INVALID.

    ``ttl_s``: asked of the store, which may grant more; what it grants is used. ``drift_max``: how much any clock's
    rate may differ from true time, as a fraction. ``grace_s``: taken off the deadline, for the time between a check
    and its act. ``quiesce_s_max``: how long a leader told to stop may keep its term alive while it stops.
    """

    name: str
    candidate: str
    value: bytes = b""
    ttl_s: int = 10
    priority: int = 0
    drift_max: float = 0.01
    grace_s: float = 0.2
    quiesce_s_max: float = 10.0
    terms_max: int = 100

    def __post_init__(self) -> None:
        Keys(self.name)
        span_s = ballot.span_s(self.ttl_s, self.drift_max, self.grace_s)
        rules = (
            (bool(self.candidate), "candidate: an id that is not empty"),
            (0 <= self.drift_max < DRIFT_MAX, f"drift_max: in [0, {DRIFT_MAX})"),
            (self.grace_s >= 0 and self.quiesce_s_max >= 0, "grace_s and quiesce_s_max: 0 or more seconds"),
            (self.terms_max >= 1, "terms_max: 1 or more"),
            (self.ttl_s >= TTL_S_MIN, f"ttl_s: {TTL_S_MIN} or more seconds"),
            (
                span_s > self.ttl_s / 3,
                "ttl_s: longer, or grace_s shorter: a term must outlast a heartbeat's interval",
            ),
        )
        wrong = [rule for holds, rule in rules if not holds]
        if wrong:
            raise AtollError(Code.INVALID, f"candidacy in {self.name!r} needs " + "; ".join(wrong))
