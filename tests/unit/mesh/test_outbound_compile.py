"""What a sidecar's outbound side is made of, and what of it stays the same object when something changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pytest
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2

from atoll.planes.mesh.model.policies import Policies
from atoll.planes.mesh.model.snapshot import Resource, Snapshot, Type, resource
from atoll.planes.mesh.model.world import World, world_of
from atoll.planes.mesh.policy.compiler import Memo, compile, parts
from atoll.planes.mesh.policy.compiler.parts import Parts
from atoll.resources.mesh.clients import Capture, Client, Outbound
from atoll.resources.mesh.clients import Kind as ClientKind
from atoll.resources.mesh.documents.kinds import FORMS, Document, DocumentKey, Kind
from atoll.resources.mesh.services import Endpoint, Locality, MeshService, Port, Protocol

DOMAIN = "svc.cluster.local"
CLIENT = Client(ClientKind.SIDECAR, "web", "default", locality=Locality("eu", "1"))
TEN = tuple(Endpoint(f"10.0.0.{number}", 8080, labels={"version": "v1"}) for number in range(10))


def service(name: str, namespace: str = "default", **more: Any) -> MeshService:
    return MeshService(f"{name}.{namespace}.{DOMAIN}", name, namespace, **{"endpoints": TEN, **more})


def document(
    kind: Kind, name: str, spec: Mapping[str, Any], namespace: str = "default", hash8: str = "0badcafe"
) -> Document[Any]:
    return Document(DocumentKey(kind, namespace, name), msgspec.convert(spec, FORMS[kind].spec), hash8)


def virtual(name: str, *routes: str, **more: Any) -> Document[Any]:
    """Everything to ``routes``: hosts, or ``HOST/SUBSET``."""
    legs = []
    for route in routes:
        host, _, subset = route.partition("/")
        legs.append({"destination": {"host": host, "subset": subset}, "weight": 1})
    spec = {"hosts": [name], "http": [{"route": legs}], **more}
    return document(Kind.VIRTUAL_SERVICE, name, spec)


def rule(host: str, policy: Mapping[str, Any] | None = None, *subsets: str, **more: Any) -> Document[Any]:
    said = [{"name": name, "labels": {"version": name}} for name in subsets]
    spec = {"host": host, "trafficPolicy": policy or {}, "subsets": said, **more}
    return document(Kind.DESTINATION_RULE, f"{host}-rule", spec)


def world(services: Sequence[MeshService], *documents: Document[Any]) -> World:
    return world_of({one.host: one for one in services}, policies=Policies(documents))


def snapshot(world: World, client: Client = CLIENT, memo: Memo | None = None) -> Snapshot:
    compiled = compile(world, client, memo or Memo())
    assert compiled.problems == ()
    return compiled.snapshot


def cluster(of: Snapshot, name: str) -> Any:
    return cluster_pb2.Cluster.FromString(of.clusters[name].body)


def assignment(of: Snapshot, name: str) -> Any:
    return endpoint_pb2.ClusterLoadAssignment.FromString(of.endpoints[name].body)


def hosts(of: Snapshot, table: str = "http") -> dict[str, Any]:
    message = route_pb2.RouteConfiguration.FromString(of.routes[table].body)
    return {one.name: one for one in message.virtual_hosts}


def named(host: str, port: int = 80, subset: str = "") -> str:
    return f"outbound|{port}|{subset}|{host}.{DOMAIN}"


# ------------------------------------------------------------------------------------ what a change costs


def test_an_endpoint_that_changes_changes_one_assignment_and_no_other_object() -> None:
    before = world([service(name) for name in ("a", "b", "c")])
    memo = Memo()
    first = snapshot(before, memo=memo)
    other = msgspec.structs.replace(CLIENT, service="shop")
    other_first = snapshot(before, other, memo)
    changed = service("b", endpoints=TEN[:-1])
    after = before.with_services({changed.host: changed})
    second, other_second = snapshot(after, memo=memo), snapshot(after, other, memo)
    assert second.clusters is first.clusters
    assert second.routes is first.routes
    assert second.listeners is first.listeners
    differing = {name for name in second.endpoints if second.endpoints[name] is not first.endpoints[name]}
    assert differing == {named("b.default")}
    assert second.endpoints is other_second.endpoints  # one mapping for all clients with these clusters
    assert other_second.clusters is other_first.clusters
    assert other_first.clusters is first.clusters


def test_a_client_to_which_nothing_changed_gets_the_very_same() -> None:
    before = world([service("a"), service("b")])
    memo = Memo()
    narrow = msgspec.structs.replace(CLIENT, uses=("a",))
    first = compile(before, narrow, memo)
    after = before.with_services({f"b.default.{DOMAIN}": service("b", endpoints=TEN[:1])})
    assert compile(after, narrow, memo) is first


def test_a_route_that_changes_leaves_clusters_and_other_virtual_hosts() -> None:
    services = [service(name) for name in ("a", "b", "c")]
    subsets = rule("a", None, "v1", "v2")
    memo = Memo()
    before = world(services, virtual("a", "a/v1", "a/v2"), subsets)
    first = snapshot(before, memo=memo)
    misses = memo.misses
    changed = virtual("a", "a/v2", "a/v1")
    after = before.with_policies(before.policies.with_changes({changed.key: changed}))
    second = snapshot(after, memo=memo)
    assert second.clusters is first.clusters
    assert second.endpoints is first.endpoints
    assert second.routes["http"].version != first.routes["http"].version
    assert memo.misses - misses < 10  # one virtual host, the plan and what is put together; not three of each


def test_two_worlds_at_once_do_not_drive_each_other_out() -> None:
    services = [service(name) for name in ("a", "b")]
    stable = world(services, virtual("a", "a"))
    tried = stable.with_policies(stable.policies.with_changes({(one := virtual("a", "b")).key: one}))
    memo = Memo()
    first = [compile(each, CLIENT, memo) for each in (stable, tried)]
    misses = memo.misses
    for _ in range(3):
        again = [compile(each, CLIENT, memo) for each in (stable, tried)]
        assert [one is other for one, other in zip(first, again, strict=True)] == [True, True]
    assert memo.misses == misses


def test_a_destination_that_appears_is_led_to() -> None:
    before = world([service("a")], virtual("a", "late"))
    memo = Memo()
    assert "no service 'late'" in compile(before, CLIENT, memo).problems[0]
    late = service("late")
    after = before.with_services({late.host: late})
    assert compile(after, CLIENT, memo) == compile(after, CLIENT, Memo())
    assert named("late.default") in snapshot(after, memo=memo).clusters


def test_what_is_remembered_is_bounded() -> None:
    memo = Memo(keys_max=50)
    for number in range(30):
        snapshot(world([service(f"s{number}-{each}") for each in range(5)]), memo=memo)
    assert memo.keys_count <= 50


# --------------------------------------------------------------------------------------- what is sent


def test_clusters_are_sent_because_something_leads_to_them() -> None:
    found = snapshot(world([service("a"), service("b")], virtual("a", "a/v1"), rule("a", None, "v1", "v2")))
    assert set(found.clusters) == {named("a.default", subset="v1"), named("b.default")}
    assert set(found.endpoints) == set(found.clusters)


def test_documents_are_named_by_what_they_shaped() -> None:
    found = snapshot(world([service("a")], virtual("a", "a/v1"), rule("a", None, "v1")))
    shaped = ("VirtualService/default/a", "DestinationRule/default/a-rule")
    assert found.routes["http"].documents == shaped
    assert found.clusters[named("a.default", subset="v1")].documents == shaped[1:]
    assert [one.name for one in hosts(found)[f"a.default.{DOMAIN}:80"].routes] == [
        "VirtualService/default/a/0@0badcafe"
    ]


def test_a_subset_is_of_the_endpoints_with_its_labels() -> None:
    endpoints = (*TEN[:2], msgspec.structs.replace(TEN[2], labels={"version": "v2"}))
    found = snapshot(
        world([service("a", endpoints=endpoints)], virtual("a", "a/v1", "a/v2"), rule("a", None, "v1", "v2"))
    )
    counts = {
        subset: sum(
            len(group.lb_endpoints)
            for group in assignment(found, named("a.default", subset=subset)).endpoints
        )
        for subset in ("v1", "v2")
    }
    assert counts == {"v1": 2, "v2": 1}


@pytest.mark.parametrize(
    ("services", "client", "documents", "seen"),
    [
        ("abc", {"uses": ("a",)}, (), "a"),
        ("abc", {"uses": ("a.default", f"c.default.{DOMAIN}", "nobody")}, (), "ac"),
        ("abc", {"uses": ()}, (), ""),
        ("abc", {}, ({"egress": [{"hosts": ["./a"]}]},), "a"),
        ("abc", {}, ({"egress": [{"hosts": [f"default/b.default.{DOMAIN}", "other/*"]}]},), "b"),
        ("abc", {}, ({"egress": [{"hosts": ["*/*"]}]},), "abc"),
        ("abc", {}, ({"egress": [{"hosts": ["~/*"]}]},), ""),
        ("abc", {"uses": ("c",)}, ({"egress": [{"hosts": ["./a"]}]},), "c"),
    ],
)
def test_a_client_is_told_of_its_scope(
    services: str, client: Mapping[str, Any], documents: Sequence[Mapping[str, Any]], seen: str
) -> None:
    said = [document(Kind.SIDECAR, "scope", one) for one in documents]
    found = snapshot(
        world([service(name) for name in services], *said), msgspec.structs.replace(CLIENT, **client)
    )
    assert sorted(found.clusters) == [named(f"{name}.default") for name in seen]


def test_where_a_route_leads_is_sent_though_it_is_out_of_scope() -> None:
    found = snapshot(
        world([service("a"), service("b")], virtual("a", "b")), msgspec.structs.replace(CLIENT, uses=("a",))
    )
    assert set(found.clusters) == {named("b.default")}
    assert set(hosts(found)) == {f"a.default.{DOMAIN}:80", "refused"}


@pytest.mark.parametrize(
    ("exported", "seen"), [(["."], False), (["*"], True), (["default"], True), (["~"], False)]
)
def test_a_service_entry_is_seen_where_it_is_exported_to(exported: list[str], seen: bool) -> None:
    entry = document(
        Kind.SERVICE_ENTRY,
        "out",
        {
            "hosts": ["out.example"],
            "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
            "resolution": "DNS",
            "exportTo": exported,
        },
        namespace="other",
    )
    assert ("outbound|80||out.example" in snapshot(world([], entry)).clusters) is seen


def test_a_registrys_service_goes_before_an_entry_of_the_same_host() -> None:
    entry = document(
        Kind.SERVICE_ENTRY,
        "a",
        {
            "hosts": [f"a.default.{DOMAIN}"],
            "ports": [{"number": 81, "name": "http", "protocol": "HTTP"}],
            "resolution": "STATIC",
            "endpoints": [{"address": "10.1.1.1"}],
        },
    )
    both = world([service("a")], entry)
    assert set(snapshot(both).clusters) == {named("a.default")}
    alone = both.with_services({f"a.default.{DOMAIN}": None})
    assert set(snapshot(alone).clusters) == {named("a.default", 81)}


def test_a_short_name_is_the_callers_own_and_a_name_means_one_service() -> None:
    services = [
        service("a"),
        service("a", "other"),
        service("b", aliases=("shared",)),
        service("c", aliases=("shared",)),
    ]
    here = hosts(snapshot(world(services)))
    there = hosts(snapshot(world(services), msgspec.structs.replace(CLIENT, namespace="other")))
    assert "a" in here[f"a.default.{DOMAIN}:80"].domains
    assert "a" not in here[f"a.other.{DOMAIN}:80"].domains
    assert "a" in there[f"a.other.{DOMAIN}:80"].domains
    assert "shared" in here[f"b.default.{DOMAIN}:80"].domains
    assert "shared" not in here[f"c.default.{DOMAIN}:80"].domains


def test_only_the_first_port_of_http_answers_to_bare_names() -> None:
    ports = (Port(7000, Protocol.TCP), Port(8080), Port(9090, Protocol.GRPC))
    found = hosts(snapshot(world([service("a", ports=ports)])))
    assert {"a", "a:8080"} <= {*found[f"a.default.{DOMAIN}:8080"].domains}
    assert "a:9090" in found[f"a.default.{DOMAIN}:9090"].domains
    assert "a" not in found[f"a.default.{DOMAIN}:9090"].domains
    assert len(found) == 3  # and nothing for the byte stream


def test_rules_for_some_callers_are_for_those() -> None:
    match = [{"sourceLabels": {"tier": "canary"}}]
    spec = {
        "hosts": ["a"],
        "http": [
            {"match": match, "route": [{"destination": {"host": "b"}}]},
            {"match": [{"sourceNamespace": "other"}], "route": [{"destination": {"host": "c"}}]},
            {"route": [{"destination": {"host": "a"}}]},
        ],
    }
    there = world([service(name) for name in "abc"], document(Kind.VIRTUAL_SERVICE, "a", spec))
    memo = Memo()

    def leads_to(**client: Any) -> list[str]:
        found = snapshot(there, msgspec.structs.replace(CLIENT, **client), memo)
        return [one.route.cluster for one in hosts(found)[f"a.default.{DOMAIN}:80"].routes]

    assert leads_to() == [named("a.default")]
    assert leads_to(labels={"tier": "canary"}) == [named("b.default"), named("a.default")]
    assert leads_to(namespace="other") == [named("c.default"), named("a.default")]


def test_a_rule_of_the_callers_namespace_goes_before_the_services() -> None:
    theirs = rule("a", {"connectionPool": {"tcp": {"maxConnections": 1}}})
    ours = document(
        Kind.DESTINATION_RULE,
        "ours",
        {"host": f"a.default.{DOMAIN}", "trafficPolicy": {"connectionPool": {"tcp": {"maxConnections": 2}}}},
        namespace="other",
    )
    there = world([service("a")], theirs, ours)
    memo = Memo()
    for namespace, limit in (("default", 1), ("other", 2), ("third", 1)):
        found = snapshot(there, msgspec.structs.replace(CLIENT, namespace=namespace), memo)
        thresholds = cluster(found, named("a.default")).circuit_breakers.thresholds[0]
        assert thresholds.max_connections.value == limit


def test_where_a_client_stands_matters_only_where_a_document_says_so() -> None:
    near = (
        msgspec.structs.replace(TEN[0], locality=Locality("eu", "1")),
        msgspec.structs.replace(TEN[1], locality=Locality("us", "1")),
    )
    services = [service("a", endpoints=near), service("b", endpoints=near)]
    there = world(services, rule("a", {"outlierDetection": {}}))
    memo = Memo()
    here = snapshot(there, memo=memo)
    far = snapshot(there, msgspec.structs.replace(CLIENT, locality=Locality("us", "1")), memo)

    def priorities(found: Snapshot) -> dict[str, int]:
        groups = assignment(found, named("a.default")).endpoints
        return {group.locality.region: group.priority for group in groups}

    assert priorities(here) == {"eu": 0, "us": 1}
    assert priorities(far) == {"eu": 1, "us": 0}
    assert here.endpoints[named("b.default")] is far.endpoints[named("b.default")]


def test_captured_streams_that_cannot_be_told_apart_are_told_of() -> None:
    services = [service(name, ports=(Port(6000, Protocol.TCP),)) for name in ("a", "b")]
    client = msgspec.structs.replace(CLIENT, capture=Capture.REDIRECT)
    compiled = compile(world(services), client, Memo())
    assert len(compiled.problems) == 1
    assert f"b.default.{DOMAIN}:6000" in compiled.problems[0]
    apart = [msgspec.structs.replace(one, addresses=(f"10.9.9.{i}",)) for i, one in enumerate(services)]
    found = snapshot(world(apart), client)
    message = listener_pb2.Listener.FromString(found.listeners["virtual_outbound"].body)
    assert [one.filter_chain_match.prefix_ranges[0].address_prefix for one in message.filter_chains] == [
        "10.9.9.0",
        "10.9.9.1",
    ]


# ---------------------------------------------------------------------------------------- what is proven


def leading(name: str, to: str) -> Resource:
    return resource(Type.LISTENER, name, b"", ((Type.CLUSTER, to),))


def test_what_leads_nowhere_and_what_is_there_twice_is_told() -> None:
    one = Parts(listeners={"l": leading("l", "away")})
    frame = parts.framed((one,), world([]), Memo())
    assert frame.problems == ("listener l refers to cluster away, which is not there",)
    there = Parts(clusters={"away": resource(Type.CLUSTER, "away", b"")})
    assert parts.framed((one, there), world([]), Memo()).problems == ()
    twice = parts.framed((one, there, there), world([]), Memo())
    assert twice.problems == ("cluster away was compiled twice",)


@pytest.mark.parametrize(
    ("capture", "host", "type_name"),
    [
        (Capture.REDIRECT, "out.example", "ORIGINAL_DST"),
        (Capture.PORTS, "out.example", "STRICT_DNS"),
        (Capture.PORTS, "*.out.example", "STATIC"),  # nobody to be looked up
    ],
)
def test_only_where_traffic_is_captured_an_address_was_dialled(
    capture: Capture, host: str, type_name: str
) -> None:
    """Elsewhere the address of a connection is the sidecar's own: to go on to it would be a loop."""
    ports = [{"number": 80, "name": "http", "protocol": "HTTP"}]
    entry = document(Kind.SERVICE_ENTRY, "out", {"hosts": [host], "ports": ports, "resolution": "NONE"})
    passed = rule("a", {"loadBalancer": {"simple": "PASSTHROUGH"}})
    found = snapshot(world([service("a")], entry, passed), msgspec.structs.replace(CLIENT, capture=capture))
    types = cluster_pb2.Cluster.DiscoveryType
    assert types.Name(cluster(found, f"outbound|80||{host}").type) == type_name
    balanced = types.Name(cluster(found, named("a.default")).type)
    assert balanced == ("ORIGINAL_DST" if capture is Capture.REDIRECT else "EDS")


def test_streams_are_bounded_as_their_destination_says() -> None:
    policy = {
        "connectionPool": {"tcp": {"idleTimeout": 5, "maxConnectionDuration": 60}},
        "loadBalancer": {"consistentHash": {"useSourceIp": True}},
    }
    services = [service("a", ports=(Port(6000, Protocol.TCP),))]
    client = msgspec.structs.replace(CLIENT, outbound=(Outbound("a", 6000, port=16000),))
    found = snapshot(world(services, rule("a", policy)), client)
    message = listener_pb2.Listener.FromString(found.listeners[f"outbound_a.default.{DOMAIN}_6000"].body)
    proxy = tcp_proxy_pb2.TcpProxy()
    message.filter_chains[0].filters[0].typed_config.Unpack(proxy)
    assert (proxy.idle_timeout.seconds, proxy.max_downstream_connection_duration.seconds) == (5, 60)
    assert proxy.hash_policy[0].HasField("source_ip")
    assert proxy.cluster == named("a.default", 6000)


def test_a_host_of_documents_alone_is_called_by_its_name_or_its_pattern() -> None:
    wild = document(
        Kind.VIRTUAL_SERVICE,
        "wild",
        {
            "hosts": ["*.shop.example", "*.default.svc.cluster.local"],
            "http": [{"route": [{"destination": {"host": "a"}}]}],
        },
    )
    found = hosts(snapshot(world([service("a"), service("b")], wild, virtual("shop.example", "a"))))
    assert {*found["*.shop.example:80"].domains} == {"*.shop.example", "*.shop.example:80"}
    assert {*found["shop.example:80"].domains} == {"shop.example", "shop.example:80"}
    assert [one.name for one in found[f"b.default.{DOMAIN}:80"].routes] == [
        "VirtualService/default/wild/0@0badcafe"
    ]
    assert not any(name.startswith("*.default") for name in found)  # its services have it themselves


def test_clients_whose_labels_say_what_is_near_do_not_share() -> None:
    racks = tuple(msgspec.structs.replace(TEN[number], labels={"rack": f"r{number}"}) for number in range(2))
    policy = {
        "outlierDetection": {},
        "loadBalancer": {"localityLbSetting": {"failoverPriority": ["rack"]}},
    }
    there = world([service("a", endpoints=racks)], rule("a", policy))
    memo = Memo()
    nearest = []
    for rack in ("r0", "r1"):
        found = snapshot(there, msgspec.structs.replace(CLIENT, labels={"rack": rack}), memo)
        groups = assignment(found, named("a.default")).endpoints
        nearest += [
            each.endpoint.address.socket_address.address
            for group in groups
            if group.priority == 0
            for each in group.lb_endpoints
        ]
    assert nearest == ["10.0.0.0", "10.0.0.1"]
