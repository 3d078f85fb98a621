"""A real ZooKeeper in Dubbo's layout as a source of services: followed, kept while it is away, right again afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from urllib.parse import quote

import pytest
from kazoo.client import KazooClient

from atoll.planes.mesh.service.sources.zookeeper import ZooKeeperSource
from atoll.resources.mesh.services import MeshService, Port, Protocol
from atoll.runtime import loop
from tests.peers.zookeeper import Server, zookeeper

pytestmark = pytest.mark.peers

INTERFACE = "com.example.Ledger"
HOST = f"{INTERFACE}.default.svc.cluster.local"
WITHIN_S = 60.0


class Told:
    def __init__(self) -> None:
        self.services: dict[str, MeshService] = {}
        self._heard = loop.Event()

    def __call__(self, changed: Mapping[str, MeshService | None]) -> None:
        for host, service in changed.items():
            if service is None:
                self.services.pop(host)
            else:
                self.services[host] = service
        self._heard.set()

    @property
    def addresses(self) -> list[str] | None:
        service = self.services.get(HOST)
        return (
            None
            if service is None
            else [f"{each.address}:{max(each.ports.values())}" for each in service.endpoints]
        )

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(WITHIN_S):
            while not condition():
                self._heard.clear()
                await self._heard.wait()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with zookeeper(tmp_path_factory.mktemp("zookeeper")) as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[KazooClient]:
    client = KazooClient(hosts=server.hosts)
    client.start()
    yield client
    client.stop()
    client.close()


def provide(client: KazooClient, root: str, url: str, ephemeral: bool = True) -> str:
    """As Dubbo does it."""
    path = f"{root}/{INTERFACE}/providers/{quote(url, safe='')}"
    client.create(path, ephemeral=ephemeral, makepath=True)
    return path


def followed(server: Server, root: str, scenario: Callable[[Told], Awaitable[None]]) -> None:
    async def run() -> None:
        source, told = ZooKeeperSource(f"{server.hosts}{root}", "cluster.local"), Told()
        await source.start(told)
        running = asyncio.ensure_future(source.run())
        try:
            await scenario(told)
        finally:
            running.cancel()
            await asyncio.wait((running,))

    loop.run(run())


def test_providers_come_change_and_go(server: Server, client: KazooClient) -> None:
    """The root comes into being only after the source began to follow it."""
    url = f"dubbo://10.0.0.1:20880/{INTERFACE}?application=books&version=1.0&weight=50&timestamp=1"

    async def scenario(told: Told) -> None:
        first = provide(client, "/shop", url)
        await told.until(lambda: told.addresses == ["10.0.0.1:20880"])
        service = told.services[HOST]
        assert service.aliases == (INTERFACE,) and service.ports == (Port(20880, Protocol.DUBBO),)
        assert service.endpoints[0].labels == {"application": "books", "version": "1.0"}
        assert service.endpoints[0].weight == 50
        second = provide(client, "/shop", f"tri://10.0.0.2:50052/{INTERFACE}")
        await told.until(lambda: told.addresses == ["10.0.0.1:20880", "10.0.0.2:50052"])
        assert [port.protocol for port in told.services[HOST].ports] == [Protocol.DUBBO, Protocol.GRPC]
        client.delete(first)
        client.delete(second)
        await told.until(lambda: told.addresses == [])
        client.delete(f"/shop/{INTERFACE}", recursive=True)
        await told.until(lambda: HOST not in told.services)
        provide(client, "/shop", url)
        await told.until(lambda: told.addresses == ["10.0.0.1:20880"])

    followed(server, "/shop", scenario)


def test_what_it_said_last_stands_while_it_is_away(server: Server, client: KazooClient) -> None:
    kept = f"dubbo://10.0.0.1:20880/{INTERFACE}"
    provide(client, "/away", kept, ephemeral=False)

    async def scenario(told: Told) -> None:
        await told.until(lambda: told.addresses == ["10.0.0.1:20880"])
        server.kill()
        await told.until(lambda: told.services[HOST].stale)
        assert told.addresses == ["10.0.0.1:20880"]
        await loop.in_thread(server.start)
        await told.until(lambda: not told.services[HOST].stale)
        await loop.in_thread(provide, client, "/away", f"dubbo://10.0.0.9:20880/{INTERFACE}", False)
        await told.until(lambda: told.addresses == ["10.0.0.1:20880", "10.0.0.9:20880"])

    followed(server, "/away", scenario)


def test_one_that_is_not_there_keeps_nobody_from_starting(server: Server) -> None:
    async def scenario(told: Told) -> None:
        source = ZooKeeperSource("127.0.0.1:1", "cluster.local")
        await source.start(told)
        running = asyncio.ensure_future(source.run())
        await asyncio.sleep(0)
        running.cancel()
        await asyncio.wait((running,))
        assert told.services == {}

    loop.run(scenario(Told()))
