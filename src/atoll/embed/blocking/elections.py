# Generated from src/atoll/store/elections.py by `python3 dev.py generate`; edit that file instead.
"""What everybody may ask and wish of elections: who leads, who stands, what was; hand over, pause, resume.

Rule: reads are one transaction each, wishes are one guarded write to the election's control record, which its
candidates follow by themselves. Works over any ``Store``, and for elections of foreign candidates alone as far as
they can be known: those have a queue, and no records.

``observe`` reads, then watches from the revision it read at; after a compaction, or whatever else ended its watch
but a closed store, it reads again. So it may skip leaders that came and went meanwhile, and never misses the
newest one.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from typing import Final

import msgspec

from atoll.errors import AtollError, Code, Reason
from atoll.resources import election as records
from atoll.resources.election import Control, Keys, TermRecord, Token
from atoll.store import ballot
from atoll.store.api import (
    Compare,
    KeyValue,
    Put,
    Range,
    RangeResult,
    Relation,
    SortOrder,
    SortTarget,
    Target,
    Txn,
    TxnResult,
    Watch,
    prefix_end,
)
from atoll.store.blocking import BlockingStore

WISH_TRIES_MAX: Final = 5
_SIDE: Final = b"atoll/election/"
_NOBODY: Final = 0  # the lease of a reader that stands nowhere


class Candidate(msgspec.Struct, frozen=True):
    """One place in the queue. ``id`` is empty and ``priority`` 0 for a foreign candidate."""

    id: str
    priority: int
    lease: int
    revision: int


class Leader(msgspec.Struct, frozen=True):
    """Who is first in the queue. ``serving``: its term has begun; a foreign candidate leads as soon as it is first."""

    name: str
    id: str
    value: bytes
    token: Token
    key: bytes
    lease: int
    serving: bool


class Overview(msgspec.Struct, frozen=True):
    """One election at ``revision``. ``candidates`` in order of succession, the leader first."""

    name: str
    leader: Leader | None
    candidates: tuple[Candidate, ...]
    paused: bool
    handover_to: str
    revision: int


class PastTerm(msgspec.Struct, frozen=True):
    """A term that was, or is: ``record.cause`` is empty while it goes on."""

    token: Token
    record: TermRecord


def names(store: BlockingStore) -> tuple[str, ...]:
    """All elections in which a candidate of Atoll stands or stood, in order of their names."""
    found = store.range(Range(_SIDE, prefix_end(_SIDE), keys_only=True))
    return tuple(sorted({name for kv in found.kvs if (name := _name_in(kv.key))}))


def _name_in(key: bytes) -> str:
    inner = key.removeprefix(_SIDE)
    for ending in (b"/heartbeat", b"/control"):
        if inner.endswith(ending):
            return inner.removesuffix(ending).decode(errors="replace")
    name, found, _ = inner.rpartition(b"/candidate/")
    return name.decode(errors="replace") if found else ""


def overview(store: BlockingStore, name: str) -> Overview:
    """Everything about one election; an election that nobody knows is one without candidates."""
    keys = Keys(name)
    first = Range(
        keys.queue,
        prefix_end(keys.queue),
        limit=1,
        sort_order=SortOrder.ASCEND,
        sort_target=SortTarget.CREATE,
    )
    read = ballot.read(keys, _NOBODY)
    result = store.txn(Txn(success=(*read.success, first)))
    view = ballot.view(keys, result)
    candidates = tuple(
        Candidate(
            seat.standing.id if seat.standing else "",
            seat.standing.priority if seat.standing else 0,
            seat.lease,
            seat.revision,
        )
        for seat in view.seats
    )
    leader = _leader(name, view, _values(result))
    control = view.control
    return Overview(name, leader, candidates, control.paused, control.handover_to, result.revision)


def _values(result: TxnResult) -> tuple[KeyValue, ...]:
    last = result.results[-1]
    return last.kvs if isinstance(last, RangeResult) else ()


def _leader(name: str, view: ballot.View, first: tuple[KeyValue, ...]) -> Leader | None:
    if not view.seats:
        return None
    seat, beat = view.seats[0], view.heartbeat
    token = Token(view.generation, seat.revision)
    began = beat is not None and beat.token == token and beat.state == records.LEADING
    value = first[0].value if first and first[0].key == seat.key else b""
    holder = seat.standing.id if seat.standing else ""
    return Leader(name, holder, value, token, seat.key, seat.lease, began or seat.standing is None)


def leader(store: BlockingStore, name: str) -> Leader | None:
    """Who leads now, or is about to; None when nobody stands."""
    return (overview(store, name)).leader


def observe(store: BlockingStore, name: str) -> Generator[Leader | None, None, None]:
    """The leader now, and every change of leader, value or ``serving`` from then on; None: nobody stands."""
    keys = Keys(name)
    told: tuple[Leader | None] | None = None
    while True:
        seen = overview(store, name)
        if told != (seen.leader,):
            told = (seen.leader,)
            yield seen.leader
        watch = Watch(keys.queue, prefix_end(keys.queue), seen.revision + 1)
        try:
            with closing(store.watch(watch)) as batches:
                for batch in batches:
                    if any(_concerns(event.kv, seen.leader) for event in batch.events):
                        break
        except AtollError as error:
            if error.reason is not Reason.COMPACTED:
                raise


def _concerns(kv: KeyValue, leader: Leader | None) -> bool:
    """Whoever comes later stands behind the leader; only the leader's own key changes who leads."""
    return leader is None or kv.key == leader.key


def history(store: BlockingStore, name: str) -> tuple[PastTerm, ...]:
    """The terms that are still recorded, oldest first; as many as the candidates' ``terms_max`` keeps."""
    keys = Keys(name)
    found = store.range(Range(keys.history, prefix_end(keys.history)))
    return tuple(PastTerm(keys.token_of(kv.key), records.decode(TermRecord, kv.value)) for kv in found.kvs)


def handover(store: BlockingStore, name: str, to: str) -> int:
    """Wish that the candidate ``to`` leads; it does as soon as those before it have given way. Returns the
    revision of the wish, which holds until a term of ``to`` has ended. Raises NOT_FOUND when it does not stand.
    """
    seen = overview(store, name)
    standing = sorted({candidate.id for candidate in seen.candidates if candidate.id})
    if to not in standing:
        known = ", ".join(standing) or "none"
        raise AtollError(
            Code.NOT_FOUND, f"no candidate {to!r} stands in election {name!r}; standing: {known}"
        )
    return _wish(store, name, handover_to=to)


def pause(store: BlockingStore, name: str) -> int:
    """Nobody begins a term until ``resume``; whoever leads goes on. Returns the revision of the wish."""
    return _wish(store, name, paused=True)


def resume(store: BlockingStore, name: str) -> int:
    return _wish(store, name, paused=False)


def _wish(store: BlockingStore, name: str, **changes: bool | str) -> int:
    keys = Keys(name)
    for _ in range(WISH_TRIES_MAX):
        found = store.range(Range(keys.control))
        old = found.kvs[0] if found.kvs else None
        control = msgspec.structs.replace(_control(old), **changes)
        guard = Compare(keys.control, Target.MOD, Relation.EQUAL, old.mod_revision if old else 0)
        put = Put(keys.control, records.rewrite(old.value if old else b"", control))
        result = store.txn(Txn((guard,), (put,)))
        if result.succeeded:
            return result.revision
    text = f"the control record of election {name!r} changed {WISH_TRIES_MAX} times meanwhile; try again"
    raise AtollError(Code.CONFLICT, text, retry_after_s=1.0)


def _control(kv: KeyValue | None) -> Control:
    return records.decode(Control, kv.value) if kv else Control()
