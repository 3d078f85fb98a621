"""Configuration on a store in memory, for tests: ``with_configs(scenario)`` runs a scenario on a loop of its own.

Rule: everything is real but the audit entry, which is a plain put that tests can read back.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import msgspec

from atoll.planes.registry.model.config_limits import ConfigLimits
from atoll.planes.registry.policy.rollout_judge import Share
from atoll.planes.registry.service.configs import ConfigParts, Configs
from atoll.planes.registry.service.namespaces import Namespaces
from atoll.resources.actor import Actor
from atoll.resources.config_item import ConfigKey
from atoll.runtime import loop
from atoll.runtime.logs import Log
from atoll.runtime.rng import seeded_rng
from atoll.runtime.tasks import Tasks
from atoll.store.api import RESERVED_PREFIX, Driver, Put, Store
from atoll.store.memory import open_memory
from atoll.store.shell import StoreShell

KEY = ConfigKey("public", "DEFAULT_GROUP", "app.yaml")
ANN = Actor("ann", "10.0.0.9", "api", "n1")
AUDIT = RESERVED_PREFIX + b"registry/audit-of-tests"


class SteadyClock:
    """Both clocks stand still until a test moves them."""

    def __init__(self) -> None:
        self.wall = 1_800_000_000.0
        self.boot = 1_000.0

    def now_s(self) -> float:
        return self.boot

    def pass_s(self, seconds: float) -> None:
        self.wall += seconds
        self.boot += seconds

    def wall_s(self) -> float:
        return self.wall


@dataclass
class Kit:
    """One node's configuration, and what its audit log heard."""

    store: Store
    configs: Configs
    namespaces: Namespaces
    clock: SteadyClock
    parts: ConfigParts
    tasks: Tasks
    audited: list[tuple[str, ...]] = field(default_factory=list)
    away: bool = False
    shares: dict[str, Share | None] = field(default_factory=dict)


async def open_kit(store: Store, tasks: Tasks, limits: ConfigLimits | None = None) -> Kit:
    clock = SteadyClock()
    kit: Kit

    def audit(actor: Actor, action: str, subject: str, before: str, after: str) -> Put:
        kit.audited.append((actor.user, action, subject, before, after))
        return Put(AUDIT, msgspec.json.encode(kit.audited[-1]))

    parts = ConfigParts(
        store,
        clock,
        seeded_rng(7),
        audit,
        limits or ConfigLimits(),
        stale=lambda: kit.away,
        known=lambda name: kit.namespaces.exists(name),
        shares=lambda space, name: kit.shares.get(name),
    )
    configs = Configs(parts)
    spaces = Namespaces(configs.view, configs.writer, lambda name: 0, parts.rng)
    kit = Kit(store, configs, spaces, clock, parts, tasks)
    await configs.start()
    tasks.start("follow", configs.follow())
    return kit


def with_configs(
    scenario: Callable[[Kit], Awaitable[None]],
    limits: ConfigLimits | None = None,
    driver: Driver | None = None,
) -> None:
    """Run ``scenario`` with configuration that follows its store, and stop it."""
    failures: list[BaseException] = []

    async def run() -> None:
        store = StoreShell(driver or open_memory())
        tasks = Tasks(Log("test"), lambda name, error: failures.append(error))
        try:
            await scenario(await open_kit(store, tasks, limits))
        finally:
            await tasks.stop(1.0)
            await store.close()

    loop.run(run())
    assert not failures
