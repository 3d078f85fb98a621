"""What an embedded store answers to each request, and what it has to write down for that answer.

Rule: pure, single-threaded, time is an argument. A request that may write is decided on the newest state, which
may not be durable yet, so its answer (a refusal too) must wait until that state is; a request that can only read
is decided at the newest durable revision and may be answered at once.

Doubt: renewals are answered at once although the lease's grant may not be durable; nobody but the caller that
chose the id can know such a lease.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from atoll.errors import AtollError, Code, Reason
from atoll.runtime.rng import Rng
from atoll.store import transaction
from atoll.store.api import (
    RESERVED_PREFIX,
    Compact,
    CompactResult,
    Delete,
    Event,
    LeaseGrant,
    LeaseKeepAlive,
    LeaseList,
    LeaseListResult,
    LeaseResult,
    LeaseRevoke,
    LeaseTimeToLive,
    Limits,
    Operation,
    Put,
    Range,
    Request,
    Result,
    Txn,
)
from atoll.store.journal import Recovered, Write
from atoll.store.lease import LeaseTimers
from atoll.store.mvcc import State

NO_SPACE_ALARM = "NOSPACE"
LEASE_ID_BITS = 63
EVENTS_OF_REVISION_MAX = 1 << 20
"""A revision's events are numbered with 20 bits in the file of the SQLite driver."""


class Context(msgspec.Struct, frozen=True):
    """What a decision depends on besides the state. ``public``: the reserved prefix does not exist."""

    now_s: float
    durable_revision: int
    size_bytes: int
    public: bool = False


class Draft(msgspec.Struct, frozen=True):
    """A ``Write`` without its number."""

    events: tuple[Event, ...] = ()
    leases_granted: tuple[tuple[int, int], ...] = ()
    leases_revoked: tuple[tuple[int, int], ...] = ()
    compact_revision: int | None = None


class Answer(msgspec.Struct, frozen=True):
    """``at_once``: does not depend on anything that is not durable yet."""

    result: Result
    draft: Draft | None = None
    at_once: bool = False


class Decider:
    """The newest state of an embedded store and the timers of its leases."""

    def __init__(self, recovered: Recovered, limits: Limits, rng: Rng, now_s: float) -> None:
        self.state = State()
        self.leftover = self.state.load(recovered.compact_revision, recovered.versions)
        self.timers = LeaseTimers()
        self.compact_scheduled = self.state.compact_revision
        self.alarms: set[str] = set()
        self._limits = limits
        self._rng = rng
        for lease, ttl_s in recovered.leases:
            self.state.leases[lease] = ttl_s
            self.timers.start(lease, ttl_s, now_s)
        self._handlers: dict[type, Callable[[Any, Context], Answer]] = {
            Range: self._read,
            Put: self._write,
            Delete: self._write,
            Txn: self._transact,
            LeaseGrant: self._grant,
            LeaseRevoke: self._revoke,
            LeaseKeepAlive: self._keep_alive,
            LeaseTimeToLive: self._time_to_live,
            LeaseList: self._list,
            Compact: self._compact,
        }

    def decide(self, request: Request, context: Context) -> Answer:
        """Answer ``request``; changes the state at once. Raises ``AtollError``, and then changes nothing."""
        return self._handlers[type(request)](request, context)

    def take_back(self, write: Write, now_s: float) -> None:
        """Undo ``write``, the newest one that is not undone."""
        if write.events:
            self.state.undo_revision()
        for lease, _ in write.leases_granted:
            del self.state.leases[lease]
            self.timers.stop(lease)
        for lease, ttl_s in write.leases_revoked:
            self.state.leases[lease] = ttl_s
            self.timers.start(lease, ttl_s, now_s)
        if write.compact_revision is not None:
            self.compact_scheduled = self.state.compact_revision

    # ---------------------------------------------------------------------------------------------- keys

    def _read(self, request: Range, context: Context) -> Answer:
        transaction.check(request, self._limits)
        result = transaction.read(self.state, request, context.durable_revision, context.public)
        return Answer(result, None, True)

    def _transact(self, request: Txn, context: Context) -> Answer:
        if transaction.writes(request):
            return self._write(request, context)
        transaction.check(request, self._limits)
        reader = transaction.Transaction(self.state, context.durable_revision, context.public)
        return Answer(reader.run(request), None, True)

    def _write(self, request: Operation, context: Context) -> Answer:
        transaction.check(request, self._limits)
        if transaction.puts(request):
            self._need_room(transaction.size_bytes(request), context)
        state = self.state
        result = transaction.Transaction(state, state.revision, context.public).run(request)
        self._bound_staged()
        events = state.seal()
        return Answer(result, Draft(events) if events else None)

    def _bound_staged(self) -> None:
        if self.state.staged_count > EVENTS_OF_REVISION_MAX:
            count = self.state.staged_count
            self.state.abandon()
            text = f"{count} keys change at once; at most {EVENTS_OF_REVISION_MAX} may: use smaller ranges"
            raise AtollError(Code.EXHAUSTED, text, reason=Reason.TOO_MANY_OPS)

    def _need_room(self, needed_bytes: int, context: Context) -> None:
        if context.size_bytes + needed_bytes > self._limits.quota_bytes:
            self.alarms.add(NO_SPACE_ALARM)
        if NO_SPACE_ALARM in self.alarms:
            text = (
                f"the store has no space ({context.size_bytes} of {self._limits.quota_bytes} bytes):"
                " compact it, defragment it, then clear the NOSPACE alarm"
            )
            raise AtollError(Code.EXHAUSTED, text, reason=Reason.NO_SPACE)

    def _compact(self, request: Compact, _: Context) -> Answer:
        revision = request.revision
        if revision <= self.compact_scheduled:
            raise transaction.compacted(revision, self.compact_scheduled)
        if revision > self.state.revision:
            raise transaction.in_the_future(revision, self.state.revision)
        self.compact_scheduled = revision
        return Answer(CompactResult(self.state.revision), Draft(compact_revision=revision))

    # -------------------------------------------------------------------------------------------- leases

    def _grant(self, request: LeaseGrant, context: Context) -> Answer:
        state, limits = self.state, self._limits
        if request.ttl_s > limits.lease_ttl_s_max:
            text = f"a lease of {request.ttl_s} s is too long; at most {limits.lease_ttl_s_max} s are allowed"
            raise AtollError(Code.INVALID, text, reason=Reason.LEASE_TTL_TOO_LARGE)
        if request.lease in state.leases:
            text = f"the lease {request.lease:x} (hexadecimal) exists already; choose another id, or none"
            raise AtollError(Code.CONFLICT, text, reason=Reason.LEASE_EXISTS)
        self._need_room(0, context)
        lease = request.lease or self._new_lease()
        ttl_s = max(request.ttl_s, limits.lease_ttl_s_min)
        state.leases[lease] = ttl_s
        self.timers.start(lease, ttl_s, context.now_s)
        result = LeaseResult(state.revision, lease, ttl_s, ttl_s)
        return Answer(result, Draft(leases_granted=((lease, ttl_s),)))

    def _new_lease(self) -> int:
        while True:
            lease = self._rng.getrandbits(LEASE_ID_BITS)
            if lease and lease not in self.state.leases:
                return lease

    def _revoke(self, request: LeaseRevoke, context: Context) -> Answer:
        state, lease = self.state, request.lease
        if lease not in state.leases:
            raise transaction.lease_not_found(lease)
        keys = state.attached(lease)
        if context.public and any(key.startswith(RESERVED_PREFIX) for key in keys):
            text = (
                f"the lease {lease:x} (hexadecimal) belongs to Atoll itself; it cannot be revoked from here"
            )
            raise AtollError(Code.DENIED, text, reason=Reason.PERMISSION_DENIED)
        return self.end_lease(lease, keys)

    def end_lease(self, lease: int, keys: list[bytes]) -> Answer:
        """Delete ``keys``, all those of ``lease``, in one revision, and ``lease`` itself."""
        state = self.state
        state.delete(keys)
        events = state.seal()
        ttl_s = state.leases.pop(lease)
        self.timers.stop(lease)
        return Answer(LeaseResult(state.revision, lease), Draft(events, (), ((lease, ttl_s),)))

    def _keep_alive(self, request: LeaseKeepAlive, context: Context) -> Answer:
        lease = request.lease
        ttl_s = self.state.leases.get(lease)
        if ttl_s is None or self.timers.remaining_s(lease, context.now_s) <= 0:
            return Answer(LeaseResult(context.durable_revision, lease, 0), None)
        self.timers.start(lease, ttl_s, context.now_s)
        return Answer(LeaseResult(context.durable_revision, lease, ttl_s), None, True)

    def _time_to_live(self, request: LeaseTimeToLive, context: Context) -> Answer:
        lease = request.lease
        granted_ttl_s = self.state.leases.get(lease)
        if granted_ttl_s is None:
            return Answer(LeaseResult(self.state.revision, lease, -1))
        keys = self.state.attached(lease) if request.keys else []
        if context.public:
            keys = [key for key in keys if not key.startswith(RESERVED_PREFIX)]
        remaining_s = max(int(self.timers.remaining_s(lease, context.now_s)), 0)
        return Answer(LeaseResult(self.state.revision, lease, remaining_s, granted_ttl_s, tuple(keys)))

    def _list(self, _: LeaseList, __: Context) -> Answer:
        return Answer(LeaseListResult(self.state.revision, tuple(sorted(self.state.leases))))
