"""Services that a ``ServiceEntry`` tells of, as a source would tell of them.

Rule: one ``MeshService`` for each host of the document. Where two documents tell of the same host the oldest one holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from atoll.planes.mesh.model.policies import Policies
from atoll.resources.mesh.documents.kinds import Document
from atoll.resources.mesh.documents.service_entry import ServiceEntry, ServicePort, WorkloadEntry, is_address
from atoll.resources.mesh.services import Endpoint, Locality, MeshService, Port, Protocol, Resolution

SOURCE: Final = "ServiceEntry"
TLS_MODE_LABEL: Final = "security.istio.io/tlsMode"  # ``istio``: a sidecar stands before the endpoint
_UNIX = "unix://"

_PROTOCOLS: Mapping[str, Protocol] = {
    "HTTP": Protocol.HTTP,
    "HTTPS": Protocol.TLS,  # ended by the application: what is known of it is its server name
    "HTTP2": Protocol.HTTP2,
    "GRPC": Protocol.GRPC,
    "TCP": Protocol.TCP,
    "TLS": Protocol.TLS,
    "REDIS": Protocol.REDIS,
    "DUBBO": Protocol.DUBBO,
    "THRIFT": Protocol.THRIFT,
}
_RESOLUTIONS: Mapping[str, Resolution] = {
    "NONE": Resolution.NONE,
    "STATIC": Resolution.STATIC,
    "DNS": Resolution.DNS,
    "DNS_ROUND_ROBIN": Resolution.DNS,
}


class Entry:
    """A service with the document that told of it."""

    __slots__ = ("document", "service")

    def __init__(self, document: Document[ServiceEntry], service: MeshService) -> None:
        self.document = document
        self.service = service


def entries_of(policies: Policies, before: Mapping[str, Entry]) -> Mapping[str, Entry]:
    """By host. ``before``: those of the policies before; what did not change stays the same object."""
    found: dict[str, Entry] = {}
    for document in policies.service_entries():
        for name in document.spec.hosts:
            host = name.lower().rstrip(".")
            known = before.get(host)
            if host in found:
                continue
            if known is not None and known.document is document:
                found[host] = known
            else:
                found[host] = Entry(document, _service(document, host))
    return found


def _service(document: Document[ServiceEntry], host: str) -> MeshService:
    spec = document.spec
    resolution = _RESOLUTIONS[spec.resolution]
    endpoints = spec.endpoints
    if resolution is Resolution.DNS and not endpoints:
        endpoints = (WorkloadEntry(address=host),)
    return MeshService(
        host=host,
        name=host.split(".")[0],
        namespace=document.namespace,
        ports=tuple(Port(each.number, _PROTOCOLS[each.protocol], each.name) for each in spec.ports),
        endpoints=tuple(_endpoint(each, spec.ports) for each in endpoints),
        resolution=resolution,
        addresses=tuple(each for each in spec.addresses if is_address(each)),
        labels=document.labels,
        external=spec.location == "MESH_EXTERNAL",
        source=SOURCE,
    )


def _endpoint(said: WorkloadEntry, ports: tuple[ServicePort, ...]) -> Endpoint:
    region, zone, sub_zone = (*said.locality.split("/", 2), "", "", "")[:3]
    path = said.address.removeprefix(_UNIX) if said.address.startswith(_UNIX) else ""
    places = {each.number: said.ports.get(each.name) or each.targetPort or each.number for each in ports}
    return Endpoint(
        address="" if path else said.address,
        port=places[ports[0].number],
        ports=places,
        path=path,
        weight=said.weight or 1,
        labels=said.labels,
        locality=Locality(region, zone, sub_zone),
        mutual_tls=said.labels.get(TLS_MODE_LABEL) == "istio",
        account=said.serviceAccount,
    )
