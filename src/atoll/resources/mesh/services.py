"""Services as the mesh sees them, whatever source told of them: Atoll's registry, a file, a ZooKeeper, a ServiceEntry.

Rule: a value here is what a *source* says, before any policy; nothing in it depends on who asks. A source that has
nothing to say of a field leaves its default. Equal content compares equal, so that an unchanged service is never pushed.

A service has a canonical *host*, ``name.namespace.svc.DOMAIN`` (another group than the default one:
``name.group.namespace.svc.DOMAIN``), the name by which documents, certificates and virtual hosts speak of it.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

import msgspec

from atoll.resources.records import NOTHING


class Protocol(enum.StrEnum):
    """What a port speaks; Istio's names. Everything but the first four is a byte stream to a client that has no filter
    for it.
    """

    HTTP = "http"
    HTTP2 = "http2"
    GRPC = "grpc"
    TCP = "tcp"
    TLS = "tls"  # opaque, routed by its server name
    REDIS = "redis"
    DUBBO = "dubbo"
    THRIFT = "thrift"

    @property
    def is_http(self) -> bool:
        return self in (Protocol.HTTP, Protocol.HTTP2, Protocol.GRPC)


class Resolution(enum.StrEnum):
    """How a client gets at the endpoints. Istio's ``ServiceEntry.resolution``, with EDS for what a registry says."""

    EDS = "eds"
    STATIC = "static"  # endpoints as a document lists them; served by EDS as well
    DNS = "dns"
    NONE = "none"  # the address that the application itself dialled


PORT_OF_SERVICES = 80  # where nothing else is said
NO_PORTS: Mapping[int, int] = {}


class Locality(msgspec.Struct, frozen=True, order=True):
    region: str = ""
    zone: str = ""
    sub_zone: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.region, self.zone, self.sub_zone) if part)


class Port(msgspec.Struct, frozen=True):
    """A port of a *service*: the number that documents name. Where its endpoints listen is theirs to say."""

    number: int
    protocol: Protocol = Protocol.HTTP
    name: str = ""


class Endpoint(msgspec.Struct, frozen=True):
    """One address at which a service answers. ``ports``: where it listens, by the service's port number; a service port
    that is not in it is at ``port``, or nowhere if that is 0. ``path`` instead of ``address``: a Unix socket of this machine. ``mutual_tls``: a
    sidecar stands before it and speaks the mesh's TLS, but for the service ports ``plain_ports``, where policy has turned it
    off. ``account``: the service account in its SPIFFE id.
    """

    address: str
    port: int
    ports: Mapping[int, int] = NO_PORTS
    path: str = ""
    weight: int = 100
    healthy: bool = True
    labels: Mapping[str, str] = NOTHING
    locality: Locality = Locality()
    mutual_tls: bool = False
    plain_ports: tuple[int, ...] = ()
    account: str = ""

    def port_of(self, service_port: int) -> int:
        return self.ports.get(service_port, self.port)


class MeshService(msgspec.Struct, frozen=True):
    """``aliases``: further names under which it is called. ``addresses``: virtual IPs that stand for it where traffic is
    intercepted. ``external``: outside the mesh, never called with its TLS. ``stale``: its source is away, and this is
    what it said last.
    """

    host: str
    name: str
    namespace: str
    ports: tuple[Port, ...] = (Port(PORT_OF_SERVICES),)
    endpoints: tuple[Endpoint, ...] = ()
    resolution: Resolution = Resolution.EDS
    aliases: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    labels: Mapping[str, str] = NOTHING
    external: bool = False
    source: str = ""
    stale: bool = False

    def port(self, number: int) -> Port | None:
        return next((port for port in self.ports if port.number == number), None)


def host_of(name: str, namespace: str, domain: str, group: str = "") -> str:
    """The canonical host. ``group`` empty: the default one."""
    return ".".join(part for part in (name, group, namespace, "svc", domain) if part)
