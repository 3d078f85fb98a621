"""The world kept up: all sources of services joined, and told as one value whenever it has changed.

Rule: sources tell at any time, many services at once or one; the world is made anew at most once a turn of ``gather``: a
change that comes alone goes out in the next turn of the loop, changes that come thick and fast are gathered for as long as
compiling and sending them takes, within a bound. Two sources that know the same host make one service of it: the endpoints
of both, everything else as the source says that was named first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from atoll.planes.mesh.model.world import Choices, World, world_of
from atoll.planes.mesh.service.sources import Source
from atoll.resources.mesh.services import MeshService
from atoll.runtime import loop
from atoll.runtime.clock import Clock
from atoll.runtime.tasks import Tasks

GATHER_S_MAX = 0.1
GATHER_SHARE = 1.0  # pause as long as the work before took: half of the time stays for everything else


class Worlds:
    """``on_world`` hears of each new world. ``since_s``: when the first change of it came, by the boot clock."""

    def __init__(self, choices: Choices, sources: Sequence[Source], clock: Clock) -> None:
        self.world: World = world_of({}, choices)
        self.on_world: Callable[[World, float], None] = _nobody
        self._sources = sources
        self._clock = clock
        self._told: dict[str, dict[str, MeshService]] = {source.name: {} for source in sources}
        self._changed: dict[str, None] = {}
        self._changers: list[Callable[[World], World]] = []
        self._since_s = 0.0
        self._wake = loop.Event()

    async def start(self, tasks: Tasks) -> None:
        """Hear everything once; from then on follow. Raises what keeps a source from being read at all."""
        for source in self._sources:
            await source.start(self._sink(source.name))
        self._since_s = self._clock.now_s()
        self._renew()
        self.on_world(self.world, self._since_s)  # an empty world is one as well
        for source in self._sources:
            tasks.start(f"services from {source.name}", source.run())
        tasks.start("mesh world", self._run())

    def change(self, changer: Callable[[World], World]) -> None:
        """Something else than a source has changed: policies, choices. ``changer`` is applied with the next world."""
        self._changers.append(changer)
        self._touch()

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            began_s, since_s = self._clock.now_s(), self._since_s
            if self._renew():
                self.on_world(self.world, since_s)
            took_s = self._clock.now_s() - began_s
            await loop.sleep(min(GATHER_S_MAX, took_s * GATHER_SHARE))

    def _sink(self, name: str) -> Callable[[Mapping[str, MeshService | None]], None]:
        told = self._told[name]

        def hear(changed: Mapping[str, MeshService | None]) -> None:
            for host, service in changed.items():
                if service is None:
                    told.pop(host, None)
                else:
                    told[host] = service
                self._changed[host] = None
            self._touch()

        return hear

    def _touch(self) -> None:
        if not self._wake.is_set():
            self._since_s = self._clock.now_s()
            self._wake.set()

    def _renew(self) -> bool:
        """Whether there is another world now."""
        changed, changers = self._changed, self._changers
        self._wake.clear()
        self._changed, self._changers = {}, []
        world = self.world
        if changed:
            world = world.with_services({host: self._joined(host) for host in changed})
        for changer in changers:
            world = changer(world)
        if world is self.world:
            return False
        self.world = world
        return True

    def _joined(self, host: str) -> MeshService | None:
        known = [told[host] for told in self._told.values() if host in told]
        if not known:
            return None
        first, *others = known
        if not others:
            return first
        endpoints = tuple(endpoint for service in known for endpoint in service.endpoints)
        return msgspec.structs.replace(first, endpoints=endpoints, stale=any(each.stale for each in known))


def _nobody(world: World, since_s: float) -> None:
    return None
