"""One round of a fault: fleets that live through it, one that does not, a writer all the time; and what it adds up to.

Rule: an instance may be seen at a subscriber for ``CONVERGED_S_MAX`` beyond its removal bound, since the bound is the
registry's and the list has yet to reach the subscriber; how long it took is measured besides.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from atoll.runtime.clock import BootClock
from tests.e2e.registry import verdict
from tests.e2e.registry.plan import Left, Plan
from tests.e2e.registry.stage import Fleet, Stage
from tests.soaking import SoakReport
from tests.waiting import wait_until
from tools.rows import percentile

CLOCK = BootClock()
PROVIDERS, MORTALS, MORE = 200, 10, 4  # connections, each with five instances
EACH = 5
OF_A_ROUND = 4096  # numbers of instances, and of published contents
CONVERGED_S_MAX = 3.0
LEFT_S_MAX = 1.0
WRITES_RESUME_S_MAX = 30.0
CAUGHT_UP_S_MAX = 10.0  # a node that was cut off from the store follows it again


def until(condition: Callable[[], bool], within_s: float) -> None:
    """Wait for what a figure counts the failures of: no error if it does not come."""
    end_s = CLOCK.now_s() + within_s
    wait_until(lambda: condition() or CLOCK.now_s() > end_s, within_s + 30.0, "time to pass")


@dataclass
class Figures:
    """What the rounds of one case add up to."""

    removed: list[str] = field(default_factory=list)
    overstayed: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)
    converged_s: list[float] = field(default_factory=list)
    left_s: list[float] = field(default_factory=list)
    published: int = 0

    def report(self, case: str, rounds: int, soak_report: SoakReport) -> None:
        wrong = [*self.removed, *self.overstayed, *self.lost, *self.unseen]
        soak_report.row(
            case,
            rounds=rounds,
            violations=len(wrong),
            samples={"converged_s": self.converged_s, "left_s": self.left_s},
            figures={
                "live instances removed": len(self.removed),
                "instances past their bound": len(self.overstayed),
                "configuration writes": self.published,
                "writes lost": len(self.lost),
                "pushes missing": len(self.unseen),
            },
        )
        assert not wrong, wrong[:10]
        assert percentile(self.converged_s, 0.99) <= CONVERGED_S_MAX, sorted(self.converged_s)[-20:]


class Round:
    """``home``: the node behind which all that it registers is at first."""

    def __init__(self, stage: Stage, number: int, home: int = -1) -> None:
        self.stage = stage
        self.number = number
        self._next = number * OF_A_ROUND
        self.providers = self._providers("providers", PROVIDERS, home)
        self.mortals = self._providers("mortals", MORTALS, home)
        self.writer = stage.fleet(f"writer-{number}", role="writer", first=number * OF_A_ROUND)
        self.living = [self.providers]
        stage.wait_settled(self.providers, self.mortals)
        self.wait_written()
        self.began_s = CLOCK.now_s()
        self.mortals_gone_by_s = 0.0

    def _providers(self, name: str, clients: int, home: int = -1) -> Fleet:
        first = self._next
        self._next += clients * EACH
        return self.stage.fleet(f"{name}-{self.number}", clients=clients, first=first, each=EACH, home=home)

    def kill_mortals(self, gone_within_s: float) -> None:
        self.mortals.kill()
        self.mortals_gone_by_s = CLOCK.now_s() + gone_within_s

    def more(self, name: str) -> None:
        """A few providers more, from now to the round's end."""
        self.living.append(self._providers(name, MORE))

    def wait_written(self) -> None:
        """Until a configuration that is published from now on is acknowledged."""
        before = len(verdict.acknowledgements(self.writer.events()))
        wait_until(
            lambda: len(verdict.acknowledgements(self.writer.events())) > before + self.writer.plan.configs,
            WRITES_RESUME_S_MAX,
            f"configurations to be written; {self.stage.logs()}",
        )

    def settle(self, bound_s: float, figures: Figures) -> None:
        """What lives is known to all, and nothing else is; measured from ``bound_s``."""
        self.stage.wait_settled(*self.living)
        events, count = self.stage.subscribers.events(), self.stage.subscribers.plan.clients
        figures.converged_s += verdict.settled_s(events, count, bound_s)
        gone_by_s = max(self.mortals_gone_by_s, bound_s) + CONVERGED_S_MAX
        figures.overstayed += verdict.overstays(
            events, dict.fromkeys(all_hosts(self.mortals.plan), gone_by_s)
        )

    def end(self, figures: Figures) -> None:
        """Pushes arrive as before, what was written is there; then all that the round made takes its leave."""
        self.more("after")
        self.stage.wait_settled(*self.living)
        alive = {host for fleet in self.living for host in all_hosts(fleet.plan)}
        figures.removed += verdict.removals(self.stage.subscribers.events(), alive, self.began_s)
        self._check_writes(figures)
        self._leave(figures)

    def _check_writes(self, figures: Figures) -> None:
        self.writer.terminate()
        self.writer.wait()
        published = verdict.acknowledged(self.writer.events())
        figures.published += len(verdict.acknowledgements(self.writer.events()))
        until(lambda: not verdict.lost(self.stage.stored(), published), CAUGHT_UP_S_MAX)
        figures.lost += verdict.lost(self.stage.stored(), published)
        listeners = self.stage.subscribers

        def behind() -> list[str]:
            return verdict.behind(listeners.events(), listeners.plan.clients, published)

        until(lambda: not behind(), CONVERGED_S_MAX)
        figures.unseen += behind()

    def _leave(self, figures: Figures) -> None:
        for fleet in self.living:
            fleet.terminate()
        for fleet in self.living:
            fleet.wait()
        self.stage.wait_settled()
        events = self.stage.subscribers.events()
        for fleet in self.living:
            left_s = {event.client: event.at_s for event in fleet.events() if isinstance(event, Left)}
            by_host = {
                f"{ip}:{port}": left_s[client]
                for client in range(fleet.plan.clients)
                for _, ip, port in fleet.plan.instances(client)
            }
            figures.left_s += verdict.stayed_s(events, by_host)
            late = {host: at_s + LEFT_S_MAX + CONVERGED_S_MAX for host, at_s in by_host.items()}
            figures.overstayed += verdict.overstays(events, late)


def all_hosts(plan: Plan) -> set[str]:
    return {host for hosts in plan.hosts().values() for host in hosts}
