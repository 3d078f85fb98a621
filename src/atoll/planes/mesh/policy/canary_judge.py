"""Whether a canary goes on: what its share of the clients served, beside what the others served.

Rule: it goes on only over data, and it is rolled back as soon as harm is *certain*: the lower end of the interval in which
the true share of errors lies (Wilson, 1927; 99 %) is above what is allowed. So a handful of bad requests does not end a
change, a change that breaks everything is ended after ``ROLL_BACK_REQUESTS_MIN`` of them, and what is neither certainly good
nor certainly bad waits. 4xx count as errors because a broken route or a wrong authorisation answers with them; what callers
do wrong anyway is in the reference as well, and cancels out.

The doubt: where neither the other clients nor the time before give a reference, none is expected to fail.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Iterable
from typing import Final

import msgspec

from atoll.resources.mesh.canary import CanaryPlan
from atoll.resources.mesh.traffic import LATENCY_BOUNDS_MS, Tally

HOLD, PROMOTE, ROLL_BACK = "hold", "promote", "roll_back"
ROLL_BACK_REQUESTS_MIN: Final = 20
LATENCY_SHARE: Final = 0.9
_Z: Final = 2.576  # 99 %, both sides


class Evidence(msgspec.Struct, frozen=True):
    """``canary``: what the share served since the change reached it; ``others``: what the rest served since then; ``before``:
    what the share served for a while before. ``took_effect``: requests that went by what was changed; None: the change
    makes no routes, so that nothing can be counted by it. ``running_s``: since the change reached the first client. ``refused``: a client of the
    share did not take it.
    """

    canary: Tally
    others: Tally = Tally()
    before: Tally = Tally()
    took_effect: int | None = None
    running_s: float = 0.0
    refused: str = ""


class Verdict(msgspec.Struct, frozen=True):
    action: str
    why: str


def judge(plan: CanaryPlan, seen: Evidence) -> Verdict:
    if seen.refused:
        return Verdict(ROLL_BACK, seen.refused)
    served = seen.canary
    if not served.requests:
        return Verdict(HOLD, "no data: no client of the share served a request yet")
    reference, whose = _reference(plan, seen)
    harm = _errors(plan, served, reference, whose) or _latency(plan, served, reference, whose)
    if harm:
        return Verdict(ROLL_BACK, harm)
    if seen.took_effect == 0:
        return Verdict(HOLD, "no data: no request went by what was changed yet")
    if served.requests < plan.requests_min:
        return Verdict(HOLD, f"{served.requests} of {plan.requests_min} requests")
    if served.error_rate * 100 > _allowed(plan, reference):
        return Verdict(HOLD, f"{_errors_told(served)}, more than {whose}, but not certainly so")
    if seen.running_s < plan.hold_s:
        return Verdict(
            HOLD, f"good so far: {_errors_told(served)}; {seen.running_s:.0f} of {plan.hold_s:g} s"
        )
    return Verdict(PROMOTE, f"{_errors_told(served)}; {whose}: {_errors_told(reference)}")


def share_of(
    name: str, nodes: Iterable[str], share_percent: float, busy: Collection[str] = ()
) -> tuple[str, ...]:
    """Which of ``nodes`` (ids of clients that the change concerns) get it first: the same ones whenever the same are asked
    about, mostly the same when some come or go; at least one. ``busy``: those from which there will be data go before others.
    """

    def rank(node: str) -> tuple[bool, bytes, str]:
        return node not in busy, hashlib.blake2b(f"{name}\0{node}".encode()).digest(), node

    ranked = sorted(nodes, key=rank)
    return tuple(ranked[: max(1, math.ceil(len(ranked) * share_percent / 100))])


def _reference(plan: CanaryPlan, seen: Evidence) -> tuple[Tally, str]:
    if seen.others.requests >= plan.requests_min:
        return seen.others, "the other clients"
    if seen.before.requests >= plan.requests_min:
        return seen.before, "the same clients before"
    return Tally(), "no errors expected"


def _allowed(plan: CanaryPlan, reference: Tally) -> float:
    return reference.error_rate * 100 + plan.error_points_max


def _errors(plan: CanaryPlan, served: Tally, reference: Tally, whose: str) -> str:
    if served.requests < ROLL_BACK_REQUESTS_MIN:
        return ""
    certain = _wilson_lower(served.errors, served.requests) * 100
    if certain <= _allowed(plan, reference):
        return ""
    return f"{_errors_told(served)}, certainly more than {_allowed(plan, reference):.2g} % ({whose})"


def _latency(plan: CanaryPlan, served: Tally, reference: Tally, whose: str) -> str:
    if served.requests < plan.requests_min:
        return ""
    usual = reference.latency_ms(LATENCY_SHARE)
    if usual is None or not served.latencies:
        return ""
    most = usual * plan.latency_factor_max + plan.latency_ms_allowed
    bound = next((each for each in LATENCY_BOUNDS_MS if each >= most), math.inf)
    slow = served.slower_than(bound)
    if _wilson_lower(slow, served.requests) <= 1 - LATENCY_SHARE:
        return ""
    return f"{slow} of {served.requests} requests took over {bound:g} ms; {whose}: 90 % up to {usual:g} ms"


def _errors_told(tally: Tally) -> str:
    return f"{tally.errors} errors in {tally.requests} requests"


def _wilson_lower(errors: int, requests: int) -> float:
    rate, z2 = errors / requests, _Z * _Z
    centre = rate + z2 / (2 * requests)
    spread = _Z * math.sqrt(rate * (1 - rate) / requests + z2 / (4 * requests * requests))
    return (centre - spread) / (1 + z2 / requests)
