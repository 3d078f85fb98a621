"""What the supervisor of ``atoll lead`` does, as a machine without I/O: facts and time in, actions out.

Rule: the program runs only below a deadline that the watchdog has confirmed. A deadline that was won from the store
but not confirmed does not count, so that a stopped or dead watchdog shortens a term and never lengthens it.

Theory: the program is quiesced before the leadership is given up (resign after its end), and killed at the confirmed
deadline whatever happened; the next leader waits longer than that (docs/explanation/lead.md). The phases:

    IDLE -> CAMPAIGNING -> ARMING -> SERVING -> STOPPING -> KILLED -> RESIGNING -> IDLE or DONE

(any of the middle ones may be left early; RESIGNING is entered only when the program, or its launcher, has ended)

The doubt: a program that stopped its own work but lives (hung, SIGSTOP) keeps the leadership; only its death counts.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TypeAlias

RETRY_FIRST_S = 1.0  # pause before leading again after the program failed; doubles with each failure in a row
RETRY_MAX_S = 30.0
STEADY_S = 60.0  # a program that ran so long has not failed "in a row"
SIGTERM = 15
HANDED_OVER = "handed over"
SIGNALS_ENDING = (2, 15)  # INT and TERM end atoll lead itself
EXIT_SIGNAL_OFFSET = 128  # a shell's convention: death by signal n is exit code 128 + n


class Again(enum.Enum):
    """When ``atoll lead`` campaigns again after its program ended by itself."""

    FAILURE = "failure"  # after a death by signal or an exit code other than 0; exit 0 ends atoll lead with 0
    ALWAYS = "always"
    NEVER = "never"


class Phase(enum.Enum):
    IDLE = "idle"
    CAMPAIGNING = "campaigning"
    ARMING = "arming"
    SERVING = "serving"
    STOPPING = "stopping"
    KILLED = "killed"
    RESIGNING = "resigning"
    DONE = "done"


# ------------------------------------------------------------------------------------------------ facts


@dataclass(frozen=True)
class Tick:
    """Time went by."""


@dataclass(frozen=True)
class Won:
    deadline_s: float


@dataclass(frozen=True)
class Extended:
    deadline_s: float


@dataclass(frozen=True)
class Asked:
    """Somebody asks for the leadership (hand-over): stop the program in good order, then resign."""


@dataclass(frozen=True)
class Lost:
    """The term is over, or no longer certain; the program may run on until the confirmed deadline at most."""

    cause: str


@dataclass(frozen=True)
class Resigned:
    pass


@dataclass(frozen=True)
class GuardConfirmed:
    """The watchdog has taken in this deadline."""

    deadline_s: float


@dataclass(frozen=True)
class GuardGone:
    """The watchdog ended without being told to."""


@dataclass(frozen=True)
class ProgramEnded:
    """The program, or the launcher that waits to become it, ended.

    ``status``: the exit code, or minus the number of the signal that killed it.
    """

    status: int


@dataclass(frozen=True)
class SignalCame:
    number: int


Fact: TypeAlias = (
    Tick | Won | Extended | Asked | Lost | Resigned | GuardConfirmed | GuardGone | ProgramEnded | SignalCame
)

# ---------------------------------------------------------------------------------------------- actions


@dataclass(frozen=True)
class Campaign:
    """Start watchdog and launcher, and stand for election."""


@dataclass(frozen=True)
class Arm:
    """Tell the watchdog: this is the deadline."""

    deadline_s: float


@dataclass(frozen=True)
class Release:
    """Let the launcher become the program."""

    deadline_s: float


@dataclass(frozen=True)
class SendSignal:
    """To every process of the program's group."""

    number: int


@dataclass(frozen=True)
class Kill:
    """Kill whatever is left of program or launcher, then the watchdog, which has nothing left to guard."""


@dataclass(frozen=True)
class Resign:
    """Give up leadership or candidacy; ``Resigned`` follows."""

    cause: str


@dataclass(frozen=True)
class Exit:
    code: int


Action: TypeAlias = Campaign | Arm | Release | SendSignal | Kill | Resign | Exit


@dataclass(frozen=True)
class Rules:
    """``grace_s``: TERM comes so long before the deadline. ``stop_within_s``: time for an orderly stop."""

    ttl_s: float
    grace_s: float
    stop_within_s: float
    again: Again = Again.FAILURE


class Machine:
    """``step`` takes one fact at one time (boot-time clock, seconds) and returns what to do, in order.

    Every ``Campaign`` is answered by exactly one ``ProgramEnded``, of the launcher or of the program it became.
    """

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.phase = Phase.IDLE
        self.cause = ""
        self.confirmed_s = float("-inf")  # the deadline under which the program may run
        self._told_s = float("-inf")
        self._released = False
        self._stopping_since_s = 0.0
        self._serving_since_s = 0.0
        self._resign_until_s = 0.0
        self._campaign_at_s = float("-inf")
        self._failures = 0
        self._exit_code: int | None = None

    def wake_at_s(self) -> float:
        """When the machine wants a ``Tick`` at the latest."""
        match self.phase:
            case Phase.IDLE:
                return self._campaign_at_s
            case Phase.ARMING:
                return self._told_s - self.rules.grace_s
            case Phase.SERVING:
                return self.confirmed_s - self.rules.grace_s
            case Phase.STOPPING:
                return self._kill_at_s()
            case Phase.RESIGNING:
                return self._resign_until_s
        return float("inf")

    def step(self, fact: Fact, now_s: float) -> list[Action]:
        """Time is looked at first: what came after a deadline cannot undo that it passed."""
        return [*self._tick(now_s), *self._take(fact, now_s)]

    def _take(self, fact: Fact, now_s: float) -> list[Action]:
        match fact:
            case Won(deadline_s) if self.phase is Phase.CAMPAIGNING:
                return self._won(deadline_s)
            case Extended(deadline_s) if self.phase in (Phase.ARMING, Phase.SERVING, Phase.STOPPING):
                self._told_s = max(self._told_s, deadline_s)
                return [Arm(self._told_s)]
            case GuardConfirmed(deadline_s):
                return self._guard_confirmed(deadline_s, now_s)
            case GuardGone():
                return self._guard_gone(now_s)
            case Asked() | Lost():
                return self._leave(HANDED_OVER if isinstance(fact, Asked) else fact.cause, SIGTERM, now_s)
            case ProgramEnded(status):
                return self._program_ended(status, now_s)
            case SignalCame(number):
                return self._signal(number, now_s)
            case Resigned() if self.phase is Phase.RESIGNING:
                return self._after_term(now_s)
        return []

    def _tick(self, now_s: float) -> list[Action]:
        match self.phase:
            case Phase.IDLE if now_s >= self._campaign_at_s:
                self.phase = Phase.CAMPAIGNING
                self.cause = ""
                self._released = False
                return [Campaign()]
            case Phase.ARMING if now_s >= self._told_s - self.rules.grace_s:
                return self._kill("the watchdog did not answer")
            case Phase.SERVING if now_s >= self.confirmed_s:
                return self._kill("the deadline passed")
            case Phase.SERVING if now_s >= self.confirmed_s - self.rules.grace_s:
                return self._leave("the deadline came near", SIGTERM, now_s)
            case Phase.STOPPING if now_s >= self._kill_at_s():
                return self._kill(self.cause)
            case Phase.RESIGNING if now_s >= self._resign_until_s:
                return self._after_term(now_s)
        return []

    # ------------------------------------------------------------------------------------ into a term

    def _won(self, deadline_s: float) -> list[Action]:
        self.phase = Phase.ARMING
        self.confirmed_s = float("-inf")
        self._told_s = deadline_s
        return [Arm(deadline_s)]

    def _guard_confirmed(self, deadline_s: float, now_s: float) -> list[Action]:
        if self.phase is Phase.ARMING and now_s < deadline_s - self.rules.grace_s:
            self.phase = Phase.SERVING
            self.confirmed_s = deadline_s
            self._serving_since_s = now_s
            self._released = True
            return [Release(deadline_s)]
        if self.phase in (Phase.SERVING, Phase.STOPPING):
            self.confirmed_s = max(self.confirmed_s, deadline_s)
        return []

    # ----------------------------------------------------------------------------------- out of a term

    def _leave(self, cause: str, number: int, now_s: float) -> list[Action]:
        """End the term in good order: signal a program that serves, kill a launcher that waits."""
        if self.phase in (Phase.CAMPAIGNING, Phase.ARMING):
            return self._kill(cause)
        if self.phase is not Phase.SERVING:
            return []
        self.phase = Phase.STOPPING
        self.cause = cause
        self._stopping_since_s = now_s
        return [SendSignal(number)]

    def _kill(self, cause: str) -> list[Action]:
        self.phase = Phase.KILLED
        self.cause = cause
        return [Kill()]

    def _kill_at_s(self) -> float:
        return min(self.confirmed_s, self._stopping_since_s + self.rules.stop_within_s)

    def _guard_gone(self, now_s: float) -> list[Action]:
        """Nothing may run unguarded, not even for the time that a new watchdog needs to start."""
        if self.phase not in (Phase.CAMPAIGNING, Phase.ARMING, Phase.SERVING, Phase.STOPPING):
            return []
        self._pause(now_s)
        return self._kill("the watchdog ended")

    def _signal(self, number: int, now_s: float) -> list[Action]:
        if number not in SIGNALS_ENDING:
            return [SendSignal(number)] if self.phase in (Phase.SERVING, Phase.STOPPING) else []
        if self._exit_code is None:
            self._exit_code = EXIT_SIGNAL_OFFSET + number
        if self.phase is Phase.IDLE:
            return self._after_term(now_s)
        if self.phase is Phase.STOPPING:
            return [SendSignal(number)]
        return self._leave("told to stop", number, now_s)

    def _program_ended(self, status: int, now_s: float) -> list[Action]:
        """Its end gives the leadership up at once, so that a standby takes over in the time of a resign."""
        if self.phase in (Phase.IDLE, Phase.RESIGNING, Phase.DONE):
            return []
        code = status if status >= 0 else EXIT_SIGNAL_OFFSET - status
        if self.phase is Phase.SERVING:
            self.cause = f"the program ended with {code}"
            self._decide_again(code, now_s)
        elif self.phase in (Phase.CAMPAIGNING, Phase.ARMING):
            self.cause = "the launcher ended"
            self._pause(now_s)
        elif self._released and self._exit_code is not None:
            self._exit_code = code
        self.phase = Phase.RESIGNING
        self._resign_until_s = (
            now_s + self.rules.ttl_s
        )  # later the lease has expired, and nothing is left to resign
        return [Kill(), Resign(self.cause)]

    def _decide_again(self, code: int, now_s: float) -> None:
        again = self.rules.again
        if again is Again.NEVER or (again is Again.FAILURE and code == 0):
            self._exit_code = code
            return
        if now_s - self._serving_since_s >= STEADY_S:
            self._failures = 0
        self._pause(now_s)

    def _pause(self, now_s: float) -> None:
        self._campaign_at_s = now_s + min(RETRY_MAX_S, RETRY_FIRST_S * 2 ** min(self._failures, 16))
        self._failures += 1

    def _after_term(self, now_s: float) -> list[Action]:
        if self._exit_code is not None:
            self.phase = Phase.DONE
            return [Exit(self._exit_code)]
        self.phase = Phase.IDLE
        return self._tick(now_s)
