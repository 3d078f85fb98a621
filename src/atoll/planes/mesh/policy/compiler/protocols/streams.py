"""Byte streams: one connection is carried to one cluster, whatever it says.

Rule: a stream's route is decided once, when it opens; a change of the cluster's endpoints moves new connections only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2
from envoy.type.v3 import hash_policy_pb2

from atoll.planes.mesh.policy.compiler import http, messages

TCP_PROXY = "envoy.filters.network.tcp_proxy"
_Proxy = tcp_proxy_pb2.TcpProxy


class Bounds(msgspec.Struct, frozen=True):
    """``idle_s``: after that a silent stream is closed, 0: never, None: as Envoy does (an hour). ``lasts_s``: after that
    any is. ``by_source``: streams of one source address go to one endpoint, where the cluster hashes.
    """

    idle_s: float | None = None
    lasts_s: float | None = None
    by_source: bool = False


UNBOUNDED = Bounds()


def proxy_to(
    stat_prefix: str,
    clusters: Sequence[tuple[str, int]],
    access_logs: Sequence[Any] = (),
    bounds: Bounds = UNBOUNDED,
) -> Any:
    """The network filter that carries a stream to one of ``clusters`` by weight."""
    proxy = _Proxy(stat_prefix=stat_prefix, access_log=list(access_logs))
    if bounds.idle_s is not None:
        proxy.idle_timeout.CopyFrom(messages.duration(bounds.idle_s))
    if bounds.lasts_s is not None:
        proxy.max_downstream_connection_duration.CopyFrom(messages.duration(bounds.lasts_s))
    if bounds.by_source:
        proxy.hash_policy.append(hash_policy_pb2.HashPolicy(source_ip=hash_policy_pb2.HashPolicy.SourceIp()))
    if len(clusters) == 1:
        proxy.cluster = clusters[0][0]
    else:
        weighted = [
            _Proxy.WeightedCluster.ClusterWeight(name=name, weight=weight) for name, weight in clusters
        ]
        proxy.weighted_clusters.CopyFrom(_Proxy.WeightedCluster(clusters=weighted))
    return http.network_filter(TCP_PROXY, proxy)
