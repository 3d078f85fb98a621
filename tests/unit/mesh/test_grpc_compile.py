"""Narrowing a sidecar's resources to what gRPC understands: what stays, what is taken out, and that it is said."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_components_pb2 as components
from envoy.config.route.v3 import route_pb2
from envoy.extensions.filters.http.cors.v3 import cors_pb2
from envoy.extensions.filters.http.fault.v3 import fault_pb2
from envoy.extensions.filters.http.rbac.v3 import rbac_pb2 as http_rbac_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as manager_pb2,
)
from envoy.extensions.transport_sockets.tls.v3 import tls_pb2
from google.protobuf import json_format

from atoll.planes.mesh.model.policies import Policies
from atoll.planes.mesh.model.snapshot import check
from atoll.planes.mesh.model.world import Choices, World, world_of
from atoll.planes.mesh.policy.compiler import Memo, compile, http, messages
from atoll.planes.mesh.policy.compiler.grpc import clusters, listeners, routes, servers
from atoll.planes.mesh.policy.compiler.grpc.differences import Differs
from atoll.planes.mesh.policy.compiler.security import authorization, called, tls
from atoll.resources.mesh.clients import Client, Inbound, Kind
from atoll.resources.mesh.documents.kinds import Kind as DocumentKind
from atoll.resources.mesh.proxyless import CERTIFICATES, PROVIDER, SERVER
from atoll.resources.mesh.services import Endpoint, MeshService, Port, Protocol
from atoll.wire.xds.snapshot import Type, resource
from tests.conformance.mesh.documents import document

HOST = "reviews.default.svc.cluster.local"
CLUSTER = f"outbound|9080||{HOST}"


def narrowed(*given: dict[str, Any]) -> tuple[list[dict[str, Any]], tuple[Differs, ...]]:
    """Routes as JSON-like objects, there and back."""
    host = components.VirtualHost(name="reviews:9080", domains=["reviews"])
    for each in given:
        host.routes.append(json_format.ParseDict(each, components.Route()))
    found = routes.configuration("reviews:9080", host)
    message = route_pb2.RouteConfiguration.FromString(found.resource.body)
    (virtual,) = message.virtual_hosts
    assert list(virtual.domains) == ["*"]
    plain = [json_format.MessageToDict(each, preserving_proto_field_name=True) for each in virtual.routes]
    return plain, found.differs


def route(match: dict[str, Any] | None = None, **action: Any) -> dict[str, Any]:
    return {"match": match or {"prefix": "/"}, "route": {"cluster": "c", **action}}


def test_conditions_on_path_and_metadata_stay() -> None:
    header = {"name": "user", "string_match": {"exact": "jason"}}
    asked = route({"path": "/pkg.Reviews/Get", "headers": [header]})
    assert narrowed(asked) == ([asked], ())


@pytest.mark.parametrize(
    ("match", "why"),
    [
        ({"prefix": "/", "query_parameters": [{"name": "q", "present_match": True}]}, Differs.QUERY),
        ({"prefix": "/", "tls_context": {"presented": True}}, Differs.CONDITIONS),
        ({"connect_matcher": {}}, Differs.CONDITIONS),
    ],
)
def test_a_rule_with_a_condition_unknown_to_grpc_is_taken_out_as_a_whole(
    match: dict[str, Any], why: Differs
) -> None:
    assert narrowed(route(match), route()) == ([route()], (why,))


@pytest.mark.parametrize(
    ("header", "stays"),
    [
        ({"name": ":method", "string_match": {"exact": "POST"}}, True),
        ({"name": ":method", "string_match": {"exact": "GET"}}, False),
        ({"name": ":method", "string_match": {"exact": "GET"}, "invert_match": True}, True),
        ({"name": ":scheme", "string_match": {"prefix": "https"}}, False),
    ],
)
def test_conditions_on_what_is_the_same_for_every_call_are_decided_here(
    header: dict[str, Any], stays: bool
) -> None:
    found, differs = narrowed(route({"prefix": "/", "headers": [header]}))
    assert (found, differs) == ([route()] if stays else [], ())


def test_not_this_value_holds_where_the_header_is_not_there() -> None:
    """gRPC takes "not" for a header that is there."""
    old = {"name": "old", "string_match": {"exact": "y"}, "invert_match": True}
    found, differs = narrowed(route({"prefix": "/", "headers": [old]}))
    absent = {"name": "old", "present_match": True, "invert_match": True}
    assert [each["match"]["headers"] for each in found] == [[old], [absent]] and differs == ()
    many = [{**old, "name": f"old-{number}"} for number in range(5)]
    assert narrowed(route({"prefix": "/", "headers": many})) == ([], (Differs.NEGATIONS,))


def test_a_prefix_of_whole_segments_becomes_an_expression() -> None:
    found, _ = narrowed(route({"path_separated_prefix": "/pkg.Reviews"}))
    assert found[0]["match"]["safe_regex"]["regex"] == "/pkg\\.Reviews(/.*)?"


@pytest.mark.parametrize(
    ("action", "kept", "differs"),
    [
        ({"timeout": "2s"}, {"max_stream_duration": {"max_stream_duration": "2s"}}, ()),
        ({"timeout": "0s"}, {}, ()),
        ({"request_mirror_policies": [{"cluster": "copy"}]}, {}, (Differs.MIRRORS,)),
        ({"prefix_rewrite": "/v2"}, {}, (Differs.REWRITES,)),
        ({"host_rewrite_literal": "other"}, {}, (Differs.REWRITES,)),
        ({"hash_policy": [{"header": {"header_name": "user"}}]}, None, ()),
        ({"hash_policy": [{"cookie": {"name": "c"}}]}, {}, (Differs.HASH_OTHERS,)),
        (
            {"hash_policy": [{"connection_properties": {"source_ip": True}}]},
            {"hash_policy": [{"filter_state": {"key": "io.grpc.channel_id"}}]},
            (Differs.HASH_SOURCE,),
        ),
        (
            {"retry_policy": {"retry_on": "connect-failure,cancelled,503", "num_retries": 2}},
            {"retry_policy": {"retry_on": "cancelled,unavailable", "num_retries": 2}},
            (),
        ),
        (
            {"retry_policy": {"retry_on": "unavailable", "num_retries": 9, "per_try_timeout": "1s"}},
            {"retry_policy": {"retry_on": "unavailable", "num_retries": 4}},
            (Differs.TRY_TIMEOUT, Differs.RETRIES),
        ),
        ({"retry_policy": {"retry_on": "unavailable", "num_retries": 0}}, {}, ()),
        ({"retry_policy": {"retry_on": "retriable-4xx"}}, {}, (Differs.RETRY_CONDITIONS,)),
    ],
)
def test_actions(action: dict[str, Any], kept: dict[str, Any] | None, differs: tuple[Differs, ...]) -> None:
    """``kept`` None: as it was."""
    assert narrowed(route(**action)) == ([route(**(action if kept is None else kept))], differs)


def test_what_answers_itself_stays_a_rule_that_cannot_be_followed() -> None:
    """Taken out, its calls would fall through to the rules after it."""
    found, differs = narrowed({"match": {"prefix": "/"}, "redirect": {"host_redirect": "other"}}, route())
    assert len(found) == 2 and "route" not in found[0] and differs == (Differs.ANSWERS,)


def test_of_single_filters_only_faults_stay() -> None:
    host = components.VirtualHost(name="reviews:9080", domains=["reviews"])
    given = host.routes.add(match=components.RouteMatch(prefix="/"))
    given.route.cluster = "c"
    given.typed_per_filter_config[http.FAULT].Pack(fault_pb2.HTTPFault())
    given.typed_per_filter_config[http.CORS].Pack(cors_pb2.CorsPolicy())
    given.response_headers_to_remove.append("server")
    found = routes.configuration("reviews:9080", host)
    message = route_pb2.RouteConfiguration.FromString(found.resource.body)
    assert set(message.virtual_hosts[0].routes[0].typed_per_filter_config) == {http.FAULT}
    assert set(found.differs) == {Differs.HEADERS, Differs.CORS}


def cluster(
    certificates: bool = True, all_speak: bool = True, **fields: Any
) -> tuple[Any, tuple[Differs, ...]]:
    wide = cluster_pb2.Cluster(name=CLUSTER, type=cluster_pb2.Cluster.EDS)
    json_format.ParseDict(fields, wide)
    given = resource(Type.CLUSTER, CLUSTER, wide.SerializeToString(deterministic=True))
    found = clusters.cluster(given, clusters.Caller(certificates, all_speak))
    assert found.resource is not None
    return cluster_pb2.Cluster.FromString(found.resource.body), found.differs


@pytest.mark.parametrize(
    ("policy", "expected", "differs"),
    [
        ("ROUND_ROBIN", "ROUND_ROBIN", ()),
        ("LEAST_REQUEST", "ROUND_ROBIN", (Differs.BALANCING,)),
        ("RANDOM", "ROUND_ROBIN", (Differs.BALANCING,)),
        ("RING_HASH", "RING_HASH", ()),
        ("MAGLEV", "RING_HASH", (Differs.MAGLEV,)),
    ],
)
def test_load_balancing_that_grpc_refuses_is_replaced(
    policy: str, expected: str, differs: tuple[Differs, ...]
) -> None:
    found, said = cluster(lb_policy=policy)
    assert (cluster_pb2.Cluster.LbPolicy.Name(found.lb_policy), said) == (expected, differs)


def test_consecutive_errors_become_calls_that_all_failed() -> None:
    found, differs = cluster(outlier_detection={"consecutive_5xx": 3, "interval": "1s"})
    ejection = found.outlier_detection
    assert differs == (Differs.EJECTION,) and ejection.interval.seconds == 1
    assert (
        ejection.failure_percentage_request_volume.value == 3
        and ejection.enforcing_failure_percentage.value == 100
    )
    assert not ejection.HasField("consecutive_5xx")


def test_clusters_that_grpc_has_not_lead_nowhere_with_their_reason() -> None:
    wide = cluster_pb2.Cluster(name=CLUSTER, type=cluster_pb2.Cluster.ORIGINAL_DST)
    given = resource(Type.CLUSTER, CLUSTER, wide.SerializeToString(deterministic=True))
    narrowed = clusters.cluster(given, clusters.Caller(True, True))
    made = cluster_pb2.Cluster.FromString(narrowed.resource.body)
    assert (made.type, narrowed.resource.refers) == (cluster_pb2.Cluster.EDS, ((Type.ENDPOINTS, CLUSTER),))
    assert narrowed.differs == (Differs.DISCOVERY,)


MESH = tls.mesh_upstream("sni", ["spiffe://cluster.local/ns/default/sa/reviews"])


@pytest.mark.parametrize(
    ("certificates", "all_speak", "secure", "differs"),
    [
        (True, True, True, ()),
        (True, False, False, (Differs.MIXED_TLS,)),
        (False, True, False, (Differs.NO_CERTIFICATES,)),
    ],
)
def test_the_meshs_tls_by_endpoint(
    certificates: bool, all_speak: bool, secure: bool, differs: tuple[Differs, ...]
) -> None:
    match = {"name": "mutual", "match": {}, "transport_socket": json_format.MessageToDict(MESH)}
    found, said = cluster(certificates, all_speak, transport_socket_matches=[match])
    assert (
        said == differs
        and found.HasField("transport_socket") is secure
        and not found.transport_socket_matches
    )
    if secure:
        context = tls_pb2.UpstreamTlsContext.FromString(found.transport_socket.typed_config.value)
        common = context.common_tls_context
        checked = common.combined_validation_context.default_validation_context
        assert common.tls_certificate_provider_instance.instance_name == PROVIDER
        assert [each.exact for each in checked.match_subject_alt_names] == [
            "spiffe://cluster.local/ns/default/sa/reviews"
        ]
        assert not common.tls_certificate_sds_secret_configs and not common.alpn_protocols


def test_tls_of_the_mesh_that_is_asked_for_does_not_wait_for_all_endpoints() -> None:
    found, said = cluster(all_speak=False, transport_socket=json_format.MessageToDict(MESH))
    assert found.HasField("transport_socket") and said == ()


def test_unix_sockets_and_addresses_that_stand_there_twice_are_taken_out() -> None:
    wide = endpoint_pb2.ClusterLoadAssignment(cluster_name=CLUSTER)
    group = wide.endpoints.add()
    for address in (messages.socket_address("127.0.0.1", 80), messages.pipe_address("/run/a.sock")):
        group.lb_endpoints.add().endpoint.address.CopyFrom(address)
    given = messages.sealed(Type.ENDPOINTS, wide)
    kept = endpoint_pb2.ClusterLoadAssignment.FromString(clusters.assignment(given).body)
    assert [each.endpoint.address.WhichOneof("address") for each in kept.endpoints[0].lb_endpoints] == [
        "socket_address"
    ]
    del group.lb_endpoints[1]
    plain = messages.sealed(Type.ENDPOINTS, wide)
    assert clusters.assignment(plain) is plain


def test_a_server_listens_under_the_name_by_which_grpc_asks() -> None:
    found = listeners.server("127.0.0.1", 9080, (), True, ())
    message = listener_pb2.Listener.FromString(found.body)
    assert found.name == "grpc/server?xds.resource.listening_address=127.0.0.1:9080"
    (chain,) = message.filter_chains
    context = tls_pb2.DownstreamTlsContext.FromString(chain.transport_socket.typed_config.value)
    assert context.require_client_certificate.value
    manager = manager_pb2.HttpConnectionManager.FromString(chain.filters[0].typed_config.value)
    assert [each.name for each in manager.http_filters] == [http.ROUTER]


def rules(action: str, rule: dict[str, Any]) -> list[Any]:
    """The RBAC of a gRPC server for one AuthorizationPolicy of one rule."""
    applied = document(DocumentKind.AUTHORIZATION_POLICY, "rules", {"action": action, "rules": [rule]})
    place = authorization.Place("cluster.local", called.Port((9080,)))
    filters = servers.narrowed(authorization.http_filters([applied], place))
    return [http_rbac_pb2.RBAC.FromString(each.typed_config.value).rules for each in filters]


TOKEN = {"source": {"requestPrincipals": ["*"]}}
NO_TOKEN = {"source": {"notRequestPrincipals": ["*"]}}


@pytest.mark.parametrize(
    ("action", "source", "matches"),
    [("ALLOW", TOKEN, False), ("ALLOW", NO_TOKEN, False), ("DENY", TOKEN, True), ("DENY", NO_TOKEN, True)],
)
def test_a_condition_on_a_token_is_decided_for_less_on_a_server(
    action: str, source: dict[str, Any], matches: bool
) -> None:
    (found,) = rules(action, {"from": [source]})
    (policy,) = found.policies.values()
    assert [holds(one) for one in policy.principals] == [matches]


def holds(principal: Any) -> bool:
    """Of principals that are made of nothing but constants."""
    which = principal.WhichOneof("identifier")
    if which in ("and_ids", "or_ids"):
        inner = [holds(one) for one in getattr(principal, which).ids]
        return all(inner) if which == "and_ids" else any(inner)
    if which == "not_id":
        return not holds(principal.not_id)
    assert which == "any", which
    return bool(principal.any)


def test_what_grpc_can_ask_stays_in_the_rules_of_a_server() -> None:
    principal = {"source": {"principals": ["cluster.local/ns/default/sa/web"]}}
    (found,) = rules("ALLOW", {"from": [principal], "to": [{"operation": {"paths": ["/pkg.Reviews/*"]}}]})
    text = str(found)
    assert "spiffe://cluster.local/ns/default/sa/web" in text and "/pkg.Reviews/" in text


def test_rules_that_audit_decide_nothing_and_every_filter_has_a_name_of_its_own() -> None:
    assert rules("AUDIT", {}) == []
    applied = [
        document(DocumentKind.AUTHORIZATION_POLICY, name, {"action": name.upper(), "rules": [{}]})
        for name in ("deny", "allow")
    ]
    place = authorization.Place("cluster.local", called.Port((9080,)))
    filters = servers.narrowed(authorization.http_filters(applied, place))
    assert len({each.name for each in filters}) == len(filters) == 2


@pytest.mark.parametrize(
    ("mode", "certificates", "secure"),
    [("STRICT", True, True), ("STRICT", False, False), ("PERMISSIVE", True, False), ("DISABLE", True, False)],
)
def test_only_strict_is_tls_on_a_server(mode: str, certificates: bool, secure: bool) -> None:
    said = document(DocumentKind.PEER_AUTHENTICATION, "default", {"mtls": {"mode": mode}})
    extensions = frozenset({CERTIFICATES} if certificates else ())
    server = Client(Kind.GRPC, "reviews", "default", inbound=(Inbound(9080, 9080),), extensions=extensions)
    compiled = compile(world().with_policies(Policies([said])), server, Memo())
    found = listener_pb2.Listener.FromString(compiled.snapshot.listeners[SERVER % "[::]:9080"].body)
    assert found.address.socket_address.address == "::"
    assert found.filter_chains[0].HasField("transport_socket") is secure
    differs = (mode, certificates) in (("STRICT", False), ("PERMISSIVE", True))
    assert bool(compiled.problems) is differs


def world(*endpoints: Endpoint) -> World:
    service = MeshService(HOST, "reviews", "default", (Port(9080, Protocol.GRPC),), endpoints)
    return world_of({HOST: service}, Choices())


CLIENT = Client(Kind.GRPC, "productpage", "default", extensions=frozenset({CERTIFICATES}))


def test_every_name_of_a_service_is_a_listener_with_the_same_routes() -> None:
    compiled = compile(world(Endpoint("127.0.0.1", 1)), CLIENT, Memo())
    assert compiled.problems == () and check(compiled.snapshot) == []
    assert {"reviews", "reviews:9080", "reviews.default", f"{HOST}:9080"} <= set(compiled.snapshot.listeners)
    assert list(compiled.snapshot.routes) == [f"{HOST}:9080"]


def test_a_change_of_endpoints_compiles_one_assignment() -> None:
    memo = Memo()
    first = compile(world(Endpoint("127.0.0.1", 1)), CLIENT, memo)
    before = world(Endpoint("127.0.0.1", 1))
    one = compile(before, CLIENT, memo).snapshot
    changed = before.services[HOST]
    after = before.with_services(
        {HOST: MeshService(**{**_fields(changed), "endpoints": (Endpoint("127.0.0.1", 2),)})}
    )
    two = compile(after, CLIENT, memo).snapshot
    assert two.endpoints[CLUSTER] != one.endpoints[CLUSTER]
    assert two.clusters is one.clusters and two.routes is one.routes and two.listeners is one.listeners
    assert first.snapshot.endpoints[CLUSTER].version == one.endpoints[CLUSTER].version


def _fields(service: MeshService) -> dict[str, Any]:
    return {name: getattr(service, name) for name in service.__struct_fields__}


def test_every_difference_says_what_happens_instead() -> None:
    texts = [each.text for each in Differs]
    assert len(set(texts)) == len(texts) and all(": " in text for text in texts)
