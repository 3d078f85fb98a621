"""Clusters on demand, in the stream machine: who asks for one by name gets it, with the others or alone."""

from __future__ import annotations

import msgspec

from atoll.wire.xds.snapshot import Snapshot
from tests.unit.mesh.xds_kit import CLUSTER, ENDPOINTS, LISTENER, ROUTE, DeltaPeer, SotwPeer, simple


def on_demand(clusters: dict[str, str], names: set[str]) -> Snapshot:
    return msgspec.structs.replace(simple(clusters), on_demand=frozenset(names))


ABC = on_demand({"a": "1", "b": "1", "c": "1"}, {"b", "c"})


def started(goal: Snapshot = ABC) -> DeltaPeer:
    peer = DeltaPeer(goal)
    peer.start(["a"])
    return peer


def test_nobody_is_sent_what_they_did_not_ask_for_and_nobody_waits_for_it() -> None:
    peer = started()  # with the route that leads to all three
    assert set(peer.versions[CLUSTER]) == {"a"}
    assert set(peer.versions[ROUTE]) == {"http"}
    assert peer.stream.is_current


def test_who_asks_is_sent_it_with_its_endpoints() -> None:
    peer = started()
    peer.say(CLUSTER, subscribe=["b"])
    assert peer.take(CLUSTER) == (["b"], [])
    peer.say(ENDPOINTS, subscribe=["b"])
    assert peer.take(ENDPOINTS) == (["b"], [])
    assert peer.hear() is None
    assert peer.stream.is_current


def test_what_was_asked_for_follows_the_world_and_the_rest_does_not() -> None:
    peer = started()
    peer.say(CLUSTER, subscribe=["b"])
    peer.take(CLUSTER)
    peer.say(ENDPOINTS, subscribe=["b"])
    peer.take(ENDPOINTS)
    peer.goal(on_demand({"a": "1", "b": "2", "c": "2"}, {"b", "c"}))
    assert peer.take(CLUSTER) == (["b"], [])
    assert peer.take(ENDPOINTS) == (["b"], [])
    assert peer.hear() is None
    peer.goal(on_demand({"a": "1", "c": "2"}, {"c"}))
    assert peer.take(ROUTE) == (["http"], [])
    assert peer.take(CLUSTER) == ([], ["b"])


def test_who_asks_for_what_is_not_there_is_told() -> None:
    peer = started()
    peer.say(CLUSTER, subscribe=["nobody"])
    assert peer.take(CLUSTER) == ([], ["nobody"])


def test_who_comes_back_has_what_it_asked_for() -> None:
    before = started()
    before.say(CLUSTER, subscribe=["b"])
    before.take(CLUSTER)
    peer = DeltaPeer(ABC)
    peer.say(CLUSTER, subscribe=["*", "b"], initial=before.versions[CLUSTER])
    answer = peer.hear()
    assert answer is None or not answer.removed_resources
    other = DeltaPeer(ABC)  # it asks for none any more
    other.say(CLUSTER, subscribe=["*"], initial=before.versions[CLUSTER])
    other.say(ENDPOINTS, subscribe=["a"])
    other.take(ENDPOINTS)
    other.say(LISTENER)
    other.take(LISTENER)
    other.say(ROUTE, subscribe=["http"])
    assert other.take(CLUSTER) == ([], ["b"])  # as soon as it is known that nothing of before leads there
    other.take(ROUTE)
    assert other.hear() is None


def test_a_client_of_the_whole_state_is_sent_it() -> None:
    peer = SotwPeer(ABC)
    peer.say(CLUSTER)
    assert peer.take(CLUSTER) == ["a", "b", "c"]
