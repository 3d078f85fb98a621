"""Routes: which cluster a request goes to.

Rule: a virtual host depends on its service and the documents about it, not on who else is in the mesh; a route
configuration is its virtual hosts, put side by side in bytes, so that a change of one costs one.
"""

from __future__ import annotations

from typing import NamedTuple

from envoy.config.core.v3 import base_pb2
from envoy.config.route.v3 import route_components_pb2 as components
from envoy.config.route.v3 import route_pb2

from atoll.planes.mesh.model.snapshot import Resource, Type, resource
from atoll.planes.mesh.policy.compiler import messages, names

_VIRTUAL_HOSTS_TAG = b"\x12"  # field 2 of RouteConfiguration, length-delimited
_REFUSAL = "no service of the mesh answers to this host\n"


class VirtualHost(NamedTuple):
    """One virtual host, serialised, with the clusters that it leads to and the documents that shaped it."""

    body: bytes
    clusters: tuple[str, ...]
    documents: tuple[str, ...] = ()


def to_service(name: str, domains: tuple[str, ...], cluster: str) -> VirtualHost:
    """All requests to ``cluster``, as long as no document says otherwise. No time limit: the caller's own holds."""
    route = components.Route(
        name=names.DEFAULT_ROUTE,
        match=components.RouteMatch(prefix="/"),
        route=components.RouteAction(cluster=cluster, timeout=messages.duration(0)),
    )
    message = components.VirtualHost(name=name, domains=domains, routes=[route])
    return VirtualHost(message.SerializeToString(deterministic=True), (cluster,))


def refused() -> VirtualHost:
    """What answers to hosts that the mesh does not know: 502, since 404 would look like the service's own."""
    route = components.Route(
        name=names.REFUSED,
        match=components.RouteMatch(prefix="/"),
        direct_response=components.DirectResponseAction(
            status=502, body=base_pb2.DataSource(inline_string=_REFUSAL)
        ),
    )
    message = components.VirtualHost(name=names.REFUSED, domains=["*"], routes=[route])
    return VirtualHost(message.SerializeToString(deterministic=True), ())


def configuration(name: str, hosts: list[VirtualHost]) -> Resource:
    head = route_pb2.RouteConfiguration(name=name, validate_clusters=messages.boolean(False))
    body = [head.SerializeToString(deterministic=True)]
    for host in hosts:
        body += (_VIRTUAL_HOSTS_TAG, _varint(len(host.body)), host.body)
    clusters = dict.fromkeys(cluster for host in hosts for cluster in host.clusters)
    documents = dict.fromkeys(document for host in hosts for document in host.documents)
    refers = tuple((Type.CLUSTER, cluster) for cluster in clusters)
    return resource(Type.ROUTE, name, b"".join(body), refers, tuple(documents))


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
