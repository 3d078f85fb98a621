"""The engine of an embedded store: takes requests from any thread, answers when their effect is durable.

Rule: readers and watchers see only durable revisions, so a crash never unsays what anyone saw. Writers are
decided one after the other under one lock on the newest state; each write goes to the journal, and its answer
goes out when the journal reports it durable, in order.

Theory: deciding is microseconds of pure work and needs no thread of its own; the disk is what takes long, and the
journal's thread makes everything that waits durable at once (group commit). Answers and watch batches leave
through one outbox, which one thread at a time empties without holding the lock: so batches keep their order
whichever threads write, and a callback may submit again.

Failure: writes that are lost for certain are undone, newest first, and their callers told EXHAUSTED. Where the
outcome is unknown the engine stops for good: callers get UNKNOWN, and reopening decides from the disk.

The engine has no thread. Whoever owns it calls ``poll`` about every ``POLL_S`` seconds (``embedded.Embedded``
does, with a thread; a simulation does, with virtual time).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from atoll.errors import AtollError, Code, Reason
from atoll.runtime.clock import Clock
from atoll.runtime.rng import Rng
from atoll.store import transaction
from atoll.store.api import (
    GENERATION_KEY,
    Cancel,
    Compact,
    Done,
    Limits,
    NoteResult,
    Outcome,
    Put,
    Request,
    StatusRequest,
    StatusResult,
    Watch,
    WatchBatch,
    WatchSink,
)
from atoll.store.decider import NO_SPACE_ALARM, Context, Decider, Draft
from atoll.store.journal import Journal, Write
from atoll.store.watch import Hub, Watcher, catch_up

POLL_S = 0.1
"""A lease's keys go at most this long (and one disk write) after its time is over."""
EXPIRY_RETRY_S = 1.0
COMPACT_STEP_REVISIONS = 5_000
"""How much history one round of automatic compaction forgets; under the lock that takes some 5 ms."""
COMPACT_STEPS_MAX = 16
"""Where more than that many steps are due, a round takes so many parts of what is due: writers cannot outrun it."""
VERSION = "3.4.0"
"""The API version whose semantics the engine has, as ``StatusResult.version``."""


class Retention(msgspec.Struct, frozen=True):
    """How much history automatic compaction leaves. 0 switches a bound off."""

    history_s: float = 3_600.0
    history_revisions_max: int = 1_000_000


class _Waiting:
    """An answer that waits until write ``number`` is durable."""

    __slots__ = ("deadline_s", "done", "number", "outcome")

    def __init__(self, number: int, done: Done, outcome: Outcome, deadline_s: float | None) -> None:
        self.number = number
        self.done: Done | None = done
        self.outcome = outcome
        self.deadline_s = deadline_s


class Engine:
    """A ``Driver`` over a ``Journal``; also the journal's ``Progress``."""

    def __init__(
        self,
        journal: Journal,
        clock: Clock,
        rng: Rng,
        limits: Limits | None = None,
        retention: Retention | None = None,
    ) -> None:
        self._journal = journal
        self._clock = clock
        self._retention = retention or Retention()
        recovered = journal.recover()
        self._notes = dict(recovered.notes)
        self._decider = Decider(recovered, limits or Limits(), rng, clock.now_s())
        self._state = self._decider.state
        self._lock = threading.Lock()
        self._hub = Hub()
        self._number = 0
        self._durable_number = 0
        self._durable_revision = self._state.revision
        self._writes: deque[Write] = deque()
        self._waiting: deque[_Waiting] = deque()
        self._outbox: deque[tuple[Callable[[Any], object], Any]] = deque()
        self._draining = threading.Lock()
        self._stopped: AtollError | None = None
        self._on_stop: Callable[[AtollError], None] | None = None
        self._samples: deque[tuple[float, int]] = deque()
        self._compact_due = 0  # by age or number; reached in steps
        journal.start(self)
        if self._decider.leftover:
            journal.forget(self._decider.leftover, 0)

    # -------------------------------------------------------------------------------------------- Driver

    def submit(self, request: Request, done: Done, timeout_s: float | None = None) -> None:
        self._submit(request, done, timeout_s, False)

    def watch(self, watch: Watch, sink: WatchSink) -> Cancel:
        return self._watch(watch, sink, False)

    def close(self) -> None:
        """Make everything that was submitted durable, answer it, and stop. Watches get CLOSED."""
        with self._lock:
            already = self._stopped is not None
            if not already:
                self._stopped = AtollError(Code.UNAVAILABLE, "the store is closed", reason=Reason.CLOSED)
        if already:
            return
        self._journal.close()
        with self._lock:
            self._end_watches(AtollError(Code.UNAVAILABLE, "the store is closed", reason=Reason.CLOSED))
        self._drain()

    def public_driver(self) -> PublicDriver:
        """A view for outsiders: the reserved prefix does not exist in it."""
        return PublicDriver(self)

    # ---------------------------------------------------------------------------------------- operations

    @property
    def durable_revision(self) -> int:
        return self._durable_revision

    def mark(self, reached: Callable[[int], None]) -> None:
        """``reached`` gets a revision, after every watch that has caught up was given all events up to it."""
        with self._lock:
            self._outbox.append((reached, self._durable_revision))
        self._drain()

    def note(self, name: str) -> bytes | None:
        """The newest durable value of a note; None where there never was one."""
        return self._notes.get(name)

    def put_note(self, name: str, value: bytes, done: Done, beside: Put | None = None) -> None:
        """Keep a small value beside the keys, durable when ``done`` gets its ``NoteResult``. No revision is made,
        no client sees it, and it is kept although the quota is used up.

        ``beside`` is written with it, both or neither; that makes a revision, and needs room.
        """
        refused: AtollError | None = None
        with self._lock:
            if self._stopped is not None:
                refused = _while_stopped(self._stopped)
            else:
                try:
                    self._append(self._drafted(beside), ((name, value),))
                except AtollError as error:
                    refused = error
                else:
                    result = NoteResult(self._durable_revision)
                    self._waiting.append(_Waiting(self._number, done, result, None))
        if refused is None:
            self._journal.flush()
        else:
            done(refused)

    def _drafted(self, put: Put | None) -> Draft:
        """What ``put`` writes. Raises what the store says to it."""
        if put is None:
            return Draft()
        context = Context(self._clock.now_s(), self._durable_revision, self._journal.size_bytes(), False)
        return self._decider.decide(put, context).draft or Draft()

    def on_stop(self, callback: Callable[[AtollError], None]) -> None:
        """``callback`` hears once, from any thread, when the engine had to stop (not when it is closed)."""
        self._on_stop = callback

    def alarms(self) -> tuple[str, ...]:
        return tuple(sorted(self._decider.alarms))

    def arm(self, alarm: str) -> None:
        """Raise ``alarm`` by hand: NOSPACE refuses what needs room until it is cleared."""
        with self._lock:
            self._decider.alarms.add(alarm)

    def disarm(self, alarm: str) -> bool:
        """Clear ``alarm``; it comes back if its cause is still there. Returns whether it was raised."""
        with self._lock:
            raised = alarm in self._decider.alarms
            self._decider.alarms.discard(alarm)
            return raised

    def poll(self) -> None:
        """End leases whose time is over, answer what waited too long, compact what is old enough."""
        now_s = self._clock.now_s()
        with self._lock:
            if self._stopped is not None:
                return
            wrote = self._expire_leases(now_s)
            self._time_out(now_s)
            compaction = self._compaction_due(now_s)
        if wrote:
            self._journal.flush()
        self._drain()
        if compaction is not None:
            self.submit(Compact(compaction), _ignore)

    def _submit(self, request: Request, done: Done, timeout_s: float | None, public: bool) -> None:
        outcome: Outcome | None
        wrote = False
        with self._lock:
            if self._stopped is not None:
                outcome = _while_stopped(self._stopped)
            elif type(request) is StatusRequest:
                outcome = self._status()
            else:
                outcome, wrote = self._decide(request, done, timeout_s, public)
        if wrote:
            self._journal.flush()
        elif outcome is not None:
            done(outcome)

    def _decide(
        self, request: Request, done: Done, timeout_s: float | None, public: bool
    ) -> tuple[Outcome | None, bool]:
        """The outcome if it may go out at once, and whether something was written."""
        now_s = self._clock.now_s()
        context = Context(now_s, self._durable_revision, self._journal.size_bytes(), public)
        outcome: Outcome
        draft, at_once = None, False
        try:
            answer = self._decider.decide(request, context)
            outcome, draft, at_once = answer.result, answer.draft, answer.at_once
        except AtollError as error:
            outcome = error
        if draft is not None:
            self._append(draft)
        elif at_once or self._number == self._durable_number:
            return outcome, False
        deadline_s = None if timeout_s is None else now_s + timeout_s
        self._waiting.append(_Waiting(self._number, done, outcome, deadline_s))
        return None, draft is not None

    def _append(self, draft: Draft, notes: tuple[tuple[str, bytes], ...] = ()) -> None:
        self._number += 1
        self._journalize(
            Write(
                self._number,
                draft.events,
                draft.leases_granted,
                draft.leases_revoked,
                draft.compact_revision,
                notes,
            )
        )

    def _journalize(self, write: Write) -> None:
        self._writes.append(write)
        self._journal.append(write)

    def _status(self) -> StatusResult:
        state = self._state
        generation = state.get(GENERATION_KEY, self._durable_revision)
        return StatusResult(
            revision=self._durable_revision,
            compact_revision=max(state.compact_revision, 0),
            generation=int(generation.value) if generation is not None and generation.value.isdigit() else 0,
            size_bytes=self._journal.size_bytes(),
            size_in_use_bytes=min(state.size_bytes, self._journal.size_bytes()),
            leader=1,
            raft_term=1,
            version=VERSION,
            alarms=self.alarms(),
        )

    # ------------------------------------------------------------------------------------------- Progress

    def durable(self, number: int) -> None:
        with self._lock:
            revisions = []
            while self._writes and self._writes[0].number <= number:
                write = self._writes.popleft()
                if write.events:
                    revisions.append((write.events[0].kv.mod_revision, write.events))
                if write.compact_revision is not None:
                    gone = self._state.compact(write.compact_revision)
                    self._journal.forget(gone, write.number)
                self._notes.update(write.notes)
            self._durable_number = number
            if revisions:
                self._durable_revision = revisions[-1][0]
            while self._waiting and self._waiting[0].number <= number:
                self._answer(self._waiting.popleft())
            if revisions:
                self._outbox.extend(self._hub.publish(revisions))
        self._drain()

    def lost(self, error: AtollError) -> None:
        now_s = self._clock.now_s()
        with self._lock:
            while self._writes:
                self._decider.take_back(self._writes.pop(), now_s)
            self._number = self._durable_number
            self._journal.discard()
            if error.reason is Reason.NO_SPACE:
                self._decider.alarms.add(NO_SPACE_ALARM)
            self._fail_waiting(error)
        self._drain()

    def unknown(self, error: AtollError) -> None:
        with self._lock:
            if self._stopped is None:
                self._stopped = error
            self._fail_waiting(error)
            self._end_watches(_while_stopped(error))
            if self._on_stop is not None:
                self._outbox.append((self._on_stop, error))
        self._drain()

    def _answer(self, waiting: _Waiting) -> None:
        if waiting.done is not None:
            self._outbox.append((waiting.done, waiting.outcome))
            waiting.done = None

    def _fail_waiting(self, error: AtollError) -> None:
        while self._waiting:
            waiting = self._waiting.popleft()
            waiting.outcome = error
            self._answer(waiting)

    def _drain(self) -> None:
        while self._outbox:
            if not self._draining.acquire(blocking=False):
                return  # whoever holds it looks at the outbox once more after letting go
            try:
                while self._outbox:
                    call, argument = self._outbox.popleft()
                    call(argument)
            finally:
                self._draining.release()

    # ----------------------------------------------------------------------------------------- housekeeping

    def _expire_leases(self, now_s: float) -> bool:
        due = self._decider.timers.due(now_s)
        for lease in due:
            answer = self._decider.end_lease(lease, self._state.attached(lease))
            if answer.draft is not None:
                self._append(answer.draft)
                self._waiting.append(_Waiting(self._number, self._retry_expiry(lease), answer.result, None))
        return bool(due)

    def _retry_expiry(self, lease: int) -> Done:
        def done(outcome: Outcome) -> None:
            if isinstance(outcome, AtollError):
                with self._lock:
                    if lease in self._state.leases:
                        self._decider.timers.start(lease, EXPIRY_RETRY_S, self._clock.now_s())

        return done

    def _time_out(self, now_s: float) -> None:
        for waiting in self._waiting:
            if waiting.deadline_s is not None and waiting.deadline_s <= now_s and waiting.done is not None:
                text = "the disk did not make the write durable in time; look before you repeat it"
                waiting.outcome = AtollError(Code.UNKNOWN, text, reason=Reason.TIMEOUT)
                self._answer(waiting)

    def _compaction_due(self, now_s: float) -> int | None:
        """The revision to compact to now, a step towards what age or number ask for; None if there is nothing to do."""
        retention, newest = self._retention, self._durable_revision
        done = max(self._decider.compact_scheduled, 1)
        if retention.history_revisions_max and newest - done > retention.history_revisions_max:
            self._compact_due = max(self._compact_due, newest - retention.history_revisions_max // 2)
        if retention.history_s:
            if not self._samples or now_s - self._samples[-1][0] >= retention.history_s / 12:
                self._samples.append((now_s, newest))
            while self._samples and now_s - self._samples[0][0] >= retention.history_s:
                self._compact_due = max(self._compact_due, self._samples.popleft()[1])
        left = self._compact_due - done
        return done + min(left, max(COMPACT_STEP_REVISIONS, left // COMPACT_STEPS_MAX)) if left > 0 else None

    # --------------------------------------------------------------------------------------------- watches

    def _watch(self, watch: Watch, sink: WatchSink, public: bool) -> Cancel:
        with self._lock:
            watcher, more = None, False
            if self._stopped is not None:
                self._outbox.append((sink, _while_stopped(self._stopped)))
            elif watch.end and watch.end != b"\0" and watch.end <= watch.key:
                text = f"the range that ends at {watch.end!r} and begins at {watch.key!r} is empty"
                self._outbox.append((sink, AtollError(Code.INVALID, text)))
            else:
                newest = self._durable_revision
                watcher = Watcher(watch, sink, watch.start_revision or newest + 1, public)
                self._outbox.append((watcher.give, WatchBatch(newest)))
                more = self._advance(watcher)
        self._drain()
        if watcher is None:
            return _nothing
        while more:
            with self._lock:
                more = self._advance(watcher)
            self._drain()
        return lambda: self._cancel(watcher)

    def _advance(self, watcher: Watcher) -> bool:
        """One step of catching up, or joining the live ones. Returns whether there is more to do."""
        if watcher.cancelled or self._stopped is not None:
            return False
        first, compact_revision = watcher.next_revision, self._state.compact_revision
        if first < compact_revision:
            self._outbox.append((watcher.give, transaction.compacted(first, compact_revision)))
            return False
        if first <= self._durable_revision:
            batch = catch_up(self._state, watcher, self._durable_revision)
            if batch is not None:
                self._outbox.append((watcher.give, batch))
        if watcher.next_revision <= self._durable_revision:
            return True
        self._hub.join(watcher)
        return False

    def _cancel(self, watcher: Watcher) -> None:
        with self._lock:
            watcher.cancelled = True
            self._hub.leave(watcher)

    def _end_watches(self, error: AtollError) -> None:
        for watcher in self._hub.watchers():
            self._hub.leave(watcher)
            self._outbox.append((watcher.give, error))


class PublicDriver:
    """A ``Driver`` for callers that must not see or touch the reserved prefix. Does not own the engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def submit(self, request: Request, done: Done, timeout_s: float | None = None) -> None:
        self._engine._submit(request, done, timeout_s, True)

    def watch(self, watch: Watch, sink: WatchSink) -> Cancel:
        return self._engine._watch(watch, sink, True)

    def mark(self, reached: Callable[[int], None]) -> None:
        """As ``Engine.mark``."""
        self._engine.mark(reached)

    def close(self) -> None:
        """Nothing: the engine belongs to whoever opened it."""


def _while_stopped(error: AtollError) -> AtollError:
    if error.reason is Reason.CLOSED:
        return error
    text = f"the store has stopped after: {error.message}; restart to reopen it"
    return AtollError(Code.UNAVAILABLE, text, reason=Reason.CLOSED)


def _ignore(_: Outcome) -> None:
    """For requests whose outcome shows in the state."""


def _nothing() -> None:
    """Cancels a watch that never began."""
