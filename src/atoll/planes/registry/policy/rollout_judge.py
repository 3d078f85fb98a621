"""How a staged release goes on: what its gates said, and what follows from that.

Rule: it goes on only over data. A step is done when every gate passed at every look for the step's whole interval; a
look without data from any gate starts that interval again; a gate that fails oftener in a row than was borne rolls
everything back, whatever the others say. A plan without gates has no data, so it waits for an operator.

How long gates have passed is counted on the boot-time clock of the node that leads and is not stored: a clock that
jumps cannot make a step look old, and a new leader counts anew.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from atoll.resources.rollout import HealthyGate, HttpGate, Observation, PrometheusGate, Rollout

PASS, FAIL, NO_DATA = "pass", "fail", "no_data"
HOLD, ADVANCE, PROMOTE, ROLL_BACK = "hold", "advance", "promote", "roll_back"

SAMPLES_MAX = 10_000


class Share(msgspec.Struct, frozen=True):
    """Instances of a service that are healthy and enabled, of all that are enabled."""

    healthy: int
    total: int


class Progress(msgspec.Struct, frozen=True):
    """What the leader remembers of a step. ``good_since_s`` None: the last look was not good. Boot clock."""

    step: int
    good_since_s: float | None = None
    failures: int = 0


class Verdict(msgspec.Struct, frozen=True):
    action: str
    why: str


def judge(
    rollout: Rollout, seen: Sequence[Observation], before: Progress | None, now_s: float
) -> tuple[Verdict, Progress]:
    """What follows from one look, and what to remember for the next."""
    known = before if before is not None and before.step == rollout.step else Progress(rollout.step)
    failed = [each for each in seen if each.verdict == FAIL]
    if failed:
        return _failed(rollout, failed, known)
    blind = [each for each in seen if each.verdict != PASS]
    if blind or not seen:
        why = (
            f"no data: {blind[0].gate}: {blind[0].detail}"
            if blind
            else "it has no gates: an operator advances it"
        )
        return Verdict(HOLD, why), msgspec.structs.replace(known, good_since_s=None)
    since_s = now_s if known.good_since_s is None else known.good_since_s
    after = Progress(rollout.step, since_s, 0)
    good_s = now_s - since_s
    if good_s < rollout.plan.interval_s:
        return Verdict(HOLD, "all gates pass; the step is not over"), after
    why = f"all gates passed for {rollout.plan.interval_s:g} s"
    return Verdict(PROMOTE if rollout.step + 1 == len(rollout.plan.steps) else ADVANCE, why), after


def _failed(rollout: Rollout, failed: Sequence[Observation], known: Progress) -> tuple[Verdict, Progress]:
    failures = known.failures + 1
    after = Progress(rollout.step, None, failures)
    what = "; ".join(f"{each.gate}: {each.detail}" for each in failed)
    if failures > rollout.plan.failures_max:
        return Verdict(ROLL_BACK, f"a gate failed: {what}"), after
    return Verdict(HOLD, f"a gate failed, {failures} of {rollout.plan.failures_max} borne: {what}"), after


# ----------------------------------------------------------------------------------------------------- gates


def healthy(gate: HealthyGate, shares: Mapping[str, Share | None]) -> Observation:
    """``shares`` by the gate's services; None: what is known of it cannot be relied on."""
    parts, verdict = [], PASS
    for name in gate.services:
        share = shares.get(name)
        if share is None or share.total < gate.instances_min:
            total = "unknown" if share is None else str(share.total)
            return Observation(
                "healthy", NO_DATA, f"{name}: {total} instances, at least {gate.instances_min} needed"
            )
        found = share.healthy / share.total
        parts.append(f"{name}: {share.healthy} of {share.total} healthy")
        if found < gate.share_min:
            verdict = FAIL
    return Observation("healthy", verdict, f"{', '.join(parts)}; at least {gate.share_min:.0%} wanted")


def http(gate: HttpGate, status: int | None, problem: str = "") -> Observation:
    """``status`` None: there was no answer, because of ``problem``."""
    if status is None:
        return Observation("http", NO_DATA, f"{gate.url}: {problem}")
    verdict = PASS if status == gate.status else FAIL
    return Observation("http", verdict, f"{gate.url}: answered {status}, wanted {gate.status}")


def prometheus(gate: PrometheusGate, body: bytes | None, problem: str = "") -> Observation:
    """``body``: of the answer to ``/api/v1/query``; None: there was none, because of ``problem``."""
    if body is None:
        return Observation("prometheus", NO_DATA, f"{gate.query}: {problem}")
    values = _samples(body)
    if not values or any(math.isnan(each) for each in values):
        return Observation("prometheus", NO_DATA, f"{gate.query}: the answer has no number in it")
    compare = _RELATIONS[gate.relation]
    worst = next((each for each in values if not compare(each, gate.limit)), None)
    shown = values[0] if worst is None else worst
    verdict = PASS if worst is None else FAIL
    return Observation(
        "prometheus", verdict, f"{gate.query}: {shown:g}, wanted {gate.relation} {gate.limit:g}"
    )


def _samples(body: bytes) -> list[float]:
    """The numbers of a vector or a scalar; none where the answer is anything else."""
    try:
        answer = msgspec.json.decode(body, type=dict[str, Any])
        data = answer["data"] if answer.get("status") == "success" else {}
        result = data.get("result", [])
        pairs = [result] if data.get("resultType") == "scalar" else [each["value"] for each in result]
        return [float(pair[1]) for pair in pairs[:SAMPLES_MAX]]
    except (msgspec.MsgspecError, KeyError, TypeError, ValueError, IndexError, AttributeError):
        return []


_RELATIONS: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
}
