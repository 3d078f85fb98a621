"""What is not HTTP: byte streams, and the protocols for which Envoy has a filter of its own.

Rule: the caller's side reads the protocol, since it is where calls are balanced; the called side carries bytes, so that what
Envoy cannot read of a protocol still gets through between two applications that can.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from atoll.planes.mesh.policy.compiler.protocols import dubbo, redis, streams, thrift
from atoll.planes.mesh.policy.compiler.protocols.streams import UNBOUNDED, Bounds
from atoll.resources.mesh.services import Protocol


def proxy_to(
    protocol: Protocol,
    stat_prefix: str,
    clusters: Sequence[tuple[str, int]],
    access_logs: Sequence[Any] = (),
    bounds: Bounds = UNBOUNDED,
) -> Any:
    """The last network filter of calls that speak ``protocol``, to ``clusters`` by weight. Redis with more than one is
    carried as a byte stream: its filter knows no weights, a connection's place is decided when it opens. ``bounds`` are
    those of byte streams.
    """
    if protocol is Protocol.REDIS and len(clusters) == 1:
        return redis.proxy_to(stat_prefix, clusters[0][0])
    if protocol is Protocol.DUBBO:
        return dubbo.proxy_to(stat_prefix, clusters)
    if protocol is Protocol.THRIFT:
        return thrift.proxy_to(stat_prefix, clusters, access_logs)
    return streams.proxy_to(stat_prefix, clusters, access_logs, bounds)
