"""Who still calls without the mesh's TLS: Envoy's counters read, seen over time, and what is not known never taken for quiet."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping

import pytest

from atoll.host.sidecar.plaintext import UNKNOWN
from atoll.host.sidecar.stats import read_traffic
from atoll.planes.mesh.service.plaintext import SILENT_S_MAX, Plaintext
from atoll.resources.mesh.plaintext_api import PlaintextShown
from atoll.resources.mesh.traffic import Plain, Tally, TrafficReport
from atoll.store.peers import Member, Peers

ONE, TWO = "sidecar~reviews.default~1", "sidecar~reviews.default~2"


def plain(body: bytes) -> Mapping[int, Plain]:
    return read_traffic("n", "1", body).plain


def stats(*pairs: tuple[str, int]) -> bytes:
    return json.dumps({"stats": [{"name": name, "value": value} for name, value in pairs]}).encode()


def test_a_port_that_speaks_http_counts_connections_without_tls() -> None:
    http = "http.inbound_80.downstream_cx"
    found = [("cluster.inbound|80||.membership_total", 1), ("http.outbound_http.downstream_cx_total", 99)]
    found += [
        (f"{http}_total", 7),
        (f"{http}_ssl_total", 5),
        (f"{http}_active", 3),
        (f"{http}_ssl_active", 2),
    ]
    assert plain(stats(*found)) == {80: Plain(2, 1)}


def test_a_byte_stream_counts_connections_without_handshake_and_all_that_are_open() -> None:
    listener = "listener.0.0.0.0_6379"
    inbound = ("cluster.inbound|6379||.membership_total", 1)
    found = [inbound, (f"{listener}.downstream_cx_total", 9), (f"{listener}.downstream_cx_active", 4)]
    per_worker = (f"{listener}.worker_0.downstream_cx_total", 9)
    assert plain(stats(*found, per_worker, (f"{listener}.ssl.handshake", 7))) == {6379: Plain(2, 4)}
    assert plain(stats(*found, (f"{listener}.ssl.handshake", 9))) == {6379: Plain(0, 0)}


def test_a_byte_stream_behind_intercepted_traffic_cannot_be_told() -> None:
    listener = "listener.0.0.0.0_15006"
    found = [("cluster.inbound|6379||.membership_total", 1), (f"{listener}.downstream_cx_total", 9)]
    assert plain(stats(*found)) == {6379: UNKNOWN}


def test_listeners_of_the_workloads_own_calls_are_no_port() -> None:
    assert plain(stats(("listener.127.0.0.1_15001.downstream_cx_total", 9))) == {}


# ---------------------------------------------------------------------------------------------- over time


class Clock:
    def __init__(self) -> None:
        self.s = 1000.0

    def now_s(self) -> float:
        return self.s

    def wall_s(self) -> float:
        return self.s


class Watched:
    def __init__(self, *nodes: str) -> None:
        self.clock = Clock()
        self.nodes = list(nodes)
        self.plaintext = Plaintext(lambda: self.nodes, Peers(Member("n1", 1)), self.clock)

    def hear(self, node: str, total: int, now_open: int = 0, run: str = "1") -> None:
        self.plaintext.hear(TrafficReport(node, run, Tally(), {}, {80: Plain(total, now_open)}))

    def after(self, seconds: float) -> None:
        self.clock.s += seconds

    def shown(self) -> PlaintextShown:
        return asyncio.run(self.plaintext.shown("reviews", "default"))


def test_quiet_is_counted_from_the_last_connection_of_any_of_its_proxies() -> None:
    watched = Watched(ONE, TWO, "sidecar~ratings.default~1", "gateway~reviews.default~1")
    for node in (ONE, TWO):
        watched.hear(node, 0)
    watched.after(50)
    watched.hear(ONE, 1)
    watched.hear(TWO, 0)
    watched.after(30)
    watched.hear(ONE, 1)
    watched.hear(TWO, 0)
    shown = watched.shown()
    assert shown.quiet_s == 30.0
    assert [(each.node, each.connections, each.last_s) for each in shown.ports] == [
        (ONE, 1, 1050.0),
        (TWO, 0, 0.0),
    ]


def test_what_was_counted_before_it_was_heard_of_counts_as_now() -> None:
    watched = Watched(ONE)
    watched.after(500)
    watched.hear(ONE, 3)
    assert watched.shown().quiet_s == 0.0
    watched.after(10)
    assert watched.shown().quiet_s == 10.0


def test_an_open_connection_is_not_quiet_however_long_nothing_comes() -> None:
    watched = Watched(ONE)
    watched.hear(ONE, 1, 1)
    watched.after(30)
    watched.hear(ONE, 1, 1)
    assert watched.shown().quiet_s == 0.0
    watched.after(5)
    watched.hear(ONE, 1, 0)
    watched.after(20)
    assert watched.shown().quiet_s == 25.0, "it was last seen open 25 s ago"


def test_a_proxy_that_started_anew_counts_from_nothing() -> None:
    watched = Watched(ONE)
    watched.hear(ONE, 5)
    watched.after(40)
    watched.hear(ONE, 0, run="2")
    assert watched.shown().quiet_s == 40.0
    watched.after(1)
    watched.hear(ONE, 1, run="2")
    assert watched.shown().quiet_s == 0.0


@pytest.mark.parametrize("silent", ["never", "lately"])
def test_a_proxy_that_does_not_report_makes_its_service_unknown(silent: str) -> None:
    watched = Watched(ONE, TWO)
    watched.hear(ONE, 0)
    if silent == "lately":
        watched.hear(TWO, 0)
    watched.after(SILENT_S_MAX + 1)
    watched.hear(ONE, 0)
    shown = watched.shown()
    assert (shown.silent, shown.quiet_s) == ((TWO,), 0.0)


def test_who_is_not_connected_any_more_does_not_count() -> None:
    watched = Watched(ONE, TWO)
    watched.hear(ONE, 0)
    watched.hear(TWO, 9, 9)
    watched.nodes.remove(TWO)
    watched.after(10)
    assert watched.shown().quiet_s == 10.0


def test_a_port_of_which_nothing_can_be_told_is_not_quiet() -> None:
    watched = Watched(ONE)
    watched.plaintext.hear(TrafficReport(ONE, "1", Tally(), {}, {80: Plain(), 6379: UNKNOWN}))
    watched.after(100)
    assert watched.shown().quiet_s == 0.0


def test_a_service_without_sidecars_is_not_quiet() -> None:
    assert Watched().shown().quiet_s == 0.0
