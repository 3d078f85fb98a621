"""A configuration to explain: the resources of one client by name, parsed when they are first asked for.

Rule: a name that is not there is None; that is an answer ("no such cluster"), not an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Generic, TypeVar

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration

from atoll.planes.mesh.model.snapshot import Resource, Snapshot

M = TypeVar("M")


class Messages(Generic[M]):
    """The resources of one type. ``documents``: what shaped each, where that is known."""

    def __init__(
        self,
        names: Iterable[str],
        parse: Callable[[str], M],
        documents: Mapping[str, tuple[str, ...]],
    ) -> None:
        self._known = dict.fromkeys(names)
        self._parse = parse
        self._parsed: dict[str, M] = {}
        self._documents = documents

    def names(self) -> list[str]:
        return list(self._known)

    def get(self, name: str) -> M | None:
        if name not in self._known:
            return None
        if name not in self._parsed:
            self._parsed[name] = self._parse(name)
        return self._parsed[name]

    def every(self) -> list[M]:
        return [found for name in self._known if (found := self.get(name)) is not None]

    def documents(self, name: str) -> tuple[str, ...]:
        return self._documents.get(name, ())


class Config:
    def __init__(
        self,
        listeners: Messages[Listener],
        routes: Messages[RouteConfiguration],
        clusters: Messages[Cluster],
        endpoints: Messages[ClusterLoadAssignment],
    ) -> None:
        self.listeners = listeners
        self.routes = routes
        self.clusters = clusters
        self.endpoints = endpoints


def of_snapshot(snapshot: Snapshot) -> Config:
    """What the control plane intends."""
    return Config(
        _serialised(snapshot.listeners, Listener),
        _serialised(snapshot.routes, RouteConfiguration),
        _serialised(snapshot.clusters, Cluster),
        _serialised(snapshot.endpoints, ClusterLoadAssignment),
    )


def of_messages(messages: Iterable[Any]) -> Config:
    """Of messages of the four types, as a dump or a static configuration has them."""
    kinds: dict[type[Any], dict[str, Any]] = {
        kind: {} for kind in (Listener, RouteConfiguration, Cluster, ClusterLoadAssignment)
    }
    for one in messages:
        name = one.cluster_name if isinstance(one, ClusterLoadAssignment) else one.name
        kinds[type(one)][name] = one
    return Config(*(Messages(found, found.__getitem__, {}) for found in kinds.values()))


def _serialised(resources: Mapping[str, Resource], kind: type[M]) -> Messages[M]:
    def parse(name: str) -> M:
        return kind.FromString(resources[name].body)  # type: ignore[attr-defined, no-any-return]

    return Messages(resources, parse, {name: one.documents for name, one in resources.items()})
