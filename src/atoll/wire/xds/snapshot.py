"""A snapshot: all xDS resources of one client at one moment, serialised once.

Rule: a resource's version is the hash of its bytes, so that a server that starts again, or another one, gives the same
content the same version, and nothing is sent that the client has. Snapshots of different clients share their resources.
References are told by who compiled the resource: finding them again in its bytes would cost a parse.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Iterator, Mapping

import msgspec

_VERSION_CHARS = 16


class Type(enum.Enum):
    """The resource types that are compiled, in the order in which a client must get them (xDS protocol, "Eventual
    consistency considerations"). Values are the type URLs.
    """

    CLUSTER = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
    ENDPOINTS = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
    LISTENER = "type.googleapis.com/envoy.config.listener.v3.Listener"
    ROUTE = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"


class Resource(msgspec.Struct, frozen=True):
    """``body``: the serialised message. ``refers``: what must be there for it to work. ``documents``: the policy
    documents that shaped it, ``Kind/namespace/name``, for explanations and quarantine.
    """

    type: Type
    name: str
    body: bytes
    version: str
    refers: tuple[tuple[Type, str], ...] = ()
    documents: tuple[str, ...] = ()


class Snapshot(msgspec.Struct, frozen=True):
    """Resources by type and name; each type is a mapping of its own, which clients with equal content share.
    ``on_demand``: clusters that an incremental client is sent when it asks for them by name, and not before.
    """

    clusters: Mapping[str, Resource]
    endpoints: Mapping[str, Resource]
    listeners: Mapping[str, Resource]
    routes: Mapping[str, Resource]
    on_demand: frozenset[str] = frozenset()

    def of(self, kind: Type) -> Mapping[str, Resource]:
        if kind is Type.CLUSTER:
            return self.clusters
        if kind is Type.ENDPOINTS:
            return self.endpoints
        return self.listeners if kind is Type.LISTENER else self.routes

    def resources(self) -> Iterator[Resource]:
        for kind in Type:
            yield from self.of(kind).values()


EMPTY = Snapshot({}, {}, {}, {})


def version_of(body: bytes) -> str:
    return hashlib.blake2b(body, digest_size=_VERSION_CHARS // 2).hexdigest()


def resource(
    kind: Type,
    name: str,
    body: bytes,
    refers: tuple[tuple[Type, str], ...] = (),
    documents: tuple[str, ...] = (),
) -> Resource:
    """``body`` under the version that its content gives it."""
    return Resource(kind, name, body, version_of(body), refers, documents)
