"""A staged release: a new version of a configuration that reaches a growing share of its clients while gates hold.

Rule: written by the registry plane alone. The new content itself is the item's gray release ``staged``; this record
says how far it has come, under which conditions it goes on, and why each step was taken or not. Unix time throughout.
"""

from __future__ import annotations

import msgspec

from atoll.errors import AtollError, Code, Reason
from atoll.resources.config_item import ConfigKey
from atoll.resources.records import Record

STAGED = "staged"
"""The name of the gray release that a staged release stands on."""

STEPS_MAX = 20
GATES_MAX = 10
INTERVAL_S_MIN = 1.0
DECISIONS_MAX = 200

RUNNING = "running"
PAUSED = "paused"
PROMOTED = "promoted"
ROLLED_BACK = "rolled_back"
CANCELLED = "cancelled"
OPEN_STATES = (RUNNING, PAUSED)


class HealthyGate(msgspec.Struct, frozen=True, tag="healthy", tag_field="kind"):
    """At least ``share_min`` of the instances of each named service (``group@@name`` or ``name``) are healthy."""

    services: tuple[str, ...]
    namespace: str = ""  # empty: the item's own
    share_min: float = 0.9
    instances_min: int = 1  # fewer are no data


class HttpGate(msgspec.Struct, frozen=True, tag="http", tag_field="kind"):
    """``GET url`` answers with ``status`` within ``within_s``. Any other status fails; no answer is no data."""

    url: str
    status: int = 200
    within_s: float = 5.0


class PrometheusGate(msgspec.Struct, frozen=True, tag="prometheus", tag_field="kind"):
    """``query`` at the Prometheus at ``url``: every sample of the answer compares with ``limit`` as ``relation`` says.

    An empty answer, NaN and an error are no data.
    """

    url: str
    query: str
    relation: str = "<="
    limit: float = 0.0
    within_s: float = 5.0


Gate = HealthyGate | HttpGate | PrometheusGate

RELATIONS = ("<", "<=", ">", ">=", "==")


class Plan(msgspec.Struct, frozen=True):
    """``steps`` are percentages, the last of them 100; each lasts ``interval_s`` of gates that hold without a break.

    Without gates nothing tells that a step is good: it waits for an operator's ``advance``.
    ``failures_max``: so many failed looks in a row, ``check_every_s`` apart, are borne before it rolls back.
    """

    steps: tuple[float, ...] = (10.0, 50.0, 100.0)
    interval_s: float = 300.0
    check_every_s: float = 10.0
    gates: tuple[Gate, ...] = ()
    failures_max: int = 0


class Observation(msgspec.Struct, frozen=True):
    """What one gate said at one look. ``verdict``: ``pass``, ``fail`` or ``no_data``."""

    gate: str
    verdict: str
    detail: str = ""


class Decision(msgspec.Struct, frozen=True):
    """One look at a staged release: what was seen, what was done and why. ``times``: equal ones in a row are one."""

    at_s: float
    action: str  # start, hold, advance, promote, roll_back, pause, resume, cancel
    why: str
    percent: float = 0.0
    observations: tuple[Observation, ...] = ()
    by: str = ""  # a user, or empty: by itself
    times: int = 1
    last_s: float = 0.0


class Rollout(Record, frozen=True, kw_only=True):
    """``md5_base``: the formal version that it started from (empty: there was none); whoever publishes another one
    meanwhile ends it, because promoting would undo what they published.
    """

    key: ConfigKey
    id: int
    plan: Plan
    md5: str
    md5_base: str = ""
    state: str = RUNNING
    step: int = 0
    started_s: float = 0.0
    step_since_s: float = 0.0
    ended_s: float = 0.0
    user: str = ""
    decisions: tuple[Decision, ...] = ()

    @property
    def percent(self) -> float:
        return self.plan.steps[self.step]

    @property
    def open(self) -> bool:
        return self.state in OPEN_STATES


def require_plan(plan: Plan) -> Plan:
    """``plan`` if it can be followed. Raises INVALID / PARAMETER_INVALID that names what is wrong."""
    steps = plan.steps
    rising = all(earlier < later for earlier, later in zip(steps, steps[1:], strict=False))
    if not 1 <= len(steps) <= STEPS_MAX or not rising or steps[0] <= 0 or steps[-1] != 100:
        raise _wrong("steps", f"{list(steps)}: 1 to {STEPS_MAX} rising percentages, the last of them 100")
    if plan.interval_s < INTERVAL_S_MIN or plan.check_every_s < INTERVAL_S_MIN:
        raise _wrong("interval_s", f"and check_every_s must be at least {INTERVAL_S_MIN:g} s")
    if plan.failures_max < 0:
        raise _wrong("failures_max", f"{plan.failures_max}: must not be negative")
    if len(plan.gates) > GATES_MAX:
        raise _wrong("gates", f"{len(plan.gates)} of them; at most {GATES_MAX}")
    for gate in plan.gates:
        _require_gate(gate)
    return plan


def _require_gate(gate: Gate) -> None:
    if isinstance(gate, HealthyGate):
        if not gate.services or not 0 < gate.share_min <= 1 or gate.instances_min < 1:
            raise _wrong("gate", "'healthy' names services, 0 < share_min <= 1 and instances_min >= 1")
        return
    if not gate.url.startswith(("http://", "https://")):
        raise _wrong("gate", f"url {gate.url!r} must begin with http:// or https://")
    if not 0 < gate.within_s <= 60:
        raise _wrong("gate", f"within_s {gate.within_s:g} must be above 0 and at most 60")
    if isinstance(gate, PrometheusGate) and (not gate.query or gate.relation not in RELATIONS):
        raise _wrong("gate", f"'prometheus' has a query and a relation of {', '.join(RELATIONS)}")


def _wrong(parameter: str, problem: str) -> AtollError:
    return AtollError(
        Code.INVALID,
        f"staged release: {parameter} {problem}",
        reason=Reason.PARAMETER_INVALID,
        facts={"parameter": parameter},
    )
