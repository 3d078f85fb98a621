"""A node of the World: the real machine of ``store.election`` with a simulated driver, clock and application.

Rule: nothing of the machine is changed or replaced; this module is the shell that ``store.candidate`` is live, without
threads. A paused node does nothing and loses nothing: what reaches it waits, its clock runs on. A crashed one
forgets everything.

The application serves while ``term.check()`` passes: it writes its token under ``term.guards()`` every now and then, and
what it had checked before it was paused it writes when it wakes up, as a real one would.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final

import msgspec

from atoll.errors import AtollError
from atoll.runtime.rng import Rng
from atoll.store import acts, facts
from atoll.store.api import Cancel, Driver, Outcome, Put, Txn, TxnResult, WatchBatch
from atoll.store.candidacy import Candidacy
from atoll.store.election import Election
from atoll.store.term import Term
from atoll.testing.world.virtual import DriftingClock, Virtual

WORK_KEY: Final = b"work/served"
SERVE_EVERY_S: Final = (0.3, 0.9)


class Habits(msgspec.Struct, frozen=True):
    """How the application of a node behaves."""

    quiesce_s_max: float = 1.0  # it stops within so long when told to ...
    never_quiet: float = 0.0  # ... except with this probability


class Node:
    """One candidate. ``heard`` is told of each fact before the application acts on it."""

    def __init__(
        self,
        virtual: Virtual,
        rng: Rng,
        clock: DriftingClock,
        candidacy: Candidacy,
        connect: Callable[[str], Driver],
    ) -> None:
        self.name = candidacy.candidate
        self.candidacy = candidacy
        self.clock = clock
        self.habits = Habits()
        self.heard: Callable[[Node, facts.MachineFact], None] = lambda node, fact: None
        self.term: Term | None = None
        self.facts: list[facts.MachineFact] = []
        self.writes_refused = 0
        self._virtual = virtual
        self._rng = rng
        self._connect = connect
        self._life = 0  # grows with every crash; what belongs to an earlier life is void
        self._paused = False
        self._waiting: deque[Callable[[], None]] = deque()
        self._alarm_s: float | None = None
        self._begin()

    def _begin(self) -> None:
        self._driver: Driver | None = self._connect(self.name)
        self._machine = Election(self.candidacy)
        self._watches: dict[int, Cancel] = {}

    # ---------------------------------------------------------------------------------- what others do to it

    def tell(self, event: acts.Event) -> None:
        self._when_awake(partial(self._handle, event))

    def pause(self) -> None:
        self._paused = True

    def resume(self) -> None:
        if not self._paused:
            return
        self._paused = False
        if self.term:
            self._write(self.term)  # checked before the pause, committed after it
        while self._waiting and not self._paused:
            self._waiting.popleft()()
        if self._driver:
            self._handle(None)

    def crash(self) -> None:
        self._life += 1
        self._paused = False
        self._waiting.clear()
        self.term = None
        self._alarm_s = None
        driver, self._driver = self._driver, None
        if driver:
            driver.close()

    def restart(self) -> None:
        if self._driver is None:
            self._begin()
            self.tell(acts.Enter())

    @property
    def is_crashed(self) -> bool:
        return self._driver is None

    @property
    def state(self) -> str:
        return self._machine.state.value

    @property
    def lease(self) -> int:
        return self._machine.lease

    def serves_until_s(self) -> float:
        """The moment of true time until which this node answers as leader; minus infinity when it does not."""
        return self.clock.true_s(self.term.deadline_s) if self.term else float("-inf")

    # -------------------------------------------------------------------------------------------- the shell

    def _when_awake(self, action: Callable[[], None]) -> None:
        if self._driver is None:
            return
        if self._paused:
            self._waiting.append(action)
        else:
            action()

    def _in_this_life(self, life: int, action: Callable[[], None]) -> None:
        if life == self._life:
            self._when_awake(action)

    def _handle(self, event: acts.Event | None) -> None:
        now = acts.Instant(self.clock.now_s(), self.clock.wall_s())
        for action in self._machine.handle(now, event):
            self._act(action)
        self._set_alarm()

    def _set_alarm(self) -> None:
        wake_at_s = self._machine.wake_at_s
        if wake_at_s is None:
            return
        true_s = max(self.clock.true_s(wake_at_s), self._virtual.now_s)
        if self._alarm_s is None or true_s < self._alarm_s:
            self._alarm_s = true_s
            self._virtual.at(true_s + 1e-6, self._in_this_life, self._life, partial(self._ring, true_s))

    def _ring(self, true_s: float) -> None:
        if self._alarm_s == true_s:
            self._alarm_s = None
            self._handle(None)

    def _act(self, action: acts.Action) -> None:
        driver = self._driver
        if driver is None:
            return
        match action:
            case acts.Submit(tag, request, timeout_s):
                driver.submit(request, partial(self._answered, self._life, tag), timeout_s)
            case acts.Follow(tag, watch):
                self._watches[tag] = driver.watch(watch, partial(self._watched, self._life, tag))
            case acts.Unfollow(tag):
                self._watches.pop(tag)()
            case acts.Tell(fact):
                self._hear(fact)

    def _answered(self, life: int, tag: int, outcome: Outcome) -> None:
        self._in_this_life(life, partial(self._handle, acts.Answer(tag, outcome)))

    def _watched(self, life: int, tag: int, batch: WatchBatch | AtollError) -> None:
        self._in_this_life(life, partial(self._handle, acts.Batch(tag, batch)))

    def _hear(self, fact: facts.MachineFact) -> None:
        self.facts.append(fact)
        match fact:
            case facts.Elected(key, token, lease, deadline_s):
                self.term = Term(self.candidacy.name, token, key, lease, self.clock)
                self.term.extend(deadline_s)
                self._serve_later(self.term)
            case facts.Extended(deadline_s):
                if self.term:
                    self.term.extend(deadline_s)
            case facts.Quiesce():
                self._quiesce()
            case facts.Lost(cause):
                if self.term:
                    self.term.end(cause.value)
                self.term = None
        self.heard(self, fact)

    # -------------------------------------------------------------------------------------- the application

    def _quiesce(self) -> None:
        if self._rng.random() >= self.habits.never_quiet:
            delay_s = self.habits.quiesce_s_max * self._rng.random()
            done = partial(self._handle, acts.Quiesced())
            self._virtual.after(delay_s, self._in_this_life, self._life, done)

    def _serve_later(self, term: Term) -> None:
        delay_s = self._rng.uniform(*SERVE_EVERY_S)
        self._virtual.after(delay_s, self._in_this_life, self._life, partial(self._serve, term))

    def _serve(self, term: Term) -> None:
        if term.holds():
            self._write(term)
            self._serve_later(term)

    def _write(self, term: Term) -> None:
        if self._driver:
            token = f"{term.token.generation} {term.token.revision}".encode()
            self._driver.submit(Txn(term.guards(), (Put(WORK_KEY, token),)), self._written, 5.0)

    def _written(self, outcome: Outcome) -> None:
        self.writes_refused += isinstance(outcome, TxnResult) and not outcome.succeeded
