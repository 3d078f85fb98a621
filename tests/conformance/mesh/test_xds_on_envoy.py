"""The rules of xDS before the real Envoy, in both forms: what it does is what the machines are made for.

Rule: resources are made by hand and the server is a push service alone, so that a failure here is one of the protocol. Traps
are named by their number in the mesh's specification.
"""

from __future__ import annotations

import functools
import http.client
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from atoll.resources.mesh.client_status import ClientStatus, State
from atoll.wire.xds.snapshot import Resource
from tests.conformance.mesh.backends import Backend, Backends
from tests.conformance.mesh.xds_resources import (
    cluster,
    endpoints,
    http_listener,
    redis_listener,
    route,
    snapshot,
)
from tests.peers import envoy
from tests.peers.envoy import Envoy
from tests.peers.ports import free_ports
from tests.peers.xds_server import XdsServer
from tests.waiting import wait_until

pytestmark = pytest.mark.peers
WITHIN_S = 10.0
FETCH_TIMEOUT_S = 15.0  # Envoy's own, after which it goes on without what it waits for
SWITCHES = 10


class Proxy:
    """An Envoy with one HTTP listener, its server, and two backends."""

    def __init__(self, server: XdsServer, proxy: Envoy, port: int, backends: tuple[Backend, Backend]) -> None:
        self.server, self.envoy, self.port = server, proxy, port
        self.one, self.other = backends

    def serve(self, *resources: Resource, routed: str = "a") -> None:
        """``resources`` with the listener, a route to ``routed``, and the clusters ``a`` and ``b`` where not given."""
        known = {
            **{each.name: each for each in (cluster("a"), cluster("b"))},
            **{each.name: each for each in resources if each.type.name == "CLUSTER"},
        }
        lists = {each.name: each for each in self.endpoints(known)}
        lists.update({each.name: each for each in resources if each.type.name == "ENDPOINTS"})
        others = [each for each in resources if each.type.name in ("LISTENER", "ROUTE")]
        self.server.serve(
            snapshot(
                http_listener("http", self.port, "http"),
                route("http", routed),
                *known.values(),
                *lists.values(),
                *others,
            )
        )

    def endpoints(self, names: dict[str, Resource]) -> list[Resource]:
        return [endpoints(name, [self.other.port if name == "b" else self.one.port]) for name in names]

    def get(self) -> tuple[int, str]:
        """Status, and the backend that answered."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WITHIN_S)
        try:
            connection.request("GET", "/")
            answer = connection.getresponse()
            text = answer.read().decode()
            return answer.status, text.partition('"backend": "')[2].partition('"')[0]
        finally:
            connection.close()

    def status(self) -> ClientStatus:
        """Of the newest connection."""
        return max(self.server.statuses(), key=lambda status: status.connection)

    def wait_synced(self) -> ClientStatus:
        def synced() -> ClientStatus | None:
            found = self.server.statuses()
            return found[-1] if found and found[-1].state is State.SYNCED and found[-1].types else None

        return wait_until(synced, WITHIN_S, "the Envoy to have everything")


@pytest.fixture(scope="module")
def backends() -> Iterator[tuple[Backend, Backend]]:
    with Backends() as made:
        yield made.add("one"), made.add("other")


@pytest.fixture(scope="module", params=[True, False], ids=["delta", "sotw"])
def running(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    backends: tuple[Backend, Backend],
) -> Iterator[Proxy]:
    with started(request.param, tmp_path_factory.mktemp("envoy"), backends) as proxy:
        yield proxy


@contextmanager
def started(delta: bool, folder: Path, backends: tuple[Backend, Backend]) -> Iterator[Proxy]:
    (port,) = free_ports(1)
    with XdsServer() as server:
        bootstrap = envoy.ads_bootstrap(
            {"id": "sidecar~web.default~1", "cluster": "web"}, server.port, delta=delta
        )
        ads = bootstrap["dynamic_resources"]["ads_config"]
        ads["set_node_on_first_message_only"] = True  # trap 13
        lrs = {"api_type": "GRPC", "transport_api_version": "V3", "grpc_services": ads["grpc_services"]}
        bootstrap["cluster_manager"] = {"load_stats_config": lrs}
        one = Proxy(server, Envoy(folder, bootstrap), port, backends)
        one.serve()
        try:
            one.envoy.start()
            yield one
        finally:
            one.envoy.stop()


@pytest.fixture
def proxy(running: Proxy) -> Proxy:
    """As it was at first."""
    running.serve()
    running.wait_synced()
    wait_until(lambda: running.get() == (200, "one"), WITHIN_S, "the first route")
    return running


class Load:
    """Requests, one after the other, until ``stop``; how each went."""

    def __init__(self, proxy: Proxy) -> None:
        self.seen: Counter[tuple[int, str]] = Counter()
        self._proxy = proxy
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.is_set():
            self.seen[self._proxy.get()] += 1


def test_traps_1_and_10_switches_between_clusters_that_come_and_go_fail_no_request(proxy: Proxy) -> None:
    with Load(proxy) as load:
        for number in range(SWITCHES):
            name = f"new-{number}"
            backend = proxy.other if number % 2 else proxy.one
            proxy.serve(cluster(name), endpoints(name, [backend.port]), routed=name)
            proxy.wait_synced()
            wait_until(lambda wanted=backend.name: proxy.get()[1] == wanted, WITHIN_S, "the switch")  # type: ignore[misc]
    assert load.seen.total() > SWITCHES
    assert {status for status, _ in load.seen} == {200}
    assert proxy.envoy.admin.stat("cluster_manager.active_clusters") == 4  # a, b, the newest, and xds


def test_trap_2_one_bad_cluster_blocks_nothing_else_and_is_told_of_once(proxy: Proxy) -> None:
    bad = cluster("bad", lb_policy="CLUSTER_PROVIDED")  # passes the schema, and not Envoy
    before = proxy.status().types["CLUSTER"].responses
    proxy.serve(bad, endpoints("a", [proxy.other.port]))
    wait_until(lambda: proxy.get() == (200, "other"), WITHIN_S, "endpoints that came with a bad cluster")
    status = wait_until(lambda: nack_of(proxy), WITHIN_S, "the refusal")
    assert "bad" in status.types["CLUSTER"].text
    sent = proxy.status().types["CLUSTER"].responses
    assert sent - before <= 2, "the response, and the world without what was refused"
    proxy.serve(bad, endpoints("a", [proxy.one.port]))
    wait_until(lambda: proxy.get() == (200, "one"), WITHIN_S, "another change of endpoints")
    proxy.serve(cluster("bad"), endpoints("bad", [proxy.one.port]), routed="bad")
    proxy.wait_synced()
    assert proxy.get() == (200, "one")


def nack_of(proxy: Proxy) -> ClientStatus | None:
    status = proxy.status()
    return status if status.state is State.NACK and status.types["CLUSTER"].text else None


def test_trap_11_a_changed_cluster_is_warm_long_before_envoy_would_give_up(proxy: Proxy) -> None:
    began_s = time.monotonic()
    for timeout in ("2s", "3s"):
        proxy.serve(cluster("a", connect_timeout=timeout))
        proxy.wait_synced()
        wait_until(functools.partial(has_timeout, proxy, timeout), WITHIN_S, "the cluster in use")
        assert proxy.get() == (200, "one")
    assert time.monotonic() - began_s < FETCH_TIMEOUT_S / 2
    assert proxy.envoy.admin.stat("cluster.a.init_fetch_timeout") == 0


def has_timeout(proxy: Proxy, timeout: str) -> bool:
    """Whether cluster ``a`` is in use as it was changed."""
    active = proxy.envoy.admin.config_dump("dynamic_active_clusters")["configs"]
    found = {each["cluster"]["name"]: each["cluster"]["connect_timeout"] for each in active}
    return bool(found["a"] == timeout)


def test_trap_15_envoy_checks_what_the_server_does_not(proxy: Proxy) -> None:
    """A time-out of nothing breaks a rule of the message's own (protoc-gen-validate); gRPC takes it."""
    proxy.serve(cluster("bad", connect_timeout="0s"))
    refused = wait_until(lambda: nack_of(proxy), WITHIN_S, "the refusal")
    assert "ConnectTimeout" in refused.types["CLUSTER"].text
    assert proxy.get() == (200, "one")


def test_trap_15_what_the_messages_here_do_not_know_goes_as_a_typed_struct(proxy: Proxy) -> None:
    (port,) = free_ports(1)
    proxy.serve(redis_listener("redis", port, "a"))
    proxy.wait_synced()
    proxy.envoy.admin.wait(
        lambda admin: f"redis::127.0.0.1:{port}" in admin.get("/listeners"), "the listener"
    )


def test_trap_16_loads_are_reported_on_a_stream_of_their_own(proxy: Proxy) -> None:
    def reported() -> int:
        loads = proxy.server.call(proxy.server.loads.of_node, "sidecar~web.default~1")
        return sum(load.succeeded for (name, _), load in loads.items() if name == "a")

    before = reported()
    for _ in range(5):
        assert proxy.get() == (200, "one")
    wait_until(lambda: reported() >= before + 5, WITHIN_S, "the load report")


def test_trap_17_a_quiet_stream_stays_quiet(proxy: Proxy) -> None:
    before = {name: each.responses for name, each in proxy.wait_synced().types.items()}
    for _ in range(3):
        proxy.serve()
    proxy.serve(endpoints("a", [proxy.other.port]))
    wait_until(lambda: proxy.get() == (200, "other"), WITHIN_S, "the one change")
    after = {name: each.responses for name, each in proxy.wait_synced().types.items()}
    assert after == before | {"ENDPOINTS": before["ENDPOINTS"] + 1}


def test_trap_18_an_empty_list_of_endpoints_is_served_as_it_is(proxy: Proxy) -> None:
    """The world decides whether a list may become empty (tests/unit/mesh/test_world.py); here it did."""
    proxy.serve(endpoints("a", []))
    wait_until(lambda: proxy.get()[0] == 503, WITHIN_S, "nobody to call")
    proxy.serve()
    wait_until(lambda: proxy.get() == (200, "one"), WITHIN_S, "somebody again")


def test_traps_4_and_19_a_server_that_comes_back_finds_traffic_going_on_and_sends_little(
    proxy: Proxy,
) -> None:
    proxy.wait_synced()
    with Load(proxy) as load:
        proxy.server.stop()
        wait_until(
            lambda: proxy.envoy.admin.stat("control_plane.connected_state") == 0, WITHIN_S, "the outage"
        )
        asked = load.seen.total()
        wait_until(lambda: load.seen.total() > asked + 10, WITHIN_S, "traffic without a server")
        proxy.server.start()
        wait_until(lambda: came_back(proxy), 4 * WITHIN_S, "the Envoy to come back")
        sent = {name: each.responses for name, each in proxy.wait_synced().types.items()}
        named = 0 if proxy.status().form == "delta" else 1  # who asks by name is told again
        assert sent == {"CLUSTER": 0, "LISTENER": 0, "ENDPOINTS": named, "ROUTE": named}
        proxy.serve(endpoints("a", [proxy.other.port]))
        wait_until(lambda: proxy.get() == (200, "other"), WITHIN_S, "a change afterwards")
    assert {status for status, _ in load.seen} == {200}


def came_back(proxy: Proxy) -> bool:
    found = proxy.server.statuses()
    return bool(found) and set(found[-1].types) == {"CLUSTER", "ENDPOINTS", "LISTENER", "ROUTE"}


def test_trap_8_who_comes_back_to_another_world_has_it(proxy: Proxy) -> None:
    proxy.wait_synced()
    proxy.server.stop()
    wait_until(lambda: proxy.envoy.admin.stat("control_plane.connected_state") == 0, WITHIN_S, "the outage")
    proxy.server.snapshot = snapshot(
        http_listener("http", proxy.port, "http"),
        route("http", "fresh"),
        cluster("fresh"),
        endpoints("fresh", [proxy.other.port]),
    )
    proxy.server.start()
    wait_until(lambda: proxy.get() == (200, "other"), 4 * WITHIN_S, "the other world")
    proxy.wait_synced()
    names = {
        each["cluster"]["name"]
        for each in proxy.envoy.admin.config_dump("dynamic_active_clusters")["configs"]
    }
    assert names == {"fresh"}
