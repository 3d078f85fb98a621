"""Small pieces of xDS messages that every part of the compiler needs.

Rule: whatever is serialised is serialised deterministically, nested ``Any`` included: a version is a hash of bytes.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Any

from envoy.config.core.v3 import address_pb2, config_source_pb2
from google.protobuf import any_pb2, duration_pb2, wrappers_pb2

from atoll.planes.mesh.model.snapshot import Resource, Type, resource

_INIT_FETCH_TIMEOUT_S = 5.0


def packed(message: Any) -> any_pb2.Any:
    result = any_pb2.Any()
    result.Pack(message, deterministic=True)
    return result


def sealed(
    kind: Type,
    message: Any,
    refers: tuple[tuple[Type, str], ...] = (),
    documents: tuple[str, ...] = (),
) -> Resource:
    """``message`` as the resource of its own name."""
    name = message.cluster_name if kind is Type.ENDPOINTS else message.name
    return resource(kind, name, message.SerializeToString(deterministic=True), refers, documents)


def duration(seconds: float) -> duration_pb2.Duration:
    whole, nanos = divmod(round(seconds * 1_000_000_000), 1_000_000_000)
    return duration_pb2.Duration(seconds=whole, nanos=nanos)


def uint32(value: int) -> wrappers_pb2.UInt32Value:
    return wrappers_pb2.UInt32Value(value=value)


def boolean(value: bool) -> wrappers_pb2.BoolValue:
    return wrappers_pb2.BoolValue(value=value)


def lead_to(action: Any, clusters: Sequence[tuple[str, int]]) -> None:
    """Let ``action``, a route's of any protocol, lead to ``clusters`` by weight."""
    if len(clusters) == 1:
        action.cluster = clusters[0][0]
        return
    for name, weight in clusters:
        action.weighted_clusters.clusters.add(name=name, weight=uint32(weight))


def socket_address(address: str, port: int) -> address_pb2.Address:
    return address_pb2.Address(socket_address=address_pb2.SocketAddress(address=address, port_value=port))


def pipe_address(path: str) -> address_pb2.Address:
    return address_pb2.Address(pipe=address_pb2.Pipe(path=path))


def is_address(host: str) -> bool:
    """Whether ``host`` needs no looking up."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def from_ads() -> config_source_pb2.ConfigSource:
    """The client's own ADS stream. A resource that does not come delays a listener or cluster by this much, not more."""
    return config_source_pb2.ConfigSource(
        ads=config_source_pb2.AggregatedConfigSource(),
        resource_api_version=config_source_pb2.ApiVersion.V3,
        initial_fetch_timeout=duration(_INIT_FETCH_TIMEOUT_S),
    )
