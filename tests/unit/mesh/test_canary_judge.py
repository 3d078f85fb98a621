"""The judge of a canary: data or hold, certainty before rolling back, and who is in the share."""

from __future__ import annotations

import random

import pytest

from atoll.errors import AtollError
from atoll.planes.mesh.policy.canary_judge import (
    HOLD,
    PROMOTE,
    ROLL_BACK,
    Evidence,
    judge,
    share_of,
)
from atoll.resources.mesh.canary import CanaryPlan, check_plan
from atoll.resources.mesh.traffic import LATENCY_BOUNDS_MS, Tally

PLAN = CanaryPlan(requests_min=100, hold_s=10.0)


def tally(requests: int, errors: int = 0, slowest_bucket: int = 2) -> Tally:
    latencies = tuple(requests if each == slowest_bucket else 0 for each in range(len(LATENCY_BOUNDS_MS)))
    return Tally(requests, 0, errors, latencies)


def mixed(quick: int, slow: int) -> Tally:
    """``slow`` ones that took up to 100 ms."""
    return tally(quick).plus(tally(slow, 0, 6))


GOOD = tally(1000, 5)
CASES: dict[str, tuple[Evidence, str, str]] = {
    "nothing served": (Evidence(tally(0), GOOD, GOOD, 5, 99), HOLD, "no data"),
    "nothing by the change": (Evidence(tally(500), GOOD, GOOD, 0, 99), HOLD, "no request went by"),
    "too few": (Evidence(tally(99), GOOD, GOOD, 5, 99), HOLD, "99 of 100"),
    "too early": (Evidence(tally(500), GOOD, GOOD, 5, 9.0), HOLD, "good so far"),
    "good": (Evidence(tally(500), GOOD, GOOD, 5, 10.0), PROMOTE, "0 errors in 500"),
    "good, and makes no routes": (Evidence(tally(500), GOOD, GOOD, None, 10.0), PROMOTE, "the other clients"),
    "all bad after twenty": (Evidence(tally(20, 20), GOOD, GOOD, 0, 0.5), ROLL_BACK, "20 errors in 20"),
    "all bad, too few to tell": (Evidence(tally(19, 19), GOOD, GOOD, 5, 0.5), HOLD, "19 of 100"),
    "bad, perhaps": (Evidence(tally(100, 3), GOOD, GOOD, 5, 99), HOLD, "not certainly"),
    "bad, certainly": (Evidence(tally(1000, 60), GOOD, GOOD, 5, 99), ROLL_BACK, "certainly more"),
    "as bad as the others": (Evidence(tally(1000, 60), tally(1000, 60), GOOD, 5, 99), PROMOTE, "60 errors"),
    "as bad as before": (Evidence(tally(1000, 60), tally(9), tally(500, 30), 5, 99), PROMOTE, "before"),
    "no reference": (Evidence(tally(1000, 60), tally(9), tally(9), 5, 99), ROLL_BACK, "no errors expected"),
    "slow": (
        Evidence(tally(500, 0, 6), GOOD, GOOD, 5, 99),
        ROLL_BACK,
        "500 of 500 requests took over 25 ms; the other clients: 90 % up to 5 ms",
    ),
    "a little slower": (Evidence(tally(500, 0, 3), GOOD, GOOD, 5, 99), PROMOTE, "0 errors"),
    "a few slow ones": (Evidence(mixed(450, 50), GOOD, GOOD, 5, 99), PROMOTE, "0 errors"),
    "too many slow ones": (Evidence(mixed(400, 100), GOOD, GOOD, 5, 99), ROLL_BACK, "100 of 500 requests"),
    "slow, nothing to compare with": (
        Evidence(tally(500, 0, 6), Tally(), Tally(), 5, 99),
        PROMOTE,
        "0 errors",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_follows_from_what_was_seen(name: str) -> None:
    seen, action, says = CASES[name]
    verdict = judge(PLAN, seen)
    assert verdict.action == action, verdict
    assert says in verdict.why


def test_chance_alone_rolls_back_hardly_ever() -> None:
    """A change that is as good as what was there, looked at after every request."""
    dice, ended = random.Random(7), 0
    for _ in range(300):
        errors = 0
        for requests in range(1, 301):
            errors += dice.random() < 0.005
            seen = Evidence(tally(requests, errors), GOOD, GOOD, 5, 0.0)
            if judge(PLAN, seen).action == ROLL_BACK:
                ended += 1
                break
    assert ended <= 6


def test_the_share_is_stable_and_never_empty() -> None:
    nodes = [f"sidecar~a.default~{number}" for number in range(100)]
    chosen = share_of("c", nodes, 10.0)
    assert len(chosen) == 10 and chosen == share_of("c", reversed(nodes), 10.0)
    assert share_of("other", nodes, 10.0) != chosen
    assert len(share_of("c", nodes[:3], 10.0)) == 1
    assert share_of("c", nodes, 2.0, busy=nodes[50:51])[0] == nodes[50]
    kept = set(chosen) & set(share_of("c", nodes[:90], 10.0))
    assert len(kept) >= len([each for each in chosen if each in nodes[:90]]) - 1


@pytest.mark.parametrize(
    "plan",
    [
        CanaryPlan(share_percent=0),
        CanaryPlan(share_percent=101),
        CanaryPlan(requests_min=0),
        CanaryPlan(latency_factor_max=0.5),
        CanaryPlan(error_points_max=float("nan")),
    ],
)
def test_a_plan_that_cannot_be_is_refused(plan: CanaryPlan) -> None:
    with pytest.raises(AtollError, match="it must be from"):
        check_plan(plan)


def test_differences_of_counts() -> None:
    before, now = Tally(10, 1, 2, (4, 6)), Tally(15, 1, 4, (5, 9, 1))
    assert now.minus(before) == Tally(5, 0, 2, (1, 3, 1))
    assert before.plus(now.minus(before)) == Tally(15, 1, 4, (5, 9, 1))
    assert Tally(3, latencies=(0,) * len(LATENCY_BOUNDS_MS) + (3,)).latency_ms(0.9) == float("inf")
