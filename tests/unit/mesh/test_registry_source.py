"""The registry as a source of services: what is published there is what the mesh sees, and nothing is lost on the way.

The registry's own service publishes; the source reads what that left in the store and in the ephemeral table.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from atoll.errors import AtollError
from atoll.planes.mesh.model.registry_view import read_ports
from atoll.planes.mesh.service.sources.registry import RegistrySource
from atoll.planes.registry.model.naming_decisions import ServiceChange
from atoll.resources.instance import Instance
from atoll.resources.mesh.services import Endpoint, Locality, MeshService, Port, Protocol
from atoll.resources.service import ServiceKey
from tests.unit.registry.naming_kit import ANN, KEY, Bench, at, on_a_node

HOST = "orders.default.svc.cluster.local"


class Mesh:
    """What the source told, all that was to be told by now included."""

    def __init__(self, bench: Bench) -> None:
        self.source = RegistrySource(bench.store, bench.table, "cluster.local", bench.clock)
        self._services: dict[str, MeshService] = {}
        self._tellings = 0

    def hear(self, changed: object) -> None:
        assert isinstance(changed, dict) and changed
        self._tellings += 1
        for host, service in changed.items():
            if service is None:
                del self._services[host]
            else:
                self._services[host] = service

    @property
    def services(self) -> dict[str, MeshService]:
        self.source.tell()
        return self._services

    @property
    def tellings(self) -> int:
        self.source.tell()
        return self._tellings

    def endpoints(self, host: str = HOST) -> tuple[Endpoint, ...]:
        return self.services[host].endpoints

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                await asyncio.sleep(0)


def on_a_mesh(scenario: Callable[[Bench, Mesh], Awaitable[None]]) -> None:
    async def run(bench: Bench) -> None:
        mesh = Mesh(bench)
        await mesh.source.start(mesh.hear)
        following = asyncio.ensure_future(mesh.source.run())
        try:
            await scenario(bench, mesh)
        finally:
            following.cancel()

    on_a_node(run)


def test_an_instance_is_an_endpoint_at_once() -> None:
    async def scenario(bench: Bench, mesh: Mesh) -> None:
        client = bench.client()
        metadata = {"version": "v2", "region": "r", "zone": "z", "mesh.mtls": "true"}
        bench.naming.register(client, KEY, [at(80, weight=0.5, metadata=metadata)])
        (endpoint,) = mesh.endpoints()
        assert (endpoint.address, endpoint.port, endpoint.weight, endpoint.healthy) == (
            "10.0.0.1",
            80,
            50,
            True,
        )
        assert endpoint.labels["version"] == "v2" and endpoint.labels["cluster"] == "DEFAULT"
        assert endpoint.locality == Locality("r", "z") and endpoint.mutual_tls
        assert endpoint.account == "orders"
        bench.naming.register(client, KEY, [])
        assert mesh.endpoints() == ()
        assert mesh.services[HOST].name == "orders"  # emptied, and still there

    on_a_mesh(scenario)


def test_what_does_not_take_part_is_no_endpoint_and_what_is_lost_is_unhealthy() -> None:
    async def scenario(bench: Bench, mesh: Mesh) -> None:
        client = bench.client()
        bench.naming.register(
            client, KEY, [at(80), at(81, enabled=False), at(82, weight=0.0), at(83, healthy=False)]
        )
        assert [(each.port, each.healthy) for each in mesh.endpoints()] == [(80, True), (83, False)]
        bench.naming.client_closed(client, clean=False)
        bench.pass_s(1.0)
        assert [(each.port, each.healthy) for each in mesh.endpoints()] == [(80, False), (83, False)]
        bench.pass_s(30.0)
        assert mesh.endpoints() == ()

    on_a_mesh(scenario)


def test_what_lies_in_the_store_counts_as_well() -> None:
    async def scenario(bench: Bench, mesh: Mesh) -> None:
        await bench.naming.register_persistent(ANN, KEY, Instance("10.0.0.7", 90, ephemeral=False))
        await mesh.until(lambda: HOST in mesh.services and len(mesh.endpoints()) == 1)
        other = Mesh(bench)  # one that begins later
        await other.source.start(other.hear)
        assert other.services == mesh.services
        await bench.naming.deregister_persistent(ANN, KEY, Instance("10.0.0.7", 90).id)
        await mesh.until(lambda: mesh.endpoints() == ())

    on_a_mesh(scenario)


def test_a_change_is_told_without_being_asked_for() -> None:
    async def scenario(bench: Bench, mesh: Mesh) -> None:
        bench.naming.register(bench.client(), KEY, [at(80)])
        async with asyncio.timeout(10):
            while HOST not in mesh._services:
                await asyncio.sleep(0)

    on_a_mesh(scenario)


def test_endpoints_of_before_are_the_same_objects_and_follow_what_they_are_made_of() -> None:
    """Of a large service one instance changes at a time."""

    async def scenario(bench: Bench, mesh: Mesh) -> None:
        one, other = bench.client("one"), bench.client("other")
        bench.naming.register(one, KEY, [at(80)])
        (before,) = mesh.endpoints()
        bench.naming.register(other, KEY, [at(81)])
        assert mesh.endpoints()[0] is before
        await bench.naming.set_labels(ANN, "10.0.0.1", {"zone": "z9"})
        await mesh.until(lambda: mesh.endpoints()[0].locality == Locality("", "z9"))
        await bench.naming.update_service(ANN, KEY, ServiceChange(metadata={"mesh.account": "clerk"}))
        await mesh.until(lambda: {each.account for each in mesh.endpoints()} == {"clerk"})

    on_a_mesh(scenario)


def test_nothing_is_told_twice() -> None:
    async def scenario(bench: Bench, mesh: Mesh) -> None:
        client = bench.client()
        bench.naming.register(client, KEY, [at(80)])
        told = mesh.tellings
        bench.naming.register(client, KEY, [at(80)])
        assert mesh.tellings == told == 1

    on_a_mesh(scenario)


def test_a_service_that_has_nothing_left_is_forgotten_after_a_while() -> None:
    async def scenario(bench: Bench, mesh: Mesh) -> None:
        mesh.source.emptied_kept_s = 0.0
        client = bench.client()
        bench.naming.register(client, KEY, [at(80)])
        bench.naming.register(client, KEY, [])
        again = ServiceKey("dev", "blue", "again")
        bench.naming.register(client, again, [at(81)])
        await mesh.until(lambda: HOST not in mesh.services)
        assert list(mesh.services) == ["again.blue.dev.svc.cluster.local"]
        bench.naming.register(client, KEY, [at(80)])
        assert len(mesh.endpoints()) == 1

    on_a_mesh(scenario)


def test_ports_are_read_from_metadata_and_what_cannot_be_read_is_left_out() -> None:
    async def scenario(bench: Bench, mesh: Mesh) -> None:
        client = bench.client()
        bench.naming.register(client, KEY, [at(8080, metadata={"mesh.ports": "80:http,9000:grpc=9001"})])
        assert mesh.services[HOST].ports == (Port(80), Port(9000, Protocol.GRPC))
        assert [mesh.endpoints()[0].port_of(number) for number in (80, 9000)] == [8080, 9001]
        bench.naming.register(client, KEY, [at(8080, metadata={"mesh.ports": "eighty", "protocol": "redis"})])
        assert mesh.services[HOST].ports == (Port(80, Protocol.REDIS),)

    on_a_mesh(scenario)


@pytest.mark.parametrize(
    ("text", "says"),
    [("eighty:http", "no port"), ("80:smtp", "no protocol"), ("80:http=0", "no port"), ("70000", "no port")],
)
def test_wrong_ports_say_what_is_wrong(text: str, says: str) -> None:
    with pytest.raises(AtollError, match=says):
        read_ports(text)
