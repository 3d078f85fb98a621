"""Which documents hold for whom."""

from __future__ import annotations

from typing import Any

from atoll.planes.mesh.model.policies import Policies, Workload
from atoll.resources.mesh.clients import Client
from atoll.resources.mesh.clients import Kind as ClientKind
from atoll.resources.mesh.documents.destination_rule import DestinationRule, Subset
from atoll.resources.mesh.documents.kinds import Document, DocumentKey, Kind
from atoll.resources.mesh.documents.parts import Selector
from atoll.resources.mesh.documents.peer_authentication import MutualTls, PeerAuthentication
from atoll.resources.mesh.documents.virtual_service import (
    Destination,
    HttpDestination,
    HttpRoute,
    VirtualService,
)

REVIEWS = "reviews.default.svc.cluster.local"


def document(kind: Kind, name: str, spec: Any, namespace: str = "default", created: int = 1) -> Document[Any]:
    return Document(DocumentKey(kind, namespace, name), spec, f"{created:08x}", created=created)


def route(*hosts: str, export: tuple[str, ...] = ()) -> VirtualService:
    to = HttpRoute(route=(HttpDestination(destination=Destination(host="reviews")),))
    return VirtualService(hosts=hosts, http=(to,), exportTo=export)


def sidecar(namespace: str = "default") -> Client:
    return Client(ClientKind.SIDECAR, "ratings", namespace, {"version": "v1"})


def test_the_hosts_own_route_is_found_before_that_of_a_wildcard_and_the_oldest_before_the_rest() -> None:
    wide = document(Kind.VIRTUAL_SERVICE, "wide", route("*.default.svc.cluster.local"), created=1)
    young = document(Kind.VIRTUAL_SERVICE, "young", route("reviews"), created=3)
    old = document(Kind.VIRTUAL_SERVICE, "old", route(REVIEWS), created=2)
    found = Policies([wide, young, old]).virtual_services_for(REVIEWS, "default")
    assert [each.name for each in found] == ["old", "young", "wide"]


def test_a_document_is_seen_only_where_it_is_exported_to() -> None:
    policies = Policies([document(Kind.VIRTUAL_SERVICE, "mine", route("reviews", export=(".",)))])
    assert policies.virtual_services_for(REVIEWS, "default")
    assert not policies.virtual_services_for(REVIEWS, "other")


def test_rules_for_one_host_are_put_together() -> None:
    one = DestinationRule(host="reviews", subsets=(Subset(name="v1", labels={"version": "v1"}),))
    two = DestinationRule(host="reviews", subsets=(Subset(name="v2", labels={"version": "v2"}),))
    policies = Policies(
        [
            document(Kind.DESTINATION_RULE, "two", two, created=2),
            document(Kind.DESTINATION_RULE, "one", one, created=1),
        ]
    )
    found = policies.destination_rule_for(REVIEWS, "default", sidecar("other"))
    assert found is not None
    assert [each.name for each in found.spec.subsets] == ["v1", "v2"]
    assert found.names == ("DestinationRule/default/one", "DestinationRule/default/two")


def test_a_change_leaves_the_indexes_of_other_kinds_and_the_value_before_alone() -> None:
    first = document(Kind.VIRTUAL_SERVICE, "a", route("reviews"))
    before = Policies([first])
    kept = before.of_kind(Kind.VIRTUAL_SERVICE)
    strict = PeerAuthentication(mtls=MutualTls(mode="STRICT"))
    peer = document(Kind.PEER_AUTHENTICATION, "p", strict)
    after = before.with_changes({peer.key: peer})
    assert after.of_kind(Kind.VIRTUAL_SERVICE) is kept
    assert before.peer_modes(Workload("default", "reviews")).mode == "PERMISSIVE"
    assert after.peer_modes(Workload("default", "reviews")).mode == "STRICT"
    assert after.with_changes({peer.key: None}).get(peer.key) is None


def test_a_port_inherits_from_its_workload_and_that_from_its_namespace() -> None:
    strict = PeerAuthentication(mtls=MutualTls(mode="STRICT"))
    narrow = PeerAuthentication(
        selector=Selector(matchLabels={"app": "reviews"}), portLevelMtls={"9080": MutualTls(mode="DISABLE")}
    )
    policies = Policies(
        [
            document(Kind.PEER_AUTHENTICATION, "mesh", strict, "istio-system"),
            document(Kind.PEER_AUTHENTICATION, "narrow", narrow),
        ]
    )
    found = policies.peer_modes(Workload("default", "reviews", {"app": "reviews"}))
    assert (found.of_port(80), found.of_port(9080)) == ("STRICT", "DISABLE")
    assert policies.peer_modes(Workload("default", "ratings", {"app": "ratings"})).of_port(9080) == "STRICT"
