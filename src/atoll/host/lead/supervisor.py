"""The live part of ``atoll lead``: brings facts to the machine, carries its actions out.

Rule: no decision here. Facts of the candidate come from its thread through ``loop.call_from_thread``; facts of an
old campaign are dropped by its number.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from atoll.host.lead import machine as m
from atoll.host.lead.guard import Ears, Guard
from atoll.runtime import loop
from atoll.runtime.children import require_linux
from atoll.runtime.clock import Clock
from atoll.runtime.logs import Log
from atoll.runtime.rng import new_token
from atoll.runtime.signals import SENT_ON_PURPOSE, Signals
from atoll.runtime.tasks import Tasks
from atoll.store.api import Driver
from atoll.store.candidate import Candidacy, Candidate, Extended, Fact, Lost, Out, Quiesce, Waiting, Won
from atoll.store.term import Term

MARK_BYTES = 16
CLOSE_WITHIN_S = 5.0


@dataclass(frozen=True)
class Order:
    """What to run, and as which candidate. ``store`` is the URL, for the program's environment."""

    candidacy: Candidacy
    rules: m.Rules
    program: tuple[str, ...]
    store: str
    environment: dict[str, str] = field(default_factory=lambda: dict(os.environ))


class Supervisor:
    """``run`` returns the exit code of ``atoll lead``. ``driver`` stays the caller's to close."""

    def __init__(self, order: Order, driver: Driver, clock: Clock, log: Log) -> None:
        require_linux("atoll lead")
        self._order = order
        self._driver = driver
        self._clock = clock
        self._log = log.bind(election=order.candidacy.name, id=order.candidacy.candidate)
        self._machine = m.Machine(order.rules)
        self._facts: loop.Queue[m.Fact] = loop.Queue()
        self._campaign = 0
        self._guard: Guard | None = None
        self._term: Term | None = None
        self._candidate: Candidate | None = None
        self._exit_code: int | None = None

    async def run(self) -> int:
        tasks = Tasks(self._log, lambda name, error: self._facts.put_nowait(m.SignalCame(m.SIGTERM)))
        self._candidate = Candidate(
            self._driver, self._order.candidacy, loop.call_from_thread(self._from_candidate), self._clock
        )
        with Signals(SENT_ON_PURPOSE) as signals:
            tasks.start("signals", self._hear_signals(signals))
            try:
                while self._exit_code is None:
                    self._step(await self._next_fact())
            finally:
                if self._guard is not None:
                    self._guard.kill()
                await loop.in_thread(self._candidate.close)
                await tasks.stop(CLOSE_WITHIN_S)
        return self._exit_code

    async def _next_fact(self) -> m.Fact:
        wait_s = self._machine.wake_at_s() - self._clock.now_s()
        return await loop.next_within(self._facts, wait_s) or m.Tick()

    def _step(self, fact: m.Fact) -> None:
        before = self._machine.phase
        actions = self._machine.step(fact, self._clock.now_s())
        if self._machine.phase is not before:
            phase, cause = self._machine.phase.value, self._machine.cause
            self._log.info("phase", now=phase, was=before.value, **({"cause": cause} if cause else {}))
        for action in actions:
            self._act(action)

    def _act(self, action: m.Action) -> None:
        match action:
            case m.Campaign():
                self._start_campaign()
            case m.Arm(deadline_s) if self._guard is not None:
                self._guard.arm(deadline_s)
            case m.Release(deadline_s) if self._guard is not None and self._term is not None:
                self._log.info(
                    "starting the program", token=str(self._term.token), program=self._order.program[0]
                )
                self._guard.release(self._order.program, self._environment(self._term, deadline_s))
            case m.SendSignal(number) if self._guard is not None:
                self._guard.signal(number)
            case m.Kill() if self._guard is not None:
                self._guard.kill()
            case m.Resign():
                self._resign()
            case m.Exit(code):
                self._exit_code = code

    def _start_campaign(self) -> None:
        self._campaign += 1
        facts, number = self._facts, self._campaign

        def tell(fact: m.Fact) -> None:
            if number == self._campaign:
                facts.put_nowait(fact)

        ears = Ears(
            lambda deadline_s: tell(m.GuardConfirmed(deadline_s)),
            lambda: tell(m.GuardGone()),
            lambda status: tell(m.ProgramEnded(status)),
        )
        self._guard = Guard(new_token(MARK_BYTES), ears)
        self._log.info(
            "campaigning",
            watchdogs=" ".join(map(str, self._guard.watchdog_pids)),
            launcher=self._guard.program.pid,
        )
        if self._candidate is not None:
            self._candidate.start()

    def _resign(self) -> None:
        """Nothing of the program lives any more, so there is nothing that the candidate should wait for."""
        if self._candidate is None:
            return
        if self._machine.cause == m.HANDED_OVER:
            self._candidate.quiesced()
        self._candidate.resign(quiet=True)

    def _from_candidate(self, fact: Fact) -> None:
        match fact:
            case Won(term):
                self._term = term
                self._facts.put_nowait(m.Won(term.deadline_s))
            case Extended(deadline_s):
                self._facts.put_nowait(m.Extended(deadline_s))
            case Quiesce():
                self._facts.put_nowait(m.Asked())
            case Lost(cause):
                self._facts.put_nowait(m.Lost(cause.value))
            case Out():
                self._facts.put_nowait(m.Resigned())
            case Waiting(hold, ahead):
                self._log.info("waiting", why=hold.value, ahead=ahead)

    def _environment(self, term: Term, deadline_s: float) -> dict[str, str]:
        """The caller's own environment, and what is known of the term. See docs/reference/cli.md."""
        return {
            **self._order.environment,
            "ATOLL_LEAD_NAME": term.name,
            "ATOLL_LEAD_ID": self._order.candidacy.candidate,
            "ATOLL_LEAD_STORE": self._order.store,
            "ATOLL_TERM": str(term.token.revision),
            "ATOLL_TOKEN": str(term.token),
            "ATOLL_DEADLINE": f"{deadline_s:.6f}",
            "ATOLL_KEY": term.key.decode(errors="surrogateescape"),
        }

    async def _hear_signals(self, signals: Signals) -> None:
        while True:
            self._facts.put_nowait(m.SignalCame(await signals.next()))
