"""Which member of the cluster to ask: a machine that hears of answers and silences and names the next probe.

One rule: a request goes only to a member that has answered lately and knows a leader. Everything else waits here,
certainly unsent, so that a failed request is UNAVAILABLE (never left) and not UNKNOWN wherever that is true.

The theory: a probe is etcd's Maintenance.Status, answered by a member from its own memory even when the cluster
has no leader. So there are three different findings: it answers and knows a leader (GOOD), it answers and knows
none (LEADERLESS), it does not answer (SILENT). A hung process or a black hole looks alive to TCP; what gives it
away is a request without an answer for ``patience_s``, which brings a probe forward. The member in use is also
probed while streams are open and nothing else is said, since a quiet watch proves nothing.

Each driver takes the first member that answers and stays with it until it fails: what it is told then comes from
one member's history, and one failing member hurts only its own clients. Members that answer alike are taken at
random, which spreads clients over them.

The doubts: after a rolling restart the member that was restarted last has no clients until others fail. And a
probe's answer is a member's belief. A leader that was just cut off believes in itself for up to an
election timeout; requests to it end in a time-out, which is UNKNOWN for writes. Nothing short of a quorum helps.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence

import msgspec

from atoll.runtime.rng import Rng


class Limits(msgspec.Struct, frozen=True):
    """All in seconds."""

    patience_s: float = 0.5  # a request without answer for so long brings a probe
    probe_timeout_s: float = 1.0  # a probe without answer for so long means SILENT
    probe_every_s: float = 2.0  # the member in use, while something is under way and it says nothing
    fresh_s: float = 5.0  # a member that said nothing for so long is probed before it is used again
    backoff_s_min: float = 0.1  # between probes of a member that is not GOOD
    backoff_s_max: float = 1.0
    leaderless_s_max: float = 0.2  # the same, of one that answers: an election in etcd is soon over


class Health(enum.Enum):
    UNTRIED = "untried"
    GOOD = "good"
    LEADERLESS = "leaderless"
    SILENT = "silent"
    FOREIGN = "foreign"  # answers, as a member of another cluster


class Situation(enum.Enum):
    """The finding over all members, for people and for whoever must decide whether anybody can lead."""

    CONNECTED = "connected"
    NO_LEADER = "no_leader"  # the cluster answers, and nobody in it can decide
    CUT_OFF = "cut_off"  # nobody answers
    UNTRIED = "untried"


class _Member:
    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.health = Health.UNTRIED
        self.why = ""
        self.heard_s = float("-inf")  # of the newest answer
        self.waiting_since_s: float | None = None  # of the oldest request sent after that answer
        self.probing = False
        self.probe_at_s = float("-inf")  # not before
        self.failures = 0


class Failover:
    """Names endpoints; all times are boot-time seconds, given by the caller."""

    def __init__(self, endpoints: Sequence[str], rng: Rng, limits: Limits | None = None) -> None:
        order = list(endpoints)
        rng.shuffle(order)
        self._members = {endpoint: _Member(endpoint) for endpoint in order}
        self._current = self._members[order[0]]
        self._rng = rng
        self._limits = limits or Limits()
        self._cluster_id = 0

    # ---------------------------------------------------------------------------------------- facts

    def sent(self, endpoint: str, now_s: float) -> None:
        """A request that will be answered has gone to ``endpoint``."""
        member = self._members[endpoint]
        if member.waiting_since_s is None:
            member.waiting_since_s = now_s

    def heard(self, endpoint: str, now_s: float) -> None:
        """Any answer of its own, an error included; not a failure of the connection."""
        member = self._members[endpoint]
        member.heard_s = now_s
        member.waiting_since_s = None

    def probed(self, endpoint: str, now_s: float, *, leader: int, cluster_id: int) -> None:
        """A probe's answer. The first cluster that answers is the one that is followed."""
        self.heard(endpoint, now_s)
        member = self._members[endpoint]
        member.probing = False
        self._cluster_id = self._cluster_id or cluster_id
        if cluster_id != self._cluster_id:
            self._turn(
                member, Health.FOREIGN, now_s, f"is in cluster {cluster_id:x}, not {self._cluster_id:x}"
            )
        elif leader == 0:
            self._turn(member, Health.LEADERLESS, now_s, "knows no leader")
        else:
            self._turn(member, Health.GOOD, now_s, "")

    def leaderless(self, endpoint: str, now_s: float) -> None:
        """It answered a request by "no leader"."""
        self.heard(endpoint, now_s)
        self._turn(self._members[endpoint], Health.LEADERLESS, now_s, "knows no leader")

    def silent(self, endpoint: str, now_s: float, why: str) -> None:
        """No connection, a broken one, or a probe without an answer in time."""
        member = self._members[endpoint]
        member.probing = False
        member.waiting_since_s = None
        self._turn(member, Health.SILENT, now_s, why)

    def _turn(self, member: _Member, health: Health, now_s: float, why: str) -> None:
        member.health = health
        member.why = why
        if health is Health.GOOD:
            member.failures = 0
            member.probe_at_s = now_s + self._limits.probe_every_s
            return
        longest_s = (
            self._limits.leaderless_s_max if health is Health.LEADERLESS else self._limits.backoff_s_max
        )
        ceiling = min(longest_s, self._limits.backoff_s_min * 2**member.failures)
        member.failures = min(member.failures + 1, 16)
        member.probe_at_s = now_s + ceiling * (0.5 + 0.5 * self._rng.random())

    # ---------------------------------------------------------------------------------------- probes

    def probes(self, now_s: float, *, busy: bool) -> list[str]:
        """Endpoints to probe now; each stays under probe until ``probed`` or ``silent``. ``busy``: a request or
        a stream is under way or waiting; without one nothing is probed.
        """
        due = [member for member in self._members.values() if self._due_s(member, busy) <= now_s]
        for member in due:
            member.probing = True
        return [member.endpoint for member in due]

    def next_probe_s(self, *, busy: bool) -> float | None:
        """When ``probes`` will next have something to say."""
        at_s = min(self._due_s(member, busy) for member in self._members.values())
        return None if at_s == float("inf") else at_s

    def _due_s(self, member: _Member, busy: bool) -> float:
        if member.probing or not busy:
            return float("inf")
        if member.health is not Health.GOOD:
            return member.probe_at_s
        doubt_s = float("inf")
        if member.waiting_since_s is not None:
            doubt_s = member.waiting_since_s + self._limits.patience_s
        quiet_s = float("inf")
        if member is self._current:
            quiet_s = max(member.probe_at_s, member.heard_s + self._limits.probe_every_s)
        return min(doubt_s, quiet_s)

    # ---------------------------------------------------------------------------------------- the choice

    def choose(self, now_s: float) -> str | None:
        """The endpoint for a new request, or None: wait for a probe's answer."""
        for member in self._members.values():
            stale = now_s - member.heard_s > self._limits.fresh_s
            if member.health is Health.GOOD and stale and not member.probing:
                member.health = Health.UNTRIED
                member.probe_at_s = now_s
        if self._current.health is not Health.GOOD:
            good = [member for member in self._members.values() if member.health is Health.GOOD]
            if not good:
                return None
            self._current = good[0]
        return self._current.endpoint

    def any_alive(self) -> str | None:
        """A member that answers, with a leader or without: for reads that accept a stale answer."""
        alive = (Health.GOOD, Health.LEADERLESS)
        return next((m.endpoint for m in self._members.values() if m.health in alive), None)

    def is_good(self, endpoint: str) -> bool:
        return self._members[endpoint].health is Health.GOOD

    def situation(self) -> Situation:
        healths = {member.health for member in self._members.values()}
        if Health.GOOD in healths:
            return Situation.CONNECTED
        if Health.LEADERLESS in healths:
            return Situation.NO_LEADER
        return Situation.UNTRIED if Health.UNTRIED in healths else Situation.CUT_OFF

    def describe(self) -> str:
        """What is known of each member, for an error's message."""
        return "; ".join(
            f"{member.endpoint} {member.why or member.health.value}" for member in self._members.values()
        )
