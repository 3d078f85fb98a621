"""The rules of xDS that home-made servers break, one by one, on the machines of both forms.

Rule: each test names its trap by the number in the mesh's specification. Where a trap is a client's behaviour, the real
client shows it in tests/conformance/mesh/test_xds_on_envoy.py and test_xds_on_grpc.py.
"""

from __future__ import annotations

import pytest

from atoll.wire.xds.snapshot import EMPTY, Type
from atoll.wire.xds.stream import Accepted, Limits, Refused
from tests.unit.mesh.xds_kit import (
    CLUSTER,
    ENDPOINTS,
    LISTENER,
    ROUTE,
    DeltaPeer,
    SotwPeer,
    cluster,
    endpoints,
    listener,
    names_of,
    route,
    simple,
    snapshot,
)

AB = simple({"a": "1", "b": "1"})


# ------------------------------------------------------------------------------------ 1: what is an ACK


def test_trap_1_a_resubscription_with_the_last_nonce_is_no_ack_of_the_next_response() -> None:
    peer = SotwPeer(simple({"a": "1", "b": "1"}, routed=["a"]))
    peer.start(["a", "b"])
    peer.goal(simple({"a": "1", "c": "1"}, routed=["c"]))
    assert peer.take(CLUSTER) == ["a", "c"]
    before = peer.nonces[ENDPOINTS]
    peer.say(ENDPOINTS, ["a", "b", "c"])
    pushed = peer.hear()
    assert (pushed.type_url, names_of(pushed)) == (ENDPOINTS, ["c"])
    # the client gives b up before it sees the push: the nonce is the one of before, which it answered long ago
    peer.say(ENDPOINTS, ["a", "c"], nonce=before)
    assert peer.hear() is None, "the route went out before the cluster's endpoints were acknowledged"
    peer.say(ENDPOINTS, ["a", "c"])
    assert peer.take(ROUTE, ["http"]) == ["http"]


def test_trap_1_the_route_waits_for_the_very_response_that_carried_its_cluster() -> None:
    peer = DeltaPeer(simple({"a": "1"}))
    peer.start(["a"])
    peer.goal(simple({"a": "1", "b": "1"}))
    first = peer.hear()
    assert first.type_url == CLUSTER
    peer.say(CLUSTER, nonce="not that one")
    peer.say(ENDPOINTS, subscribe=["b"])
    second = peer.hear()
    assert second.type_url == ENDPOINTS
    assert peer.hear() is None
    peer.say(ENDPOINTS, nonce=second.nonce)
    assert peer.hear() is None, "endpoints were acknowledged, their cluster was not"
    peer.say(CLUSTER, nonce=first.nonce)
    assert peer.take(ROUTE) == (["http"], [])


# ------------------------------------------------------------------------------------ 2: refusals


def test_trap_2_a_refusal_is_an_error_not_a_version_that_did_not_move() -> None:
    peer = SotwPeer(AB)
    peer.say(CLUSTER)
    peer.hear()
    facts = peer.say(CLUSTER)  # the version that it says is still empty
    assert [type(fact) for fact in facts] == [Accepted]
    peer.goal(simple({"a": "2", "b": "1"}))
    peer.hear()
    facts = peer.say(CLUSTER, error="cluster a is bad")
    assert [type(fact) for fact in facts] == [Refused]


@pytest.mark.parametrize("text", ["Error adding/updating cluster(s) a: it is bad", "something is bad", ""])
def test_trap_2_what_was_refused_is_not_sent_again(text: str) -> None:
    peer = SotwPeer(simple({"a": "1"}))
    peer.start(["a"])
    peer.goal(simple({"a": "2"}))
    assert names_of(peer.hear()) == ["a"]
    peer.say(CLUSTER, error=text)
    heard = peer.hear()
    assert heard is None or heard.type_url != CLUSTER
    peer.goal(simple({"a": "3"}))
    while heard is not None:
        peer.say(heard.type_url, ["a"])
        heard = peer.hear()
        if heard is not None and heard.type_url == CLUSTER:
            return
    pytest.fail("a newer version was not tried")


def test_trap_2_one_bad_cluster_does_not_block_the_others() -> None:
    peer = SotwPeer(simple({"a": "1", "b": "1"}))
    peer.start(["a", "b"])
    peer.goal(simple({"a": "2", "b": "2", "c": "1"}, routed=["a", "b"]))
    peer.hear()
    peer.say(CLUSTER, error="Error adding/updating cluster(s) b: it is bad")
    again = peer.hear()
    assert sorted(each.value for each in again.resources) == [b"cluster a 2", b"cluster b 1", b"cluster c 1"]
    assert [type(fact) for fact in peer.say(CLUSTER)] == [Accepted]


def test_trap_2_delta_a_refused_resource_stays_as_it_was_and_the_rest_goes_on() -> None:
    peer = DeltaPeer(simple({"a": "1", "b": "1"}))
    peer.start(["a", "b"])
    peer.goal(simple({"a": "2", "b": "2"}))
    response = peer.hear()
    (fact,) = peer.say(CLUSTER, nonce=response.nonce, error="cluster b: no")
    assert isinstance(fact, Refused)
    assert [offer.name for offer in fact.refusal.blamed] == ["b"]
    assert peer.take(CLUSTER) == (["a"], [])
    heard = peer.hear()
    while heard is not None:
        assert "b" not in [each.name for each in heard.resources] or heard.type_url != CLUSTER
        peer.say(heard.type_url, nonce=heard.nonce)
        heard = peer.hear()


def test_trap_2_a_refused_removal_is_no_loop() -> None:
    peer = DeltaPeer(AB)
    peer.start(["a", "b"])
    peer.goal(simple({"a": "1"}))
    assert peer.take(ROUTE) == (["http"], [])
    removal = peer.hear()
    assert list(removal.removed_resources) == ["b"]
    peer.say(CLUSTER, nonce=removal.nonce, error="no")
    assert peer.hear() is None


# ------------------------------------------------------------------------------------ 3: nonces


def test_trap_3_a_stale_nonce_is_not_answered_in_sotw() -> None:
    peer = SotwPeer(AB)
    peer.say(ENDPOINTS, ["a"])
    first = peer.hear()
    peer.say(ENDPOINTS, ["a"])
    peer.goal(simple({"a": "1", "b": "1"}, endpoint="2"))
    peer.hear()
    peer.say(ENDPOINTS, ["a"], nonce=first.nonce)
    assert peer.hear() is None
    peer.say(ENDPOINTS, ["a"])
    assert peer.hear() is None, "the request that was overtaken was answered after all"


def test_trap_3_a_nonce_is_of_one_type() -> None:
    peer = SotwPeer(AB)
    peer.say(CLUSTER)
    nonce = peer.hear().nonce
    peer.say(ENDPOINTS, ["a"])
    peer.hear()
    assert peer.say(ENDPOINTS, ["a"], nonce=nonce) == []
    assert len(peer.say(ENDPOINTS, ["a"])) == 1


def test_trap_3_delta_honours_subscriptions_whatever_the_nonce() -> None:
    peer = DeltaPeer(AB)
    peer.say(ENDPOINTS, subscribe=["a"])
    first = peer.hear()
    peer.say(ENDPOINTS, nonce=first.nonce)
    assert peer.say(ENDPOINTS, subscribe=["b"], nonce="never given") == []
    assert peer.take(ENDPOINTS) == (["b"], [])


# ------------------------------------------------------------------------------------ 4: versions


def test_trap_4_versions_are_of_the_content() -> None:
    """Another server, started anew, with the resources in another order."""
    versions = set()
    for names in (["a", "b"], ["b", "a"]):
        peer = SotwPeer(simple(dict.fromkeys(names, "1")))
        peer.say(CLUSTER)
        versions.add(peer.hear().version_info)
    other = SotwPeer(simple({"a": "1", "b": "2"}))
    other.say(CLUSTER)
    assert len(versions) == 1
    assert other.hear().version_info not in versions


def test_trap_4_who_comes_back_with_the_version_is_sent_nothing() -> None:
    before = SotwPeer(AB)
    before.start(["a", "b"])
    after = SotwPeer(simple({"b": "1", "a": "1"}))
    after.versions = before.versions
    for type_url in (CLUSTER, LISTENER):
        after.say(type_url, nonce="")
        assert after.hear() is None, type_url
    after.say(ENDPOINTS, ["a", "b"], nonce="")
    after.take(ENDPOINTS, ["a", "b"])
    after.goal(simple({"a": "1", "b": "1"}, endpoint="2"))
    assert names_of(after.hear()) == ["a", "b"]


def test_trap_4_a_name_that_was_given_up_and_is_wanted_again_is_sent_whatever_the_version() -> None:
    before = SotwPeer(simple({"a": "1"}))
    before.say(CLUSTER, ["a"])
    before.take(CLUSTER, ["a"])
    before.say(CLUSTER, [])
    after = SotwPeer(simple({"a": "1"}))
    after.versions = before.versions
    after.say(CLUSTER, ["a"], nonce="")
    assert after.take(CLUSTER, ["a"]) == ["a"]


def test_trap_4_who_comes_back_for_something_new_is_sent_it_though_its_version_is_the_newest() -> None:
    before = SotwPeer(AB)
    before.say(ENDPOINTS, ["a"])
    before.take(ENDPOINTS, ["a"])
    after = SotwPeer(AB)
    after.versions = before.versions
    after.say(ENDPOINTS, ["a", "b"], nonce="")
    assert names_of(after.hear()) == ["a", "b"]


# ------------------------------------------------------------------------------------ 5: wildcards


def test_trap_5_no_names_are_everything_until_a_first_name_was_named() -> None:
    peer = SotwPeer(AB)
    peer.say(CLUSTER)
    assert peer.take(CLUSTER) == ["a", "b"]
    peer.say(CLUSTER, ["a"])
    heard = peer.hear()
    assert heard is None or names_of(heard) == ["a"]
    peer.say(CLUSTER, [])
    peer.goal(simple({"a": "2", "b": "2"}))
    assert peer.hear() is None


def test_trap_5_a_star_is_everything_at_any_time() -> None:
    peer = SotwPeer(AB)
    peer.say(CLUSTER, ["a"])
    assert peer.take(CLUSTER, ["a"]) == ["a"]
    peer.say(CLUSTER, ["a", "*"])
    assert peer.take(CLUSTER, ["a", "*"]) == ["a", "b"]
    peer.say(CLUSTER, ["a"])
    peer.goal(simple({"a": "1", "b": "2"}))
    heard = peer.hear()
    assert heard is None or names_of(heard) == ["a"]


def test_trap_5_delta_only_the_first_request_says_everything_by_saying_nothing() -> None:
    peer = DeltaPeer(AB)
    peer.say(CLUSTER, subscribe=["a"])
    assert peer.take(CLUSTER) == (["a"], [])
    peer.say(CLUSTER)
    assert peer.hear() is None
    peer.say(CLUSTER, subscribe=["*"])
    assert peer.take(CLUSTER) == (["b"], [])


def test_trap_5_a_client_that_names_everything_is_served_what_it_names() -> None:
    """gRPC's way: listener, route, cluster, endpoints, each because of the one before."""
    peer = SotwPeer(AB)
    for type_url, name in ((LISTENER, "http"), (ROUTE, "http"), (CLUSTER, "a"), (ENDPOINTS, "a")):
        peer.say(type_url, [name])
        assert peer.take(type_url, [name]) == [name]
    assert peer.hear() is None
    peer.goal(simple({"b": "1"}))
    assert peer.take(ROUTE, ["http"]) == ["http"], "it asks for b only when it has the route to b"


# ------------------------------------------------------------------------------------ 6: absence


def test_trap_6_a_response_of_clusters_or_listeners_is_the_whole_world() -> None:
    peer = SotwPeer(AB)
    peer.start(["a", "b"])
    peer.goal(simple({"a": "1", "b": "2"}))
    assert peer.take(CLUSTER) == ["a", "b"]


def test_trap_6_endpoints_and_routes_are_sent_alone_and_not_deleted_by_absence() -> None:
    peer = SotwPeer(AB)
    peer.start(["a", "b"])
    peer.goal(snapshot(*AB.resources(), endpoints("b", "2")))
    assert peer.take(ENDPOINTS, ["a", "b"]) == ["b"]
    before = peer.stream.tracks[ENDPOINTS].sent
    assert sorted(before) == ["a", "b"]


def test_trap_6_an_empty_world_is_said_once_to_who_waits_for_everything() -> None:
    peer = SotwPeer(EMPTY)
    peer.say(CLUSTER)
    assert peer.take(CLUSTER) == []
    peer.say(ENDPOINTS, ["a"])
    assert peer.hear() is None, "an empty EDS response says nothing"
    incremental = DeltaPeer(EMPTY)
    incremental.say(CLUSTER)
    assert incremental.take(CLUSTER) == ([], [])


# ------------------------------------------------------------------------------------ 7: asked again


def test_trap_7_a_name_that_is_asked_for_anew_is_sent_again_though_unchanged() -> None:
    peer = SotwPeer(AB)
    peer.start(["a", "b"])
    peer.say(ENDPOINTS, ["a"])
    assert peer.hear() is None
    peer.say(ENDPOINTS, ["a", "b"])
    assert peer.take(ENDPOINTS, ["a", "b"]) == ["b"]


def test_trap_7_delta_a_known_name_is_answered_because_the_client_may_have_forgotten_it() -> None:
    peer = DeltaPeer(AB)
    peer.start(["a", "b"])
    peer.say(ENDPOINTS, subscribe=["a"])
    assert peer.take(ENDPOINTS) == (["a"], [])


# ------------------------------------------------------------------------------------ 8: delta's details


def test_trap_8_a_name_that_does_not_exist_is_removed_and_comes_when_it_does() -> None:
    peer = DeltaPeer(AB)
    peer.say(ENDPOINTS, subscribe=["a", "x"])
    assert peer.take(ENDPOINTS) == (["a"], ["x"])
    assert peer.hear() is None
    peer.say(ENDPOINTS, subscribe=["x"])
    assert peer.take(ENDPOINTS) == ([], ["x"])
    peer.goal(simple({"a": "1", "x": "1"}))
    assert peer.take(ENDPOINTS) == (["x"], [])


def test_trap_8_taking_back_a_name_while_everything_is_asked_for_is_answered() -> None:
    peer = DeltaPeer(AB)
    peer.say(CLUSTER, subscribe=["*", "a", "x"])
    assert peer.take(CLUSTER) == (["a", "b"], ["x"])
    peer.say(CLUSTER, unsubscribe=["a"])
    assert peer.take(CLUSTER) == (["a"], [])
    peer.say(CLUSTER, unsubscribe=["x"])
    assert peer.take(CLUSTER) == ([], ["x"])


def test_trap_8_taking_back_what_was_never_asked_for_is_nothing() -> None:
    peer = DeltaPeer(AB)
    peer.say(ENDPOINTS, subscribe=["a"])
    peer.take(ENDPOINTS)
    peer.say(ENDPOINTS, unsubscribe=["b", "x"])
    assert peer.hear() is None
    peer.goal(simple({"a": "1", "b": "1"}, endpoint="2"))
    assert peer.take(ENDPOINTS) == (["a"], [])


def test_trap_8_who_comes_back_is_sent_differences_and_removals() -> None:
    peer = DeltaPeer(AB)
    peer.start(["a", "b"])
    again = DeltaPeer(simple({"a": "2", "c": "1"}, routed=["a"]))
    known = peer.versions
    again.say(CLUSTER, initial=known[CLUSTER])
    assert again.take(CLUSTER) == (["a", "c"], []), "b may be in use by the client's routes of before"
    again.say(ENDPOINTS, subscribe=["a", "b"], initial=known[ENDPOINTS])
    assert again.take(ENDPOINTS)[0] == ["a"]
    again.say(LISTENER, initial=known[LISTENER])
    assert again.hear() is None
    again.say(ROUTE, subscribe=["http"], initial=known[ROUTE])
    assert again.take(ROUTE) == (["http"], [])
    assert again.take(CLUSTER) == ([], ["b"])
    again.say(ENDPOINTS, unsubscribe=["b"])
    assert again.hear() is None


def test_trap_8_what_vanished_goes_at_last_for_a_client_without_listeners() -> None:
    again = DeltaPeer(simple({"a": "1"}, routed=["a"]))
    again.say(CLUSTER, initial={"gone": "v"})
    assert again.take(CLUSTER) == (["a"], [])
    again.now_s = again.stream.due_s
    assert again.take(CLUSTER) == ([], ["gone"])


# ------------------------------------------------------------------------------------ 9: not there


def test_trap_9_a_missing_name_is_remembered_and_served_when_it_comes() -> None:
    peer = SotwPeer(AB)
    for type_url in (CLUSTER, LISTENER, ROUTE, ENDPOINTS):
        peer.say(type_url, ["x"])
    assert peer.hear() is None
    peer.goal(snapshot(*AB.resources(), cluster("x"), endpoints("x"), listener("x"), route("x", ["x"])))
    heard = {}
    while (message := peer.hear()) is not None:
        heard[message.type_url] = names_of(message)
        peer.say(message.type_url, ["x"])
    assert heard == dict.fromkeys((CLUSTER, ENDPOINTS, LISTENER, ROUTE), ["x"])


# ------------------------------------------------------------------------------------ 10: order


def test_trap_10_make_before_break() -> None:
    peer = SotwPeer(simple({"a": "1"}))
    peer.start(["a"])
    peer.goal(snapshot(cluster("b"), endpoints("b"), listener("http", ["http"]), route("http", ["b"])))
    assert peer.take(CLUSTER) == ["a", "b"]
    assert peer.hear() is None
    peer.say(ENDPOINTS, ["a", "b"])
    assert peer.take(ENDPOINTS, ["a", "b"]) == ["b"]
    assert peer.take(ROUTE, ["http"]) == ["http"]
    assert peer.take(CLUSTER) == ["b"]
    peer.say(ENDPOINTS, ["b"])
    assert peer.hear() is None
    assert peer.stream.is_current


def test_trap_10_delta_make_before_break() -> None:
    peer = DeltaPeer(simple({"a": "1"}))
    peer.start(["a"])
    peer.goal(simple({"b": "1"}))
    assert peer.take(CLUSTER) == (["b"], [])
    assert peer.hear() is None
    peer.say(ENDPOINTS, subscribe=["b"])
    assert peer.take(ENDPOINTS) == (["b"], [])
    assert peer.take(ROUTE) == (["http"], [])
    assert peer.take(CLUSTER) == ([], ["a"])
    peer.say(ENDPOINTS, unsubscribe=["a"])
    assert peer.hear() is None
    assert peer.stream.is_current


def test_trap_10_a_cluster_whose_route_was_refused_stays() -> None:
    peer = DeltaPeer(simple({"a": "1"}))
    peer.start(["a"])
    peer.goal(simple({"b": "1"}))
    peer.take(CLUSTER)
    peer.say(ENDPOINTS, subscribe=["b"])
    peer.take(ENDPOINTS)
    refused = peer.hear()
    peer.say(ROUTE, nonce=refused.nonce, error="route http is bad")
    assert peer.hear() is None, "the client still has the route to a"


def test_trap_10_a_route_to_a_refused_cluster_waits() -> None:
    peer = DeltaPeer(simple({"a": "1"}))
    peer.start(["a"])
    peer.goal(simple({"b": "1"}))
    refused = peer.hear()
    peer.say(CLUSTER, nonce=refused.nonce, error="cluster b: no")
    peer.now_s += 10 * Limits().make_s_max
    assert peer.hear() is None
    peer.goal(simple({"c": "1"}))
    assert peer.take(CLUSTER) == (["c"], [])


def test_trap_10_a_client_that_never_answers_is_waited_for_only_so_long() -> None:
    limits = Limits(ack_s_max=1.0, make_s_max=3.0)
    peer = SotwPeer(simple({"a": "1"}), limits)
    peer.start(["a"])
    peer.goal(simple({"b": "1"}))
    assert names_of(peer.hear()) == ["a", "b"]
    assert peer.hear() is None
    heard = []
    for _ in range(10):
        if peer.stream.due_s == float("inf"):
            break
        peer.now_s = max(peer.now_s, peer.stream.due_s)
        while (message := peer.hear()) is not None:
            heard.append((message.type_url, names_of(message), peer.now_s - 1_000.0))
    assert heard == [
        (ROUTE, ["http"], limits.make_s_max),
        (CLUSTER, ["b"], limits.make_s_max + limits.ack_s_max),
    ]
    assert not peer.stream.is_current


# ------------------------------------------------------------------------------------ 11: warming


@pytest.mark.parametrize("endpoint", ["", "2"])
def test_trap_11_endpoints_follow_a_changed_cluster_changed_or_not(endpoint: str) -> None:
    sotw, delta = SotwPeer(AB), DeltaPeer(AB)
    sotw.start(["a", "b"])
    delta.start(["a", "b"])
    changed = snapshot(*simple({"a": "2", "b": "1"}).resources(), endpoints("a", endpoint))
    sotw.goal(changed)
    delta.goal(changed)
    sotw.take(CLUSTER)
    assert sotw.take(ENDPOINTS, ["a", "b"]) == ["a"]
    delta.take(CLUSTER)
    assert delta.take(ENDPOINTS) == (["a"], [])
    assert sotw.hear() is None
    assert delta.hear() is None


def test_trap_11_endpoints_wait_for_the_cluster_that_will_want_them_again() -> None:
    peer = DeltaPeer(simple({"a": "1"}))
    peer.start(["a"])
    peer.goal(simple({"a": "2"}))
    unanswered = peer.hear()
    assert peer.take(ENDPOINTS) == (["a"], [])
    peer.goal(simple({"a": "3"}))
    assert peer.hear() is None, (
        "the change of the cluster waits for an answer, so these endpoints say nothing new"
    )
    peer.goal(simple({"a": "3"}, endpoint="2"))
    assert peer.take(ENDPOINTS) == (["a"], []), "endpoints that did change wait for nobody"
    peer.say(CLUSTER, nonce=unanswered.nonce)
    assert peer.take(CLUSTER) == (["a"], [])
    assert peer.take(ENDPOINTS) == (["a"], []), "the cluster warms again and would wait for its endpoints"
    assert peer.hear() is None


def test_trap_11_a_request_for_the_same_names_is_somebody_who_waits() -> None:
    """What Envoy does when a cluster warms again: the same names, the nonce that it answered already."""
    peer = SotwPeer(AB)
    peer.start(["a", "b"])
    peer.say(ENDPOINTS, ["a", "b"])
    assert peer.take(ENDPOINTS, ["a", "b"]) == ["a", "b"]
    assert peer.hear() is None


def test_trap_11_who_comes_back_while_a_cluster_warms_gets_its_endpoints() -> None:
    for changed in (simple({"a": "2", "b": "1"}),):
        sotw, delta = SotwPeer(AB), DeltaPeer(AB)
        sotw.start(["a", "b"])
        delta.start(["a", "b"])
        for peer in (sotw, delta):
            peer.goal(changed)
            peer.take(CLUSTER)  # and then the connection is lost
        again = SotwPeer(changed)
        again.versions = sotw.versions
        again.say(CLUSTER, nonce="")
        assert again.hear() is None
        again.say(ENDPOINTS, ["a", "b"], nonce="")
        assert "a" in names_of(again.hear())
        back = DeltaPeer(changed)
        back.say(CLUSTER, initial=delta.versions[CLUSTER])
        back.say(ENDPOINTS, subscribe=["a", "b"], initial=delta.versions[ENDPOINTS])
        assert back.take(ENDPOINTS) == (["a"], [])


def test_trap_12_nothing_is_in_a_response_twice() -> None:
    peer = SotwPeer(AB)
    peer.say(ENDPOINTS, ["a", "a", "b"])
    assert names_of(peer.hear()) == ["a", "b"]
    delta = DeltaPeer(AB)
    delta.say(CLUSTER, subscribe=["*", "a", "a"])
    assert delta.take(CLUSTER) == (["a", "b"], [])


def test_trap_12_the_unit_of_endpoints_is_the_whole_assignment() -> None:
    peer = DeltaPeer(AB)
    peer.start(["a", "b"])
    peer.goal(snapshot(*AB.resources(), endpoints("a", "one more")))
    (entry,) = peer.hear().resources
    assert entry.resource.value == b"endpoints a one more"


def test_trap_16_a_resource_of_sotw_has_no_wrapper_and_no_time_to_live() -> None:
    peer = SotwPeer(AB)
    peer.say(CLUSTER)
    assert {each.type_url for each in peer.hear().resources} == {Type.CLUSTER.value}
    delta = DeltaPeer(AB)
    delta.say(CLUSTER)
    assert not any(each.HasField("ttl") or not each.resource.value for each in delta.hear().resources)


# ------------------------------------------------------------------------------------ 17: no more than necessary


def test_trap_17_an_ack_is_not_answered() -> None:
    peer = SotwPeer(AB)
    peer.start(["a", "b"])
    for change in (AB, simple({"a": "1", "b": "1"})):
        peer.goal(change)
        assert peer.hear() is None
    assert peer.stream.is_current


def test_trap_17_a_slow_client_gets_the_newest_and_not_what_was_between() -> None:
    peer = DeltaPeer(AB)
    peer.start(["a", "b"])
    peer.goal(snapshot(*AB.resources(), endpoints("a", "1")))
    first = peer.hear()
    for content in "23456789":
        peer.goal(snapshot(*AB.resources(), endpoints("a", content)))
        assert peer.hear() is None
    peer.say(ENDPOINTS, nonce=first.nonce)
    assert [each.resource.value for each in peer.hear().resources] == [b"endpoints a 9"]


def test_trap_17_a_change_and_its_reverse_are_nothing() -> None:
    peer = SotwPeer(AB)
    peer.start(["a", "b"])
    peer.goal(simple({"a": "2"}))
    peer.goal(AB)
    assert peer.hear() is None
