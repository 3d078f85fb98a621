"""The live candidate over the memory driver: threads, real time, no patches."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest

from atoll.errors import AtollError, Code, Reason
from atoll.resources.election import Token
from atoll.store.api import Driver, LeaseRevoke, Outcome, Put, Txn, TxnResult
from atoll.store.candidate import (
    Candidacy,
    Candidate,
    Cause,
    Fact,
    Hold,
    Lost,
    Out,
    Proclaimed,
    Quiesce,
    Waiting,
    Won,
)
from atoll.store.memory import open_memory
from atoll.store.term import Term
from tests.waiting import wait_until

WITHIN_S = 20.0


class Heard:
    """A listener that remembers; ``quiet`` answers a request to quiesce at once."""

    def __init__(self, quiet: bool = True) -> None:
        self.facts: list[Fact] = []
        self.candidate: Candidate | None = None
        self._quiet = quiet

    def __call__(self, fact: Fact) -> None:
        self.facts.append(fact)
        if isinstance(fact, Quiesce) and self._quiet and self.candidate:
            self.candidate.quiesced()

    def has(self, kind: type[Fact]) -> bool:
        return any(isinstance(fact, kind) for fact in self.facts)

    def lost(self) -> list[Cause]:
        return [fact.cause for fact in self.facts if isinstance(fact, Lost)]


@contextmanager
def standing(driver: Driver, *ids: str, quiet: bool = True, ttl_s: int = 3) -> Iterator[list[Heard]]:
    """Candidates in the order in which they stand."""
    everybody = []
    try:
        for each in ids:
            heard = Heard(quiet)
            heard.candidate = Candidate(driver, Candidacy("demo", each, each.encode(), ttl_s), heard)
            everybody.append(heard)
            heard.candidate.start()
            wait_until(partial(_stands, heard), WITHIN_S, f"{each} stands")
        yield everybody
    finally:
        for heard in everybody:
            if heard.candidate:
                heard.candidate.close()


def _stands(heard: Heard) -> bool:
    return heard.has(Won) or any(
        isinstance(fact, Waiting) and fact.hold is Hold.BEHIND for fact in heard.facts
    )


def _term(heard: Heard) -> Term:
    def term() -> Term | None:
        return heard.candidate.term if heard.candidate else None

    return wait_until(term, WITHIN_S, "a term")


def _ask(driver: Driver, request: Txn | LeaseRevoke | Put) -> Outcome:
    answered = threading.Event()
    outcomes: list[Outcome] = []

    def done(outcome: Outcome) -> None:
        outcomes.append(outcome)
        answered.set()

    driver.submit(request, done)
    assert answered.wait(WITHIN_S)
    return outcomes[0]


@pytest.fixture
def driver() -> Iterator[Driver]:
    store = open_memory()
    yield store
    store.close()


def test_the_first_leads_and_a_resign_brings_the_next(driver: Driver) -> None:
    with standing(driver, "a", "b", "c") as (a, b, c):
        first = _term(a)
        first.check()
        assert a.candidate and not b.has(Won) and not c.has(Won)
        a.candidate.resign()
        second = _term(b)
        assert second.token > first.token
        assert a.has(Quiesce) and a.lost() == [Cause.RESIGNED]
        wait_until(lambda: a.has(Out), WITHIN_S, "a is out")
        with pytest.raises(AtollError) as caught:
            first.check()
        assert (caught.value.code, caught.value.reason) == (Code.CONFLICT, Reason.NOT_LEADER)
        assert "resigned" in caught.value.message


def test_a_write_of_the_last_term_is_refused_by_the_store(driver: Driver) -> None:
    with standing(driver, "a", "b") as (a, b):
        old = _term(a)
        write = Txn(old.guards(), (Put(b"work", b"old"),))
        accepted = _ask(driver, write)
        assert isinstance(accepted, TxnResult) and accepted.succeeded
        assert a.candidate
        a.candidate.resign()
        _term(b)
        refused = _ask(driver, write)
        assert isinstance(refused, TxnResult) and not refused.succeeded


def test_a_term_goes_on_by_its_heartbeats_and_ends_when_its_lease_is_revoked(driver: Driver) -> None:
    with standing(driver, "a", "b") as (a, b):
        term = _term(a)
        began_s = term.deadline_s
        wait_until(lambda: term.deadline_s > began_s, WITHIN_S, "the deadline moves")
        _ask(driver, LeaseRevoke(term.lease))
        wait_until(lambda: a.lost() == [Cause.KEY_GONE], WITHIN_S, "a notices")
        assert not term.holds()
        assert _term(b).token > term.token
        wait_until(lambda: a.facts[-1] == Waiting(Hold.BEHIND, 1), WITHIN_S, "a stands again, by itself")


def test_start_after_resign_stands_again_at_the_end(driver: Driver) -> None:
    with standing(driver, "a", "b") as (a, b):
        _term(a)
        assert a.candidate
        a.candidate.resign(quiet=True)
        a.candidate.start()
        _term(b)
        wait_until(lambda: a.facts[-1] == Waiting(Hold.BEHIND, 1), WITHIN_S, "a stands behind b")
        assert not a.has(Quiesce) and not a.has(Out)


def test_without_an_answer_to_quiesce_the_term_runs_out_first(driver: Driver) -> None:
    heard = Heard(quiet=False)
    candidacy = Candidacy("demo", "a", ttl_s=2, quiesce_s_max=0.1)
    candidate = heard.candidate = Candidate(driver, candidacy, heard)
    candidate.start()
    term = _term(heard)
    candidate.resign()
    wait_until(lambda: heard.has(Quiesce), WITHIN_S, "told to quiesce")
    assert term.holds()
    wait_until(lambda: heard.lost() == [Cause.NOT_QUIET], WITHIN_S, "the term ran out")
    candidate.close()


def test_proclaim_and_close(driver: Driver) -> None:
    with standing(driver, "a", "b") as (a, b):
        _term(a)
        assert a.candidate
        a.candidate.proclaim(b"elsewhere")
        wait_until(lambda: a.has(Proclaimed), WITHIN_S, "proclaimed")
        a.candidate.close()
        a.candidate.close()
        assert a.lost() == [Cause.CLOSED] and a.facts[-1] == Out(closed=True)
        assert _term(b).token > Token(0, 0)


def test_a_candidacy_says_what_is_wrong_with_it() -> None:
    with pytest.raises(AtollError) as caught:
        Candidacy("demo", "", ttl_s=1, drift_max=0.7, grace_s=1.0, terms_max=0)
    assert caught.value.code is Code.INVALID
    for what in ("candidate", "drift_max", "terms_max", "longer"):
        assert what in caught.value.message
    for name in ("", "a/", "a\0b", "x" * 513):
        with pytest.raises(AtollError):
            Candidacy(name, "a")
