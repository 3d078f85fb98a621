"""The world kept up: joined from its sources, told once a change, gathered while changes come thick and fast."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from msgspec.structs import replace

from atoll.planes.mesh.model.world import Choices, World
from atoll.planes.mesh.service.sources import Sink
from atoll.planes.mesh.service.worlds import Worlds
from atoll.resources.mesh.services import Endpoint, MeshService, Port, Protocol
from atoll.runtime.clock import BootClock
from atoll.runtime.logs import Log
from atoll.runtime.tasks import Tasks

HOST = "orders.default.svc.cluster.local"


class Hand:
    """A source that tells what a test says."""

    def __init__(self, name: str, *services: MeshService) -> None:
        self.name = name
        self.services = services
        self.tell: Sink = lambda changed: None

    async def start(self, sink: Sink) -> None:
        self.tell = sink
        sink({each.host: each for each in self.services})

    async def run(self) -> None:
        await asyncio.Event().wait()


def service(address: str, **fields: object) -> MeshService:
    made = MeshService(HOST, "orders", "default", endpoints=(Endpoint(address, 80),))
    return replace(made, **fields)


def following(
    sources: list[Hand],
    scenario: Callable[[Worlds, list[World]], Awaitable[None]],
    choices: Choices | None = None,
) -> None:
    failed: list[BaseException] = []

    async def run() -> None:
        worlds, heard = Worlds(choices or Choices(), sources, BootClock()), []
        worlds.on_world = lambda world, since_s: heard.append(world)
        tasks = Tasks(Log("test"), lambda name, error: failed.append(error))
        await worlds.start(tasks)
        await scenario(worlds, heard)
        await tasks.stop(1.0)

    asyncio.run(run())
    assert not failed


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)


def addresses(world: World) -> list[str]:
    return [each.address for each in world.services[HOST].endpoints]


def test_two_sources_make_one_service_of_a_host() -> None:
    one = Hand("one", service("a", ports=(Port(80, Protocol.GRPC),)))
    two = Hand("two", service("b", stale=True))

    async def scenario(worlds: Worlds, heard: list[World]) -> None:
        assert addresses(worlds.world) == ["a", "b"] and len(heard) == 1
        joined = worlds.world.services[HOST]
        assert joined.ports == (Port(80, Protocol.GRPC),) and joined.stale
        one.tell({HOST: None})
        await until(lambda: len(heard) == 2)
        assert addresses(heard[-1]) == ["b"]
        two.tell({HOST: None})
        await until(lambda: len(heard) == 3)
        assert HOST not in heard[-1].services

    following([one, two], scenario)


def test_changes_of_one_turn_are_one_world_and_no_change_is_none() -> None:
    source = Hand("one", service("a"))

    async def scenario(worlds: Worlds, heard: list[World]) -> None:
        for number in range(100):
            source.tell({HOST: service(f"a{number}")})
        worlds.change(lambda world: world.with_choices(Choices(panic_percent=50.0)))
        await until(lambda: len(heard) == 2)
        assert addresses(heard[-1]) == ["a99"] and heard[-1].choices.panic_percent == 50.0
        source.tell({HOST: service("a99")})
        source.tell({"other": service("b", host="other")})
        await until(lambda: len(heard) == 3)
        assert heard[-1].services[HOST] is heard[-2].services[HOST]

    following([source], scenario)


def test_a_world_says_since_when_its_change_waited() -> None:
    source = Hand("one", service("a"))
    told: list[float] = []

    async def scenario(worlds: Worlds, heard: list[World]) -> None:
        worlds.on_world = lambda world, since_s: told.append(since_s)
        before_s = BootClock().now_s()
        source.tell({HOST: service("b")})
        await until(lambda: bool(told))
        assert before_s <= told[0] <= BootClock().now_s()

    following([source], scenario)


def test_an_empty_world_is_told_as_well() -> None:
    async def scenario(worlds: Worlds, heard: list[World]) -> None:
        assert len(heard) == 1 and not heard[0].services

    following([Hand("one")], scenario)
