"""A term and a session against a clock that the test moves."""

from __future__ import annotations

import pytest

from atoll.errors import AtollError, Code, Reason
from atoll.resources.election import Token
from atoll.store.api import GENERATION_KEY, Compare, LeaseResult, Outcome, Relation, Target
from atoll.store.ballot import span_s
from atoll.store.session import Renewals
from atoll.store.term import Term


class HandClock:
    def __init__(self) -> None:
        self.time_s = 100.0

    def now_s(self) -> float:
        return self.time_s

    def wall_s(self) -> float:
        return 1e9 + self.time_s


def test_a_term_holds_until_its_deadline_and_never_after_its_end() -> None:
    clock = HandClock()
    term = Term("demo", Token(0, 7), b"demo/a1", 0xA1, clock)
    assert not term.holds()
    term.extend(105.0)
    term.extend(103.0)
    assert term.deadline_s == 105.0
    clock.time_s = 104.999
    term.check()
    clock.time_s = 105.0
    with pytest.raises(AtollError) as caught:
        term.check()
    assert (caught.value.code, caught.value.reason) == (Code.CONFLICT, Reason.NOT_LEADER)
    assert "deadline" in caught.value.message
    clock.time_s = 104.0
    term.end("resigned")
    term.extend(200.0)
    term.end("too late")
    with pytest.raises(AtollError) as caught:
        term.check()
    assert "resigned" in caught.value.message and term.cause == "resigned"


@pytest.mark.parametrize(
    ("generation", "era"),
    [
        (0, Compare(GENERATION_KEY, Target.CREATE, Relation.EQUAL, 0)),
        (3, Compare(GENERATION_KEY, Target.VALUE, Relation.EQUAL, b"3")),
    ],
    ids=["never restored", "restored"],
)
def test_guards_name_the_key_and_the_generation(generation: int, era: Compare) -> None:
    term = Term("demo", Token(generation, 7), b"demo/a1", 0xA1, HandClock())
    assert term.guards() == (Compare(b"demo/a1", Target.CREATE, Relation.EQUAL, 7), era)


@pytest.mark.parametrize("drift", [0.0, 0.01, 0.05, 0.2])
def test_the_slowest_leader_ends_before_the_fastest_successor_begins(drift: float) -> None:
    ttl_s = 10.0
    leader_ends_s = span_s(ttl_s, drift, 0.0) / (1 - drift)
    successor_begins_s = ttl_s * (1 + drift) / (1 + drift)
    assert leader_ends_s <= successor_begins_s
    assert span_s(ttl_s, drift, 0.3) == pytest.approx(span_s(ttl_s, drift, 0.0) - 0.3)


@pytest.mark.parametrize(
    ("outcome", "over", "deadline_s"),
    [
        (LeaseResult(1, 7, 9), False, 103.0 + 9),
        (LeaseResult(1, 7, 0), True, 100.0 + 9),
        (AtollError(Code.NOT_FOUND, "gone", reason=Reason.LEASE_NOT_FOUND), True, 100.0 + 9),
        (AtollError(Code.UNAVAILABLE, "no connection"), False, 100.0 + 9),
    ],
    ids=["renewed", "dead", "not found", "cut off"],
)
def test_renewals_count_from_when_they_were_sent(outcome: Outcome, over: bool, deadline_s: float) -> None:
    renewals = Renewals(9.0, 100.0, 0.0)
    assert renewals.wake_at_s == 103.0
    assert not renewals.is_due(102.9) and renewals.is_due(103.0)
    renewals.answered(104.0, 103.0, outcome)
    assert bool(renewals.over) == over
    assert renewals.deadline_s == pytest.approx(deadline_s)
    assert (renewals.wake_at_s is None) == over


def test_a_session_that_was_not_renewed_in_time_is_over_for_ever() -> None:
    renewals = Renewals(9.0, 100.0, 0.0)
    assert not renewals.is_due(109.0) and renewals.over
    renewals.answered(109.1, 103.0, LeaseResult(1, 7, 9))
    assert renewals.over and renewals.deadline_s == 109.0
