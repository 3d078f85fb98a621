"""Dubbo by Envoy's own filter: calls are balanced one by one, over one connection of the consumer.

Rule: every interface and method of a port goes the same way; which share goes where is a VirtualService's ``tcp`` to say.
Dubbo 2 with Hessian 2, which is all that Envoy reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from envoy.extensions.filters.network.dubbo_proxy.router.v3 import router_pb2
from envoy.extensions.filters.network.dubbo_proxy.v3 import dubbo_proxy_pb2, route_pb2

from atoll.planes.mesh.policy.compiler import http, messages
from atoll.planes.mesh.policy.compiler.security import terms

DUBBO = "envoy.filters.network.dubbo_proxy"
_ROUTER = "envoy.filters.dubbo.router"


def proxy_to(stat_prefix: str, clusters: Sequence[tuple[str, int]]) -> Any:
    action = route_pb2.RouteAction()
    messages.lead_to(action, clusters)
    every = route_pb2.RouteMatch(method=route_pb2.MethodMatch(name=terms.expression(".*")))
    routes = route_pb2.RouteConfiguration(
        name=stat_prefix, interface="*", routes=[route_pb2.Route(match=every, route=action)]
    )
    proxy = dubbo_proxy_pb2.DubboProxy(
        stat_prefix=stat_prefix,
        route_config=[routes],
        dubbo_filters=[
            dubbo_proxy_pb2.DubboFilter(name=_ROUTER, config=messages.packed(router_pb2.Router()))
        ],
    )
    return http.network_filter(DUBBO, proxy)
