"""Envoy's ``/stats`` as counts of requests.

Rule: only what ``TARGET`` asks for is read, and what is missing counts as nothing: a proxy without HTTP listeners has no
traffic to tell of. Every HTTP listener but the admin interface's own counts, whichever way it faces.

Source: Envoy's documentation of the admin interface (``/stats?format=json``, ``histogram_buckets=disjoint``) and of the
statistics of HTTP connection managers and routes, tried on Envoy 1.40.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from atoll.errors import AtollError, Code
from atoll.host.sidecar import plaintext
from atoll.resources.mesh.traffic import LATENCY_BOUNDS_MS, ROUTES_MAX, Tally, TrafficReport

TARGET: Final = (
    "/stats?format=json&histogram_buckets=disjoint&filter="
    "%5E(http%5C..*%5C.downstream_rq_(completed|4xx|5xx|time)|vhost%5C..*%5C.route%5C..*%5C.upstream_rq_completed"
    f"|{plaintext.ASKED})%24"
)
ANSWER_BYTES_MAX: Final = 4 * 1024 * 1024

_LISTENER: Final = re.compile(r"http\.(?!admin\.).*\.downstream_rq_(completed|4xx|5xx|time)")
_ROUTE: Final = re.compile(r"vhost\..*\.route\.(.+@[0-9a-f]{8})\.upstream_rq_completed")


class _Answer(msgspec.Struct):
    stats: list[dict[str, Any]]


def read_traffic(node: str, run: str, body: bytes) -> TrafficReport:
    """Raises INVALID for a body that is no such answer."""
    counts = {"completed": 0, "4xx": 0, "5xx": 0}
    latencies = [0] * (len(LATENCY_BOUNDS_MS) + 1)
    routes: dict[str, int] = {}
    plain = plaintext.Counters()
    try:
        for each in msgspec.json.decode(body, type=_Answer).stats:
            for histogram in each.get("histograms", ()):
                _add_times(histogram, latencies)
            name, value = each.get("name", ""), each.get("value", 0)
            plain.take(name, value)
            if found := _LISTENER.fullmatch(name):
                counts[found[1]] += value
            elif value and len(routes) < ROUTES_MAX and (found := _ROUTE.fullmatch(name)):
                routes[found[1]] = routes.get(found[1], 0) + value
    except (msgspec.MsgspecError, KeyError, TypeError, AttributeError) as error:
        raise AtollError(Code.INVALID, f"this is no answer of Envoy's /stats: {error!r}") from error
    total = Tally(counts["completed"], counts["4xx"], counts["5xx"], tuple(latencies))
    return TrafficReport(node, run, total, routes, plain.by_port())


def _add_times(histogram: dict[str, Any], latencies: list[int]) -> None:
    if not _LISTENER.fullmatch(histogram["name"]):
        return
    for bucket in histogram["buckets"]:
        place = next(
            (at for at, bound in enumerate(LATENCY_BOUNDS_MS) if bucket["upper_bound"] <= bound),
            len(LATENCY_BOUNDS_MS),
        )
        latencies[place] += bucket["cumulative"]
