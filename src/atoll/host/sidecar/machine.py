"""What the supervisor of ``atoll sidecar`` does, as a machine without I/O: facts and time in, actions out.

Rule: the application runs only while a proxy stands before it, and nobody is sent to it who could not be answered. So the
proxy is warm before the application starts, the application answers before its instance is registered, and on the way out
the order is turned round: deregister, let what is under way end, stop the application, stop the proxy last.

    PREPARING -> WARMING -> STARTING -> SERVING -> LEAVING -> DRAINING -> STOPPING -> CLOSING -> DONE

``MOVES`` is the whole table of what a fact does in which phase; a pair that is not in it changes nothing. Facts of the
proxies depend on what the proxy was at that moment (``Standing``) besides, because proxies come and go across the phases:
a crash is answered by a new one after a back-off while the application goes on, an upgrade by a second one that takes the
first one's sockets over (Envoy's *epoch* is one higher) and lets it drain.

The doubt: a proxy that lives and passes nothing on is not found here; the control plane sees it, and so do its peers.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

RESTART_FIRST_S = 0.1  # pause before a crashed proxy is started again; doubles with each failure in a row
RESTART_MAX_S = 10.0
STEADY_S = 30.0  # a proxy that was live for so long has not failed "in a row"
AWAY_S_MAX = 2.0  # the instance stays registered for so long without a live proxy
REPLACED_MARGIN_S = 15.0  # above Envoy's own bound for a proxy that was taken over from
SIGTERM = 15
SIGNALS_ENDING = (2, 15)  # INT and TERM
SIGNAL_UPGRADE = 1  # HUP
EXIT_SIGNAL_OFFSET = 128  # a shell's convention: death by signal n is exit code 128 + n
NEVER = float("inf")


class Phase(enum.Enum):
    PREPARING = "preparing"  # identity, files, capture rules
    WARMING = "warming"  # the first proxy starts
    STARTING = "starting"  # the application runs and does not answer yet
    SERVING = "serving"
    LEAVING = "leaving"  # the instance is being deregistered
    DRAINING = "draining"  # what is under way ends
    STOPPING = "stopping"  # the application was told to end
    CLOSING = "closing"  # the proxy was told to end
    DONE = "done"


class Standing(enum.Enum):
    """What a proxy process is."""

    STARTING = "starting"
    LIVE = "live"
    REPLACED = "replaced"  # a newer epoch has its sockets; it drains


# ------------------------------------------------------------------------------------------------ facts


@dataclass(frozen=True)
class Tick:
    """Time went by."""


@dataclass(frozen=True)
class Prepared:
    pass


@dataclass(frozen=True)
class ProxyReady:
    """Live, with its listeners and clusters as the control plane gave them, all warm. ``run``: of ``StartProxy``."""

    run: int


@dataclass(frozen=True)
class ProxyEnded:
    """``status``: the exit code, or minus the number of the signal that killed it."""

    run: int
    status: int


@dataclass(frozen=True)
class AppAnswers:
    """It accepts connections at each of its ports; at once where it has none."""


@dataclass(frozen=True)
class AppEnded:
    status: int


@dataclass(frozen=True)
class Deregistered:
    """No registry hands the instance out any more, as far as could be done."""


@dataclass(frozen=True)
class Drained:
    """No request is under way from outside."""


@dataclass(frozen=True)
class SignalCame:
    number: int


Fact: TypeAlias = (
    Tick | Prepared | ProxyReady | ProxyEnded | AppAnswers | AppEnded | Deregistered | Drained | SignalCame
)

# ---------------------------------------------------------------------------------------------- actions


@dataclass(frozen=True)
class StartProxy:
    """``run`` counts all that are started. ``epoch`` 0 makes its own sockets, a higher one takes over those of the live
    proxy, whose epoch is one below.
    """

    run: int
    epoch: int


@dataclass(frozen=True)
class SignalProxy:
    run: int
    kill: bool = False  # else: asked to end


@dataclass(frozen=True)
class StartApp:
    """``AppAnswers`` follows when it answers."""


@dataclass(frozen=True)
class SignalApp:
    number: int


@dataclass(frozen=True)
class KillApp:
    pass


@dataclass(frozen=True)
class Register:
    """From now on, until ``Deregister``; tried again for as long as it fails."""


@dataclass(frozen=True)
class Deregister:
    """``Deregistered`` follows if ``told``."""

    told: bool = True


@dataclass(frozen=True)
class Drain:
    """Ask clients to go elsewhere and watch what is under way; ``Drained`` follows."""


@dataclass(frozen=True)
class Exit:
    code: int


Action: TypeAlias = (
    StartProxy | SignalProxy | StartApp | SignalApp | KillApp | Register | Deregister | Drain | Exit
)


@dataclass(frozen=True)
class Rules:
    """``has_app`` False: a gateway. ``serves``: there is an instance to register. The times bound one step each."""

    has_app: bool = True
    serves: bool = True
    deregister_within_s: float = 5.0
    drain_within_s: float = 15.0
    stop_within_s: float = 10.0
    close_within_s: float = 5.0
    upgrade_within_s: float = 60.0  # until a new epoch is ready; then the old one goes on
    replaced_within_s: float = 20.0 + REPLACED_MARGIN_S  # until a proxy that was taken over from is gone


class Machine:
    """``step`` takes one fact at one time (boot-time clock, seconds) and returns what to do, in order."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.phase = Phase.PREPARING
        self.cause = ""
        self.proxies: dict[int, Standing] = {}  # those that are there, by the number of their run
        self.registered = False
        self._since_s: dict[int, float] = {}  # when a proxy came to its standing
        self._runs = 0
        self._epoch = 0  # of the one that is live, or was last
        self._next_epoch = 0  # of the one that starts
        self._app_runs = False
        self._exit_code = 0
        self._deadline_s = NEVER  # of the phase
        self._restart_at_s = NEVER
        self._away_at_s = NEVER  # when the instance is deregistered because no proxy is live
        self._failures = 0
        self._upgrade_wanted = False

    def wake_at_s(self) -> float:
        """When the machine wants a ``Tick`` at the latest."""
        bounds = [self._bound_s(run) for run in self.proxies]
        return min(self._deadline_s, self._restart_at_s, self._away_at_s, *bounds, NEVER)

    def step(self, fact: Fact, now_s: float) -> list[Action]:
        """Time is looked at first: what came after a deadline cannot undo that it passed."""
        return [*self._tick(now_s), *self._take(fact, now_s)]

    @property
    def live(self) -> bool:
        """A proxy stands before the application."""
        return Standing.LIVE in self.proxies.values()

    def _take(self, fact: Fact, now_s: float) -> list[Action]:
        match fact:
            case ProxyReady(run):
                return self._proxy_ready(run, now_s)
            case ProxyEnded(run):
                return self._proxy_ended(run, now_s)
            case AppEnded(status):
                self._app_runs = False
                self._exit_code = status if status >= 0 else EXIT_SIGNAL_OFFSET - status
            case SignalCame(number) if number == SIGNAL_UPGRADE:
                return self._upgrade(now_s)
            case SignalCame(number) if number not in SIGNALS_ENDING:
                return [SignalApp(number)] if self._app_runs else []
        move = MOVES.get((self.phase, type(fact)))
        return move(self, fact, now_s) if move is not None else []

    # ----------------------------------------------------------------------------------------- the way in

    def _prepared(self, fact: Fact, now_s: float) -> list[Action]:
        self._enter(Phase.WARMING, NEVER)
        return self._start_proxy(0, now_s)

    def _answers(self, fact: Fact, now_s: float) -> list[Action]:
        self._enter(Phase.SERVING, NEVER)
        return self._register()

    def _register(self) -> list[Action]:
        ready = self.phase is Phase.SERVING and self.live and self.rules.serves
        if not ready or self.registered:
            return []
        self.registered = True
        return [Register()]

    # ---------------------------------------------------------------------------------------- the way out

    def _told_to_stop(self, fact: Fact, now_s: float) -> list[Action]:
        self.cause = "told to stop"
        if isinstance(fact, SignalCame) and self.rules.has_app:
            self._exit_code = EXIT_SIGNAL_OFFSET + fact.number
        return self._leave(fact, now_s)

    def _app_ended(self, fact: Fact, now_s: float) -> list[Action]:
        self.cause = "the application ended"
        return self._leave(fact, now_s)

    def _leave(self, fact: Fact, now_s: float) -> list[Action]:
        """Out of the registry first. What was never registered has nobody to be hidden from."""
        self._away_at_s = NEVER
        if self.registered:
            self.registered = False
            self._enter(Phase.LEAVING, now_s + self.rules.deregister_within_s)
            return [Deregister()]
        if self.phase is Phase.SERVING:
            return self._drain(fact, now_s)
        return self._stop_app(fact, now_s)

    def _drain(self, fact: Fact, now_s: float) -> list[Action]:
        if not self.live or (self.rules.has_app and not self._app_runs):  # nothing can be under way
            return self._stop_app(fact, now_s)
        self._enter(Phase.DRAINING, now_s + self.rules.drain_within_s)
        return [Drain()]

    def _stop_app(self, fact: Fact, now_s: float) -> list[Action]:
        if not self._app_runs:
            return self._close(fact, now_s)
        self._enter(Phase.STOPPING, now_s + self.rules.stop_within_s)
        return [SignalApp(SIGTERM)]

    def _kill_app(self, fact: Fact, now_s: float) -> list[Action]:
        self._deadline_s = NEVER  # its end follows
        return [KillApp()]

    def _again_to_app(self, fact: Fact, now_s: float) -> list[Action]:
        return [SignalApp(fact.number)] if isinstance(fact, SignalCame) else []

    def _close(self, fact: Fact, now_s: float) -> list[Action]:
        self._restart_at_s = NEVER
        if not self.proxies:
            return self._done()
        self._enter(Phase.CLOSING, now_s + self.rules.close_within_s)
        return [SignalProxy(run) for run in self.proxies]

    def _kill_proxies(self, fact: Fact, now_s: float) -> list[Action]:
        self._deadline_s = NEVER
        return [SignalProxy(run, kill=True) for run in self.proxies]

    def _done(self) -> list[Action]:
        self._enter(Phase.DONE, NEVER)
        return [Exit(self._exit_code)]

    def _enter(self, phase: Phase, deadline_s: float) -> None:
        self.phase = phase
        self._deadline_s = deadline_s

    # ----------------------------------------------------------------------------------------- the proxies

    def _start_proxy(self, epoch: int, now_s: float) -> list[Action]:
        self._restart_at_s = NEVER
        self._next_epoch = epoch
        self._runs += 1
        self._stand(self._runs, Standing.STARTING, now_s)
        return [StartProxy(self._runs, epoch)]

    def _proxy_ready(self, run: int, now_s: float) -> list[Action]:
        if self.proxies.get(run) is not Standing.STARTING:
            return []
        for other, standing in self.proxies.items():
            if standing is Standing.LIVE:
                self._stand(other, Standing.REPLACED, now_s)
        self._stand(run, Standing.LIVE, now_s)
        self._epoch = self._next_epoch
        self._away_at_s = NEVER
        actions = self._start_app(now_s) if self.phase is Phase.WARMING else self._register()
        return [*actions, *(self._upgrade(now_s) if self._upgrade_wanted else [])]

    def _start_app(self, now_s: float) -> list[Action]:
        if not self.rules.has_app:
            return self._answers(ProxyReady(self._runs), now_s)
        self._app_runs = True
        self._enter(Phase.STARTING, NEVER)
        return [StartApp()]

    def _upgrade(self, now_s: float) -> list[Action]:
        """One at a time; what is asked for meanwhile is done afterwards, once."""
        if self.phase in (Phase.PREPARING, Phase.CLOSING, Phase.DONE):
            return []
        self._upgrade_wanted = len(self.proxies) > 1 or not self.live
        return [] if self._upgrade_wanted else self._start_proxy(self._epoch + 1, now_s)

    def _proxy_ended(self, run: int, now_s: float) -> list[Action]:
        standing = self.proxies.pop(run, None)
        if standing is None:
            return []
        lived_s = now_s - self._since_s.pop(run)
        if self.phase is Phase.CLOSING:
            return [] if self.proxies else self._done()
        if self.live:  # it was one that had been replaced, or one that failed to replace
            return self._upgrade(now_s) if self._upgrade_wanted else []
        if self.registered and self._away_at_s == NEVER:
            self._away_at_s = now_s + AWAY_S_MAX
        if standing is Standing.REPLACED or Standing.STARTING in self.proxies.values():
            return []
        if standing is Standing.LIVE and lived_s >= STEADY_S:
            self._failures = 0
        self._restart_at_s = now_s + min(RESTART_MAX_S, RESTART_FIRST_S * 2 ** min(self._failures, 16))
        self._failures += 1
        return self._stop_app(Tick(), now_s) if self.phase is Phase.DRAINING else []

    def _stand(self, run: int, standing: Standing, now_s: float) -> None:
        self.proxies[run] = standing
        self._since_s[run] = now_s

    def _bound_s(self, run: int) -> float:
        """When a proxy that takes too long is killed."""
        standing = self.proxies[run]
        if standing is Standing.REPLACED:
            return self._since_s[run] + self.rules.replaced_within_s
        if standing is Standing.STARTING and self.live:
            return self._since_s[run] + self.rules.upgrade_within_s
        return NEVER

    # ------------------------------------------------------------------------------------------------ time

    def _tick(self, now_s: float) -> list[Action]:
        actions: list[Action] = []
        if now_s >= self._deadline_s:
            actions += LATE[self.phase](self, Tick(), now_s)
        if now_s >= self._restart_at_s:
            actions += self._start_proxy(0, now_s)
        if now_s >= self._away_at_s:
            self._away_at_s = NEVER
            self.registered = False
            actions.append(Deregister(told=False))
        for run in list(self.proxies):
            if now_s >= self._bound_s(run):
                self._since_s[run] = NEVER  # killed once
                actions.append(SignalProxy(run, kill=True))
        return actions


Move: TypeAlias = Callable[[Machine, Fact, float], list[Action]]

MOVES: Mapping[tuple[Phase, type[Fact]], Move] = {
    (Phase.PREPARING, Prepared): Machine._prepared,
    (Phase.PREPARING, SignalCame): Machine._told_to_stop,
    (Phase.WARMING, SignalCame): Machine._told_to_stop,
    (Phase.STARTING, AppAnswers): Machine._answers,
    (Phase.STARTING, AppEnded): Machine._app_ended,
    (Phase.STARTING, SignalCame): Machine._told_to_stop,
    (Phase.SERVING, AppEnded): Machine._app_ended,
    (Phase.SERVING, SignalCame): Machine._told_to_stop,
    (Phase.LEAVING, Deregistered): Machine._drain,
    (Phase.LEAVING, SignalCame): Machine._stop_app,  # told twice: in a hurry
    (Phase.DRAINING, Drained): Machine._stop_app,
    (Phase.DRAINING, AppEnded): Machine._close,
    (Phase.DRAINING, SignalCame): Machine._stop_app,
    (Phase.STOPPING, SignalCame): Machine._again_to_app,
    (Phase.STOPPING, AppEnded): Machine._close,
}

LATE: Mapping[Phase, Move] = {  # what happens at the end of a phase that is bounded
    Phase.LEAVING: Machine._drain,
    Phase.DRAINING: Machine._stop_app,
    Phase.STOPPING: Machine._kill_app,
    Phase.CLOSING: Machine._kill_proxies,
}
