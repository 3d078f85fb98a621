"""Virtual hosts of a gateway: what becomes of requests from outside, by the host that they name.

Rule: a host is served where a server takes it *and* a document routes it; everything else is answered 404. Several
documents for one host are put one behind the other, the oldest first, as Istio does at a gateway. Whatever port a request
names in its host counts for nothing: it may have come through another one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from envoy.config.route.v3 import route_components_pb2 as components

from atoll.planes.mesh.model.world import World
from atoll.planes.mesh.policy.compiler import names
from atoll.planes.mesh.policy.compiler.gateway import servers
from atoll.planes.mesh.policy.compiler.gateway.servers import Entry
from atoll.planes.mesh.policy.compiler.routing import gateway_api, matches, virtual_hosts, virtual_services
from atoll.planes.mesh.policy.compiler.routing.scene import Scene, Stage
from atoll.planes.mesh.policy.compiler.routing.virtual_hosts import VirtualHost
from atoll.resources.mesh.clients import Client
from atoll.resources.mesh.documents.kinds import Document, Kind

NO_ROUTE = "no_route"
_NOT_FOUND = 404


def hosts_of(world: World, client: Client, entries: Sequence[Entry]) -> list[VirtualHost]:
    """Of servers that share a route configuration. A host that several of them take is the first one's."""
    found: dict[str, VirtualHost] = {}
    for entry in entries:
        for host, documents in _by_host(entry).items():
            if host not in found:
                found[host] = _host(world, client, entry, host, documents)
    return list(found.values())


def _by_host(entry: Entry) -> dict[str, list[Document[Any]]]:
    """With the hosts that are only redirected."""
    found: dict[str, list[Document[Any]]] = {}
    for document in entry.routes:
        if document.key.kind is Kind.VIRTUAL_SERVICE and not document.spec.http:
            continue
        for host in servers.meeting(_wanted(document), entry.hosts):
            found.setdefault(host, []).append(document)
    if entry.redirects:
        for host in entry.hosts:
            found.setdefault(host, [])
    return found


def _wanted(document: Document[Any]) -> Sequence[str]:
    if document.key.kind is Kind.VIRTUAL_SERVICE:
        return tuple(document.spec.hosts)
    return tuple(document.spec.hostnames) or ("*",)


def _host(
    world: World, client: Client, entry: Entry, host: str, documents: list[Document[Any]]
) -> VirtualHost:
    told = Scene(world, Stage(client, entry.port, (entry.gateway,)))
    told.documents[entry.document] = None
    message = components.VirtualHost(
        name=names.virtual_host(host, entry.port), domains=[host], include_request_attempt_count=True
    )
    if entry.redirects:
        message.require_tls = components.VirtualHost.ALL
    message.routes.extend(_routes(told, documents))
    return virtual_hosts.sealed(told, message, documents)


def _routes(told: Scene, documents: list[Document[Any]]) -> list[Any]:
    of_istio = [each for each in documents if each.key.kind is Kind.VIRTUAL_SERVICE]
    others = [each for each in documents if each.key.kind is not Kind.VIRTUAL_SERVICE]
    made = [route for document in of_istio for route in virtual_services.routes(told, document)]
    if others:
        made += gateway_api.routes(told, others)
    if not made:
        route = components.Route(name=NO_ROUTE, match=matches.everything())
        route.direct_response.status = _NOT_FOUND
        made.append(route)
    return made
