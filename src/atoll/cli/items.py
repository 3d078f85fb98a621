"""``atoll config-item``: the commands for one configuration, for staged releases and for many, in one place."""

from __future__ import annotations

from typing import Any

from atoll.cli import config_items, registry, rollouts, transfers


def add(commands: Any) -> None:
    actions = registry.group(commands, "config-item", "publish, look at and release configurations")
    for module in (config_items, rollouts, transfers):
        module.add(actions)
