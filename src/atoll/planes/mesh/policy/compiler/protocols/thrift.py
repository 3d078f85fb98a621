"""Thrift by Envoy's own filter: calls are balanced one by one; transport and protocol are told by their first bytes.

Rule: every method of a port goes the same way; which share goes where is a VirtualService's ``tcp`` to say.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from envoy.extensions.filters.network.thrift_proxy.router.v3 import router_pb2
from envoy.extensions.filters.network.thrift_proxy.v3 import route_pb2, thrift_proxy_pb2

from atoll.planes.mesh.policy.compiler import http, messages

THRIFT = "envoy.filters.network.thrift_proxy"
_ROUTER = "envoy.filters.thrift.router"


def proxy_to(stat_prefix: str, clusters: Sequence[tuple[str, int]], access_logs: Sequence[Any] = ()) -> Any:
    action = route_pb2.RouteAction()
    messages.lead_to(action, clusters)
    route = route_pb2.Route(match=route_pb2.RouteMatch(method_name=""), route=action)
    proxy = thrift_proxy_pb2.ThriftProxy(
        stat_prefix=stat_prefix,
        route_config=route_pb2.RouteConfiguration(name=stat_prefix, routes=[route]),
        thrift_filters=[
            thrift_proxy_pb2.ThriftFilter(name=_ROUTER, typed_config=messages.packed(router_pb2.Router()))
        ],
        access_log=list(access_logs),
    )
    return http.network_filter(THRIFT, proxy)
