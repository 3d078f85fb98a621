"""What proxies served: Envoy's counters read, differences taken, restarts and lost reports borne."""

from __future__ import annotations

import json
from typing import Any

import pytest

from atoll.errors import AtollError
from atoll.host.sidecar.stats import read_traffic
from atoll.planes.mesh.service.traffic import BEFORE_S, SILENT_S_MAX, Traffic
from atoll.resources.mesh.traffic import LATENCY_BOUNDS_MS, Tally, TrafficReport

ROUTE = "VirtualService/default/re.views/0@0a1b2c3d"


def answer(*stats: dict[str, Any]) -> bytes:
    return json.dumps({"stats": stats}).encode()


def count(name: str, value: int) -> dict[str, Any]:
    return {"name": name, "value": value}


def times(name: str, **buckets: int) -> dict[str, Any]:
    found = [
        {"upper_bound": float(bound[1:]), "interval": 0, "cumulative": n} for bound, n in buckets.items()
    ]
    return {"histograms": [{"name": name, "buckets": found}]}


def test_envoys_counters_are_read() -> None:
    report = read_traffic(
        "n",
        "1",
        answer(
            count("http.outbound_http.downstream_rq_completed", 7),
            count("http.outbound_http.downstream_rq_4xx", 2),
            count("http.inbound_80.downstream_rq_completed", 3),
            count("http.inbound_80.downstream_rq_5xx", 1),
            count("http.admin.downstream_rq_completed", 99),
            count(f"vhost.a.route.b.route.{ROUTE}.upstream_rq_completed", 4),
            count(f"vhost.c.route.{ROUTE}.upstream_rq_completed", 5),
            count("vhost.c.route.other.upstream_rq_completed", 5),
            times("http.outbound_http.downstream_rq_time", _1=4, _60000=3),
        ),
    )
    latencies = [0] * (len(LATENCY_BOUNDS_MS) + 1)
    latencies[1], latencies[-1] = 4, 3
    assert report == TrafficReport("n", "1", Tally(10, 2, 1, tuple(latencies)), {ROUTE: 9})


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[1]", b'{"stats": [{"histograms": [{}]}]}', b'{"stats": [1]}']
)
def test_what_is_no_answer_of_envoy_is_refused(body: bytes) -> None:
    with pytest.raises(AtollError, match="no answer of Envoy"):
        read_traffic("n", "1", body)


def report(requests: int, errors: int = 0, run: str = "1", route: int = 0, node: str = "n") -> TrafficReport:
    return TrafficReport(node, run, Tally(requests, 0, errors), {ROUTE: route})


def test_what_was_served_since_a_change_and_before_it() -> None:
    traffic = Traffic()
    assert not traffic.mark("c", "n")
    traffic.hear(report(100, 1), 0.0)
    traffic.hear(report(150, 2, route=5), 10.0)
    assert traffic.mark("c", "n")
    traffic.hear(report(180, 12, route=9), 11.0)
    assert traffic.mark("c", "n")  # again: as it was
    assert traffic.since("c", ["n", "unknown"]) == Tally(30, 0, 10)
    assert traffic.before("c", ["n"]) == Tally(50, 0, 1)
    assert traffic.by_routes("c", ["n"], ["@0a1b2c3d"]) == 4
    assert traffic.by_routes("c", ["n"], ["@ffffffff"]) == 0
    traffic.unmark("c")
    assert traffic.since("c", ["n"]) == Tally()


def test_a_proxy_that_started_anew_counts_from_nothing() -> None:
    traffic = Traffic()
    traffic.hear(report(100), 0.0)
    traffic.mark("c", "n")
    traffic.hear(report(8, 3, run="2"), 1.0)
    assert traffic.since("c", ["n"]) == Tally(8, 0, 3)


def test_the_time_before_is_bounded() -> None:
    traffic = Traffic()
    for second in range(0, 200, 2):
        traffic.hear(report(second * 10), float(second))
    traffic.mark("c", "n")
    assert traffic.before("c", ["n"]).requests == BEFORE_S * 10


def test_who_is_silent_is_forgotten() -> None:
    traffic = Traffic()
    traffic.hear(report(1, node="gone"), 0.0)
    traffic.hear(report(1), SILENT_S_MAX + 1)
    assert not traffic.mark("c", "gone") and traffic.mark("c", "n")


def test_who_is_busy_with_what_changes_goes_first() -> None:
    traffic = Traffic()
    traffic.hear(report(5, node="idle"), 0.0)
    traffic.hear(TrafficReport("other", "1", Tally(9), {"HTTPRoute/default/a/0@0a1b2c3d": 9}), 0.0)
    traffic.hear(report(9, node="busy", route=3), 0.0)
    traffic.hear(TrafficReport("silent", "1", Tally(), {}), 0.0)
    nodes = ["silent", "idle", "other", "busy", "unknown"]
    assert traffic.busy(nodes, ["HTTPRoute/default/a"]) == {"other"}
    assert traffic.busy(nodes, ["HTTPRoute/default/none"]) == {"idle", "other", "busy"}
