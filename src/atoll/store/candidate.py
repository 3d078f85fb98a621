"""The live candidate: ``store.election`` on a thread of its own, over any driver.

Rule: two threads, neither of them the application's. The machine's thread renews the lease and moves the deadline
whatever the event loop does; the listener's thread tells facts, one at a time and in order, and may block.

A leader's contract: act only while ``term.check()`` passes, put ``term.guards()`` into every leader-only
transaction, on ``Quiesce`` stop and call ``quiesced()``, on ``Lost`` be stopped already (``Lost`` is told when the
deadline has passed or the key has gone, not before).
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Final, TypeAlias

import msgspec

from atoll.errors import AtollError
from atoll.runtime.actor import Actor
from atoll.runtime.clock import BootClock, Clock
from atoll.store import acts, election
from atoll.store.api import Cancel, Driver, Outcome, WatchBatch
from atoll.store.candidacy import Candidacy
from atoll.store.facts import (
    Cause,
    Elected,
    Extended,
    Hold,
    Lost,
    MachineFact,
    Out,
    Proclaimed,
    Quiesce,
    Waiting,
)
from atoll.store.term import Term

__all__ = [
    "Candidacy",
    "Candidate",
    "Cause",
    "Extended",
    "Fact",
    "Hold",
    "Lost",
    "Out",
    "Proclaimed",
    "Quiesce",
    "Waiting",
    "Won",
]

CLOSE_S_MAX: Final = 2.0


class Won(msgspec.Struct, frozen=True):
    """This process leads, until ``term.deadline_s`` for now."""

    term: Term


Fact: TypeAlias = Waiting | Won | Extended | Quiesce | Lost | Proclaimed | Out


class Candidate:
    """One candidate of one election over ``driver``, which stays the caller's to close, after this.

    ``listener`` is called with each fact on a thread of its own. It must not raise: the process is ended then,
    because nobody would hear any more that a term is over.
    """

    def __init__(
        self,
        driver: Driver,
        candidacy: Candidacy,
        listener: Callable[[Fact], None],
        clock: Clock | None = None,
    ) -> None:
        self._driver = driver
        self._listener = listener
        self._clock = clock or BootClock()
        self._machine = election.Election(candidacy)
        self._term: Term | None = None
        self._watches: dict[int, Cancel] = {}
        self._closed = threading.Event()
        name = f"election {candidacy.name}"
        self._thread: Actor[acts.Event] = Actor(name, self._clock, self._turn)
        self._teller: Actor[Fact] = Actor(name + " listener", self._clock, self._hear)
        self._thread.start()
        self._teller.start()

    @property
    def term(self) -> Term | None:
        """The term this candidate leads, None while it does not lead. May be over: ask ``check()``."""
        return self._term

    def start(self) -> None:
        """Stand in the election, and stand again whenever a term ended, until ``resign`` or ``close``."""
        self._thread.post(acts.Enter())

    def resign(self, *, quiet: bool = False) -> None:
        """Leave the election. A leader is told to ``Quiesce`` first, unless ``quiet`` says that it serves nothing
        any more. ``start`` enters again, also right away: the place in the queue is given up in between.
        """
        self._thread.post(acts.Resign(quiet))

    def quiesced(self) -> None:
        """The answer to ``Quiesce``: from now on nothing is served."""
        self._thread.post(acts.Quiesced())

    def proclaim(self, value: bytes) -> None:
        """Change the value beside the own key, without an election. ``Proclaimed`` tells when it is stored."""
        self._thread.post(acts.Proclaim(value))

    def close(self) -> None:
        """Leave for good; the caller serves nothing any more. Waits at most ``CLOSE_S_MAX`` for the store (its
        lease runs out by itself otherwise), then ends both threads. Idempotent.
        """
        self._thread.post(acts.Close())
        self._closed.wait(CLOSE_S_MAX)
        self._thread.stop()
        if self._term:
            self._term.end(Cause.CLOSED.value)
        for cancel in self._watches.values():
            cancel()
        self._watches.clear()
        self._teller.stop()

    # -- the machine's thread

    def _turn(self, event: acts.Event | None) -> float | None:
        now = acts.Instant(self._clock.now_s(), self._clock.wall_s())
        for action in self._machine.handle(now, event):
            self._act(action)
        return self._machine.wake_at_s

    def _act(self, action: acts.Action) -> None:
        match action:
            case acts.Submit(tag, request, timeout_s):
                self._driver.submit(request, functools.partial(self._answered, tag), timeout_s)
            case acts.Follow(tag, watch):
                self._watches[tag] = self._driver.watch(watch, functools.partial(self._watched, tag))
            case acts.Unfollow(tag):
                cancel = self._watches.pop(tag, None)
                if cancel:
                    cancel()
            case acts.Tell(fact):
                self._tell(fact)

    def _answered(self, tag: int, outcome: Outcome) -> None:
        self._thread.post(acts.Answer(tag, outcome))

    def _watched(self, tag: int, batch: WatchBatch | AtollError) -> None:
        self._thread.post(acts.Batch(tag, batch))

    def _tell(self, fact: MachineFact) -> None:
        """Terms change here, before anybody hears of it."""
        if isinstance(fact, Elected):
            self._term = Term(self._machine.candidacy.name, fact.token, fact.key, fact.lease, self._clock)
            self._term.extend(fact.deadline_s)
            self._teller.post(Won(self._term))
            return
        if isinstance(fact, Extended) and self._term:
            self._term.extend(fact.deadline_s)
        elif isinstance(fact, Lost) and self._term:
            self._term.end(fact.cause.value)
            self._term = None
        self._teller.post(fact)
        if isinstance(fact, Out) and fact.closed:
            self._closed.set()

    # -- the listener's thread

    def _hear(self, fact: Fact | None) -> float | None:
        if fact is not None:
            self._listener(fact)
        return None
