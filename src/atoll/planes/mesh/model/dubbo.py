"""Dubbo's providers in a ZooKeeper as services: one interface, one service.

Rule: what lies under ``/ROOT/INTERFACE/providers`` are URLs, percent-encoded as one name of a node:
``PROTOCOL://IP:PORT/INTERFACE?application=...&version=...&group=...&weight=...``. One that cannot be read is left out; a
provider that others publish must not take the mesh's other services with it.

An interface may have providers of several protocols: each is a port of the service, by the protocol's usual number.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from atoll.resources.mesh.services import Endpoint, Locality, MeshService, Port, Protocol, host_of

SOURCE: Final = "zookeeper"
PROVIDERS_MAX: Final = 10_000  # of one interface
WEIGHT_USUAL: Final = 100
WEIGHT_MAX: Final = 100_000

# by the URL's scheme; anything else is a byte stream
_PORTS: Final = {
    "dubbo": Port(20880, Protocol.DUBBO),
    "tri": Port(50051, Protocol.GRPC),
    "grpc": Port(50051, Protocol.GRPC),
    "rest": Port(80, Protocol.HTTP),
    "http": Port(80, Protocol.HTTP),
    "thrift": Port(9090, Protocol.THRIFT),
    "redis": Port(6379, Protocol.REDIS),
}
_OTHER: Final = Port(20881, Protocol.TCP)
_LABELS: Final = ("application", "version", "group", "release", "side", "environment", "tag")


def service_of(
    interface: str, providers: Iterable[str], domain: str, namespace: str = "default", stale: bool = False
) -> MeshService:
    """``providers``: names of nodes, in any order."""
    found = [each for name in sorted(providers)[:PROVIDERS_MAX] if (each := _provider(name)) is not None]
    ports = sorted({port.number: port for port, _ in found}.items())
    return MeshService(
        host=host_of(interface, namespace, domain),
        name=interface,
        namespace=namespace,
        ports=tuple(port for _, port in ports) or (_PORTS["dubbo"],),
        endpoints=tuple(endpoint for _, endpoint in found),
        aliases=(interface,),
        source=SOURCE,
        stale=stale,
    )


def _provider(name: str) -> tuple[Port, Endpoint] | None:
    """None: no URL of a provider, or one that takes no calls."""
    try:
        url = urlsplit(unquote(name))
        address, number = url.hostname, url.port
    except ValueError:
        return None
    if not address or not number or not url.scheme:
        return None
    told = dict(parse_qsl(url.query))
    weight = _weight(told.get("weight", ""))
    if told.get("disabled") == "true" or told.get("enabled") == "false" or not weight:
        return None
    port = _PORTS.get(url.scheme, _OTHER)
    labels = {label: told[label] for label in _LABELS if told.get(label)}
    locality = Locality(told.get("region", ""), told.get("zone", ""))
    # Where a service has several ports, a provider answers at its own alone.
    return port, Endpoint(
        address, 0, ports={port.number: number}, weight=weight, labels=labels, locality=locality
    )


def _weight(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        return WEIGHT_USUAL
    return min(int(text), WEIGHT_MAX)
