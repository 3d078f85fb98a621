"""One candidate of one election, as a machine: events in, actions out; no I/O, no clock, no randomness.

Rule: a leader's term reaches exactly as far as its own deadline, which only the success of a guarded heartbeat
moves, counted from the moment that heartbeat was *sent*. Nothing else proves leadership: no keep-alive's answer, no
read, no silence. An outcome that is UNKNOWN counts as failure for the deadline and is looked up for the queue.

Theory: docs/explanation/one-leader.md. The life of a candidate is ``MOVES``; what is not in the table is illegal.

Doubt: the reference keeps its place in the queue through a lost term if its lease survives. Here a term that ended
always leaves the queue and stands again with a new lease: a little later to lead again, but no token is used twice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from atoll.errors import AtollError, Code, Reason
from atoll.resources import election as records
from atoll.resources.election import Heartbeat, Keys, Standing, TermRecord, Token
from atoll.store import ballot
from atoll.store.acts import (
    Action,
    Answer,
    Batch,
    Close,
    Enter,
    Event,
    Instant,
    Outbox,
    Proclaim,
    Quiesced,
    Resign,
)
from atoll.store.api import (
    LeaseGrant,
    LeaseKeepAlive,
    LeaseResult,
    LeaseRevoke,
    Outcome,
    Range,
    RangeResult,
    Request,
    Txn,
    TxnResult,
    Watch,
    WatchBatch,
    prefix_end,
)
from atoll.store.ballot import View
from atoll.store.candidacy import Candidacy
from atoll.store.facts import (
    Cause,
    Elected,
    Extended,
    Hold,
    Lost,
    Out,
    Proclaimed,
    Quiesce,
    Waiting,
)
from atoll.store.moves import LEASED, MOVES, SEEING, SERVING, Move, State
from atoll.store.term import fence

RETRY_S_MAX: Final = 1.0
RETRY_S_MIN: Final = 0.05


class _Tenure(msgspec.Struct):
    """What is known of the term that is led."""

    token: Token
    started_wall_s: float
    deadline_s: float
    extending: bool = True
    quiesce: Quiesce | None = None


# ------------------------------------------------------------------------------------------- the machine


class Election:
    """``handle`` takes one event (None: time passed) and returns what to do, in order. Call it at ``wake_at_s`` at
    the latest. Not safe for use by several threads at once.
    """

    def __init__(self, candidacy: Candidacy) -> None:
        self.candidacy = candidacy
        self.keys = Keys(candidacy.name)
        self.state = State.OUT
        self.lease = 0
        self._ttl_s = float(candidacy.ttl_s)
        self._value = candidacy.value
        self._value_unsaid = False
        self._wanted = False
        self._closing = False
        self._term: _Tenure | None = None
        self._view: View | None = None
        self._observed: tuple[int, float] | None = None  # newest heartbeat's revision, when first seen
        self._reading = False
        self._read_again = False
        self._trouble: AtollError | None = None
        self._told: Waiting | None = None
        self._now = Instant(0.0, 0.0)
        self._timers: dict[str, float] = {}
        self._side = 0  # tag of the watch on the records beside the queue
        self._near = 0  # tag of the watch on the key whose end concerns this candidate ...
        self._near_key = b""  # ... its predecessor's, or while it leads its own
        self._leave = Txn()
        self._leave_by_s = 0.0
        self._out = Outbox()
        self._on_timer: Final[dict[str, Callable[[], None]]] = {
            "deadline": self._deadline_passed,
            "quiet": self._stop_extending,
            "beat": self._beat,
            "wait": self._judge_again,
            "poll": self._read,
            "retry": self._retry,
            "proclaim": self._say_value,
        }

    @property
    def wake_at_s(self) -> float | None:
        return min(self._timers.values(), default=None)

    @property
    def deadline_s(self) -> float | None:
        """Until when this candidate may serve; None without a term."""
        return self._term.deadline_s if self._term else None

    def handle(self, now: Instant, event: Event | None) -> list[Action]:
        before_s, self._now = self._now.boot_s, now
        if self._term and now.boot_s >= self._term.deadline_s:
            slept = now.boot_s - before_s > self._ttl_s / 2
            self._deadline_passed(Cause.PAUSED if slept else None)
        for name in [name for name, at_s in self._timers.items() if at_s <= now.boot_s]:
            if self._timers.pop(name, None) is not None:
                self._on_timer[name]()
        if event is not None:
            self._dispatch(event)
        return self._out.take()

    def _dispatch(self, event: Event) -> None:
        match event:
            case Answer(tag, outcome):
                self._out.answer(tag, outcome)
            case Batch(tag, batch):
                self._on_batch(tag, batch)
            case Enter():
                self._enter()
            case Resign(quiet):
                self._resign(quiet)
            case Quiesced():
                if self._term and self._term.quiesce:
                    self._end(self._term.quiesce.cause)
            case Proclaim(value):
                self._value, self._value_unsaid = value, True
                self._say_value()
            case Close():
                self._closing = True
                self._resign(quiet=True)

    # -- small tools of the machine

    def _move(self, move: Move) -> None:
        self.state = MOVES[self.state, move]
        self._timers.pop("retry", None)  # it belonged to what was tried before

    def _wait(self, hold: Hold, ahead: int = 0, until_s: float | None = None) -> None:
        waiting = Waiting(hold, ahead, until_s)
        if waiting != self._told:
            self._told = waiting
            self._out.tell(waiting)

    def _failed(self, outcome: Outcome) -> AtollError | None:
        """The error in ``outcome``, remembered as the present trouble with the store; None clears it."""
        self._trouble = outcome if isinstance(outcome, AtollError) else None
        if self._trouble and self.state not in (*SERVING, State.LEAVING):
            leaderless = self._trouble.reason is Reason.NO_LEADER
            self._wait(Hold.STORE_LEADERLESS if leaderless else Hold.STORE_SILENT)
        return self._trouble

    def _submit(self, request: Request, handler: Callable[[Outcome], None]) -> None:
        self._out.submit(request, self._ttl_s / 3, handler)

    @property
    def _retry_s(self) -> float:
        return min(RETRY_S_MAX, max(RETRY_S_MIN, self._ttl_s / 20))

    def _retry_later(self) -> None:
        self._timers["retry"] = self._now.boot_s + self._retry_s

    def _retry(self) -> None:
        match self.state:
            case State.GRANTING:
                self._grant()
            case State.JOINING:
                self._join()
            case State.LEAVING:
                self._give_back()
            case _:
                self._read()

    def _forget(self) -> None:
        """Drop all that belonged to the place in the queue; answers still under way will mean nothing."""
        self._out.forget()
        self._timers.clear()
        self._view = None
        self._reading = self._read_again = False
        self._out.unfollow(self._side)
        self._side = 0
        self._follow_near(b"", 0)

    # -- entering

    def _enter(self) -> None:
        self._wanted = not self._closing
        if self.state is State.OUT and self._wanted:
            self._move(Move.ENTER)
            self._wait(Hold.CAMPAIGNING)
            self._grant()

    def _grant(self) -> None:
        sent_s = self._now.boot_s

        def granted(outcome: Outcome) -> None:
            if self._failed(outcome) or not isinstance(outcome, LeaseResult):
                return self._retry_later()
            self.lease, self._ttl_s = outcome.lease, float(outcome.ttl_s)
            self._timers["beat"] = sent_s + self._ttl_s / 3
            self._move(Move.GRANTED)
            return self._join()

        self._submit(LeaseGrant(self.candidacy.ttl_s), granted)

    def _join(self) -> None:
        who = Standing(self.candidacy.candidate, self.candidacy.priority)
        self._submit(ballot.join(self.keys, self.lease, self._value, who), self._joined)

    def _joined(self, outcome: Outcome) -> None:
        error = self._failed(outcome)
        if error is None:
            return self._stand()
        if error.reason is Reason.LEASE_NOT_FOUND:
            return self._lose()
        if error.code is not Code.UNKNOWN:
            return self._retry_later()

        def looked(found: Outcome) -> None:
            if (
                self._failed(found)
                or not isinstance(found, TxnResult)
                or not ballot.view(self.keys, found).own
            ):
                return self._retry_later()  # not there: the guarded join may be repeated
            return self._stand()

        return self._submit(ballot.read(self.keys, self.lease), looked)

    def _stand(self) -> None:
        self._move(Move.JOINED)
        self._read()

    def _lose(self) -> None:
        """Lease or key are gone: stand again, with a new lease."""
        self._forget()
        self._submit(LeaseRevoke(self.lease), lambda _: None)
        self._move(Move.LOSE)
        self._wait(Hold.CAMPAIGNING)
        self._grant()

    # -- standing

    def _read(self) -> None:
        if self.state not in SEEING:
            return
        if self._reading:
            self._read_again = True
            return
        self._reading = True
        self._submit(ballot.read(self.keys, self.lease), self._on_read)

    def _on_read(self, outcome: Outcome) -> None:
        self._reading = False
        if self._failed(outcome) or not isinstance(outcome, TxnResult):
            return self._retry_later()
        if self._read_again:
            self._read_again = False
            self._read()
        view = ballot.view(self.keys, outcome)
        if self.state not in SEEING or (self._view and view.revision < self._view.revision):
            return None
        if self._view and view.generation != self._view.generation:
            self._observed = None  # another history: its revisions do not compare with those seen before
        self._view = view
        self._timers["poll"] = self._now.boot_s + self._ttl_s  # what no watch of this candidate would tell it
        self._observe(view.heartbeat_revision)
        if not self._side:
            self._side = self._out.follow(Watch(self.keys.standings, self.keys.side_end, view.revision + 1))
        return self._judge(view)

    def _judge_again(self) -> None:
        if self._view:
            self._judge(self._view)

    def _observe(self, revision: int) -> None:
        if self._observed is None or revision > self._observed[0]:
            self._observed = (revision, self._now.boot_s)

    def _judge(self, view: View) -> None:
        if self._term:
            return self._judge_term(view)
        if self.state is not State.STANDING:
            return None
        if view.own is None:
            return self._lose()  # the re-read after campaign: nobody leads without a key that is there
        ahead = view.ahead()
        self._follow_near(ahead[-1].key if ahead else b"", view.revision + 1)
        if ballot.gives_way_to(view):
            return self._yield(view.own.create_revision)
        if ahead:
            return self._wait(Hold.BEHIND, len(ahead))
        if view.control.paused:
            return self._wait(Hold.ELECTION_PAUSED)
        return self._rise_after_wait(view)

    def _rise_after_wait(self, view: View) -> None:
        seen_s = self._observed[1] if self._observed else self._now.boot_s
        wait_s = ballot.wait_s(view, self.candidacy.drift_max)
        if wait_s and self._now.boot_s < seen_s + wait_s:
            self._timers["wait"] = seen_s + wait_s
            return self._wait(Hold.LAST_TERM, 0, seen_s + wait_s)
        return self._rise(view)

    def _yield(self, revision: int) -> None:
        self._out.forget()
        self._reading = self._read_again = False
        self._move(Move.YIELD)

        def yielded(outcome: Outcome) -> None:
            if self._failed(outcome) or not isinstance(outcome, TxnResult) or not outcome.succeeded:
                self._move(Move.RETRY)
                return self._retry_later()
            self._view = None
            self._move(Move.YIELDED)
            return self._join()

        self._submit(ballot.give_way(self.keys, self.lease, revision), yielded)

    # -- the term

    def _rise(self, view: View) -> None:
        self._move(Move.RISE)
        token, sent = view.token, self._now
        beat = self._heartbeat(token, records.LEADING)

        def started(outcome: Outcome) -> None:
            error = self._failed(outcome)
            deadline_s = sent.boot_s + self._span_s
            won = isinstance(outcome, TxnResult) and outcome.succeeded and deadline_s > self._now.boot_s
            if not won or not isinstance(outcome, TxnResult):
                self._move(Move.RETRY)
                late = error is not None and error.code is not Code.UNKNOWN
                return self._retry_later() if late else self._read()
            self._move(Move.WIN)
            self._term = _Tenure(token, sent.wall_s, deadline_s)
            return self._lead(outcome.revision, sent.boot_s)

        self._submit(ballot.start(self.keys, view, beat, sent.wall_s), started)

    def _lead(self, revision: int, sent_s: float) -> None:
        term = self._term
        if term is None:
            return
        own = self.keys.own(self.lease)
        self._told = None
        self._timers.pop("wait", None)
        self._timers["deadline"] = term.deadline_s
        self._timers["beat"] = sent_s + self._ttl_s / 3
        self._out.tell(Elected(own, term.token, self.lease, term.deadline_s))
        self._follow_near(own, revision + 1)
        self._submit(Range(self.keys.history, prefix_end(self.keys.history)), self._tidy_history)
        self._say_value()
        self._read()

    def _tidy_history(self, outcome: Outcome) -> None:
        if not isinstance(outcome, RangeResult) or not self._term:
            return
        token, terms_max = self._term.token, self.candidacy.terms_max
        stale = ballot.overdue(self.keys, token, outcome.kvs, terms_max, self._now.wall_s)
        if stale:
            self._submit(Txn(fence(self.keys.own(self.lease), token), stale), lambda _: None)

    @property
    def _span_s(self) -> float:
        return ballot.span_s(self._ttl_s, self.candidacy.drift_max, self.candidacy.grace_s)

    def _heartbeat(self, token: Token, state: str) -> Heartbeat:
        return Heartbeat(token.revision, token.generation, self._ttl_s, state, self.candidacy.candidate)

    def _beat(self) -> None:
        """Renew the lease and, leading, commit the heartbeat that proves the term: every third of the TTL, and again
        soon while it is not answered, because what a store took while it had no leader is never answered.
        """
        if self.state not in LEASED:
            return
        sent_s = self._now.boot_s
        self._timers["beat"] = sent_s + self._ttl_s / 3
        self._submit(LeaseKeepAlive(self.lease), self._kept)
        if self._term and self._term.extending:
            beat = self._heartbeat(self._term.token, records.LEADING)
            txn = ballot.beat(self.keys, self.keys.own(self.lease), beat)
            self._submit(txn, lambda outcome: self._beaten(outcome, sent_s))
            self._beat_soon()

    def _beat_soon(self) -> None:
        soon_s = self._now.boot_s + self._retry_s
        self._timers["beat"] = min(self._timers.get("beat", soon_s), soon_s)

    def _kept(self, outcome: Outcome) -> None:
        troubled = self._trouble is not None
        error = self._failed(outcome)
        dead = isinstance(outcome, LeaseResult) and outcome.ttl_s <= 0
        if dead or (error and error.reason is Reason.LEASE_NOT_FOUND):
            self._end(Cause.KEY_GONE, "the store says that the lease is over") if self._term else self._lose()
        elif error:
            self._beat_soon()
        elif troubled:
            self._read()

    def _beaten(self, outcome: Outcome, sent_s: float) -> None:
        term = self._term
        if term is None:
            return
        if self._failed(outcome):
            self._beat_soon()
        elif isinstance(outcome, TxnResult) and not outcome.succeeded:
            self._end(Cause.KEY_GONE, "the heartbeat's guard failed")
        elif sent_s + self._span_s > term.deadline_s:
            term.deadline_s = self._timers["deadline"] = sent_s + self._span_s
            self._timers["beat"] = max(self._now.boot_s, sent_s + self._ttl_s / 3)
            self._out.tell(Extended(term.deadline_s))

    def _judge_term(self, view: View) -> None:
        term = self._term
        if term is None:
            return
        if view.token != term.token:
            self._end(Cause.KEY_GONE, "read again, the own key is not the one that was elected")
        elif self.state is State.LEADING:
            best = ballot.gives_way_to(view)
            if best and best.standing and view.seats[1:2] == (best,):
                self._quiesce(Cause.HANDED_OVER, best.standing.id)

    def _quiesce(self, cause: Cause, to: str = "") -> None:
        if self._term is None:
            return
        self._move(Move.QUIESCE)
        by_s = self._now.boot_s + self.candidacy.quiesce_s_max
        self._term.quiesce = Quiesce(cause, by_s, to)
        self._timers["quiet"] = by_s
        self._out.tell(self._term.quiesce)

    def _stop_extending(self) -> None:
        if self._term:
            self._term.extending = False

    def _deadline_passed(self, cause: Cause | None = None) -> None:
        term = self._term
        if term is None or self._now.boot_s < term.deadline_s:
            return
        trouble = self._trouble
        if cause is None and term.quiesce and not term.extending:
            cause = Cause.NOT_QUIET
        if cause is None:
            cause = Cause.NO_LEADER if trouble and trouble.reason is Reason.NO_LEADER else Cause.CUT_OFF
        self._end(cause, trouble.message if trouble else "")

    # -- leaving

    def _resign(self, quiet: bool) -> None:
        self._wanted = False
        if self.state is State.LEADING and not quiet:
            self._quiesce(Cause.RESIGNED)
        elif self._term and quiet:
            self._end(Cause.CLOSED if self._closing else Cause.RESIGNED)
        elif self.state is State.GRANTING:
            self._forget()
            self._left()
        elif self.state in LEASED and not self._term:
            self._forget()
            self._move(Move.WITHDRAW)
            self._revoke()
        elif self.state is State.OUT and self._closing:
            self._left()

    def _end(self, cause: Cause, detail: str = "") -> None:
        """From here on nothing is served: only now may the key go."""
        term = self._term
        if term is None:
            return
        self._forget()
        self._move(Move.END)
        self._term = None
        self._out.tell(Lost(cause, term.token, detail))
        record = TermRecord(self.candidacy.candidate, term.started_wall_s, self._now.wall_s, cause.value)
        resigned = self._heartbeat(term.token, records.RESIGNED)
        self._leave = ballot.leave(self.keys, self.lease, resigned, record)
        self._leave_by_s = self._now.boot_s + 2 * self._ttl_s
        self._give_back()

    def _give_back(self) -> None:
        def gone(outcome: Outcome) -> None:
            if self._failed(outcome) and (self._wanted or self._now.boot_s < self._leave_by_s):
                return self._retry_later()  # guarded by the own key's revision: the same again does no harm
            return self._revoke()

        self._submit(self._leave, gone)

    def _revoke(self) -> None:
        self._submit(LeaseRevoke(self.lease), lambda _: self._left())

    def _left(self) -> None:
        self._forget()
        if self._wanted:
            self._move(Move.AGAIN)
            self._wait(Hold.CAMPAIGNING)
            return self._grant()
        if self.state is not State.OUT:
            self._move(Move.LEFT)
        if self._closing:
            self._move(Move.CLOSE)
        self._told = None
        return self._out.tell(Out(self._closing))

    # -- saying the value

    def _say_value(self) -> None:
        view, value = self._view, self._value
        if not self._value_unsaid or view is None or view.own is None or self.state not in SEEING:
            return

        def said(outcome: Outcome) -> None:
            if self._failed(outcome) or not isinstance(outcome, TxnResult) or not outcome.succeeded:
                self._timers["proclaim"] = self._now.boot_s + self._retry_s
            elif self._value == value:
                self._value_unsaid = False
                self._out.tell(Proclaimed(value, outcome.revision))

        self._submit(ballot.proclaim(view.own.key, view.token, value), said)

    # -- watching

    def _follow_near(self, key: bytes, revision: int) -> None:
        if key == self._near_key:
            return
        self._out.unfollow(self._near)
        self._near_key = key
        self._near = self._out.follow(Watch(key, start_revision=revision, no_put=True)) if key else 0

    def _on_batch(self, tag: int, batch: WatchBatch | AtollError) -> None:
        if tag not in (self._side, self._near):
            return
        if isinstance(batch, AtollError):
            if tag == self._side:
                self._out.unfollow(self._side)
                self._side = 0
            else:
                self._follow_near(b"", 0)
            if self.state in SEEING:
                self._retry_later()
        elif tag == self._side:
            self._on_side(batch)
        elif any(event.is_delete for event in batch.events):
            self._on_near_gone()
        elif batch.resumed:
            self._read()

    def _on_side(self, batch: WatchBatch) -> None:
        stirred = batch.resumed
        for event in batch.events:
            if event.kv.key == self.keys.heartbeat:
                self._observe(event.kv.mod_revision)
            else:
                stirred = True
        if stirred:
            self._read()

    def _on_near_gone(self) -> None:
        if self._term:
            self._end(Cause.KEY_GONE, "the watch on the own key saw it deleted")
        else:
            self._follow_near(b"", 0)
            self._read()
