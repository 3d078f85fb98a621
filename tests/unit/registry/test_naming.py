"""Naming on one node: registering, looking up, subscribing, and what time brings."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from atoll.errors import AtollError, Code, Reason
from atoll.planes.registry.model.naming import Selection
from atoll.planes.registry.service.fuzzy_watches import Notice
from atoll.resources.registry_client import Client
from atoll.resources.service import ServiceKey, key_of
from tests.unit.registry.naming_kit import KEY, Bench, Listener, at, on_a_node


def test_a_registration_is_seen_at_once_and_replaces_the_last() -> None:
    def scenario(bench: Bench) -> None:
        client = bench.client()
        bench.naming.register(client, KEY, [at(1), at(2)])
        assert bench.asked() == [1, 2]
        bench.naming.register(client, KEY, [at(2), at(3)])
        assert bench.asked() == [2, 3]
        bench.naming.register(client, KEY, [])
        assert bench.asked() == []

    on_a_node(scenario)


def test_a_subscriber_is_told_soon_after_quiet_and_of_a_storm_once() -> None:
    def scenario(bench: Bench) -> None:
        client, listener = bench.client(), Listener()
        assert bench.naming.subscribe(client, KEY, Selection(), listener).hosts == ()
        bench.naming.register(client, KEY, [at(1)])
        bench.pass_s(0.02, 0.001)
        assert listener.ports == [[1]]
        for port in range(2, 20):
            bench.naming.register(client, KEY, [at(port)])
            bench.pass_s(0.02, 0.001)
        assert listener.ports == [[1]]
        bench.pass_s(0.2, 0.01)
        assert listener.ports == [[1], [19]]
        stamps = [push.info.last_ref_time_ms for push in listener.pushes]
        assert stamps == sorted(set(stamps))

    on_a_node(scenario)


def test_a_slow_subscriber_gets_the_newest_list_when_it_is_done() -> None:
    def scenario(bench: Bench) -> None:
        client, slow = bench.client(), Listener(acknowledges=False)
        bench.naming.subscribe(client, KEY, Selection(), slow)
        for port in (1, 2, 3):
            bench.naming.register(client, KEY, [at(port)])
            bench.pass_s(1)
        assert slow.ports == [[1]]
        slow.pushes[0].acknowledged()
        bench.pass_s(0.1)
        assert slow.ports == [[1], [3]]
        slow.pushes[1].failed()
        bench.pass_s(0.8)
        assert slow.ports == [[1], [3]]
        bench.pass_s(0.3)
        assert slow.ports == [[1], [3], [3]]
        slow.pushes[0].failed()  # the second word on the first push
        bench.pass_s(2)
        assert slow.ports == [[1], [3], [3]]

    on_a_node(scenario)


def test_a_thousand_subscribers_share_one_list() -> None:
    def scenario(bench: Bench) -> None:
        listener = Listener()
        for number in range(1000):
            bench.naming.subscribe(bench.client(f"c{number}"), KEY, Selection(), listener)
        bench.naming.register("c0", KEY, [at(1)])
        bench.pass_s(0.1)
        assert len(listener.pushes) == 1000
        assert all(push.info is listener.pushes[0].info for push in listener.pushes)

    on_a_node(scenario)


def test_a_broken_connection_is_unhealthy_after_800_ms_and_gone_after_10_s() -> None:
    def scenario(bench: Bench) -> None:
        listener = Listener()
        bench.naming.register(bench.client("a"), KEY, [at(1)])
        bench.naming.subscribe(bench.client("b"), KEY, Selection(), listener)
        bench.naming.client_closed("a", clean=False)
        bench.pass_s(0.7)
        assert bench.ports() == [1] and listener.pushes == []
        bench.pass_s(0.3)
        assert bench.ports() == [-1] and len(listener.pushes) == 1
        bench.pass_s(8.9)
        assert bench.ports() == [-1]
        bench.pass_s(0.2)
        assert bench.ports() == []

    on_a_node(scenario)


def test_a_reconnect_within_800_ms_is_no_change_to_a_subscriber() -> None:
    def scenario(bench: Bench) -> None:
        listener = Listener()
        bench.naming.register(bench.client("a"), KEY, [at(1)])
        bench.naming.subscribe(bench.client("b"), KEY, Selection(), listener)
        bench.naming.client_closed("a", clean=False)
        bench.pass_s(0.5)
        bench.naming.register(bench.client("a2"), KEY, [at(1)])
        bench.pass_s(30)
        assert bench.ports() == [1] and listener.pushes == []

    on_a_node(scenario)


def test_a_clean_close_removes_at_once() -> None:
    def scenario(bench: Bench) -> None:
        bench.naming.register(bench.client("a"), KEY, [at(1)])
        bench.naming.client_closed("a", clean=True)
        assert bench.ports() == []

    on_a_node(scenario)


def test_silence_makes_unhealthy_after_15_s_and_removes_after_30_s() -> None:
    def scenario(bench: Bench) -> None:
        bench.naming.register_beating(KEY, at(1))
        for _ in range(10):
            bench.pass_s(5)
            assert bench.naming.beat(KEY, at(1).id).known
        assert bench.ports() == [1]
        bench.pass_s(14.5)
        assert bench.ports() == [1]
        bench.pass_s(1)
        assert bench.ports() == [-1]
        assert bench.naming.beat(KEY, at(1).id).known
        assert bench.ports() == [1]
        bench.pass_s(29.5)
        assert bench.ports() == [-1]
        bench.pass_s(1)
        assert bench.ports() == []
        assert not bench.naming.beat(KEY, at(1).id).known
        assert bench.naming.beat(KEY, at(1).id, at(1)).known
        assert bench.ports() == [1]

    on_a_node(scenario)


def test_an_address_that_moves_to_another_cluster_is_judged_there_alone() -> None:
    def scenario(bench: Bench) -> None:
        bench.naming.register_beating(KEY, at(1))
        bench.pass_s(5)
        bench.naming.register_beating(KEY, at(1, cluster="east"))
        bench.pass_s(28)
        assert bench.ports() == [-1]
        bench.pass_s(3)
        assert bench.ports() == []

    on_a_node(scenario)


def test_silence_of_a_client_that_was_sent_away_is_no_failure() -> None:
    def scenario(bench: Bench) -> None:
        bench.naming.register_beating(KEY, at(1))
        bench.naming.client_closed("10.0.0.1:1#true", clean=True)
        bench.pass_s(40)
        assert bench.ports() == []

    on_a_node(scenario)


def test_reserved_metadata_sets_the_times_of_a_beating_instance() -> None:
    def scenario(bench: Bench) -> None:
        metadata = {
            "preserved.heart.beat.interval": "1000",
            "preserved.heart.beat.timeout": "3000",
            "preserved.ip.delete.timeout": "6000",
        }
        bench.naming.register_beating(KEY, at(1, metadata=metadata))
        assert bench.naming.beat(KEY, at(1).id).interval_ms == 1000
        bench.pass_s(2.9)
        assert bench.ports() == [1]
        bench.pass_s(0.2)
        assert bench.ports() == [-1]
        bench.pass_s(3)
        assert bench.ports() == []

    on_a_node(scenario)


def test_a_fuzzy_watch_hears_of_services_that_come_and_go() -> None:
    def scenario(bench: Bench) -> None:
        notices: list[Notice] = []
        client = bench.client()
        other = key_of("", "", "payments")
        bench.naming.register(client, KEY, [at(1)])
        assert bench.naming.fuzzy_watch(client, "public>>*>>pay*", notices.append) == []
        assert bench.naming.fuzzy_watch(client, ">>DEFAULT_GROUP>>*", notices.append) == [KEY]
        bench.naming.register(client, other, [at(1)])
        bench.pass_s(0.1)
        assert [(each.pattern, dict(each.changes)) for each in notices] == [
            ("public>>*>>pay*", {other: True}),
            (">>DEFAULT_GROUP>>*", {other: True}),
        ]
        bench.naming.register(client, other, [])
        bench.pass_s(59)
        assert other in bench.naming.services("public")
        bench.pass_s(2)
        assert other not in bench.naming.services("public")
        assert len(notices) == 2  # the first of each is still on its way
        notices[0].acknowledged()
        bench.pass_s(0.1)
        assert dict(notices[2].changes) == {other: False}

    on_a_node(scenario)


@pytest.mark.parametrize(
    ("field", "value", "parameter"),
    [
        ("weight", -1.0, "weight"),
        ("weight", 10_001.0, "weight"),
        ("port", 65_536, "port"),
        ("cluster", "a b", "clusterName"),
        ("metadata", {"a": "b" * 1024}, "metadata"),
    ],
)
def test_a_wrong_parameter_is_named(field: str, value: object, parameter: str) -> None:
    def scenario(bench: Bench) -> None:
        fields: dict[str, Any] = {"port": 1, field: value}
        with pytest.raises(AtollError) as caught:
            bench.naming.register(bench.client(), KEY, [at(**fields)])
        assert caught.value.code is Code.INVALID
        assert caught.value.reason is Reason.PARAMETER_INVALID
        assert caught.value.facts["parameter"] == parameter
        assert bench.ports() == []

    on_a_node(scenario)


def test_namespaces_have_one_spelling_and_a_grouped_name_beats_the_group() -> None:
    assert {key_of(each, None, "s").namespace for each in (None, "", "null", "public")} == {"public"}
    assert key_of("dev", "g1", "g2@@s") == ServiceKey("dev", "g2", "s")


def test_the_time_of_answers_rises_though_clocks_stand_still_or_go_back() -> None:
    def scenario(bench: Bench) -> None:
        client = bench.client()
        stamps = []
        for port in range(1, 6):
            bench.naming.register(client, KEY, [at(port)])
            stamps.append(bench.naming.query(KEY, Selection()).last_ref_time_ms)
        bench.clock.wall_ahead_s -= 3600
        bench.pass_s(1)
        stamps.append(bench.naming.query(KEY, Selection()).last_ref_time_ms)
        assert stamps == sorted(set(stamps))

    on_a_node(scenario)


def test_a_node_that_is_behind_takes_over_the_time_of_the_one_ahead() -> None:
    async def scenario(bench: Bench) -> None:
        bench.naming.register(bench.client(), KEY, [at(1)])
        ahead_ms = bench.naming.query(KEY, Selection()).last_ref_time_ms + 3_600_000

        async def others(kind: str, body: bytes, within_s: float) -> dict[str, bytes]:
            return {"n2": msgspec.msgpack.encode(ahead_ms)}

        bench.peers.reach(others)
        await bench.naming.across.tell_time()
        assert bench.naming.query(KEY, Selection()).last_ref_time_ms >= ahead_ms
        ahead_ms += 500 * 24 * 3600 * 1000
        await bench.naming.across.tell_time()
        assert bench.naming.query(KEY, Selection()).last_ref_time_ms < ahead_ms

    on_a_node(scenario)


def test_subscribers_and_clients_are_shown_with_what_they_were_told() -> None:
    async def scenario(bench: Bench) -> None:
        naming = bench.naming
        naming.client_opened(Client("s", address="10.9.9.9", port=7, app="shop", version="sdk:1"))
        naming.subscribe("s", KEY, Selection(("a", "b")), Listener())
        naming.register(bench.client("p"), KEY, [at(1, cluster="a")])
        bench.pass_s(1)
        (subscriber,) = await naming.subscribers(KEY)
        assert (subscriber.client, subscriber.node, subscriber.app) == ("s", "n1", "shop")
        assert subscriber.clusters == "a,b" and subscriber.acknowledged_s >= subscriber.pushed_s > 0
        assert [(each.id, each.published, each.subscribed) for each in await naming.all_clients()] == [
            ("p", 1, 0),
            ("s", 0, 1),
        ]
        assert [each.instance.port for each in (await naming.client("p")).published] == [1]
        assert [(each.client, each.node) for each in naming.publishers(KEY)] == [("p", "n1")]
        with pytest.raises(AtollError) as caught:
            await naming.client("nobody")
        assert caught.value.code is Code.NOT_FOUND

    on_a_node(scenario)


def test_an_abandoned_push_is_not_repeated_and_the_next_change_is_told() -> None:
    def scenario(bench: Bench) -> None:
        client, deaf = bench.client(), Listener(acknowledges=False)
        bench.naming.subscribe(client, KEY, Selection(), deaf)
        bench.naming.register(client, KEY, [at(1)])
        bench.pass_s(1)
        deaf.pushes[0].abandoned()
        bench.pass_s(60)
        assert deaf.ports == [[1]]
        bench.naming.register(client, KEY, [at(2)])
        bench.pass_s(1)
        assert deaf.ports == [[1], [2]]

    on_a_node(scenario)


def test_whoever_is_gone_is_told_nothing_though_a_push_was_on_its_way() -> None:
    def scenario(bench: Bench) -> None:
        listener = Listener(acknowledges=False)
        bench.naming.subscribe(bench.client("s"), KEY, Selection(), listener)
        bench.naming.register(bench.client(), KEY, [at(1)])
        bench.pass_s(1)
        bench.naming.client_closed("s", clean=False)
        listener.pushes[0].failed()
        bench.naming.register("c1", KEY, [at(2)])
        bench.pass_s(60)
        assert listener.ports == [[1]] and not bench.naming.pushes.is_wanted(KEY)

    on_a_node(scenario)


def test_subscribers_of_different_clusters_are_told_of_their_own() -> None:
    def scenario(bench: Bench) -> None:
        listeners = {name: Listener() for name in ("a", "b", "")}
        for name, listener in listeners.items():
            bench.naming.subscribe(bench.client(), KEY, Selection.of_text(name), listener)
        bench.naming.register("c1", KEY, [at(1, cluster="a")])
        bench.pass_s(1)
        bench.naming.register("c1", KEY, [at(1, cluster="a"), at(2, cluster="b")])
        bench.pass_s(1)
        assert {name: each.ports for name, each in listeners.items()} == {
            "a": [[1]],
            "b": [[2]],
            "": [[1], [1, 2]],
        }
        assert bench.naming.unsubscribe("c1", KEY, Selection.of_text("a"))
        assert not bench.naming.unsubscribe("c1", KEY, Selection.of_text("a"))
        bench.naming.register("c1", KEY, [])
        bench.pass_s(1)
        assert (len(listeners["a"].pushes), len(listeners["b"].pushes)) == (1, 2)

    on_a_node(scenario)


def test_limits_of_a_client_are_named() -> None:
    def scenario(bench: Bench) -> None:
        client = bench.client()
        for number in range(20):
            bench.naming.fuzzy_watch(client, f"public>>*>>s{number}", lambda notice: None)
        with pytest.raises(AtollError) as caught:
            bench.naming.fuzzy_watch(client, "public>>*>>one-more", lambda notice: None)
        assert caught.value.code is Code.EXHAUSTED and "20" in caught.value.message
        bench.naming.fuzzy_watch(client, "public>>*>>s0", lambda notice: None)
        with pytest.raises(AtollError) as caught:
            bench.naming.register(
                client, KEY, [at(port % 65_536, cluster=f"c{port // 65_536}") for port in range(20_001)]
            )
        assert caught.value.code is Code.EXHAUSTED and bench.ports() == []
        with pytest.raises(AtollError) as caught:
            bench.naming.register("nobody", KEY, [at(1)])
        assert caught.value.code is Code.NOT_FOUND

    on_a_node(scenario)


@pytest.mark.parametrize(
    "pattern",
    ["", "a", "public>>g", "public>>g>>s>>x", "public>>>>s", "public>>g>>a*b", "n s>>g>>s", "public>>g>>**"],
)
def test_what_is_no_pattern_is_refused(pattern: str) -> None:
    def scenario(bench: Bench) -> None:
        with pytest.raises(AtollError) as caught:
            bench.naming.fuzzy_watch(bench.client(), pattern, lambda notice: None)
        assert caught.value.code is Code.INVALID

    on_a_node(scenario)
