"""Naming beside a dumb model: whatever clients, operators and time do, both hand out the same instances.

Rule: the model keeps flat dictionaries and knows nothing of tables, views, watches or caches. Steps are whole acts;
after each of them the lists of both are compared, and after time has passed also what a subscriber was told last.
Times are such that no sum of them falls on a bound.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from atoll.planes.registry.model.naming import Selection
from atoll.planes.registry.model.naming_decisions import OverrideChange, ServiceChange
from atoll.resources.instance import Instance
from atoll.resources.service import Service, ServiceKey
from atoll.runtime.logs import Log
from atoll.runtime.tasks import Tasks
from atoll.store.memory import open_memory
from atoll.store.shell import StoreShell
from tests.unit.registry.naming_kit import ANN, Bench, Listener, at

CONNECTED, BEATING, STORED = (ServiceKey("public", "g", name) for name in ("connected", "beating", "stored"))
KEYS = [CONNECTED, BEATING, STORED]
CLIENTS = ["c1", "c2", "c3"]
UNHEALTHY_AFTER_S, REMOVED_AFTER_S = 0.8, 10.0
SILENT_S, DEAD_S = 15.0, 30.0

ports = st.integers(1, 4)
weights = st.sampled_from([1.0, 2.0])


@dataclass
class Held:
    """What one client says of one port. ``number``: later ones are newer."""

    instance: Instance
    number: int
    broken_s: float | None = None


class NamingMachine(RuleBasedStateMachine):
    @initialize()
    def open(self) -> None:
        self.runner = asyncio.Runner()
        self.runner.run(self._open())
        self.held: dict[tuple[str, int], Held] = {}  # by client and port
        self.connected: dict[str, str] = {}  # the client of whoever is connected
        self.connections = 0
        self.beats: dict[int, tuple[Instance, float]] = {}
        self.stored: dict[int, Instance] = {}
        self.overrides: dict[tuple[ServiceKey, int], bool] = {}  # enabled
        self.thresholds: dict[ServiceKey, float] = {}
        self.number = 0
        self.quiet = False

    async def _open(self) -> None:
        self.store = StoreShell(open_memory())
        self.bench = Bench(self.store)
        self.listeners = {key: Listener() for key in KEYS}
        await self.bench.naming.follower.load()
        self.failures: list[BaseException] = []
        self.tasks = Tasks(Log("test"), lambda name, error: self.failures.append(error))
        self.tasks.start("follow", self.bench.naming.follower.follow())
        self.bench.client("subscriber")
        for key, listener in self.listeners.items():
            self.bench.naming.subscribe("subscriber", key, Selection(), listener)

    def teardown(self) -> None:
        async def close() -> None:
            await self.tasks.stop(1.0)
            await self.store.close()

        self.runner.run(close())
        self.runner.close()
        assert not self.failures

    def act(self, going: Awaitable[Any] | None) -> None:
        """Carry out what an operator does; what clients do is carried out already."""
        self.quiet = False
        if going is not None:

            async def main() -> None:
                await going

            self.runner.run(main())

    # ----------------------------------------------------------------------------------- connections

    @rule(who=st.sampled_from(CLIENTS), wanted=st.dictionaries(ports, weights, max_size=3))
    def register(self, who: str, wanted: dict[int, float]) -> None:
        if who not in self.connected:
            self.connections += 1
            self.connected[who] = self.bench.client(f"{who}-{self.connections}")
        client = self.connected[who]
        self.bench.naming.register(
            client, CONNECTED, [at(port, weight=each) for port, each in wanted.items()]
        )
        self.act(None)
        for holder, port in list(self.held):
            if holder == client and port not in wanted:
                del self.held[holder, port]
        for port, weight in wanted.items():
            instance, stands = at(port, weight=weight), self._standing(port)
            if stands is None or stands[0] != client or stands[1].instance != instance:
                self.number += 1
                self.held[client, port] = Held(instance, self.number)
            self._give_way(port)

    @rule(who=st.sampled_from(CLIENTS), clean=st.booleans())
    def close(self, who: str, clean: bool) -> None:
        client = self.connected.pop(who, "")
        self.bench.naming.client_closed(client, clean)
        self.act(None)
        for (holder, port), held in list(self.held.items()):
            if holder == client:
                held.broken_s = self.bench.clock.boot_s
                if clean:
                    del self.held[holder, port]
                self._give_way(port)

    def _give_way(self, port: int) -> None:
        """Where somebody is connected that holds the port, those whose connection broke hold it no more."""
        here = {holder: held for (holder, other), held in self.held.items() if other == port}
        if any(held.broken_s is None for held in here.values()):
            for holder, held in here.items():
                if held.broken_s is not None:
                    del self.held[holder, port]

    def _standing(self, port: int) -> tuple[str, Held] | None:
        found = [(client, held) for (client, other), held in self.held.items() if other == port]
        now_s = self.bench.clock.boot_s
        return max(found, key=lambda each: (not lost(each[1], now_s), each[1].number), default=None)

    # ----------------------------------------------------------------------------------------- beats

    @rule(port=ports, weight=weights)
    def register_beating(self, port: int, weight: float) -> None:
        instance = at(port, weight=weight)
        self.bench.naming.register_beating(BEATING, instance)
        self.act(None)
        self.beats[port] = (instance, self.bench.clock.boot_s)

    @rule(port=ports)
    def beat(self, port: int) -> None:
        known = self.bench.naming.beat(BEATING, at(port).id).known
        self.act(None)
        assert known == (port in self.beats)
        if known:
            self.beats[port] = (self.beats[port][0], self.bench.clock.boot_s)

    @rule(port=ports)
    def stop_beating(self, port: int) -> None:
        self.act(self.bench.naming.deregister_beating(BEATING, at(port).id))
        self.beats.pop(port, None)

    # ------------------------------------------------------------------------------------- operators

    @rule(port=ports, weight=weights)
    def store_instance(self, port: int, weight: float) -> None:
        instance = at(port, weight=weight, ephemeral=False)
        self.act(self.bench.naming.register_persistent(ANN, STORED, instance))
        self.stored[port] = instance

    @rule(port=ports)
    def remove_instance(self, port: int) -> None:
        self.act(self.bench.naming.deregister_persistent(ANN, STORED, at(port).id))
        self.stored.pop(port, None)

    @rule(key=st.sampled_from(KEYS), port=ports, enabled=st.booleans())
    def override(self, key: ServiceKey, port: int, enabled: bool) -> None:
        if not self.bench.naming.services("public").count(key):
            return
        change = OverrideChange(enabled=enabled)
        self.act(self.bench.naming.override_instance(ANN, key, at(port).id, change))
        self.overrides[key, port] = enabled

    @rule(key=st.sampled_from(KEYS), port=ports)
    def remove_override(self, key: ServiceKey, port: int) -> None:
        self.act(self.bench.naming.remove_override(ANN, key, at(port).id))
        self.overrides.pop((key, port), None)

    @rule(key=st.sampled_from(KEYS), threshold=st.sampled_from([0.0, 0.5, 1.0]))
    def protect(self, key: ServiceKey, threshold: float) -> None:
        naming = self.bench.naming
        if key in naming.services("public"):
            self.act(naming.update_service(ANN, key, ServiceChange(protect_threshold=threshold)))
        else:
            self.act(naming.create_service(ANN, Service(key=key, protect_threshold=threshold)))
        self.thresholds[key] = threshold

    # ------------------------------------------------------------------------------------------ time

    @rule(seconds=st.sampled_from([0.37, 3.11, 12.7]))
    def time_passes(self, seconds: float) -> None:
        async def main() -> None:
            self.bench.pass_s(seconds)

        self.act(main())
        now_s = self.bench.clock.boot_s
        for at_, held in list(self.held.items()):
            if held.broken_s is not None and now_s - held.broken_s >= REMOVED_AFTER_S:
                del self.held[at_]
        for port, (_, heard_s) in list(self.beats.items()):
            if now_s - heard_s >= DEAD_S:
                del self.beats[port]
        self.quiet = seconds > 1

    # --------------------------------------------------------------------------------------- compare

    @invariant()
    def both_hand_out_the_same(self) -> None:
        for key in KEYS:
            info = self.bench.naming.query(key, Selection())
            found = [(each.port, each.weight, each.healthy) for each in info.hosts]
            assert (found, info.protected) == self._expected(key), str(key)
            if self.quiet:
                pushes = self.listeners[key].pushes
                told = pushes[-1].info if pushes else None
                assert (
                    (told.hosts, told.protected) == (info.hosts, info.protected) if told else not info.hosts
                )

    def _expected(self, key: ServiceKey) -> tuple[list[tuple[int, float, bool]], bool]:
        found: list[tuple[int, float, bool]] = []
        for port in range(1, 5):
            seen = self._seen(key, port)
            if seen is not None and self.overrides.get((key, port), True):
                found.append((port, seen[0].weight, seen[1]))
        healthy, threshold = sum(each[2] for each in found), self.thresholds.get(key, 0.0)
        if threshold and healthy < len(found) and healthy <= threshold * len(found):
            return [(port, weight, True) for port, weight, _ in found], True
        return found, False

    def _seen(self, key: ServiceKey, port: int) -> tuple[Instance, bool] | None:
        now_s = self.bench.clock.boot_s
        if key == STORED:
            return (self.stored[port], True) if port in self.stored else None
        if key == BEATING:
            instance, heard_s = self.beats.get(port, (None, 0.0))
            return (instance, now_s - heard_s < SILENT_S) if instance is not None else None
        stands = self._standing(port)
        return (stands[1].instance, not lost(stands[1], now_s)) if stands is not None else None


def lost(held: Held, now_s: float) -> bool:
    return held.broken_s is not None and now_s - held.broken_s >= UNHEALTHY_AFTER_S


NamingMachine.TestCase.settings = settings(
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
TestNaming = NamingMachine.TestCase
