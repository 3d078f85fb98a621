"""What a proxy has against what is intended for it: each kind of difference is found, and what makes none is not."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment

from atoll.planes.mesh.policy import differences
from atoll.planes.mesh.policy.explain import dump
from atoll.resources.mesh.explanations import Difference
from atoll.wire.xds.snapshot import Snapshot, Type, resource
from tests.unit.mesh import explained_config as made

DOCUMENTS = ("VirtualService/default/reviews",)


def _snapshot(*messages: Any) -> Snapshot:
    kinds: dict[Any, Type] = {kind: one for one, kind in dump.KINDS.items()}
    found: dict[Type, dict[str, Any]] = {kind: {} for kind in Type}
    for each in messages:
        kind = kinds[type(each)]
        name = each.cluster_name if kind is Type.ENDPOINTS else each.name
        found[kind][name] = resource(kind, name, each.SerializeToString(), documents=DOCUMENTS)
    return Snapshot(found[Type.CLUSTER], found[Type.ENDPOINTS], found[Type.LISTENER], found[Type.ROUTE])


def _found(intended: list[Any], actual: list[Any]) -> list[Difference]:
    return differences.differences(_snapshot(*intended), dump.resources(made.dump_of(actual)))


def _messages() -> list[Any]:
    return [
        made.listener("outbound_http", made.manager()),
        made.routes(made.to("a", timeout="2s")),
        made.cluster("a"),
        made.endpoints("a", ["HEALTHY", "UNKNOWN"]),
    ]


def test_the_same_makes_no_difference() -> None:
    assert _found(_messages(), _messages()) == []


def test_a_resource_that_only_one_side_has() -> None:
    more = [*_messages(), made.cluster("b")]
    missing, surplus = _found(more, _messages()), _found(_messages(), more)
    assert [(each.type, each.resource, each.actual) for each in missing] == [("cluster", "b", "(absent)")]
    assert [(each.type, each.resource, each.intended) for each in surplus] == [("cluster", "b", "(absent)")]
    assert missing[0].documents == DOCUMENTS and surplus[0].documents == ()


def test_a_field_is_told_by_its_path_with_the_documents_behind_it() -> None:
    changed = [
        made.routes(made.to("a", timeout="9s")) if each.DESCRIPTOR.name == "RouteConfiguration" else each
        for each in _messages()
    ]
    (found,) = _found(_messages(), changed)
    assert found.path.startswith("virtual_hosts.[0](reviews).routes.[0](VirtualService/default/reviews/0")
    assert found.path.endswith("route.timeout")
    assert (found.intended, found.actual, found.documents) == ("2s", "9s", DOCUMENTS)


def test_endpoints_are_compared_by_address_whatever_their_order() -> None:
    cluster = made.cluster("a")
    before = made.endpoints("a", ["HEALTHY", "HEALTHY"])
    turned = ClusterLoadAssignment.FromString(before.SerializeToString())
    group = turned.endpoints[0]
    last = group.lb_endpoints.pop()
    group.lb_endpoints.insert(0, last)
    assert _found([cluster, before], [cluster, turned]) == []
    (found,) = _found([cluster, before], [cluster, made.endpoints("a", ["HEALTHY", "DRAINING"])])
    assert (found.path, found.intended, found.actual) == ("10.0.0.1:80.health", "HEALTHY", "DRAINING")


def test_endpoints_that_a_cluster_has_itself_are_not_asked_for() -> None:
    static = made.cluster("inbound|80||", type="STATIC")
    assert _found([static], [static, made.endpoints("inbound|80||", ["HEALTHY"])]) == []
    (found,) = _found([made.cluster("a")], [made.cluster("a"), made.endpoints("a", ["HEALTHY"])])
    assert (found.type, found.resource, found.intended) == ("endpoints", "a", "(absent)")


def test_what_the_proxy_hides_makes_no_difference() -> None:
    answer = {"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": "x"}}}
    hidden = {
        "match": {"prefix": "/"},
        "direct_response": {"status": 200, "body": {"inline_string": "[redacted]"}},
    }
    assert _found([made.routes(answer)], [made.routes(hidden)]) == []


def test_what_did_not_come_by_xds_is_not_compared() -> None:
    static = json.dumps({"configs": [{"static_clusters": [{"cluster": {"name": "sds", "type": "STATIC"}}]}]})
    assert differences.differences(_snapshot(), dump.resources(static.encode())) == []


def test_there_is_an_end_to_the_list() -> None:
    many = [Cluster(name=f"c{number}") for number in range(differences.DIFFERENCES_MAX + 10)]
    assert len(_found(many, [])) == differences.DIFFERENCES_MAX


def test_a_cluster_that_was_not_asked_for_is_not_missed() -> None:
    intended = _snapshot(*_messages(), made.cluster("b"), made.endpoints("b", ["HEALTHY"]))
    actual = dump.resources(made.dump_of(_messages()))
    assert [each.resource for each in differences.differences(intended, actual)] == ["b", "b"]
    on_demand = msgspec.structs.replace(intended, on_demand=frozenset({"a", "b"}))
    assert differences.differences(on_demand, actual) == []
    changed = dump.resources(
        made.dump_of([*_messages()[:2], made.cluster("a", lb_policy="MAGLEV"), *_messages()[3:]])
    )
    assert [each.resource for each in differences.differences(on_demand, changed)] == ["a"]
