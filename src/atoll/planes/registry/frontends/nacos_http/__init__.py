"""Nacos's HTTP API, all versions of it, over the registry's services.

Rule: what is served, in which envelope and to whom is read from ``wire/nacos/catalog``; this package adds what each
operation does. Nothing else of the plane knows these paths.

    nacos = open_http(registry, Address("127.0.0.1", 8848))
    Http1Server(nacos.application, clock, limits=nacos.limits)
"""

from __future__ import annotations

from dataclasses import dataclass

from atoll.planes.registry.frontends.nacos_http import shapes
from atoll.planes.registry.frontends.nacos_http.accounts import AccountsApi
from atoll.planes.registry.frontends.nacos_http.application import BODY_BYTES_MAX, NacosHttp, Operation
from atoll.planes.registry.frontends.nacos_http.clients import Clients
from atoll.planes.registry.frontends.nacos_http.core import Core
from atoll.planes.registry.frontends.nacos_http.doors import Doors
from atoll.planes.registry.frontends.nacos_http.instances import Instances
from atoll.planes.registry.frontends.nacos_http.items import Items
from atoll.planes.registry.frontends.nacos_http.listening import HELD_MAX, Listening
from atoll.planes.registry.frontends.nacos_http.namespaces import NamespacesApi
from atoll.planes.registry.frontends.nacos_http.operator import Operator
from atoll.planes.registry.frontends.nacos_http.overrides import Overrides
from atoll.planes.registry.frontends.nacos_http.records import Records
from atoll.planes.registry.frontends.nacos_http.services import Services
from atoll.planes.registry.frontends.nacos_http.transfers import Transfers
from atoll.planes.registry.frontends.udp import UdpPush
from atoll.planes.registry.service.pushes import Push
from atoll.planes.registry.service.registry import Registry
from atoll.planes.registry.settings import HttpCompatibility
from atoll.runtime import datagrams
from atoll.runtime.http1 import Limits
from atoll.runtime.http_guard import Gate
from atoll.runtime.metrics import Metrics
from atoll.runtime.net import Address
from atoll.wire.nacos import service_info

LIMITS = Limits(body_bytes_max=BODY_BYTES_MAX, connections_max=HELD_MAX + 1_000)


@dataclass
class OpenedHttp:
    """``application`` is ASGI; ``run`` is its background task."""

    application: NacosHttp
    udp: UdpPush
    limits: Limits = LIMITS

    async def run(self) -> None:
        await self.udp.run()

    def show(self, metrics: Metrics) -> None:
        metrics.read_on_scrape(
            "atoll_nacos_http_requests_total",
            "Requests of Nacos clients over HTTP, by verb and path of Nacos's catalog.",
            ("verb", "path"),
            lambda: list(self.application.requests.items()),
        )

    async def push_from(self, host: str) -> datagrams.UdpSocket:
        """Push to 1.x clients from now on, by a UDP socket of this address. Raises UNAVAILABLE."""
        socket = await datagrams.open_udp(Address(host, 0), self.udp.received)
        self.udp.use(socket)
        return socket

    async def close(self, within_s: float) -> None:
        self.udp.close()


def open_http(
    registry: Registry, address: Address, compatibility: HttpCompatibility | None = None
) -> OpenedHttp:
    """``address`` is where it will be listened on: whose Host header is this node's depends on it."""
    doors = Doors(Gate(address), registry.guard, registry.accounts, registry.control, registry.clock)
    doors.node = registry.peers.node_id
    doors.switches = lambda: registry.naming.directory.switches
    doors.stale = lambda: registry.naming.stale
    doors.compatibility = compatibility or HttpCompatibility()
    udp = UdpPush(registry.naming, registry.clock, _list)
    listening = Listening(registry.configs, doors)
    application = NacosHttp(
        operations(registry, udp, doors), {"config.listen": listening.listen}, doors, registry.clock
    )
    return OpenedHttp(application, udp)


def operations(registry: Registry, udp: UdpPush, doors: Doors) -> dict[str, Operation]:
    """Everything that answers at once, by the name in the catalog."""
    return {
        **Items(registry.configs, registry.journal, doors).operations(),
        **Instances(registry.naming, udp, doors).operations(),
        **AccountsApi(registry.accounts, doors).operations(),
        **NamespacesApi(registry.namespaces, doors).operations(),
        **Clients(registry).operations(),
        **Core(registry).operations(),
        **Operator(registry, udp, doors).operations(),
        **Overrides(registry.naming).operations(),
        **Records(registry).operations(),
        **Services(registry.naming).operations(),
        **Transfers(registry.configs, doors, registry.clock).operations(),
    }


def _list(push: Push) -> bytes:
    """A pushed list, as a poll would have got it."""
    info = push.info
    return service_info.old_service_info(shapes.head(info, 10_000), shapes.hosts_json(info))
