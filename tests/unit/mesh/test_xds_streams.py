"""What streams may ask for, and what they share."""

from __future__ import annotations

import pytest

from atoll.errors import AtollError
from atoll.wire.xds.shelf import Shelf
from atoll.wire.xds.snapshot import Resource, Snapshot, Type
from atoll.wire.xds.stream import Limits
from tests.unit.mesh.xds_kit import CLUSTER, ENDPOINTS, LISTENER, DeltaPeer, SotwPeer, names_of, simple

AB = simple({"a": "1", "b": "1"})


def test_a_stream_may_ask_for_so_much() -> None:
    peer = DeltaPeer(AB, Limits(names_max=2, types_max=1))
    with pytest.raises(AtollError, match="at most 2"):
        peer.say(ENDPOINTS, subscribe=["a", "b", "c"])
    peer = DeltaPeer(AB, Limits(names_max=2, types_max=1))
    peer.say("type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret", subscribe=["s"])
    assert peer.take("type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret") == ([], ["s"])
    with pytest.raises(AtollError, match="types that are not served"):
        peer.say("another", subscribe=["s"])


def test_equal_snapshots_share_their_offers() -> None:
    shelf = Shelf()
    one, other = shelf.goal(AB), shelf.goal(simple({"a": "1", "b": "2"}))
    assert one.of(CLUSTER)["a"] is other.of(CLUSTER)["a"]
    assert one.of(CLUSTER)["b"] is not other.of(CLUSTER)["b"]
    assert shelf.goal(AB).of(CLUSTER) is one.of(CLUSTER)


def test_streams_that_have_the_same_keep_the_same_objects() -> None:
    shelf = Shelf()
    peers = [DeltaPeer(), DeltaPeer()]
    for peer in peers:
        peer.shelf = shelf
        peer.goal(AB)
        peer.start(["a", "b"])
    one, other = (peer.stream.tracks for peer in peers)
    for type_url in (CLUSTER, ENDPOINTS):
        assert one[type_url].sent is other[type_url].sent is one[type_url].accepted
    assert one[ENDPOINTS].names is other[ENDPOINTS].names


def test_a_response_is_encoded_once_for_all() -> None:
    shelf = Shelf()
    entries = []
    for _ in range(2):
        peer = SotwPeer()
        peer.shelf = shelf
        peer.goal(AB)
        peer.say(CLUSTER)
        peer.hear()
        entries.append([offer.entry() for offer in peer.stream.tracks[CLUSTER].sent.values()])
    assert all(one is other for one, other in zip(*entries, strict=True))


def test_a_response_that_may_be_split_has_a_size() -> None:
    peer = DeltaPeer(simple({f"c{n}": "x" * 100 for n in range(20)}, routed=[]), Limits(response_bytes=500))
    peer.say(CLUSTER)
    seen: list[str] = []
    while (message := peer.hear()) is not None:
        assert message.ByteSize() < 1_500
        seen += [each.name for each in message.resources]
        peer.say(CLUSTER, nonce=message.nonce)
    assert sorted(seen) == sorted(f"c{n}" for n in range(20))


def test_equal_bytes_that_wait_for_other_clusters_are_another_offer() -> None:
    """A listener whose routes lead elsewhere now: it would wait for a cluster that is gone."""
    before, after = (
        Resource(Type.LISTENER, "l", b"listener", "v", ((Type.CLUSTER, name),)) for name in ("old", "new")
    )
    shelf = Shelf()
    goals = [shelf.goal(Snapshot({}, {}, {"l": each}, {})) for each in (before, after)]
    assert [goal.of(LISTENER)["l"].refers for goal in goals] == [before.refers, after.refers]


@pytest.mark.parametrize("form", [SotwPeer, DeltaPeer])
def test_nothing_is_taken_from_a_client_that_comes_back_before_it_has_said_what_it_has(
    form: type[SotwPeer] | type[DeltaPeer],
) -> None:
    before = form(AB)
    before.start(["a", "b"])
    again = form(AB)
    if isinstance(again, DeltaPeer) and isinstance(before, DeltaPeer):
        again.say(CLUSTER, initial=before.versions[CLUSTER])
    elif isinstance(again, SotwPeer) and isinstance(before, SotwPeer):
        again.versions = before.versions
        again.say(CLUSTER, nonce="")
    assert again.hear() is None
    again.goal(simple({"a": "1"}))  # its routes of before may lead to b, and it has not asked for them yet
    assert again.hear() is None
    again.now_s += Limits().ack_s_max
    assert again.hear().type_url == CLUSTER, "it asked for none in all that time"


def test_a_cluster_that_is_on_its_way_out_is_not_counted_on() -> None:
    peer = SotwPeer(simple({"a": "1", "b": "1"}, routed=["a"]))
    peer.start(["a", "b"])
    peer.goal(simple({"a": "1"}))
    assert names_of(peer.hear()) == ["a"]  # b goes, and nothing was said of that yet
    peer.goal(simple({"a": "1", "b": "1"}, routed=["b"]))
    assert peer.hear() is None, "the route to b would come before b"
    peer.say(CLUSTER)
    assert peer.take(CLUSTER) == ["a", "b"]
