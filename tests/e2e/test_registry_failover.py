"""Atoll's own client of the registry on three nodes and an etcd, while nodes are killed and the etcd is stopped."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from atoll.client.configs import Configs
from atoll.client.node import Client
from atoll.client.registry import Options, Registry
from atoll.client.services import Services
from atoll.client.transport import HttpTransport
from atoll.errors import AtollError, Code
from atoll.resources.config_api import PublishOrder
from atoll.resources.naming_api import InstanceOrder, ServiceAsked
from atoll.runtime import loop
from atoll.runtime.background import Background
from atoll.runtime.logs import Log
from tests.peers.etcd import etcd_cluster
from tests.peers.nodes import Layout, Member, atoll_nodes
from tests.waiting import wait_until

WITHIN_S = 30.0
SCENARIO_WITHIN_S = 120.0
ORDER = InstanceOrder("shop", "10.0.0.5", 8080)


def urls(nodes: list[Member]) -> str:
    return ",".join(each.api for each in nodes)


async def until(condition: Callable[[], object], what: str) -> None:
    await loop.in_thread(wait_until, condition, WITHIN_S, what)


async def publish(node: Member, content: str) -> None:
    await Configs(Client(HttpTransport(node.api))).publish(PublishOrder("shop.yaml", content))


async def held_by(node: Member) -> str:
    """The node that holds the instance, as ``node`` knows it."""
    publishers = await Services(Client(HttpTransport(node.api))).publishers(ServiceAsked(ORDER.name))
    return publishers[0].node


async def taken_over(node: Member, before: str) -> None:
    async with loop.bounded(WITHIN_S, "another node to hold the instance"):
        while await held_by(node) == before:
            await loop.sleep(0)


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def within() -> None:
        async with loop.bounded(SCENARIO_WITHIN_S, "the scenario"):
            await scenario()

    loop.run(within())


@pytest.mark.peers
def test_an_application_outlives_the_node_that_it_uses(tmp_path: Path) -> None:
    """The second observer asks another node from the beginning: it must never see the live instance gone."""

    async def scenario(nodes: list[Member]) -> None:
        await publish(nodes[0], "one")
        app = Registry(urls(nodes), Options(app="shop"))
        observer = Registry(urls(nodes[1:]), Options(app="observer"))
        config = await app.follow_config("shop.yaml")
        await app.register(ORDER)
        seen = await observer.follow_service("shop")
        await until(lambda: seen.value and seen.value.instances, "the instance to be seen on another node")
        gone: list[int] = []
        holder = await held_by(nodes[1])

        async def watch() -> None:
            async for hosts in seen.changes(WITHIN_S):
                if not hosts.instances:
                    gone.append(1)

        background = Background(Log("test"))
        background.start("watching", watch)
        await loop.in_thread(nodes[0].process.kill)
        await publish(nodes[1], "two")
        await until(lambda: config.value and config.value.content == "two", "the change on another node")
        await taken_over(nodes[1], holder)
        await app.close()
        await until(lambda: gone, "the instance to be gone after its application closed")
        await observer.close()
        await background.stop(1.0)
        assert gone == [1], "a live instance was taken for gone"

    with etcd_cluster(tmp_path) as cluster, atoll_nodes(tmp_path, Layout(cluster.url)) as nodes:
        run(lambda: scenario(nodes))


@pytest.mark.peers
def test_reading_and_registering_go_on_while_the_store_is_away(tmp_path: Path) -> None:
    async def scenario(nodes: list[Member], stop: Callable[[], None], start: Callable[[], None]) -> None:
        await publish(nodes[0], "one")
        await loop.in_thread(stop)
        app = Registry(urls(nodes), Options(app="shop"))
        config = await app.follow_config("shop.yaml")
        assert config.value is not None and config.value.content == "one"
        await app.register(ORDER)
        seen = await Registry(nodes[1].api, Options()).follow_service("shop")
        await until(lambda: seen.value and seen.value.instances, "a registration of a time without a store")
        with pytest.raises(AtollError) as caught:
            await publish(nodes[0], "two")
        assert caught.value.code in (Code.UNAVAILABLE, Code.UNKNOWN)
        await loop.in_thread(start)
        await until_published(nodes[0], "three")
        await until(
            lambda: config.value and config.value.content == "three", "the change after the store is back"
        )
        await app.close()

    async def until_published(node: Member, content: str) -> None:
        while True:
            try:
                await publish(node, content)
            except AtollError as error:
                if error.code not in (Code.UNAVAILABLE, Code.UNKNOWN):
                    raise
                await loop.sleep(0)
            else:
                return

    with etcd_cluster(tmp_path) as cluster, atoll_nodes(tmp_path, Layout(cluster.url), 2) as nodes:
        member = cluster.members[0]
        run(lambda: scenario(nodes, member.pause, member.resume))
