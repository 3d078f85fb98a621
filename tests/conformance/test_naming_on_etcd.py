"""Naming on a real etcd: two nodes that write at once, and a store that stops and comes back."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from atoll.errors import AtollError, Code
from atoll.planes.registry.model.naming import Selection
from atoll.planes.registry.model.naming_decisions import ServiceChange
from atoll.resources.service import Cluster as InstanceCluster
from atoll.resources.service import Service
from atoll.runtime import loop
from atoll.runtime.logs import Log
from atoll.runtime.tasks import Tasks
from atoll.store import etcd_url
from atoll.store.etcd import EtcdDriver
from atoll.store.shell import StoreShell
from tests.peers.etcd import Cluster, etcd_cluster
from tests.unit.registry.naming_kit import ANN, KEY, Bench, at

pytestmark = pytest.mark.peers

SEEN_WITHIN_S = 30.0
REFUSED_AFTER_S = 2.0


async def seen(condition: Callable[[], bool], what: str) -> None:
    """Let the loop run until ``condition`` holds."""
    until_s = time.monotonic() + SEEN_WITHIN_S
    while not condition():
        assert time.monotonic() < until_s, f"waited in vain for: {what}"
        await loop.wait_event(loop.Event(), 0.02)


def on_two_nodes(cluster: Cluster, scenario: Callable[[Bench, Bench], Awaitable[None]]) -> None:
    failures: list[BaseException] = []

    async def run() -> None:
        stores = [StoreShell(EtcdDriver(etcd_url.parse(cluster.url)), REFUSED_AFTER_S) for _ in range(2)]
        one, two = (Bench(store, node=name) for store, name in zip(stores, ("n1", "n2"), strict=True))
        tasks = Tasks(Log("test"), lambda name, error: failures.append(error))
        for each in (one, two):
            tasks.start("follow", each.naming.follower.follow())
            await seen(lambda each=each: each.naming.follower.revision > 0, "the first reading")  # type: ignore[misc]
        try:
            await scenario(one, two)
        finally:
            await tasks.stop(2.0)
            for store in stores:
                await store.close()

    loop.run(run())
    assert not failures


def test_two_nodes_change_one_service_at_once_and_both_are_heard(tmp_path: Path) -> None:
    async def scenario(one: Bench, two: Bench) -> None:
        await one.naming.create_service(ANN, Service(key=KEY))
        await seen(lambda: bool(two.naming.services("public")), "the service at the other node")
        names = [f"x{number}" for number in range(8)]
        await loop.gather(
            *(
                node.naming.update_cluster(ANN, KEY, InstanceCluster(name))
                for node, name in zip([one, two] * 4, names, strict=True)
            )
        )
        for node in (one, two):
            await seen(
                lambda node=node: set(node.naming.service(KEY).service.clusters) == set(names),  # type: ignore[misc]
                "all clusters",
            )

    with etcd_cluster(tmp_path, options=["--unsafe-no-fsync"]) as cluster:
        on_two_nodes(cluster, scenario)


def test_a_store_that_stops_refuses_writes_serves_the_last_view_and_is_followed_again(tmp_path: Path) -> None:
    with etcd_cluster(tmp_path, options=["--unsafe-no-fsync"]) as cluster:
        (member,) = cluster.members

        async def scenario(one: Bench, two: Bench) -> None:
            naming = one.naming
            await naming.register_persistent(ANN, KEY, at(1, ephemeral=False))
            await seen(lambda: two.ports() == [1], "the instance at the other node")
            member.kill()
            with pytest.raises(AtollError) as caught:
                await naming.update_service(ANN, KEY, ServiceChange(protect_threshold=0.5))
            assert caught.value.code in (Code.UNAVAILABLE, Code.UNKNOWN)
            assert [each.port for each in two.naming.query(KEY, Selection()).hosts] == [1]
            member.start()
            cluster.wait_ready()
            await naming.register_persistent(ANN, KEY, at(2, ephemeral=False))
            await seen(lambda: two.ports() == [1, 2], "the second instance at the other node")

        on_two_nodes(cluster, scenario)
