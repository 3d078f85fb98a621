"""The same scenario of configuration on every store, a real etcd included; and what is left while it is away."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from atoll.errors import AtollError, Code
from atoll.planes.registry.model import gray
from atoll.planes.registry.policy.rollout_judge import Share
from atoll.resources.config_item import ConfigKey, md5_of
from atoll.resources.config_views import Details
from atoll.resources.consumer import Consumer
from atoll.resources.rollout import HealthyGate, Plan
from atoll.runtime import loop
from atoll.store import etcd_url
from atoll.store.api import Driver
from atoll.store.etcd import EtcdDriver
from atoll.store.memory import open_memory
from atoll.store.sqlite import open_sqlite
from tests.peers.etcd import etcd_cluster
from tests.unit.registry.config_kit import ANN, KEY, Kit, open_kit, with_configs

LARGE = "snow \N{SNOWMAN} " * 300_000


async def scenario(kit: Kit) -> None:
    """Two nodes; large contents; gray releases; a staged release; a hundred writers of one item."""
    other = await open_kit(kit.store, kit.tasks)
    await kit.configs.publish(ANN, KEY, LARGE)
    assert await other.configs.follower.at(kit.configs.view.revision, 10.0)
    assert other.configs.md5(KEY, Consumer()) == md5_of(LARGE)
    await other.configs.publish(ANN, KEY, "small", Details(gray=gray.beta("10.0.0.1")))
    await kit.configs.follower.at(other.configs.view.revision, 10.0)
    assert kit.configs.md5(KEY, Consumer("10.0.0.1")) == md5_of("small")
    counter = ConfigKey("public", "g", "counter")
    await kit.configs.publish(ANN, counter, "0")
    await other.configs.follower.at(kit.configs.view.revision, 10.0)
    await loop.gather(*(_increase(node, counter) for node in [kit, other] * 10))
    await kit.configs.follower.at(other.configs.view.revision, 10.0)
    served = kit.configs.query(counter)
    assert served is not None and served.content == "20"
    plan = Plan(steps=(50.0, 100.0), interval_s=10.0, gates=(HealthyGate(("s",)),))
    kit.shares["s"] = Share(1, 1)
    await kit.configs.stage(ANN, counter, "new", Details(), plan)
    for _ in range(4):
        await kit.configs.rollouts.look(kit.configs.rollouts.get(counter))
        kit.clock.pass_s(10.0)
    assert kit.configs.rollouts.get(counter).state == "promoted"
    fresh = await open_kit(kit.store, kit.tasks)
    assert fresh.configs.md5(counter, Consumer()) == md5_of("new")
    assert fresh.configs.md5(KEY, Consumer()) == md5_of(LARGE)


async def _increase(kit: Kit, key: ConfigKey) -> None:
    while True:
        served = kit.configs.query(key)
        assert served is not None
        try:
            await kit.configs.publish(ANN, key, str(int(served.content) + 1), Details(cas_md5=served.md5))
        except AtollError as error:
            assert error.code is Code.CONFLICT
            await loop.sleep(0)
            continue
        return


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_configuration_on_an_embedded_store(kind: str, tmp_path: Path) -> None:
    openers: dict[str, Callable[[], Driver]] = {
        "memory": open_memory,
        "sqlite": lambda: open_sqlite(tmp_path / "store.db"),
    }
    with_configs(scenario, driver=openers[kind]())


@pytest.mark.peers
def test_configuration_on_a_real_etcd_and_while_it_is_away(tmp_path: Path) -> None:
    with etcd_cluster(tmp_path, election_timeout_ms=100) as cluster:
        (member,) = cluster.members

        async def with_etcd(kit: Kit) -> None:
            await scenario(kit)
            member.pause()
            try:
                served = kit.configs.query(KEY)
                assert served is not None and served.content == LARGE
                with pytest.raises(AtollError) as refused:
                    await kit.configs.publish(ANN, KEY, "lost?")
                assert refused.value.code in (Code.UNAVAILABLE, Code.UNKNOWN)
            finally:
                member.resume()
            await kit.configs.publish(ANN, ConfigKey("public", "g", "after"), "x")
            assert kit.configs.md5(ConfigKey("public", "g", "after"), Consumer()) == md5_of("x")

        with_configs(with_etcd, driver=EtcdDriver(etcd_url.parse(cluster.url)))
