"""An etcd cluster as a model: one replicated state, three members, and the ways in which real ones misbehave.

Rule: what is committed is decided by the same pure code as the embedded store (``mvcc``, ``transaction``); what
this module adds is when it is decided, when leases end, and which answers never arrive.

Theory, each checked in etcd 3.4's source or measured (docs/explanation/one-leader.md): expired leases are looked for
every 500 ms; a new leader gives every lease its TTL plus the election timeout; while there is no leader requests
hang or are refused; 3.4.23 acknowledges keep-alives of dead leases and can serve a stale linearizable read after
a pause of the node; a member cut off from the others knows no leader.

Doubt: members do not replicate one by one; a member that was cut off catches up at once when it is back.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Sequence
from typing import Final

from atoll.errors import AtollError, Code, Reason
from atoll.runtime.rng import Rng
from atoll.store.api import (
    Compact,
    CompactResult,
    Delete,
    Done,
    Event,
    LeaseGrant,
    LeaseKeepAlive,
    LeaseResult,
    LeaseRevoke,
    Operation,
    Outcome,
    Put,
    Range,
    RangeResult,
    Request,
    Txn,
    WatchBatch,
)
from atoll.store.lease import LeaseTimers
from atoll.store.mvcc import State
from atoll.store.transaction import Transaction, compacted, lease_not_found, writes
from atoll.testing.world.network import Network
from atoll.testing.world.streams import Streams, Subscription
from atoll.testing.world.virtual import Virtual

MEMBERS: Final = ("etcd-0", "etcd-1", "etcd-2")
EXPIRY_POLL_S: Final = 0.5
EXPIRY_APPLY_S_MAX: Final = 0.1


class Silence(enum.Enum):
    """What a server that cannot decide does with requests."""

    HANG = "hang"
    REFUSE = "refuse"
    GONE = "gone"  # nobody is there


NO_LEADER: Final = AtollError(Code.UNAVAILABLE, "etcdserver: no leader", reason=Reason.NO_LEADER)
REFUSED: Final = AtollError(Code.UNAVAILABLE, "connection refused")


Call = tuple[str, str, Request, Callable[[Outcome], None]]


class Cluster:
    """``on_commit`` hears of each revision. Times of leases are kept on a clock of ``rate`` times true time."""

    def __init__(self, virtual: Virtual, rng: Rng, network: Network) -> None:
        self._virtual = virtual
        self._rng = rng
        self._network = network
        self.rate = 1.0
        self.election_timeout_s = 1.0
        self.state = State()
        self.on_commit: Callable[[tuple[Event, ...]], None] = lambda events: None
        self.acknowledges_dead_leases = False
        self.answers_lost = 0.0  # the probability that an answer never leaves
        self.watches_stall = False  # nothing is delivered until ``deliver_watches``
        self.stale_at: dict[str, int] = {}  # member -> the revision it is stuck at when it reads
        self._silence: Silence | None = None
        self._silent_members: dict[str, Silence] = {}
        self._hanging: list[Call] = []
        self._timers = LeaseTimers()
        self._ttl_s: dict[int, int] = {}  # of every lease that ever was
        self._streams = Streams(virtual, network)
        self._leases = 0x1000
        virtual.after(EXPIRY_POLL_S * rng.random(), self._look_for_expired)

    @property
    def ttl_s_min(self) -> int:
        return math.ceil(1.5 * self.election_timeout_s)

    def _clock_s(self) -> float:
        return self._virtual.now_s * self.rate

    # ------------------------------------------------------------------------------------------ requests

    def receive(self, member: str, client: str, request: Request, answer: Callable[[Outcome], None]) -> None:
        silence = self._silence or self._silent_members.get(member)
        if silence is Silence.HANG:
            self._hanging.append((member, client, request, answer))
        elif silence is not None:
            error = REFUSED if silence is Silence.GONE else NO_LEADER
            self._network.send(member, client, answer, error)
        else:
            self._serve(member, client, request, answer)

    def _serve(self, member: str, client: str, request: Request, answer: Callable[[Outcome], None]) -> None:
        outcome = self.decide(request, self.stale_at.get(member))
        if not self.answers_lost or self._rng.random() >= self.answers_lost:
            self._network.send(member, client, answer, outcome)

    def decide(self, request: Request, stale_at: int | None = None) -> Outcome:
        try:
            match request:
                case Txn() | Range() | Put() | Delete():
                    return self._operate(request, stale_at)
                case LeaseKeepAlive(lease):
                    return self._keep_alive(lease)
                case LeaseGrant(ttl_s, lease):
                    return self._grant(ttl_s, lease)
                case LeaseRevoke(lease):
                    return self._revoke(lease)
                case Compact(revision):
                    self.state.compact(min(revision, self.state.revision))
                    return CompactResult(self.state.revision)
                case _:
                    return AtollError(Code.INVALID, f"the model has no {type(request).__name__}")
        except AtollError as error:
            return error

    def _operate(self, request: Operation, stale_at: int | None) -> Outcome:
        if stale_at is not None and not writes(request):
            return Transaction(self.state, max(stale_at, self.state.compact_revision)).run(request)
        result = Transaction(self.state, self.state.revision).run(request)
        self._commit()
        return result

    def _commit(self) -> None:
        events = self.state.seal()
        if events:
            self.on_commit(events)
            for subscription in self._streams.served():
                self._publish(subscription)

    # ---------------------------------------------------------------------- for whoever stands outside time

    def read(self, request: Range) -> RangeResult:
        """What is there now, asked by nobody."""
        result = Transaction(self.state, self.state.revision).run(request)
        return result if isinstance(result, RangeResult) else RangeResult(self.state.revision)

    def write(self, request: Request, done: Done) -> None:
        """Decide ``request`` now, whatever is wrong."""
        done(self.decide(request))

    def end_lease(self, lease: int) -> None:
        if lease in self.state.leases:
            self.end_leases([lease])

    @property
    def revision(self) -> int:
        return self.state.revision

    # -------------------------------------------------------------------------------------------- leases

    def _grant(self, ttl_s: int, lease: int) -> LeaseResult:
        self._leases += 1
        lease = lease or self._leases
        ttl_s = max(ttl_s, self.ttl_s_min)
        self.state.leases[lease] = self._ttl_s[lease] = ttl_s
        self._timers.start(lease, ttl_s, self._clock_s())
        return LeaseResult(self.state.revision, lease, ttl_s, ttl_s)

    def _keep_alive(self, lease: int) -> LeaseResult:
        ttl_s = self.state.leases.get(lease)
        if ttl_s is not None:
            self._timers.start(lease, ttl_s, self._clock_s())
            return LeaseResult(self.state.revision, lease, ttl_s, ttl_s)
        dead_ttl_s = self._ttl_s.get(lease, 0) if self.acknowledges_dead_leases else 0
        return LeaseResult(self.state.revision, lease, dead_ttl_s)

    def _revoke(self, lease: int) -> Outcome:
        if lease not in self.state.leases:
            return lease_not_found(lease)
        self.end_leases([lease])
        return LeaseResult(self.state.revision, lease)

    def end_leases(self, leases: Sequence[int]) -> None:
        """Delete their keys, each lease's in one revision."""
        for lease in leases:
            self._timers.stop(lease)
            self.state.leases.pop(lease, None)
            self.state.delete(self.state.attached(lease))
            self._commit()

    def _look_for_expired(self) -> None:
        self._virtual.after(EXPIRY_POLL_S, self._look_for_expired)
        if self._silence is None:
            due = self._timers.due(self._clock_s())
            if due:
                self._virtual.after(EXPIRY_APPLY_S_MAX * self._rng.random(), self._expire, due)

    def _expire(self, leases: Sequence[int]) -> None:
        if self._silence is None:
            now_s = self._clock_s()
            still = [lease for lease in leases if lease in self.state.leases]
            self.end_leases([lease for lease in still if self._timers.remaining_s(lease, now_s) <= 0])

    # --------------------------------------------------------------------------------------- misbehaviour

    def fall_silent(self, silence: Silence, member: str | None = None) -> None:
        """The cluster, or one member of it, cannot decide from now on."""
        if member is None:
            self._silence = silence
        else:
            self._silent_members[member] = silence
        if silence is Silence.GONE:
            for subscription in self._streams.served():
                if member in (None, subscription.member):
                    self._streams.lose(subscription)

    def recover(self, member: str | None = None, outlasted: bool = False) -> None:
        """There is a leader again. ``outlasted``: too late for the leases, which all end at once; otherwise the
        new leader gives each its TTL plus the election timeout. Hanging requests are decided now, some never.
        """
        if member is None:
            self._silence = None
            if outlasted:
                self.end_leases(sorted(self.state.leases))
            for lease in sorted(self.state.leases):
                ttl_s = self.state.leases[lease] + self.election_timeout_s
                self._timers.start(lease, ttl_s, self._clock_s())
        else:
            self._silent_members.pop(member, None)
        hanging, self._hanging = self._hanging, []
        for call in hanging:
            if self._rng.random() < 0.7:
                self.receive(*call)
        self.deliver_watches()

    def acknowledge_dead_leases(self) -> None:
        """From now on a keep-alive of a lease that ended is answered as if it lived."""
        self.acknowledges_dead_leases = True

    def deliver_watches(self) -> None:
        """What watches have missed while they stalled or their member knew no leader."""
        self.watches_stall = False
        for subscription in self._streams.served():
            self._publish(subscription)

    def heal(self) -> None:
        """Everything works again."""
        self.watches_stall = False
        self.acknowledges_dead_leases = False
        self.answers_lost = 0.0
        self.stale_at.clear()
        for member in MEMBERS:
            self.recover(member)
        if self._silence:
            self.recover()

    def leader_changes(self) -> None:
        """So quickly that nobody's request fails: only the leases notice."""
        self.recover()

    # ------------------------------------------------------------------------------------------- watching

    def subscribe(self, member: str, subscription: Subscription) -> None:
        if subscription.cancelled or self._silence or member in self._silent_members:
            subscription.lost(subscription)
            return
        first = subscription.next_revision or subscription.watch.start_revision or self.state.revision + 1
        if first < self.state.compact_revision:
            subscription.sink(compacted(first, self.state.compact_revision))
            return
        resumed = self._streams.begin(subscription, member, first)
        batch = WatchBatch(self.state.revision, self._missed(subscription), resumed)
        self._streams.push(subscription, batch)

    def cancel(self, subscription: Subscription) -> None:
        self._streams.cancel(subscription)

    def _missed(self, subscription: Subscription) -> tuple[Event, ...]:
        newest = self.state.revision
        first, subscription.sent_revision = subscription.sent_revision + 1, newest
        if first > newest:
            return ()
        revisions = self.state.events(first, newest)
        return tuple(event for _, events in revisions for event in events if subscription.picks(event))

    def _publish(self, subscription: Subscription) -> None:
        if self.watches_stall or not subscription.live or self._silent_members.get(subscription.member):
            return
        if subscription.sent_revision + 1 < self.state.compact_revision:
            error = compacted(subscription.sent_revision + 1, self.state.compact_revision)
            self._streams.refuse(subscription, error)
            return
        events = self._missed(subscription)
        if events:
            self._streams.push(subscription, WatchBatch(self.state.revision, events))
