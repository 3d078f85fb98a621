"""Inbound listeners as messages: chains by mode and protocol, what is asked in which order, which port a number means."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.config.listener.v3 import listener_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2

from atoll.planes.mesh.model.policies import Policies
from atoll.planes.mesh.model.snapshot import Type
from atoll.planes.mesh.model.world import Choices, World, world_of
from atoll.planes.mesh.policy.compiler import Memo, compile, inbound
from atoll.resources.mesh.clients import Capture, Client, Inbound
from atoll.resources.mesh.clients import Kind as ClientKind
from atoll.resources.mesh.documents.kinds import Document, Kind
from atoll.resources.mesh.services import MeshService, Port, Protocol
from tests.conformance.mesh.documents import document

HTTP, TCP = Inbound(8080, 18080), Inbound(9000, 19000, Protocol.TCP)
CLIENT = Client(ClientKind.SIDECAR, "reviews", "default", inbound=(HTTP, TCP))


def world(*documents: Document[Any], choices: Choices | None = None) -> World:
    service = MeshService("reviews.default.svc.cluster.local", "reviews", "default", (Port(80), Port(90)))
    return world_of({service.host: service}, choices or Choices()).with_policies(Policies(documents))


def peers(mode: str, **more: Any) -> Document[Any]:
    return document(Kind.PEER_AUTHENTICATION, "peers", {"mtls": {"mode": mode}, **more})


def listener(
    name: str, *documents: Document[Any], client: Client = CLIENT, choices: Choices | None = None
) -> listener_pb2.Listener:
    compiled = compile(world(*documents, choices=choices), client, Memo())
    assert compiled.problems == ()
    return listener_pb2.Listener.FromString(compiled.snapshot.listeners[name].body)


def shape(message: Any) -> list[tuple[str, tuple[str, ...], bool]]:
    """Transport protocol, application protocols, and whether TLS ends here, of each chain."""
    return [
        (
            chain.filter_chain_match.transport_protocol,
            tuple(chain.filter_chain_match.application_protocols),
            chain.HasField("transport_socket"),
        )
        for chain in message.filter_chains
    ]


MUTUAL, PLAIN = ("tls", (), True), ("raw_buffer", (), False)


@pytest.mark.parametrize(
    ("port", "mode", "expected"),
    [
        (8080, "STRICT", [("", (), True)]),
        (8080, "PERMISSIVE", [MUTUAL, PLAIN]),
        (8080, "DISABLE", [("", (), False)]),
        (9000, "STRICT", [("", (), True)]),
        (9000, "PERMISSIVE", [("tls", ("istio",), True), PLAIN, ("tls", (), False)]),
        (9000, "DISABLE", [("", (), False)]),
    ],
)
def test_chains_by_mode_and_protocol(port: int, mode: str, expected: list[Any]) -> None:
    made = listener(f"inbound_{port}", peers(mode))
    assert shape(made) == expected
    assert bool(made.listener_filters) is (mode == "PERMISSIVE")
    assert made.continue_on_listener_filters_timeout is (mode == "PERMISSIVE" and port == 9000)


def test_by_default_a_port_is_permissive() -> None:
    assert shape(listener("inbound_8080")) == [MUTUAL, PLAIN]


def test_without_an_identity_a_permissive_port_speaks_plain_text_and_a_strict_one_nothing_else() -> None:
    client = Client(ClientKind.SIDECAR, "reviews", "default", inbound=(HTTP,), has_identity=False)
    assert shape(listener("inbound_8080", client=client)) == [("", (), False)]
    assert shape(listener("inbound_8080", peers("STRICT"), client=client)) == [("", (), True)]


def test_a_ports_own_mode_comes_before_the_workloads() -> None:
    selector = {"matchLabels": {"app": "reviews"}}
    own = peers(
        "STRICT", selector=selector, portLevelMtls={"9000": {"mode": "DISABLE"}, "80": {"mode": "PERMISSIVE"}}
    )
    assert shape(listener("inbound_9000", own)) == [("", (), False)]
    assert shape(listener("inbound_8080", own)) == [MUTUAL, PLAIN]


def test_a_number_means_the_port_that_is_called_before_the_services() -> None:
    first = Inbound(8080, 18080)
    assert inbound.port_numbers(first, Client(ClientKind.SIDECAR, "a", "b", inbound=(first,)), 80) == (
        8080,
        80,
    )
    second = Inbound(9090, 19090, service_port=8080)
    both = Client(ClientKind.SIDECAR, "a", "b", inbound=(first, second))
    assert inbound.port_numbers(second, both, 80) == (9090,)
    assert inbound.port_numbers(Inbound(1, 2), Client(ClientKind.SIDECAR, "a", "b"), 0) == (1,)


def filters(message: Any) -> list[str]:
    """Of HTTP, on the last chain."""
    manager = http_connection_manager_pb2.HttpConnectionManager()
    message.filter_chains[-1].filters[-1].typed_config.Unpack(manager)
    return [one.name.removeprefix("envoy.filters.http.") for one in manager.http_filters]


GUARDS = (
    document(Kind.LOCAL_RATE_LIMIT, "limit", {"limits": [{"requests": 1}]}),
    document(Kind.AUTHORIZATION_POLICY, "allow", {"rules": [{}]}),
    document(Kind.AUTHORIZATION_POLICY, "deny", {"action": "DENY", "rules": [{}]}),
    document(
        Kind.REQUEST_AUTHENTICATION,
        "jwt",
        {"jwtRules": [{"issuer": "i", "jwksUri": "https://idp.example/k"}]},
    ),
)


def test_who_it_is_comes_before_what_it_may_and_that_before_how_much() -> None:
    made = listener("inbound_8080", *GUARDS)
    rules = ["rbac.audit", "rbac.deny", "rbac.allow"]
    assert filters(made) == ["jwt_authn", *rules, "local_ratelimit", "grpc_stats", "router"]
    assert filters(listener("inbound_8080")) == [*rules, "grpc_stats", "router"]


def test_a_byte_stream_is_asked_what_can_be_asked_of_it() -> None:
    made = listener("inbound_9000", *GUARDS)
    names = [one.name.removeprefix("envoy.filters.network.") for one in made.filter_chains[0].filters]
    assert names == ["rbac", "rbac", "local_ratelimit", "tcp_proxy"]


def test_a_resource_names_what_it_needs_and_what_shaped_it() -> None:
    snapshot = compile(world(*GUARDS), CLIENT, Memo()).snapshot
    made, table = snapshot.listeners["inbound_8080"], snapshot.routes["inbound|8080"]
    assert (Type.CLUSTER, "inbound|8080||") in made.refers
    assert (Type.CLUSTER, "jwks|443||idp.example") in made.refers
    assert (Type.ROUTE, "inbound|8080") in made.refers
    rules = {str(guard.key) for guard in GUARDS if guard.key.kind is Kind.AUTHORIZATION_POLICY}
    assert set(table.documents) == rules
    assert set(made.documents) == {str(guard.key) for guard in GUARDS} - rules
    assert set(snapshot.listeners["inbound_9000"].documents) >= rules
    assert "jwks|443||idp.example" in snapshot.clusters


def test_a_change_of_authorisation_changes_routes_and_no_listener_of_http() -> None:
    before, after = (compile(world(*guards), CLIENT, Memo()).snapshot for guards in ((), GUARDS[1:3]))
    assert after.routes["inbound|8080"].version != before.routes["inbound|8080"].version
    assert after.listeners["inbound_8080"].version == before.listeners["inbound_8080"].version
    assert after.listeners["inbound_9000"].version != before.listeners["inbound_9000"].version


def test_captured_connections_come_through_one_listener_that_knows_the_named_ports_alone() -> None:
    client = Client(ClientKind.SIDECAR, "reviews", "default", capture=Capture.REDIRECT, inbound=(HTTP, TCP))
    selector = {"matchLabels": {"app": "reviews"}}
    strict = peers("STRICT", selector=selector, portLevelMtls={"9000": {"mode": "PERMISSIVE"}})
    made = listener("virtual_inbound", strict, client=client)
    assert made.address.socket_address.port_value == 15006
    ports = [chain.filter_chain_match.destination_port.value for chain in made.filter_chains]
    assert ports == [8080, 9000, 9000, 9000]
    assert not made.HasField("default_filter_chain")
    names = [one.name.removeprefix("envoy.filters.listener.") for one in made.listener_filters]
    assert names == ["original_dst", "tls_inspector"]
    kept_off = made.listener_filters[1].filter_disabled.destination_port_range
    assert (kept_off.start, kept_off.end) == (8080, 8081)


def test_a_document_of_another_workload_changes_nothing_here() -> None:
    memo = Memo()
    before = world(peers("STRICT"))
    made = compile(before, CLIENT, memo).snapshot
    other = document(
        Kind.AUTHORIZATION_POLICY, "other", {"selector": {"matchLabels": {"app": "ratings"}}, "rules": [{}]}
    )
    policies = before.policies.with_changes({other.key: other})
    after = compile(before.with_policies(policies), CLIENT, memo).snapshot
    assert after.listeners["inbound_8080"] is made.listeners["inbound_8080"]


def test_a_document_that_goes_is_forgotten() -> None:
    memo = Memo()
    guarded = compile(world(*GUARDS), CLIENT, memo).snapshot
    bare = compile(world(), CLIENT, memo).snapshot
    assert filters(listener_pb2.Listener.FromString(guarded.listeners["inbound_8080"].body)) != filters(
        listener_pb2.Listener.FromString(bare.listeners["inbound_8080"].body)
    )
