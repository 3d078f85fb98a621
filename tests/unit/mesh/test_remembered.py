"""What a source told before the node started again counts until it has told it anew, or had the time to."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest

from atoll.planes.mesh.model.remembered import Memory
from atoll.planes.mesh.service.sources import Sink
from atoll.planes.mesh.service.sources.remembered import Remembered
from atoll.resources.mesh.services import Endpoint, MeshService, Port, Protocol
from atoll.runtime.clock import BootClock

A, B = Endpoint("10.0.0.1", 80), Endpoint("10.0.0.2", 80)


def service(name: str, *endpoints: Endpoint, stale: bool = False) -> MeshService:
    return MeshService(f"{name}.svc", name, "default", endpoints=endpoints, stale=stale)


def test_what_nobody_has_told_of_yet_is_as_it_was() -> None:
    memory = Memory({"shop.svc": service("shop", A, B)})
    assert memory.remembered() == {"shop.svc": service("shop", A, B, stale=True)}


def test_a_part_that_came_back_does_not_push_the_rest_out() -> None:
    memory = Memory({"shop.svc": service("shop", A, B)})
    assert memory.hear({"shop.svc": service("shop", B)}) == {"shop.svc": service("shop", B, A, stale=True)}
    assert memory.hear({"shop.svc": service("shop", A, B)}) == {"shop.svc": service("shop", A, B)}


def test_what_came_back_and_goes_is_gone() -> None:
    memory = Memory({"shop.svc": service("shop", A)})
    memory.hear({"shop.svc": service("shop", A)})
    assert memory.hear({"shop.svc": service("shop")}) == {"shop.svc": service("shop")}


def test_a_service_without_endpoints_yet_keeps_its_ports() -> None:
    grpc = msgspec.structs.replace(service("shop", A), ports=(Port(90, Protocol.GRPC),))
    told = Memory({"shop.svc": grpc}).hear({"shop.svc": service("shop")})["shop.svc"]
    assert told is not None and told.ports == (Port(90, Protocol.GRPC),) and told.endpoints == (A,)


def test_when_it_has_settled_only_the_source_counts() -> None:
    memory = Memory({"shop.svc": service("shop", A, B), "gone.svc": service("gone", A)})
    memory.hear({"shop.svc": service("shop", A)})
    assert memory.settle() == {"shop.svc": service("shop", A), "gone.svc": service("gone")}
    assert memory.forget() == {"gone.svc": None}
    assert memory.everything() == (service("shop", A),)


class Told:
    """A source that tells what the test says."""

    name = "told"

    def __init__(self, *services: MeshService) -> None:
        self._services = services
        self.sink: Sink = print

    async def start(self, sink: Sink) -> None:
        self.sink = sink
        if self._services:
            sink({each.host: each for each in self._services})

    async def run(self) -> None:
        await asyncio.Event().wait()


async def started(source: Told, path: Path) -> tuple[Remembered, dict[str, MeshService | None]]:
    heard: dict[str, MeshService | None] = {}

    def hear(changed: Mapping[str, MeshService | None]) -> None:
        heard.update(changed)

    remembered = Remembered(source, path, BootClock())
    await remembered.start(hear)
    return remembered, heard


def test_the_next_start_knows_what_was_told_before(tmp_path: Path) -> None:
    path = tmp_path / "mesh-services"

    async def scenario() -> None:
        first, _ = await started(Told(service("shop", A)), path)
        running = asyncio.ensure_future(first.run())
        async with asyncio.timeout(10):
            while not path.exists():
                await asyncio.sleep(0)
        running.cancel()
        _, heard = await started(Told(service("other", B)), path)
        assert heard == {"other.svc": service("other", B), "shop.svc": service("shop", A, stale=True)}

    asyncio.run(scenario())
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", [b"", b"\x00rubbish", msgspec.msgpack.encode({"format": 1})])
def test_a_file_that_cannot_be_read_is_as_good_as_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "mesh-services"
    path.write_bytes(content)

    async def scenario() -> None:
        _, heard = await started(Told(service("shop", A)), path)
        assert heard == {"shop.svc": service("shop", A)}

    asyncio.run(scenario())
