"""The sidecar's machine in a dumb world of processes, over random orders of what may happen there.

Rule: the world knows only what processes do (start, become ready, die, get killed, end when killed), and says after each
step whether something was done that must never be done, whatever came before.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.host.sidecar import machine as m

STEPS_MAX = 60
ENDS_WITHIN_STEPS = 40
SIGNALS = (m.SIGNAL_UPGRADE, 10, 15)
PAUSES_S = (0.05, 1.0, 7.0, 40.0)


@dataclass
class World:
    """Processes, and what the registry was told."""

    rules: m.Rules
    machine: m.Machine = field(init=False)
    now_s: float = 100.0
    proxies: dict[int, str] = field(default_factory=dict)  # run -> starting, ready
    epochs: dict[int, int] = field(default_factory=dict)
    live: int = 0  # the run that became ready last
    away_since_s: float = 100.0
    app: str = "none"  # running, answering, ended
    app_told: bool = False
    registered: bool = False
    deregistering: bool = False
    draining: bool = False
    exit_code: int | None = None
    app_status: int | None = None
    dying: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.machine = m.Machine(self.rules)

    def tell(self, fact: m.Fact) -> None:
        for action in self.machine.step(fact, self.now_s):
            assert self.exit_code is None, f"{action} after the end"
            self.act(action)
        if self.is_live or not self.registered:
            self.away_since_s = self.now_s
        assert self.now_s - self.away_since_s <= m.AWAY_S_MAX + 1e-6, "registered without a proxy"
        assert self.machine.wake_at_s() > self.now_s, "a deadline that was passed is looked at once"

    def act(self, action: m.Action) -> None:
        match action:
            case m.StartProxy(run, epoch):
                self.start_proxy(run, epoch)
            case m.SignalProxy(run, kill):
                assert run in self.proxies
                assert (kill and run != self.live) or not self.app_runs, "the proxy before the application"
                self.dying.add(f"proxy {run}")
            case m.StartApp():
                assert self.is_live and self.app == "none"
                self.app = "running"
            case m.SignalApp(number):
                assert self.app_runs and number in SIGNALS
                self.app_told = self.app_told or number == m.SIGTERM
                assert not (self.app_told and self.registered), "still registered when told to end"
            case m.KillApp():
                assert self.app_told
                self.dying.add("app")
            case m.Register():
                assert not self.registered and self.is_live
                assert self.app == "answering" or not self.rules.has_app
                self.registered = True
            case m.Deregister(told):
                assert self.registered
                self.registered = False
                self.deregistering = told
            case m.Drain():
                self.draining = True
            case m.Exit(code):
                assert not self.proxies and self.app in ("none", "ended") and not self.registered
                self.exit_code = code

    @property
    def is_live(self) -> bool:
        return self.live in self.proxies

    @property
    def app_runs(self) -> bool:
        return self.app in ("running", "answering")

    def start_proxy(self, run: int, epoch: int) -> None:
        assert "starting" not in self.proxies.values(), "one at a time"
        wanted = self.epochs[self.live] + 1 if self.is_live else 0
        assert epoch == wanted, "takes over from the one that is live, or begins anew"
        self.proxies[run], self.epochs[run] = "starting", epoch

    def possible(self) -> list[m.Fact]:
        """What may be told now; first what has to come."""
        forced: list[m.Fact] = []
        free: list[m.Fact] = []
        for run, state in self.proxies.items():
            ended = m.ProxyEnded(run, 0)
            (forced if f"proxy {run}" in self.dying else free).append(ended)
            if state == "starting":
                free.append(m.ProxyReady(run))
        if self.app_runs:
            (forced if "app" in self.dying else free).append(m.AppEnded(-9 if "app" in self.dying else 3))
        if self.app == "running":
            free.append(m.AppAnswers())
        if self.deregistering:
            free.append(m.Deregistered())
        if self.draining:
            free.append(m.Drained())
        if self.machine.phase is m.Phase.PREPARING:
            free.append(m.Prepared())
        return [*forced, *free]

    def happen(self, fact: m.Fact) -> None:
        match fact:
            case m.ProxyReady(run):
                self.proxies[run] = "ready"
                self.live = run
            case m.ProxyEnded(run):
                del self.proxies[run]
                self.dying.discard(f"proxy {run}")
            case m.AppAnswers():
                self.app = "answering"
            case m.AppEnded(status):
                self.app, self.app_status = "ended", status
                self.dying.discard("app")
            case m.Deregistered():
                self.deregistering = False
            case m.Drained():
                self.draining = False
        self.tell(fact)

    def pass_time(self, pause_s: float) -> None:
        self.now_s = min(self.now_s + pause_s, max(self.machine.wake_at_s(), self.now_s))
        self.tell(m.Tick())

    def finish(self) -> None:
        """Told to stop, nothing goes well any more: only what was killed ends."""
        self.happen(m.SignalCame(m.SIGTERM))
        for _ in range(ENDS_WITHIN_STEPS):
            if self.exit_code is not None:
                return
            forced = [fact for fact in self.possible() if self.is_forced(fact)]
            if forced:
                self.happen(forced[0])
            else:
                assert self.machine.wake_at_s() < float("inf"), f"waits for ever in {self.machine.phase}"
                self.pass_time(float("inf"))
        raise AssertionError(f"does not end: {self.machine.phase}")

    def is_forced(self, fact: m.Fact) -> bool:
        match fact:
            case m.ProxyEnded(run):
                return f"proxy {run}" in self.dying
            case m.AppEnded():
                return "app" in self.dying
        return False


@settings(max_examples=600, deadline=None)
@given(data=st.data(), has_app=st.booleans(), serves=st.booleans())
def test_no_order_of_events_breaks_the_order_of_start_and_stop(
    data: st.DataObject, has_app: bool, serves: bool
) -> None:
    world = World(m.Rules(has_app=has_app, serves=serves))
    for _ in range(data.draw(st.integers(0, STEPS_MAX))):
        if world.exit_code is not None:
            break
        happening = [*world.possible(), *(m.SignalCame(number) for number in SIGNALS)]
        choice = data.draw(st.integers(0, len(happening) + len(PAUSES_S) - 1))
        if choice < len(happening):
            world.happen(happening[choice])
        else:
            world.pass_time(PAUSES_S[choice - len(happening)])
    if world.exit_code is None:
        world.finish()
    if world.app_status is not None:
        status = world.app_status
        assert world.exit_code == (status if status >= 0 else 128 - status), "the application's own code"


@settings(max_examples=100, deadline=None)
@given(crashes=st.integers(1, 40))
def test_a_proxy_that_crashes_again_and_again_is_started_less_and_less_often(crashes: int) -> None:
    machine = m.Machine(m.Rules())
    now_s, pauses = 0.0, []
    actions = machine.step(m.Prepared(), now_s)
    for run in range(1, crashes + 1):
        assert actions == [m.StartProxy(run, 0)]
        assert machine.step(m.ProxyEnded(run, -11), now_s) == []
        pauses.append(machine.wake_at_s() - now_s)
        now_s = machine.wake_at_s()
        actions = machine.step(m.Tick(), now_s)
    rounded = [round(pause_s, 6) for pause_s in pauses]
    assert rounded == sorted(rounded) and rounded[0] < 0.2 and rounded[-1] <= m.RESTART_MAX_S
