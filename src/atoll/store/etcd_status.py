"""The store's status from what etcd tells: a conversation, written as a generator that yields what it asks.

One rule: it needs no leader, so that "no leader" can be shown; every read accepts a stale answer.

etcd does not tell to what revision it was compacted. A read at a compacted revision is refused, so the answer is
found by bisection: 1 question where nothing was ever compacted, at most 63 short ones otherwise.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeAlias

from atoll.errors import AtollError, Code, Reason
from atoll.store import api, etcd_messages
from atoll.store.api import GENERATION_KEY, Outcome
from atoll.store.etcd_messages import Call
from atoll.wire.etcd import messages

Conversation: TypeAlias = Generator[Call, Outcome, api.StatusResult]


def converse() -> Conversation:
    """Yields calls, is sent their outcomes, returns the status. Raises what the cluster refused."""
    generation = _generation((yield etcd_messages.call_of(api.Range(GENERATION_KEY, serializable=True))))
    ask = messages.StatusRequest()
    status = yield Call(
        "Maintenance.Status",
        ask,
        lambda answer: etcd_messages.status_result(answer, generation=generation, compact_revision=0),
    )
    if not isinstance(status, api.StatusResult):
        raise _unexpected(status)
    compact_revision = yield from _compact_revision(status.revision)
    return api.StatusResult(
        revision=status.revision,
        compact_revision=compact_revision,
        generation=generation,
        size_bytes=status.size_bytes,
        size_in_use_bytes=status.size_in_use_bytes,
        leader=status.leader,
        raft_term=status.raft_term,
        version=status.version,
        alarms=status.alarms,
    )


def _generation(outcome: Outcome) -> int:
    if not isinstance(outcome, api.RangeResult):
        raise _unexpected(outcome)
    text = outcome.kvs[0].value if outcome.kvs else b"0"
    if not text.isdigit():
        raise AtollError(
            Code.INVALID,
            f"the key {GENERATION_KEY.decode()} must hold decimal digits; it holds {text[:40]!r}",
            reason=Reason.CORRUPT,
        )
    return int(text)


def _compact_revision(newest: int) -> Generator[Call, Outcome, int]:
    """The lowest revision that can be read, which is the one compacted to; 0 where all can be read."""
    lowest, highest, middle = 1, newest, 1
    while lowest < highest:
        outcome = yield etcd_messages.call_of(
            api.Range(GENERATION_KEY, revision=middle, serializable=True, count_only=True)
        )
        if isinstance(outcome, AtollError):
            if outcome.reason is not Reason.COMPACTED:
                raise outcome
            lowest = middle + 1
        else:
            highest = middle
        middle = (lowest + highest) // 2
    return 0 if lowest == 1 else lowest


def _unexpected(outcome: Outcome) -> AtollError:
    if isinstance(outcome, AtollError):
        return outcome
    return AtollError(Code.UNAVAILABLE, f"etcd answered a status by {type(outcome).__name__}")
