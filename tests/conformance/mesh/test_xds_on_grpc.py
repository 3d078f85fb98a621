"""The rules of xDS before gRPC's own client: what it does differently from Envoy, and what follows for a server.

Rule: one application for all tests, each with a target of its own, since gRPC keeps what it learnt for its process. Traps are
named by their number in the mesh's specification.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from atoll.resources.mesh.client_status import ClientStatus, State
from atoll.wire.xds.snapshot import Resource
from tests.conformance.mesh.backends import Backend, Backends
from tests.conformance.mesh.rig import ECHO_METHOD, Answer, GrpcCaller, Request, grpc_bootstrap
from tests.conformance.mesh.xds_resources import cluster, endpoints, grpc_listener, route, snapshot
from tests.peers.xds_server import XdsServer
from tests.waiting import wait_until

pytestmark = pytest.mark.peers
WITHIN_S = 10.0
UNAVAILABLE, DEADLINE_EXCEEDED = 14, 4


class Application:
    def __init__(self, server: XdsServer, caller: GrpcCaller, backends: Sequence[Backend]) -> None:
        self.server, self.caller = server, caller
        self.one, self.other = backends

    def serve(self, *resources: Resource) -> None:
        self.server.serve(snapshot(*resources))

    def call(self, target: str, within_s: float = WITHIN_S) -> Answer:
        return self.caller.ask(Request(target, ECHO_METHOD, within_s=within_s))[0]

    def status(self) -> ClientStatus:
        return self.server.statuses()[-1]

    def service(self, name: str, backend: Backend, **fields: Any) -> list[Resource]:
        """All that a call to ``xds:///NAME`` needs."""
        return [
            grpc_listener(name, f"{name}-route"),
            route(f"{name}-route", f"{name}-cluster", domains=[name]),
            cluster(f"{name}-cluster", **fields),
            endpoints(f"{name}-cluster", [backend.port]),
        ]


@pytest.fixture(scope="module")
def app() -> Iterator[Application]:
    with Backends() as backends, XdsServer() as server:
        made = (backends.add("one"), backends.add("other"))
        caller = GrpcCaller(grpc_bootstrap(server.port, {"id": "grpc~shop.default~1"}))
        try:
            yield Application(server, caller, made)
        finally:
            caller.close()


def test_trap_5_it_names_everything_that_it_asks_for(app: Application) -> None:
    app.serve(*app.service("named", app.one), *app.service("unasked", app.other))
    assert app.call("named").backend == "one"
    types = app.status().types
    assert {name: (each.asked, each.resources) for name, each in types.items()} == {
        "LISTENER": (1, 1),
        "ROUTE": (1, 1),
        "CLUSTER": (1, 1),
        "ENDPOINTS": (1, 1),
    }


def test_traps_1_and_10_a_route_to_a_cluster_that_it_asks_for_because_of_the_route(app: Application) -> None:
    """Nothing may wait for what the client asks for later; and nothing is broken while it does."""
    app.serve(*app.service("moved", app.one))
    assert app.call("moved").backend == "one"
    for number in range(6):
        backend = app.other if number % 2 == 0 else app.one
        name = f"moved-{number}"
        app.serve(
            grpc_listener("moved", "moved-route"),
            route("moved-route", name, domains=["moved"]),
            cluster(name),
            endpoints(name, [backend.port]),
        )
        seen = [app.call("moved")]
        while seen[-1].backend != backend.name and len(seen) < 200:
            seen.append(app.call("moved"))
        assert seen[-1].backend == backend.name
        assert {each.status for each in seen} == {0}


def test_trap_9_what_does_not_exist_is_waited_for_and_served_when_it_comes(app: Application) -> None:
    app.serve(*app.service("present", app.one))
    assert app.call("late", within_s=0.5).status == DEADLINE_EXCEEDED
    app.serve(*app.service("present", app.one), *app.service("late", app.other))
    assert wait_until(lambda: app.call("late", within_s=1.0).backend, WITHIN_S, "the new service") == "other"


def test_trap_14_what_it_does_not_know_it_refuses_and_keeps_what_it_had(app: Application) -> None:
    app.serve(*app.service("strict", app.one))
    assert app.call("strict").backend == "one"
    app.serve(*app.service("strict", app.other, lb_policy="MAGLEV"))
    refused = wait_until(
        lambda: app.status() if app.status().state is State.NACK else None, WITHIN_S, "the refusal"
    )
    assert "LB policy is not supported" in refused.types["CLUSTER"].text
    # its endpoints are another resource, which it takes
    assert wait_until(lambda: app.call("strict").backend == "other", WITHIN_S, "endpoints of the old cluster")


def test_trap_14_a_listener_without_a_router_is_refused(app: Application) -> None:
    app.serve(
        grpc_listener("bare", "bare-route", filters=()),
        route("bare-route", "bare-cluster", domains=["bare"]),
        cluster("bare-cluster"),
        endpoints("bare-cluster", [app.one.port]),
    )
    answer = app.call("bare", within_s=2.0)
    assert answer.status in (UNAVAILABLE, DEADLINE_EXCEEDED)
    refused = wait_until(
        lambda: app.status() if app.status().types["LISTENER"].text else None, WITHIN_S, "the refusal"
    )
    assert "HTTP filter" in refused.types["LISTENER"].text


def test_trap_14_a_locality_without_a_weight_is_ignored(app: Application) -> None:
    unweighted = endpoints("light-cluster", [app.one.port], weight=0)
    app.serve(*app.service("light", app.one)[:-1], unweighted)
    assert app.call("light", within_s=2.0).status == UNAVAILABLE
    app.serve(*app.service("light", app.one))
    assert (
        wait_until(lambda: app.call("light", within_s=1.0).backend, WITHIN_S, "endpoints with a weight")
        == "one"
    )


def test_trap_15_it_takes_what_envoy_refuses_by_the_messages_own_rules(app: Application) -> None:
    app.serve(*app.service("unchecked", app.one, connect_timeout="0s"))
    assert app.call("unchecked").backend == "one"


def test_trap_19_calls_go_on_without_a_server_and_changes_arrive_after_it_is_back(app: Application) -> None:
    app.serve(*app.service("steady", app.one))
    assert app.call("steady").backend == "one"
    app.server.stop()
    assert [each.backend for each in app.caller.ask(Request("steady", ECHO_METHOD), count=20)] == ["one"] * 20
    app.server.start()
    app.serve(*app.service("steady", app.other))
    assert wait_until(lambda: app.call("steady").backend == "other", 4 * WITHIN_S, "the change")
