"""Instances that beat at whichever node: moved, handed over, claimed, and agreed on again after a partition."""

from __future__ import annotations

import pytest

from atoll.planes.registry.model.naming import Selection
from atoll.resources.service import ServiceKey
from tests.unit.registry.naming_cluster import Cluster, with_cluster
from tests.unit.registry.naming_kit import KEY, Listener, at

OTHER = ServiceKey("public", "DEFAULT_GROUP", "other")


def test_beats_that_arrive_elsewhere_keep_an_instance_alive_where_it_is() -> None:
    async def scenario(cluster: Cluster) -> None:
        one, two, three = cluster.nodes
        one.naming.register_beating(KEY, at(1))
        cluster.exchange()
        listener = Listener()
        three.naming.subscribe(three.client(), KEY, Selection(), listener)
        await cluster.pass_s(60, lambda: two.naming.beat(KEY, at(1).id))
        assert [each.ports() for each in cluster.nodes] == [[1], [1], [1]] and listener.pushes == []
        assert [each.node for each in two.naming.publishers(KEY)] == ["n1"]
        await cluster.pass_s(16)
        assert [each.ports() for each in cluster.nodes] == [[-1], [-1], [-1]]
        await cluster.pass_s(15)
        assert [each.ports() for each in cluster.nodes] == [[], [], []]

    with_cluster(scenario)


def test_a_registration_elsewhere_moves_the_instance_and_no_subscriber_sees_it() -> None:
    async def scenario(cluster: Cluster) -> None:
        one, two, three = cluster.nodes
        one.naming.register_beating(KEY, at(1))
        cluster.exchange()
        listener = Listener()
        three.naming.subscribe(three.client(), KEY, Selection(), listener)
        two.naming.register_beating(KEY, at(1))
        cluster.exchange()
        assert (len(one.naming.beating), len(two.naming.beating)) == (0, 1)
        assert [each.node for each in three.naming.publishers(KEY)] == ["n2"]
        await cluster.pass_s(60, lambda: two.naming.beat(KEY, at(1).id))
        assert [each.ports() for each in cluster.nodes] == [[1], [1], [1]] and listener.pushes == []

    with_cluster(scenario)


def test_an_instance_is_taken_back_at_whichever_node() -> None:
    async def scenario(cluster: Cluster) -> None:
        one, _, three = cluster.nodes
        one.naming.register_beating(KEY, at(1))
        cluster.exchange()
        assert await three.naming.deregister_beating(KEY, at(1).id)
        cluster.exchange()
        assert [each.ports() for each in cluster.nodes] == [[], [], []]
        assert not await three.naming.deregister_beating(KEY, at(1).id)

    with_cluster(scenario)


def test_what_beat_at_a_node_that_was_killed_is_claimed_by_the_node_that_hears_it() -> None:
    async def scenario(cluster: Cluster) -> None:
        one, two, three = cluster.nodes
        for port in (1, 2):
            one.naming.register_beating(KEY, at(port))
        cluster.exchange()
        cluster.kill(one)
        listener = Listener()
        three.naming.subscribe(three.client(), KEY, Selection((), healthy_only=True), listener)
        await cluster.pass_s(31, lambda: two.naming.beat(KEY, at(1).id))
        assert [each.ports() for each in cluster.nodes] == [[1], [1]]
        assert [each.node for each in three.naming.publishers(KEY)] == ["n2"]
        assert all(1 in ports for ports in listener.ports)

    with_cluster(scenario)


@pytest.mark.parametrize("cut_s", [5, 20, 40])
def test_after_a_partition_all_agree_on_what_beats(cut_s: int) -> None:
    async def scenario(cluster: Cluster) -> None:
        one, two, _ = cluster.nodes
        one.naming.register_beating(KEY, at(1))
        cluster.exchange()
        cluster.cut(one)
        busy = one.client("busy")
        for port in range(10):  # so that what this node says last counts as newer than what the others say
            one.naming.register(busy, OTHER, [at(port)])
        await cluster.pass_s(cut_s, lambda: two.naming.beat(KEY, at(1).id))
        assert two.ports() == [1]
        cluster.heal(one)
        assert [each.ports() for each in cluster.nodes] == [[1], [1], [1]]
        await cluster.pass_s(1, lambda: two.naming.beat(KEY, at(1).id))
        assert [each.ports() for each in cluster.nodes] == [[1], [1], [1]]
        await cluster.pass_s(40, lambda: two.naming.beat(KEY, at(1).id))
        assert [each.ports() for each in cluster.nodes] == [[1], [1], [1]]
        assert sum(len(each.naming.beating) for each in cluster.nodes) == 1

    with_cluster(scenario)


def test_subscribers_of_all_nodes_are_listed() -> None:
    async def scenario(cluster: Cluster) -> None:
        for number, each in enumerate(cluster.nodes):
            each.naming.subscribe(each.client(f"c{number}"), KEY, Selection(), Listener())
        found = await cluster.nodes[1].naming.subscribers(KEY)
        assert [(each.node, each.client) for each in found] == [("n1", "c0"), ("n2", "c1"), ("n3", "c2")]
        assert (await cluster.nodes[2].naming.client("c0")).view.node == "n1"

    with_cluster(scenario)
