"""What a proxy counted of the requests that it served, as its sidecar reports it and as the judge of a canary adds it up.

Rule: counts grow from the start of the proxy on (``run`` tells one start from another); differences are taken by whoever
compares two reports, so that a report that is lost costs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from atoll.resources.records import NOTHING

REPORTS_PATH = "/v1/mesh/reports"
ROUTES_MAX = 2_000  # told of in one report

LATENCY_BOUNDS_MS = (
    0.5,
    1.0,
    5.0,
    10.0,
    25.0,
    50.0,
    100.0,
    250.0,
    500.0,
    1000.0,
    2500.0,
    5000.0,
    10_000.0,
    30_000.0,
)
"""Upper bounds of the buckets, as Envoy has them by default; one more bucket is above them."""


class Tally(msgspec.Struct, frozen=True):
    """Requests by the class of their answer, 1xx to 3xx being ``requests`` less the others; ``latencies`` as
    ``LATENCY_BOUNDS_MS`` says, empty: not known.
    """

    requests: int = 0
    client_errors: int = 0  # 4xx
    server_errors: int = 0  # 5xx
    latencies: tuple[int, ...] = ()

    @property
    def errors(self) -> int:
        return self.client_errors + self.server_errors

    @property
    def error_rate(self) -> float:
        return self.errors / self.requests if self.requests else 0.0

    def plus(self, other: Tally) -> Tally:
        return self._with(other, 1)

    def minus(self, before: Tally) -> Tally:
        """What was counted since ``before``, an earlier count of the same run."""
        return self._with(before, -1)

    def _with(self, other: Tally, sign: int) -> Tally:
        wide = max(len(self.latencies), len(other.latencies))
        mine, others = (each + (0,) * (wide - len(each)) for each in (self.latencies, other.latencies))
        return Tally(
            self.requests + sign * other.requests,
            self.client_errors + sign * other.client_errors,
            self.server_errors + sign * other.server_errors,
            tuple(one + sign * two for one, two in zip(mine, others, strict=True)),
        )

    def latency_ms(self, share: float) -> float | None:
        """The bound below which ``share`` (0 to 1) of the requests stayed; None: not known, infinity: above all bounds."""
        total = sum(self.latencies)
        if not total:
            return None
        seen = 0
        for bound, count in zip(LATENCY_BOUNDS_MS, self.latencies, strict=False):
            seen += count
            if seen >= share * total:
                return bound
        return float("inf")

    def slower_than(self, bound_ms: float) -> int:
        """Requests that took longer than ``bound_ms``, one of ``LATENCY_BOUNDS_MS``."""
        upto = sum(1 for bound in LATENCY_BOUNDS_MS if bound <= bound_ms)
        return sum(self.latencies[upto:])


class Plain(msgspec.Struct, frozen=True):
    """Connections to one port of a workload that came without the mesh's TLS: since the proxy started, and now. ``total`` -1:
    they cannot be told from others here.
    """

    total: int = 0
    open: int = 0


NO_PORTS: Mapping[int, Plain] = {}


class TrafficReport(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``node``: the proxy's ``node.id``. ``total``: of all its HTTP listeners. ``routes``: requests that a route took, by the
    route's name (``KIND/NAMESPACE/NAME/RULE@HASH8``). ``plain``: by the port of the workload.
    """

    node: str
    run: str
    total: Tally
    routes: Mapping[str, int] = NOTHING
    plain: Mapping[int, Plain] = NO_PORTS


class ReportTaken(msgspec.Struct, frozen=True):
    """``next_s``: report again after so long."""

    next_s: float
