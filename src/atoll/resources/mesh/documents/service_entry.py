"""Istio's ``ServiceEntry`` (networking.istio.io/v1): a service that no registry tells of.

Rule: as ``parts``. It becomes a ``MeshService`` for each of its hosts.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Literal

import msgspec

from atoll.resources.mesh.documents.parts import (
    UPPER,
    Cidr,
    Count,
    Fault,
    HostPattern,
    Labels,
    Part,
    PortNumber,
    repeated,
)
from atoll.resources.records import NOTHING


class ServicePort(Part, frozen=True):
    """``targetPort``: where the endpoints listen, unless they say so themselves."""

    number: PortNumber
    name: str
    protocol: Annotated[
        Literal["HTTP", "HTTPS", "HTTP2", "GRPC", "TCP", "TLS", "REDIS", "DUBBO", "THRIFT"],
        msgspec.Meta(extra={"form": UPPER}),
    ] = "TCP"
    targetPort: PortNumber | None = None


class WorkloadEntry(Part, frozen=True):
    """``address``: an IP address, a host name (resolution DNS), or ``unix:///path``."""

    REFUSED: ClassVar[Mapping[str, str]] = {"network": "say where it is with locality"}

    address: str
    ports: Mapping[str, PortNumber] = NOTHING
    labels: Labels = NOTHING
    locality: str = ""
    weight: Count | None = None
    serviceAccount: str = ""


class ServiceEntry(Part, frozen=True):
    REFUSED: ClassVar[Mapping[str, str]] = {
        "workloadSelector": "register the workloads in the registry, or list them as endpoints",
    }

    hosts: Annotated[tuple[HostPattern, ...], msgspec.Meta(min_length=1)]
    ports: Annotated[tuple[ServicePort, ...], msgspec.Meta(min_length=1)]
    addresses: tuple[Cidr, ...] = ()
    location: Literal["MESH_EXTERNAL", "MESH_INTERNAL"] = "MESH_EXTERNAL"
    resolution: Literal["NONE", "STATIC", "DNS", "DNS_ROUND_ROBIN"] = "NONE"
    endpoints: tuple[WorkloadEntry, ...] = ()
    exportTo: tuple[str, ...] = ()
    subjectAltNames: tuple[str, ...] = ()

    def faults(self) -> Iterator[Fault]:
        yield from repeated(self.hosts, ("hosts",), "")
        yield from repeated((str(each.number) for each in self.ports), ("ports",), "number")
        yield from repeated((each.name for each in self.ports), ("ports",), "name")
        names = [each.name for each in self.ports]
        for position, endpoint in enumerate(self.endpoints):
            for name in endpoint.ports:
                if name not in names:
                    yield Fault(
                        ("endpoints", position, "ports", name),
                        f"there is no port {name!r}",
                        f"one of {', '.join(names)}",
                    )
            yield from self._address_faults(position, endpoint)
        yield from self._resolution_faults()

    def _address_faults(self, position: int, endpoint: WorkloadEntry) -> Iterator[Fault]:
        path = ("endpoints", position, "address")
        address = endpoint.address
        if address.startswith("unix://"):
            if not address.startswith("unix:///"):
                yield Fault(path, f"{address!r} is no absolute path", "write unix:///path")
            if self.resolution != "STATIC":
                yield Fault(path, "a Unix socket needs resolution STATIC", "write resolution: STATIC")
        elif self.resolution == "STATIC" and not is_address(address):
            yield Fault(path, f"{address!r} is no IP address", "write an address, or resolution: DNS")
        elif not address:
            yield Fault(path, "is empty", "write an address or a host name")

    def _resolution_faults(self) -> Iterator[Fault]:
        if self.resolution == "NONE" and self.endpoints:
            yield Fault(
                ("endpoints",), "resolution NONE takes no endpoints", "write resolution: STATIC or DNS"
            )
        if self.resolution == "STATIC" and not self.endpoints:
            yield Fault(("resolution",), "STATIC without endpoints reaches nobody", "list endpoints")
        if (
            self.resolution.startswith("DNS")
            and not self.endpoints
            and any("*" in host for host in self.hosts)
        ):
            yield Fault(
                ("resolution",), "a wildcard host cannot be looked up", "list endpoints, or write NONE"
            )


def is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
