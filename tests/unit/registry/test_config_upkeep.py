"""History goes out of date; contents in chunks outlive everything that names them, and no more."""

from __future__ import annotations

from atoll.planes.registry.model import config_keys as keys
from atoll.planes.registry.model.config_limits import ConfigLimits
from atoll.planes.registry.policy import config_retention
from atoll.store.api import Range, prefix_end
from tests.unit.registry.config_kit import ANN, KEY, Kit, with_configs

LARGE = "x" * 2_000_000


async def chunks(kit: Kit) -> int:
    found = await kit.store.range(Range(keys.CHUNKS, prefix_end(keys.CHUNKS), count_only=True))
    return found.count


def test_entries_go_by_age_and_by_number() -> None:
    async def scenario(kit: Kit) -> None:
        for number in range(5):
            await kit.configs.publish(ANN, KEY, f"v{number}")
            kit.clock.pass_s(10)
        await kit.configs.upkeep.sweep()
        page = await kit.configs.history.page(KEY)
        assert [each.content for each in page.entries] == ["v3", "v2", "v1"]
        kit.clock.pass_s(75)
        await kit.configs.upkeep.sweep()
        assert [each.content for each in (await kit.configs.history.page(KEY)).entries] == ["v3", "v2"]

    with_configs(scenario, ConfigLimits(history_s_max=100.0, history_entries_max=3))


def test_chunks_stay_while_anything_names_them_and_an_hour_longer() -> None:
    async def scenario(kit: Kit) -> None:
        await kit.configs.publish(ANN, KEY, LARGE)
        await kit.configs.publish(ANN, KEY, "small")
        kit.clock.pass_s(99)
        await kit.configs.upkeep.sweep()
        assert await chunks(kit) == 2
        kit.clock.pass_s(2)
        for _ in range(2):
            await kit.configs.upkeep.sweep()
            assert await chunks(kit) == 2
            kit.clock.pass_s(config_retention.CHUNKS_UNNAMED_S / 2)
        await kit.configs.upkeep.sweep()
        assert await chunks(kit) == 0

    with_configs(scenario, ConfigLimits(history_s_max=100.0))


def test_chunks_of_what_is_served_stay() -> None:
    async def scenario(kit: Kit) -> None:
        await kit.configs.publish(ANN, KEY, LARGE)
        for _ in range(3):
            kit.clock.pass_s(10_000)
            await kit.configs.upkeep.sweep()
        assert await chunks(kit) == 2
        assert (await kit.configs.history.page(KEY)).total == 0

    with_configs(scenario, ConfigLimits(history_s_max=100.0))
