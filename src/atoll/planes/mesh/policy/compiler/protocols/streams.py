"""Byte streams: one connection is carried to one cluster, whatever it says.

Rule: a stream's route is decided once, when it opens; a change of the cluster's endpoints moves new connections only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2

from atoll.planes.mesh.policy.compiler import http, messages

TCP_PROXY = "envoy.filters.network.tcp_proxy"
_Proxy = tcp_proxy_pb2.TcpProxy


def proxy_to(
    stat_prefix: str,
    clusters: Sequence[tuple[str, int]],
    access_logs: Sequence[Any] = (),
    idle_s: float | None = None,
) -> Any:
    """The network filter that carries a stream to one of ``clusters`` by weight. ``idle_s`` 0: never closed for being
    idle; None: as Envoy does (an hour).
    """
    proxy = _Proxy(stat_prefix=stat_prefix, access_log=list(access_logs))
    if idle_s is not None:
        proxy.idle_timeout.CopyFrom(messages.duration(idle_s))
    if len(clusters) == 1:
        proxy.cluster = clusters[0][0]
    else:
        weighted = [
            _Proxy.WeightedCluster.ClusterWeight(name=name, weight=weight) for name, weight in clusters
        ]
        proxy.weighted_clusters.CopyFrom(_Proxy.WeightedCluster(clusters=weighted))
    return http.network_filter(TCP_PROXY, proxy)
