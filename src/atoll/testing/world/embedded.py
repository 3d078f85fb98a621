"""Atoll's own store as the World's server: the real engine over a fake disk that fills up, fails and loses its tail.

Rule: the engine runs unmodified, in virtual time. A crash keeps what its journal had reported durable and nothing
else that anybody saw; a failing fsync stops the engine, and the restarted one decides from the disk.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from atoll.errors import AtollError, Code, Reason
from atoll.runtime.rng import Rng
from atoll.store.api import (
    Cancel,
    Done,
    Event,
    LeaseRevoke,
    Outcome,
    Range,
    RangeResult,
    Request,
    Watch,
    WatchBatch,
)
from atoll.store.decider import NO_SPACE_ALARM
from atoll.store.engine import POLL_S, Engine
from atoll.testing.journal import FakeDisk, FakeJournal
from atoll.testing.world.checks import Violation
from atoll.testing.world.network import Network
from atoll.testing.world.streams import Streams, Subscription
from atoll.testing.world.virtual import DriftingClock, Virtual

COMMIT_S: Final = (0.0005, 0.01)
RESTART_S: Final = (0.3, 2.0)
REFUSED: Final = AtollError(Code.UNAVAILABLE, "connection refused")


class EmbeddedServer:
    """One node with an embedded store; all names of members lead to it."""

    def __init__(self, virtual: Virtual, rng: Rng, network: Network) -> None:
        self._virtual = virtual
        self._rng = rng
        self._network = network
        self.rate = 1.0
        self.election_timeout_s = 0.0
        self.ttl_s_min = 2
        self.on_commit: Callable[[tuple[Event, ...]], None] = lambda events: None
        self.sync_fails = False
        self._disk = FakeDisk()
        self._disk_full = False
        self._streams = Streams(virtual, network)
        self._streams.dropped = self._unfollow
        self._cancels: list[tuple[Subscription, Cancel]] = []
        self._seen_revision = 1  # the newest one that anybody outside may have seen
        self._commit_due = False
        self._engine: Engine | None = None
        virtual.after(0.0, self.restart)
        virtual.after(POLL_S, self._poll)

    # ------------------------------------------------------------------------------------------ requests

    def receive(self, member: str, client: str, request: Request, answer: Callable[[Outcome], None]) -> None:
        engine = self._engine
        if engine is None:
            self._network.send(member, client, answer, REFUSED)
            return

        def done(outcome: Outcome) -> None:
            if self._engine is engine:  # a process that crashed answers nobody
                self._network.send(member, client, answer, outcome)

        engine.submit(request, done)
        self._commit_soon()

    def read(self, request: Range) -> RangeResult:
        outcomes: list[Outcome] = []
        if self._engine:
            self._engine.submit(request, outcomes.append)
        found = outcomes[0] if outcomes else None
        return found if isinstance(found, RangeResult) else RangeResult(self.revision)

    def write(self, request: Request, done: Done) -> None:
        if self._engine:
            self._engine.submit(request, done)
            self._commit_soon()
        else:
            done(REFUSED)

    def end_lease(self, lease: int) -> None:
        self.write(LeaseRevoke(lease), lambda outcome: None)

    @property
    def revision(self) -> int:
        return self._engine.durable_revision if self._engine else self._seen_revision

    # ------------------------------------------------------------------------------------------- watching

    def subscribe(self, member: str, subscription: Subscription) -> None:
        engine = self._engine
        if subscription.cancelled or engine is None:
            subscription.lost(subscription)
            return
        watch = subscription.watch
        first = subscription.next_revision or watch.start_revision or engine.durable_revision + 1
        resumed = self._streams.begin(subscription, member, first)
        waiting = [resumed]  # whether the next batch is the first after a loss

        def sink(item: WatchBatch | AtollError) -> None:
            if self._engine is not engine:
                return
            if isinstance(item, AtollError):
                final = item.reason is Reason.COMPACTED
                (self._streams.refuse(subscription, item) if final else self._streams.lose(subscription))
                return
            self._streams.push(subscription, WatchBatch(item.revision, item.events, waiting[0]))
            waiting[0] = False

        again = Watch(watch.key, watch.end, first, watch.prev_kv, watch.no_put, watch.no_delete)
        self._cancels.append((subscription, engine.watch(again, sink)))

    def cancel(self, subscription: Subscription) -> None:
        self._streams.cancel(subscription)

    def _unfollow(self, subscription: Subscription) -> None:
        for entry in [entry for entry in self._cancels if entry[0] is subscription]:
            self._cancels.remove(entry)
            entry[1]()

    # --------------------------------------------------------------------------------------- misbehaviour

    def crash(self) -> None:
        """The process is gone, with all that was not durable; it stays away until ``restart``."""
        if self._engine is None:
            return
        self._engine = None
        self._journal.crash()
        for subscription in self._streams.served():
            self._streams.lose(subscription)

    def restart(self) -> None:
        if self._engine is not None:
            return
        self._journal = FakeJournal(self._disk, commits_at_once=False)
        self._journal.disk_full = self._disk_full
        engine = Engine(self._journal, DriftingClock(self._virtual, self.rate), self._rng)
        if engine.durable_revision < self._seen_revision:
            raise Violation(f"a crash unsaid revision {self._seen_revision}, which was seen")
        self._engine = engine
        engine.on_stop(lambda error: self._virtual.after(0.0, self._stopped, engine))
        engine.watch(Watch(b"\0", b"\0", self._seen_revision + 1), self._tap)

    def fill_disk(self, full: bool) -> None:
        self._disk_full = self._journal.disk_full = full
        if not full and self._engine:
            self._engine.disarm(NO_SPACE_ALARM)

    def heal(self) -> None:
        self.sync_fails = False
        self.fill_disk(False)
        self.restart()

    # ------------------------------------------------------------------------------------------- details

    def _tap(self, item: WatchBatch | AtollError) -> None:
        """Every durable revision, once: what anybody outside may have seen."""
        if isinstance(item, WatchBatch):
            events = [event for event in item.events if event.kv.mod_revision > self._seen_revision]
            for revision in dict.fromkeys(event.kv.mod_revision for event in events):
                self._seen_revision = revision
                self.on_commit(tuple(event for event in events if event.kv.mod_revision == revision))

    def _stopped(self, engine: Engine) -> None:
        """The engine gave up; its process ends and is started again."""
        if self._engine is engine:
            self.crash()
            self._virtual.after(self._rng.uniform(*RESTART_S), self.restart)

    def _poll(self) -> None:
        self._virtual.after(POLL_S, self._poll)
        if self._engine:
            self._engine.poll()
            self._commit_soon()

    def _commit_soon(self) -> None:
        if self._journal.appended and not self._commit_due:
            self._commit_due = True
            self._virtual.after(self._rng.uniform(*COMMIT_S), self._commit)

    def _commit(self) -> None:
        self._commit_due = False
        if self.sync_fails and self._journal.appended:
            self.sync_fails = False
            self._journal.fail_sync(self._rng.randrange(len(self._journal.appended) + 1))
        else:
            self._journal.commit()
        self._commit_soon()
