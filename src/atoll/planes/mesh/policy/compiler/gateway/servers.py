"""Servers: what a gateway listens for, as values, whichever of the two APIs says it.

Rule: a server is a port, the hosts that it takes there, what becomes of their TLS, and the documents that route what comes.
Istio's ``Gateway`` takes VirtualServices, the Gateway API's takes HTTPRoutes and GRPCRoutes; from here on there is no other
difference between them.

The port in a document is the one that the gateway listens at, unless its client says that it is at another one here.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from atoll.planes.mesh.model.policies import Policies
from atoll.resources.mesh import hosts
from atoll.resources.mesh.clients import Client
from atoll.resources.mesh.documents import gateway_api
from atoll.resources.mesh.documents.gateway import Gateway, Server, ServerTls
from atoll.resources.mesh.documents.gateway_api import KubernetesGateway
from atoll.resources.mesh.documents.kinds import Document
from atoll.resources.mesh.documents.virtual_service import VirtualService

_EVERY = "*"
_OWN = "."


class Spoken(enum.Enum):
    """What a port's connections are; servers of one port agree on it but for the two that TLS server names tell apart."""

    HTTP = enum.auto()
    HTTPS = enum.auto()  # TLS ends here, HTTP goes on
    TLS = enum.auto()  # TLS ends here, a byte stream goes on
    PASSED = enum.auto()  # TLS goes on as it is
    TCP = enum.auto()


EVERYWHERE = "0.0.0.0"
"""Where a gateway listens that was not told."""


class Entry(msgspec.Struct, frozen=True):
    """One server. ``bind`` empty: the gateway's own address. ``gateway``: ``NAMESPACE/NAME`` of its document, as routes name it; ``name``: unique in the client.
    ``hosts``: those that it takes, ``*`` or leading ``*`` included. ``routes``: the documents for it, the oldest first.
    """

    name: str
    gateway: str
    port: int
    bind: str
    spoken: Spoken
    hosts: tuple[str, ...]
    routes: tuple[Document[Any], ...]
    document: str
    tls: ServerTls | None = None
    redirects: bool = False


def of(policies: Policies, client: Client) -> list[Entry]:
    found: list[Entry] = []
    for gateway in policies.gateways(client):
        routes = policies.virtual_services_of(gateway, client)
        for index, server in enumerate(gateway.spec.servers):
            made = _of_istio(gateway, index, server, routes)
            own = made.bind == (client.address or EVERYWHERE)
            found.append(msgspec.structs.replace(made, bind="") if own else made)
    for kubernetes in policies.kubernetes_gateways(client):
        found += [_of_gateway_api(policies, kubernetes, listener) for listener in kubernetes.spec.listeners]
    return found


def listening_port(client: Client, number: int) -> int:
    """Where the port ``number`` of a document is listened at."""
    return next((one.port for one in client.inbound if one.service_port == number), number)


def meeting(wanted: Iterable[str], offered: Sequence[str]) -> list[str]:
    """The hosts that lie in both, of two that overlap the narrower; in the order of ``wanted``, each once."""
    found: dict[str, None] = {}
    for name in wanted:
        for other in offered:
            if hosts.matches(other, name):
                found[name] = None
            elif hosts.matches(name, other):
                found[other] = None
    return list(found)


def _of_istio(
    gateway: Document[Gateway], index: int, server: Server, routes: tuple[Document[VirtualService], ...]
) -> Entry:
    taken = [_split(each, gateway.namespace) for each in server.hosts]
    return Entry(
        name=f"{gateway.namespace}/{gateway.name}/{server.name or index}",
        gateway=f"{gateway.namespace}/{gateway.name}",
        port=server.port.number,
        bind=server.bind,
        spoken=_spoken(server),
        hosts=tuple(dict.fromkeys(host for _, host in taken)),
        routes=tuple(each for each in routes if _may(each, taken)),
        document=str(gateway.key),
        tls=server.tls,
        redirects=server.tls is not None and server.tls.httpsRedirect,
    )


def _split(said: str, namespace: str) -> tuple[str, str]:
    """``NAMESPACE/HOST`` of a server: whose VirtualServices may be for it."""
    space, slash, host = said.rpartition("/")
    if not slash:
        return _EVERY, host
    return (namespace if space == _OWN else space), host


def _may(document: Document[VirtualService], taken: Iterable[tuple[str, str]]) -> bool:
    """Whether some host of ``document`` is one that the server takes from its namespace."""
    return any(
        meeting(document.spec.hosts, [host])
        for space, host in taken
        if space == _EVERY or hosts.namespace_of(space) == document.namespace
    )


def _spoken(server: Server) -> Spoken:
    protocol = server.port.protocol
    if protocol == "TCP":
        return Spoken.TCP
    if protocol in ("HTTPS", "TLS"):
        if server.tls is None or server.tls.mode == "PASSTHROUGH":
            return Spoken.PASSED
        return Spoken.HTTPS if protocol == "HTTPS" else Spoken.TLS
    return Spoken.HTTP


def _of_gateway_api(
    policies: Policies, gateway: Document[KubernetesGateway], listener: gateway_api.Listener
) -> Entry:
    routes = (
        *policies.http_routes_of(gateway, listener.name),
        *policies.grpc_routes_of(gateway, listener.name),
    )
    references = listener.tls.certificateRefs if listener.tls is not None else ()
    tls = ServerTls(mode="SIMPLE", credentialName=references[0].name) if references else None
    return Entry(
        name=f"{gateway.namespace}/{gateway.name}/{listener.name}",
        gateway=f"{gateway.namespace}/{gateway.name}",
        port=listener.port,
        bind="",
        spoken=Spoken.HTTP if tls is None else Spoken.HTTPS,
        hosts=(listener.hostname or _EVERY,),
        routes=tuple(sorted(routes, key=lambda each: each.age)),
        document=str(gateway.key),
        tls=tls,
    )
