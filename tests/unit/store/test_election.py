"""The machine of an election by lists of events: what it asks of the store, when, and what it concludes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from atoll.errors import AtollError, Code, Reason
from atoll.resources import election as records
from atoll.resources.election import Control, Heartbeat, Keys, Standing, Token
from atoll.store import acts, ballot, facts
from atoll.store.api import (
    GENERATION_KEY,
    Compare,
    Delete,
    Event,
    KeyValue,
    LeaseGrant,
    LeaseKeepAlive,
    LeaseResult,
    LeaseRevoke,
    Outcome,
    Put,
    Range,
    RangeResult,
    Relation,
    Request,
    Target,
    Txn,
    TxnResult,
    Watch,
    WatchBatch,
)
from atoll.store.candidacy import Candidacy
from atoll.store.election import Election
from atoll.store.facts import Cause, Hold
from atoll.store.moves import MOVES, Move, State

DOCS = Path(__file__).resolve().parents[3] / "docs"
KEYS = Keys("demo")
LEASE = 0xA1
OWN = KEYS.own(LEASE)
TTL_S = 9
DRIFT = 0.05
SPAN_S = TTL_S * 0.95 / 1.05
UNKNOWN = AtollError(Code.UNKNOWN, "no answer in time")
CUT_OFF = AtollError(Code.UNAVAILABLE, "no connection")
NO_LEADER = AtollError(Code.UNAVAILABLE, "no leader", reason=Reason.NO_LEADER)
DONE = TxnResult(50, True)
GUARD_FAILED = TxnResult(50, False)


class Bench:
    """Feeds one machine and keeps what it wants. Time moves only where a test moves it."""

    def __init__(self) -> None:
        candidacy = Candidacy("demo", "me", b"value", TTL_S, drift_max=DRIFT, grace_s=0.0, quiesce_s_max=4.0)
        self.machine = Election(candidacy)
        self.now_s = 100.0
        self.open: list[acts.Submit] = []
        self.watches: dict[int, Watch] = {}
        self.facts: list[facts.MachineFact] = []

    def do(self, event: acts.Event | None) -> None:
        for action in self.machine.handle(acts.Instant(self.now_s, 1e9 + self.now_s), event):
            match action:
                case acts.Submit():
                    self.open.append(action)
                case acts.Follow(tag, watch):
                    self.watches[tag] = watch
                case acts.Unfollow(tag):
                    self.watches.pop(tag, None)
                case acts.Tell(fact):
                    self.facts.append(fact)

    def at(self, now_s: float) -> None:
        """Let time pass until ``now_s``, waking the machine whenever it wants to be."""
        while (wake_s := self.machine.wake_at_s) is not None and wake_s <= now_s:
            self.now_s = max(self.now_s, wake_s)
            self.do(None)
        self.now_s = now_s

    def asked(self) -> list[Request]:
        return [submit.request for submit in self.open]

    def answer(self, outcome: Outcome, kind: type[Request] = Txn) -> Request:
        """Answer the oldest open request of ``kind``; returns it."""
        submit = next(submit for submit in self.open if isinstance(submit.request, kind))
        self.open.remove(submit)
        self.do(acts.Answer(submit.tag, outcome))
        return submit.request

    def drop(self) -> None:
        """What is open is never answered."""
        self.open.clear()

    def see(self, key: bytes, batch: WatchBatch | AtollError) -> None:
        tag = next(tag for tag, watch in self.watches.items() if watch.key == key)
        self.do(acts.Batch(tag, batch))

    # -- to a place

    def granted(self) -> None:
        self.do(acts.Enter())
        assert self.answer(LeaseResult(1, LEASE, TTL_S, TTL_S), LeaseGrant) == LeaseGrant(TTL_S)

    def standing(self, read: TxnResult) -> None:
        self.granted()
        self.answer(TxnResult(10, True))
        self.answer(read)

    def leading(self) -> None:
        self.standing(view())
        self.answer(DONE)
        assert self.machine.state is State.LEADING
        self.answer(RangeResult(50), Range)
        self.answer(view(beat=heartbeat(10)))


def heartbeat(revision: int, state: str = records.LEADING, generation: int = 0) -> Heartbeat:
    return Heartbeat(revision, generation, TTL_S, state, "somebody")


def view(
    own: int = 10,
    others: Sequence[tuple[int, int, Standing | None]] = (),
    beat: Heartbeat | None = None,
    control: Control | None = None,
    generation: bytes = b"",
) -> TxnResult:
    """The answer to ``ballot.read``: own key's create revision (0: gone), other seats as (lease, revision, who)."""
    mine = KeyValue(OWN, b"value", own, own, 1, LEASE)
    seats = [(LEASE, own, Standing("me"))] if own else []
    everybody = sorted([*seats, *others], key=lambda seat: seat[1])
    queue = [KeyValue(KEYS.own(lease), b"", revision, revision, 1, lease) for lease, revision, _ in everybody]
    side = [KeyValue(KEYS.standing(lease), records.encode(who)) for lease, _, who in everybody if who]
    if control:
        side.append(KeyValue(KEYS.control, records.encode(control), 7, 7, 1))
    if beat:
        side.append(KeyValue(KEYS.heartbeat, records.encode(beat), 8, 40, 1))
    era = (KeyValue(GENERATION_KEY, generation),) if generation else ()
    parts = ((mine,) if own else (), tuple(queue), tuple(side), era)
    return TxnResult(40, True, tuple(RangeResult(40, part) for part in parts))


def is_read(request: Request) -> bool:
    return isinstance(request, Txn) and request == ballot.read(KEYS, LEASE)


# --------------------------------------------------------------------------------------------- joining


def test_a_join_is_guarded_and_brings_the_standing() -> None:
    bench = Bench()
    bench.granted()
    (join,) = bench.asked()
    assert isinstance(join, Txn)
    assert join.compares == (Compare(OWN, Target.CREATE, Relation.EQUAL, 0),)
    own, standing = join.success
    assert own == Put(OWN, b"value", LEASE)
    assert isinstance(standing, Put) and standing.lease == LEASE


def test_a_join_of_unknown_outcome_is_looked_up_and_not_repeated_if_it_is_there() -> None:
    bench = Bench()
    bench.granted()
    bench.answer(UNKNOWN)
    assert [is_read(request) for request in bench.asked()] == [True]
    bench.answer(view())
    assert bench.machine.state is State.STANDING
    assert all(is_read(request) for request in bench.asked())


def test_a_join_of_unknown_outcome_is_repeated_if_it_is_not_there() -> None:
    bench = Bench()
    bench.granted()
    join = bench.answer(UNKNOWN)
    bench.answer(view(own=0))
    assert not bench.open
    bench.at(bench.now_s + 1.0)
    assert bench.asked() == [join]


def test_a_granted_ttl_longer_than_asked_is_used() -> None:
    bench = Bench()
    bench.do(acts.Enter())
    bench.answer(LeaseResult(1, LEASE, 30, 30), LeaseGrant)
    assert bench.open[0].timeout_s == 10.0
    bench.at(bench.now_s + 9.9)
    assert LeaseKeepAlive(LEASE) not in bench.asked()
    bench.at(bench.now_s + 0.2)
    assert LeaseKeepAlive(LEASE) in bench.asked()


def test_whose_own_key_is_gone_stands_again_with_a_new_lease() -> None:
    bench = Bench()
    bench.standing(view(own=0))
    assert bench.asked() == [LeaseRevoke(LEASE), LeaseGrant(TTL_S)]
    assert bench.machine.state is State.GRANTING


# --------------------------------------------------------------------------------------------- waiting


def test_waits_only_for_the_one_before() -> None:
    bench = Bench()
    bench.standing(view(others=[(1, 5, None), (2, 7, None), (3, 12, None)]))
    assert bench.facts[-1] == facts.Waiting(Hold.BEHIND, 2)
    near = [watch for watch in bench.watches.values() if not watch.end]
    assert near == [Watch(KEYS.own(2), start_revision=41, no_put=True)]
    bench.see(KEYS.own(2), WatchBatch(45, (Event(KeyValue(KEYS.own(2), b"", 0, 45)),)))
    bench.answer(view(others=[(1, 5, None)]))
    assert [watch.key for watch in bench.watches.values() if not watch.end] == [KEYS.own(1)]


@pytest.mark.parametrize(
    ("last", "waits"),
    [
        (None, False),
        (heartbeat(5), True),
        (heartbeat(5, records.RESIGNED), False),
        (heartbeat(10), False),  # its own start, of which the answer was lost
        (heartbeat(10, generation=3), True),
    ],
    ids=["no record", "leading", "resigned", "its own", "another generation"],
)
def test_the_successor_waits_unless_nobody_can_be_serving(last: Heartbeat | None, waits: bool) -> None:
    bench = Bench()
    bench.standing(view(beat=last))
    until_s = bench.now_s + TTL_S * (1 + DRIFT)
    if waits:
        assert bench.facts[-1] == facts.Waiting(Hold.LAST_TERM, 0, until_s)
        bench.at(until_s - 0.01)
        assert bench.machine.state is State.STANDING
        bench.at(until_s + 0.01)
    assert bench.machine.state is State.STARTING


def test_the_wait_counts_from_the_last_heartbeat_that_was_observed() -> None:
    bench = Bench()
    bench.standing(view(others=[(1, 5, None)], beat=heartbeat(5)))
    bench.at(bench.now_s + 2.0)
    put = KeyValue(KEYS.heartbeat, records.encode(heartbeat(5)), 8, 44, 2)
    bench.see(KEYS.standings, WatchBatch(44, (Event(put),)))
    seen_s = bench.now_s
    bench.at(bench.now_s + 1.0)
    bench.see(KEYS.own(1), WatchBatch(45, (Event(KeyValue(KEYS.own(1), b"", 0, 45)),)))
    bench.answer(view(beat=heartbeat(5)))
    waiting = bench.facts[-1]
    assert isinstance(waiting, facts.Waiting) and waiting.hold is Hold.LAST_TERM
    assert waiting.until_s == pytest.approx(seen_s + TTL_S * (1 + DRIFT))


def test_nobody_rises_while_paused() -> None:
    bench = Bench()
    bench.standing(view(control=Control(paused=True)))
    assert bench.facts[-1] == facts.Waiting(Hold.ELECTION_PAUSED)
    bench.see(KEYS.standings, WatchBatch(44, (Event(KeyValue(KEYS.control, b"{}", 7, 44)),)))
    bench.answer(view(control=Control()))
    assert bench.machine.state is State.STARTING


# -------------------------------------------------------------------------------------------- the term


def test_a_start_is_guarded_by_all_that_it_rests_on() -> None:
    bench = Bench()
    bench.standing(view(beat=heartbeat(5, records.RESIGNED), control=Control(), generation=b"3"))
    (start,) = bench.asked()
    assert isinstance(start, Txn)
    assert start.compares == (
        Compare(OWN, Target.CREATE, Relation.EQUAL, 10),
        Compare(GENERATION_KEY, Target.VALUE, Relation.EQUAL, b"3"),
        Compare(KEYS.heartbeat, Target.MOD, Relation.EQUAL, 40),
        Compare(KEYS.control, Target.MOD, Relation.EQUAL, 7),
    )
    sent_s = bench.now_s
    bench.at(sent_s + 1.0)
    bench.answer(DONE)
    assert bench.facts[-1] == facts.Elected(OWN, Token(3, 10), LEASE, sent_s + SPAN_S)


@pytest.mark.parametrize("outcome", [UNKNOWN, GUARD_FAILED], ids=["unknown", "guard failed"])
def test_a_start_that_is_not_known_to_have_worked_is_looked_up(outcome: Outcome) -> None:
    bench = Bench()
    bench.standing(view())
    bench.answer(outcome)
    assert bench.machine.state is State.STANDING and bench.machine.deadline_s is None
    assert [is_read(request) for request in bench.asked()] == [True]


def test_a_start_answered_after_its_own_deadline_is_no_term() -> None:
    bench = Bench()
    bench.standing(view())
    bench.now_s += SPAN_S
    bench.answer(DONE)
    assert bench.machine.deadline_s is None
    assert not any(isinstance(fact, facts.Elected) for fact in bench.facts)


def test_heartbeats_follow_a_keep_alive_and_carry_the_guard() -> None:
    bench = Bench()
    bench.leading()
    bench.at(bench.now_s + TTL_S / 3)
    keep_alive, beat = bench.asked()
    assert keep_alive == LeaseKeepAlive(LEASE)
    assert isinstance(beat, Txn)
    assert beat.compares == (
        Compare(OWN, Target.CREATE, Relation.EQUAL, 10),
        Compare(GENERATION_KEY, Target.CREATE, Relation.EQUAL, 0),
    )


def test_a_heartbeat_without_an_answer_is_sent_again_soon_and_an_answered_one_is_not() -> None:
    bench = Bench()
    bench.leading()
    beat_s = bench.now_s + TTL_S / 3
    bench.at(beat_s)
    bench.at(beat_s + TTL_S / 20)
    beats = [request for request in bench.asked() if isinstance(request, Txn)]
    assert len(beats) == 2, "what a store took while it had no leader is never answered"
    bench.answer(DONE)
    bench.answer(DONE)
    bench.drop()
    bench.at(beat_s + TTL_S / 20 + TTL_S / 3 - 0.01)
    assert bench.asked() == []
    bench.at(beat_s + TTL_S / 20 + TTL_S / 3)
    assert [type(request) for request in bench.asked()] == [LeaseKeepAlive, Txn]


def test_only_a_heartbeat_that_succeeded_moves_the_deadline_from_when_it_was_sent() -> None:
    bench = Bench()
    bench.leading()
    first_s = bench.machine.deadline_s
    bench.at(bench.now_s + TTL_S / 3)
    sent_s = bench.now_s
    bench.answer(LeaseResult(50, LEASE, TTL_S), LeaseKeepAlive)
    assert bench.machine.deadline_s == first_s
    bench.answer(UNKNOWN)
    assert bench.machine.deadline_s == first_s
    bench.drop()
    bench.at(sent_s + bench.machine.candidacy.ttl_s / 20)  # soon again
    sent_s = bench.now_s
    bench.at(sent_s + 1.0)
    bench.answer(DONE)
    extended = bench.facts[-1]
    assert isinstance(extended, facts.Extended) and extended.deadline_s == pytest.approx(sent_s + SPAN_S)


@pytest.mark.parametrize(
    ("event", "cause"),
    [(GUARD_FAILED, Cause.KEY_GONE), (LeaseResult(50, LEASE, 0), Cause.KEY_GONE)],
    ids=["guard failed", "lease dead"],
)
def test_a_term_ends_at_once_when_its_key_is_known_to_be_gone(event: Outcome, cause: Cause) -> None:
    bench = Bench()
    bench.leading()
    bench.at(bench.now_s + TTL_S / 3)
    bench.answer(event, LeaseKeepAlive if isinstance(event, LeaseResult) else Txn)
    lost = bench.facts[-1]
    assert isinstance(lost, facts.Lost) and lost.cause is cause and lost.token == Token(0, 10)


def test_the_watch_on_the_own_key_ends_the_term() -> None:
    bench = Bench()
    bench.leading()
    bench.see(OWN, WatchBatch(60, (Event(KeyValue(OWN, b"", 0, 60)),)))
    assert isinstance(bench.facts[-1], facts.Lost)
    assert not bench.watches


@pytest.mark.parametrize(
    ("error", "cause"),
    [(CUT_OFF, Cause.CUT_OFF), (UNKNOWN, Cause.CUT_OFF), (NO_LEADER, Cause.NO_LEADER)],
    ids=["cut off", "no answer", "no leader"],
)
def test_a_leader_serves_until_its_own_deadline_and_knows_why_it_ended(
    error: AtollError, cause: Cause
) -> None:
    bench = Bench()
    bench.leading()
    deadline_s = bench.machine.deadline_s
    assert deadline_s
    while bench.machine.deadline_s and bench.machine.wake_at_s:
        bench.at(bench.machine.wake_at_s)
        while bench.open and bench.machine.deadline_s:
            bench.answer(error, type(bench.open[0].request))
    lost = bench.facts[-1]
    assert isinstance(lost, facts.Lost) and lost.cause is cause
    assert bench.now_s == pytest.approx(deadline_s)


def test_who_slept_past_the_deadline_is_told_so_before_anything_else() -> None:
    bench = Bench()
    bench.leading()
    bench.at(bench.now_s + TTL_S / 3)
    bench.now_s += 100.0
    bench.answer(DONE)  # the heartbeat's answer was waiting
    assert [fact for fact in bench.facts if isinstance(fact, facts.Lost | facts.Extended)] == [
        facts.Lost(Cause.PAUSED, Token(0, 10))
    ]


def test_leads_again_after_an_end_by_itself_with_a_new_lease() -> None:
    bench = Bench()
    bench.leading()
    bench.at(bench.now_s + SPAN_S + 1.0)
    leave = next(request for request in bench.asked() if isinstance(request, Txn) and request.failure)
    assert isinstance(leave, Txn) and Delete(OWN) in leave.success
    assert leave.compares == (Compare(OWN, Target.CREATE, Relation.EQUAL, 10),)
    bench.open = [submit for submit in bench.open if submit.request == leave]
    bench.answer(DONE)
    bench.answer(LeaseResult(51, LEASE), LeaseRevoke)
    assert bench.asked() == [LeaseGrant(TTL_S)]


# ------------------------------------------------------------------------------------- resign, hand over


def test_a_resign_quiesces_first_and_gives_the_key_back_only_then() -> None:
    bench = Bench()
    bench.leading()
    bench.do(acts.Resign())
    assert bench.facts[-1] == facts.Quiesce(Cause.RESIGNED, bench.now_s + 4.0)
    assert not bench.open
    bench.do(acts.Quiesced())
    assert facts.Lost(Cause.RESIGNED, Token(0, 10)) in bench.facts
    leave = bench.answer(DONE)
    assert isinstance(leave, Txn)
    beat = next(put for put in leave.success if isinstance(put, Put) and put.key == KEYS.heartbeat)
    assert records.decode(Heartbeat, beat.value).state == records.RESIGNED
    bench.answer(LeaseResult(51, LEASE), LeaseRevoke)
    assert facts.Out(closed=False) in bench.facts


def test_without_an_answer_the_term_is_no_longer_extended() -> None:
    bench = Bench()
    bench.leading()
    bench.do(acts.Resign())
    bench.at(bench.now_s + 4.01)
    bench.drop()
    bench.at(bench.now_s + TTL_S / 3)
    assert bench.asked() and not any(isinstance(request, Txn) for request in bench.asked())
    bench.at(bench.now_s + SPAN_S)
    lost = next(fact for fact in bench.facts if isinstance(fact, facts.Lost))
    assert lost.cause is Cause.NOT_QUIET


def test_a_leader_hands_over_once_the_preferred_candidate_is_next() -> None:
    bench = Bench()
    bench.leading()
    wish = Control(handover_to="you")
    changed = WatchBatch(44, (Event(KeyValue(KEYS.control, b"", 7, 44)),))
    bench.see(KEYS.standings, changed)
    between = [(2, 11, Standing("other")), (3, 12, Standing("you"))]
    bench.answer(view(others=between, beat=heartbeat(10), control=wish))
    assert bench.machine.state is State.LEADING
    bench.see(KEYS.standings, changed)
    bench.answer(view(others=between[1:], beat=heartbeat(10), control=wish))
    assert bench.facts[-1] == facts.Quiesce(Cause.HANDED_OVER, bench.now_s + 4.0, "you")


def test_a_standby_before_the_preferred_one_gives_way_and_joins_again() -> None:
    bench = Bench()
    bench.standing(view(others=[(1, 5, Standing("first")), (3, 12, Standing("vip", 9))]))
    (give_way,) = bench.asked()
    assert give_way == Txn((Compare(OWN, Target.CREATE, Relation.EQUAL, 10),), (Delete(OWN),))
    bench.answer(DONE)
    (join,) = bench.asked()
    assert isinstance(join, Txn) and join.compares == (Compare(OWN, Target.CREATE, Relation.EQUAL, 0),)


def test_a_wish_for_someone_who_left_is_dropped_by_the_next_term() -> None:
    bench = Bench()
    bench.standing(view(control=Control(handover_to="gone")))
    (start,) = bench.asked()
    assert isinstance(start, Txn)
    (put,) = (each for each in start.success if isinstance(each, Put) and each.key == KEYS.control)
    assert records.decode(Control, put.value) == Control()


# ---------------------------------------------------------------------------------------------- choosing

_ME, _HIGH, _NAMED = Standing("me"), Standing("high", 5), Standing("named", -1)


@pytest.mark.parametrize("paused", [False, True], ids=["running", "paused"])
@pytest.mark.parametrize("named", ["", "named", "me", "absent"], ids=lambda name: f"to {name or 'nobody'}")
@pytest.mark.parametrize("behind", [None, _HIGH, _NAMED, _ME], ids=lambda who: who.id if who else "foreign")
def test_who_gives_way_to_whom(paused: bool, named: str, behind: Standing | None) -> None:
    seen = ballot.view(KEYS, view(others=[(9, 20, behind)], control=Control(paused, named)))
    best = ballot.gives_way_to(seen)
    wished = named == "named" and behind is _NAMED
    ranked = behind is _HIGH and named != "me"
    assert (best is not None) == (not paused and (wished or ranked))


@pytest.mark.parametrize("state", State)
def test_states_that_nothing_leaves_are_the_closed_one(state: State) -> None:
    assert any(source is state for source, _ in MOVES) == (state is not State.CLOSED)
    assert state is State.OUT or any(target is state for target in MOVES.values())


def test_the_diagram_of_the_explanation_is_the_table() -> None:
    drawn = set(
        re.findall(
            r"^    (\w+) --> (\w+): (\w+)$", (DOCS / "explanation" / "one-leader.md").read_text(), re.M
        )
    )
    assert drawn == {(source.value, target.value, move.value) for (source, move), target in MOVES.items()}


def test_every_field_cause_and_hold_is_in_the_reference() -> None:
    page = (DOCS / "reference" / "coordination.md").read_text()
    words = [*Candidacy.__struct_fields__, *(each.value for each in Cause), *(each.value for each in Hold)]
    assert not [word for word in words if f"\n| `{word}` | " not in page]


def test_every_move_is_made_somewhere_and_illegal_ones_nowhere() -> None:
    assert {move for _, move in MOVES} == set(Move)
    assert (State.OUT, Move.WIN) not in MOVES and (State.STANDING, Move.WIN) not in MOVES


@pytest.mark.parametrize("ahead_of_closing", ["out", "granting", "standing", "leading"])
def test_close_from_anywhere_ends_closed(ahead_of_closing: str) -> None:
    bench = Bench()
    if ahead_of_closing == "granting":
        bench.do(acts.Enter())
    elif ahead_of_closing == "standing":
        bench.standing(view(others=[(1, 5, None)]))
    elif ahead_of_closing == "leading":
        bench.leading()
    bench.drop()
    bench.do(acts.Close())
    while bench.open:
        bench.answer(DONE, type(bench.open[0].request))
    assert bench.facts[-1] == facts.Out(closed=True)
    assert bench.machine.state is State.CLOSED and bench.machine.wake_at_s is None
    bench.do(acts.Enter())
    assert not bench.open
