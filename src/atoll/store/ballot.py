"""What a candidate knows of its election at one revision, what follows from it, and the transactions it commits.

Rule: pure. A ``View`` is read in one transaction, so that queue, records and generation belong to one revision;
each transaction that acts on it is guarded by all that the decision rested on.

Theory: priority and hand-over work by *yielding*. Nobody is put ahead of others; whoever stands before the
preferred candidate deletes its key and joins again behind it. The smallest create revision always leads, so that
foreign candidates, which know nothing of this, can stand in the same queue.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeVar

import msgspec

from atoll.errors import AtollError
from atoll.resources import election as records
from atoll.resources.election import Control, Heartbeat, Keys, Standing, TermRecord, Token
from atoll.store.api import (
    GENERATION_KEY,
    Compare,
    Delete,
    KeyValue,
    Operation,
    Put,
    Range,
    RangeResult,
    Relation,
    SortOrder,
    SortTarget,
    Target,
    Txn,
    TxnResult,
    prefix_end,
)
from atoll.store.term import fence

QUEUE_SEATS_MAX: Final = 1_000  # read at once; whoever is behind so many waits for the last that it saw
TIDY_OPERATIONS_MAX: Final = 100  # below etcd's 128 operations a transaction


class Seat(msgspec.Struct, frozen=True):
    """One candidate's key in the queue. ``standing`` None: a foreign candidate."""

    key: bytes
    lease: int
    revision: int
    standing: Standing | None = None


class View(msgspec.Struct, frozen=True):
    """One election at ``revision``, as the candidate whose key is ``own`` sees it. Seats in order of succession."""

    revision: int
    generation: int
    own: KeyValue | None
    seats: tuple[Seat, ...]
    heartbeat: Heartbeat | None
    heartbeat_revision: int
    control: Control
    control_revision: int
    control_data: bytes

    @property
    def token(self) -> Token:
        """The token that the own key stands for; only with a key."""
        return Token(self.generation, self.own.create_revision if self.own else 0)

    def ahead(self) -> tuple[Seat, ...]:
        own = self.own
        return tuple(seat for seat in self.seats if own is None or seat.revision < own.create_revision)

    def me(self) -> Seat | None:
        return next((seat for seat in self.seats if self.own and seat.key == self.own.key), None)


# -------------------------------------------------------------------------------------------- reading


def read(keys: Keys, lease: int) -> Txn:
    """All that a view is made of, in one linearizable read."""
    queue = Range(
        keys.queue,
        prefix_end(keys.queue),
        limit=QUEUE_SEATS_MAX,
        sort_order=SortOrder.ASCEND,
        sort_target=SortTarget.CREATE,
        keys_only=True,
    )
    side = Range(keys.standings, keys.side_end)
    return Txn(success=(Range(keys.own(lease)), queue, side, Range(GENERATION_KEY)))


def view(keys: Keys, result: TxnResult) -> View:
    """The view in the answer to ``read``."""
    own, queue, side, era = (part.kvs if isinstance(part, RangeResult) else () for part in result.results[:4])
    beside = {kv.key: kv for kv in side}
    heartbeat = beside.get(keys.heartbeat)
    control = beside.get(keys.control)
    return View(
        revision=result.revision,
        generation=generation(era),
        own=own[0] if own else None,
        seats=tuple(
            Seat(kv.key, lease, kv.create_revision, _lenient(Standing, beside.get(keys.standing(lease))))
            for kv in queue
            if (lease := keys.lease_of(kv.key))
        ),
        heartbeat=_lenient(Heartbeat, heartbeat),
        heartbeat_revision=heartbeat.mod_revision if heartbeat else 0,
        control=_lenient(Control, control) or Control(),
        control_revision=control.mod_revision if control else 0,
        control_data=control.value if control else b"",
    )


def generation(kvs: Sequence[KeyValue]) -> int:
    return int(kvs[0].value) if kvs and kvs[0].value.isdigit() else 0


_Kind = TypeVar("_Kind", Heartbeat, Standing, Control)


def _lenient(kind: type[_Kind], kv: KeyValue | None) -> _Kind | None:
    """An unreadable record counts as absent: a stray write must not stop the election for everybody."""
    try:
        return records.decode(kind, kv.value) if kv else None
    except AtollError:
        return None


# -------------------------------------------------------------------------------------------- deciding


def preferred(view: View) -> Seat | None:
    """Who should lead: the target of a hand-over if it stands, else the first of the highest priority."""
    known = [seat for seat in view.seats if seat.standing]
    named = [seat for seat in known if seat.standing and seat.standing.id == view.control.handover_to]
    if named:
        return named[0]
    return max(known, key=_rank) if known else None  # max keeps the first of equals, which is the oldest


def _rank(seat: Seat) -> int:
    return seat.standing.priority if seat.standing else 0


def gives_way_to(view: View) -> Seat | None:
    """The candidate behind the own key that goes before it, or None. Nobody gives way while paused."""
    best, me = preferred(view), view.me()
    if view.control.paused or best is None or me is None or best.revision <= me.revision:
        return None
    named = best.standing is not None and best.standing.id == view.control.handover_to
    if named and me.standing is not None and me.standing.id == view.control.handover_to:
        return None
    return best if named or _rank(best) > _rank(me) else None


def wait_s(view: View, drift_max: float) -> float:
    """How long after the last heartbeat was observed the last term may still be served, in seconds of a clock
    that runs at most ``drift_max`` too fast. 0: nobody can be serving.
    """
    last = view.heartbeat
    if last is None or last.state == records.RESIGNED or last.token == view.token:
        return 0.0
    return last.ttl_s * (1 + drift_max)


def span_s(ttl_s: float, drift_max: float, grace_s: float) -> float:
    """How long after a heartbeat was *sent* its leader may serve, in seconds of a clock that runs at most
    ``drift_max`` too slow, beside successors whose clocks run at most ``drift_max`` too fast.
    """
    return ttl_s * (1 - drift_max) / (1 + drift_max) - grace_s


# ---------------------------------------------------------------------------------------- transactions


def join(keys: Keys, lease: int, value: bytes, standing: Standing) -> Txn:
    """Enter the queue once; the answer of a repetition is the key that is there."""
    own = keys.own(lease)
    return Txn(
        compares=(Compare(own, Target.CREATE, Relation.EQUAL, 0),),
        success=(
            Put(own, value, lease),
            Put(keys.standing(lease), records.encode(standing), lease),
        ),
    )


def start(keys: Keys, view: View, beat: Heartbeat, now_wall_s: float) -> Txn:
    """Begin the term: only while the own key, the last term and the operator's wishes are as they were seen."""
    seen = (
        Compare(keys.heartbeat, Target.MOD, Relation.EQUAL, view.heartbeat_revision),
        Compare(keys.control, Target.MOD, Relation.EQUAL, view.control_revision),
    )
    operations: list[Operation] = [
        Put(keys.heartbeat, records.encode(beat)),
        Put(keys.term(beat.token), records.encode(TermRecord(beat.holder, now_wall_s))),
    ]
    if (
        view.own
    ):  # rewritten as it is: observers, foreign ones too, watch the queue and see that the term began
        operations.append(Put(view.own.key, ignore_value=True, ignore_lease=True))
    target = view.control.handover_to
    if target and all(seat.standing is None or seat.standing.id != target for seat in view.seats):
        over = msgspec.structs.replace(view.control, handover_to="")
        operations.append(Put(keys.control, records.rewrite(view.control_data, over)))
    return Txn(
        compares=fence(view.own.key if view.own else b"", view.token) + seen, success=tuple(operations)
    )


def beat(keys: Keys, own: bytes, heartbeat: Heartbeat) -> Txn:
    return Txn(
        compares=fence(own, heartbeat.token), success=(Put(keys.heartbeat, records.encode(heartbeat)),)
    )


def leave(keys: Keys, lease: int, resigned: Heartbeat, ended: TermRecord) -> Txn:
    """Give up the own key, and with it say that nobody serves. Only for one who certainly serves no more.

    ``ended``, the term that was led, is recorded even if the key is gone already. Safe to repeat: the guard is the
    own key's create revision.
    """
    token = resigned.token
    own = Compare(keys.own(lease), Target.CREATE, Relation.EQUAL, token.revision)
    noted = Put(keys.term(token), records.encode(ended))
    said = Put(keys.heartbeat, records.encode(resigned))
    gone = (Delete(keys.own(lease)), Delete(keys.standing(lease)))
    return Txn(compares=(own,), success=(*gone, said, noted), failure=(noted,))


def give_way(keys: Keys, lease: int, revision: int) -> Txn:
    own = keys.own(lease)
    return Txn(compares=(Compare(own, Target.CREATE, Relation.EQUAL, revision),), success=(Delete(own),))


def proclaim(own: bytes, token: Token, value: bytes) -> Txn:
    return Txn(compares=fence(own, token), success=(Put(own, value, ignore_lease=True),))


def overdue(
    keys: Keys, token: Token, history: Sequence[KeyValue], terms_max: int, wall_s: float
) -> tuple[Operation, ...]:
    """What the leader with ``token`` has to write so that the terms whose holders crashed are closed and the oldest
    beyond ``terms_max`` are gone; at most ``TIDY_OPERATIONS_MAX`` at a time.
    """
    operations: list[Operation] = [Delete(kv.key) for kv in history[:-terms_max]]
    for kv in history[-terms_max:]:
        try:
            record = records.decode(TermRecord, kv.value)
        except AtollError:
            operations.append(Delete(kv.key))
            continue
        if not record.cause and kv.key != keys.term(token):
            closed = msgspec.structs.replace(record, end_s=wall_s, cause="not told: its holder was gone")
            operations.append(Put(kv.key, records.encode(closed)))
    return tuple(operations[:TIDY_OPERATIONS_MAX])
