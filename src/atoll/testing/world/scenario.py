"""One seed's story: a cluster is set up, driven through faults, healed, and must then behave.

Rule: safety is checked at every instant by ``checks``; what is checked here is that everything becomes good again:
somebody leads within a bound, the preferred candidate leads in the end, a resign and a hand-over take effect.

Sizes (STYLE.md, 21): at least 3 candidates, 5 faults, 60 virtual seconds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Final

import msgspec

from atoll.store import acts
from atoll.store.candidacy import Candidacy
from atoll.testing.world.checks import Violation
from atoll.testing.world.faults import ANYWHERE, FAULTS, ON_EMBEDDED, ON_ETCD
from atoll.testing.world.node import Habits, Node
from atoll.testing.world.world import World

DRIFT_MAX: Final = 0.05
EMBEDDED_EVERY: Final = 5  # every fifth seed runs over an embedded store, the others over etcd
FAULTS_BEGIN_S: Final = 3.0
FAULTS_END_S: Final = 50.0
END_S_MIN: Final = 60.0
TAKE_OVER_AFTER_RESIGN_S_MAX: Final = 1.0  # with quiescing done; messages take milliseconds
SETTLE_EXTRA_S: Final = 6.0


class Outcome(msgspec.Struct, frozen=True):
    """What one seed showed. ``violation`` empty: everything held."""

    seed: int
    violation: str
    trace_hash: str
    faults: dict[str, int]
    nodes: int
    terms: int
    writes_accepted: int
    writes_refused: int
    virtual_s: float
    events: int
    trace: tuple[str, ...] = ()


class Scenario:
    def __init__(self, seed: int, keep_trace: bool = False) -> None:
        self.seed = seed
        embedded = seed % EMBEDDED_EVERY == 0
        self.world = World(seed, embedded=embedded, keep_trace=keep_trace)
        self._possible = {**ANYWHERE, **(ON_EMBEDDED if embedded else ON_ETCD)}
        self._rng = self.world.rng
        self.world.server.rate = self._rate()
        if not embedded:
            self.world.server.election_timeout_s = self._rng.choice((0.5, 1.0, 1.0, 3.0))
        self._ttl_s = float(self._rng.choice((3, 4, 6)))
        self._drawn: Counter[str] = Counter()

    def run(self) -> Outcome:
        violation = ""
        try:
            self._set_up()
            self._drive()
            self._check_recovery()
        except Violation as broken:
            violation = str(broken)
        world, checks = self.world, self.world.checks
        return Outcome(
            self.seed,
            violation,
            world.virtual.trace_hash,
            dict(self._drawn),
            len(world.nodes),
            checks.terms,
            checks.writes_accepted,
            sum(node.writes_refused for node in world.nodes.values()),
            world.virtual.now_s,
            world.virtual.events,
            tuple(world.virtual.trace),
        )

    def _rate(self) -> float:
        """Often at the very end of what is allowed, where margins are needed."""
        return self._rng.choice((1 - DRIFT_MAX, 1 - DRIFT_MAX, 1.0, 1 + DRIFT_MAX, 1 + DRIFT_MAX))

    # -- set up

    def _set_up(self) -> None:
        for number in range(self._rng.choice((3, 3, 4, 5))):
            candidacy = Candidacy(
                self.world.name,
                f"node-{number}",
                ttl_s=int(self._ttl_s),
                priority=self._rng.choice((0, 0, 0, 1, 5)),
                drift_max=DRIFT_MAX,
                grace_s=0.0,
                quiesce_s_max=self._rng.choice((0.5, 3.0)),
                terms_max=8,
            )
            node = self.world.add(candidacy, self._rate())
            node.habits = Habits(quiesce_s_max=1.0, never_quiet=self._rng.choice((0.0, 0.0, 0.5)))
        self.world.run_for(FAULTS_BEGIN_S)

    # -- drive

    def _drive(self) -> None:
        rng, virtual = self._rng, self.world.virtual
        names = list(self._possible)
        weights = [weight for _, weight in self._possible.values()]
        for name in rng.choices(names, weights, k=rng.randint(6, 10)):
            virtual.at(rng.uniform(FAULTS_BEGIN_S, FAULTS_END_S), self._begin, name)
        virtual.run_until(FAULTS_END_S)

    def _begin(self, name: str) -> None:
        self._drawn[name] += 1
        self.world.virtual.note("fault", name)
        end = FAULTS[name][0](self.world)
        self.world.virtual.after(self._rng.uniform(0.1, 2.5) * self._ttl_s, self._end, end)

    def _end(self, end: Callable[[], None]) -> None:
        end()

    # -- check

    @property
    def _settle_s(self) -> float:
        """TTL as the store grants it, refreshed once by a leader change, expired late, waited for, found out."""
        granted_s = max(self._ttl_s, self.world.server.ttl_s_min)
        return 2.5 * granted_s + self.world.server.election_timeout_s + SETTLE_EXTRA_S

    def _check_recovery(self) -> None:
        world = self.world
        world.virtual.run_until(max(world.virtual.now_s, FAULTS_END_S + 2.5 * self._ttl_s))
        world.virtual.note("world", "everything is healed")
        world.heal()
        for node in world.nodes.values():
            node.habits = Habits(quiesce_s_max=0.2)
            node.tell(acts.Enter())
        world.control(paused=False, handover_to="")
        self._expect(lambda: world.leader() is not None, self._settle_s, "somebody leads")
        best = max(node.candidacy.priority for node in world.nodes.values())
        self._expect(lambda: self._leads(best), 2 * self._settle_s, f"a candidate of priority {best} leads")
        self._check_handover()
        self._check_resign()
        world.virtual.run_until(max(world.virtual.now_s, END_S_MIN))

    def _leads(self, priority: int) -> bool:
        leader = self.world.leader()
        return leader is not None and leader.candidacy.priority == priority

    def _check_handover(self) -> None:
        world = self.world
        self._expect(lambda: bool(world.standbys()), self._settle_s, "somebody stands by")
        to = self._rng.choice(world.standbys())
        world.virtual.note("operator", f"hands over to {to.name}")
        world.control(handover_to=to.name)
        self._expect(lambda: world.leader() is to, self._settle_s, f"{to.name} leads after a hand-over to it")

    def _check_resign(self) -> None:
        world = self.world
        leader = world.leader()
        everybody = len(world.nodes) - 1
        self._expect(lambda: len(world.standbys()) == everybody, self._settle_s, "all others stand by")
        self._expect(lambda: not world.abandoned(), self._settle_s, "nothing is left of candidates that went")
        world.run_for(self._ttl_s)  # answers lost before the healing have timed out, watches are resumed
        if leader is None or leader is not world.leader():
            raise Violation("the leader changed although nothing happened")
        world.virtual.note(leader.name, "is asked to resign")
        leader.tell(acts.Resign(quiet=True))
        self._expect(
            lambda: world.leader() not in (None, leader),
            TAKE_OVER_AFTER_RESIGN_S_MAX,
            f"a standby leads within {TAKE_OVER_AFTER_RESIGN_S_MAX} s of a resign",
        )

    def _expect(self, condition: Callable[[], bool], within_s: float, what: str) -> None:
        virtual = self.world.virtual
        if not virtual.run_while(lambda: not condition(), virtual.now_s + within_s):
            states = ", ".join(f"{p.name} {_state(p)}" for p in self.world.nodes.values())
            raise Violation(f"at {virtual.now_s:.3f} s: not within {within_s:.1f} s: {what} ({states})")


def _state(node: Node) -> str:
    return "crashed" if node.is_crashed else node.state


def run(seed: int, keep_trace: bool = False) -> Outcome:
    return Scenario(seed, keep_trace).run()


def summary(outcome: Outcome) -> str:
    faults = ", ".join(f"{name} x{count}" for name, count in sorted(outcome.faults.items()))
    return (
        f"seed {outcome.seed}: {outcome.violation or 'every rule held'}; {outcome.nodes} nodes, "
        f"{outcome.virtual_s:.1f} virtual seconds, {outcome.events} events, {outcome.terms} terms, "
        f"{outcome.writes_accepted} writes accepted, {outcome.writes_refused} refused; {faults}; "
        f"trace {outcome.trace_hash}"
    )
