"""What tests of xDS streams share: small snapshots, and a client's side of each form, message by message.

Rule: bytes go both ways; what the server says is read with xds-protos' classes, as a client would.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from envoy.service.discovery.v3 import discovery_pb2

from atoll.wire.xds.delta import Delta
from atoll.wire.xds.messages import read_delta_request, read_request
from atoll.wire.xds.shelf import Shelf
from atoll.wire.xds.snapshot import Resource, Snapshot, Type, resource
from atoll.wire.xds.sotw import Sotw
from atoll.wire.xds.stream import CLUSTER, ENDPOINTS, LISTENER, ROUTE, Fact, Limits

__all__ = ["CLUSTER", "ENDPOINTS", "LISTENER", "ROUTE"]

Content = Mapping[str, str]
"""Names of resources of a type, and something that tells their contents apart."""


def cluster(name: str, content: str = "", documents: Sequence[str] = ()) -> Resource:
    return resource(
        Type.CLUSTER, name, f"cluster {name} {content}".encode(), ((Type.ENDPOINTS, name),), tuple(documents)
    )


def endpoints(name: str, content: str = "") -> Resource:
    return resource(Type.ENDPOINTS, name, f"endpoints {name} {content}".encode())


def listener(name: str, routes: Iterable[str] = (), clusters: Iterable[str] = ()) -> Resource:
    refers = (*((Type.ROUTE, each) for each in routes), *((Type.CLUSTER, each) for each in clusters))
    return resource(Type.LISTENER, name, f"listener {name} {refers}".encode(), refers)


def route(name: str, clusters: Iterable[str], documents: Sequence[str] = ()) -> Resource:
    refers = tuple((Type.CLUSTER, each) for each in clusters)
    return resource(Type.ROUTE, name, f"route {name} {refers}".encode(), refers, tuple(documents))


def snapshot(*resources: Resource) -> Snapshot:
    by_type: dict[Type, dict[str, Resource]] = {kind: {} for kind in Type}
    for each in resources:
        by_type[each.type][each.name] = each
    clusters, endpoints_of, listeners, routes = (by_type[kind] for kind in Type)
    return Snapshot(clusters, endpoints_of, listeners, routes)


def simple(clusters: Content, routed: Iterable[str] | None = None, endpoint: str = "") -> Snapshot:
    """Clusters with their endpoints, one listener ``http``, one route of that name to ``routed`` (all of them)."""
    made = [cluster(name, content) for name, content in clusters.items()]
    lists = [endpoints(name, endpoint) for name in clusters]
    to = sorted(clusters) if routed is None else routed
    return snapshot(*made, *lists, listener("http", routes=["http"]), route("http", to))


class SotwPeer:
    """A client of state-of-the-world. ``now_s`` is the time of both sides."""

    def __init__(self, goal: Snapshot | None = None, limits: Limits | None = None) -> None:
        self.shelf = Shelf()
        self.stream = Sotw(limits or Limits())
        self.now_s = 1_000.0
        self.nonces: dict[str, str] = {}
        self.versions: dict[str, str] = {}
        if goal is not None:
            self.goal(goal)

    def goal(self, goal: Snapshot) -> None:
        self.stream.advance(self.shelf.goal(goal))

    def say(
        self, type_url: str, names: Sequence[str] = (), nonce: str | None = None, error: str | None = None
    ) -> list[Fact]:
        """A request, by default with the newest nonce that this client has seen."""
        message = discovery_pb2.DiscoveryRequest(
            type_url=type_url,
            resource_names=names,
            version_info=self.versions.get(type_url, ""),
            response_nonce=self.nonces.get(type_url, "") if nonce is None else nonce,
        )
        if error is not None:
            message.error_detail.message = error
        return self.stream.on_request(read_request(message.SerializeToString()), self.now_s)

    def hear(self) -> Any:
        """The next response, or None."""
        data = self.stream.take(self.now_s)
        if data is None:
            return None
        message = discovery_pb2.DiscoveryResponse.FromString(data)
        self.nonces[message.type_url] = message.nonce
        return message

    def take(self, type_url: str, names: Sequence[str] = ()) -> list[str]:
        """Hear a response of this type, accept it, and give the names in it."""
        message = self.hear()
        assert message is not None, f"nothing was said, {type_url} was waited for"
        assert message.type_url == type_url, (message.type_url, type_url)
        self.versions[type_url] = message.version_info
        self.say(type_url, names)
        return names_of(message)

    def start(self, names: Sequence[str], routes: Sequence[str] = ("http",)) -> None:
        """As Envoy does: everything, with these endpoints and routes, to the end."""
        self.say(CLUSTER)
        self.take(CLUSTER)
        self.say(ENDPOINTS, names)
        self.take(ENDPOINTS, names)
        self.say(LISTENER)
        self.take(LISTENER)
        self.say(ROUTE, routes)
        self.take(ROUTE, routes)
        assert self.hear() is None


class DeltaPeer:
    """A client of incremental discovery."""

    def __init__(self, goal: Snapshot | None = None, limits: Limits | None = None) -> None:
        self.shelf = Shelf()
        self.stream = Delta(limits or Limits())
        self.now_s = 1_000.0
        self.versions: dict[str, dict[str, str]] = {}
        if goal is not None:
            self.goal(goal)

    def goal(self, goal: Snapshot) -> None:
        self.stream.advance(self.shelf.goal(goal))

    def say(self, type_url: str, **fields: Any) -> list[Fact]:
        """``subscribe``, ``unsubscribe``, ``initial``, ``nonce``, ``error``."""
        message = discovery_pb2.DeltaDiscoveryRequest(
            type_url=type_url,
            resource_names_subscribe=fields.get("subscribe", ()),
            resource_names_unsubscribe=fields.get("unsubscribe", ()),
            initial_resource_versions=fields.get("initial", {}),
            response_nonce=fields.get("nonce", ""),
        )
        if "error" in fields:
            message.error_detail.message = fields["error"]
        return self.stream.on_request(read_delta_request(message.SerializeToString()), self.now_s)

    def hear(self) -> Any:
        data = self.stream.take(self.now_s)
        return None if data is None else discovery_pb2.DeltaDiscoveryResponse.FromString(data)

    def take(self, type_url: str) -> tuple[list[str], list[str]]:
        """Hear a response of this type, accept it, and give the names in it and those that it removes."""
        message = self.hear()
        assert message is not None, f"nothing was said, {type_url} was waited for"
        assert message.type_url == type_url, (message.type_url, type_url)
        known = self.versions.setdefault(type_url, {})
        known.update({each.name: each.version for each in message.resources})
        for name in message.removed_resources:
            known.pop(name, None)
        self.say(type_url, nonce=message.nonce)
        return sorted(each.name for each in message.resources), sorted(message.removed_resources)

    def start(self, names: Sequence[str], routes: Sequence[str] = ("http",)) -> None:
        self.say(CLUSTER)
        self.take(CLUSTER)
        self.say(ENDPOINTS, subscribe=names)
        self.take(ENDPOINTS)
        self.say(LISTENER)
        self.take(LISTENER)
        self.say(ROUTE, subscribe=routes)
        self.take(ROUTE)
        assert self.hear() is None


def names_of(response: Any) -> list[str]:
    """By the second word of the bodies that this kit makes."""
    return sorted(each.value.split()[1].decode() for each in response.resources)
