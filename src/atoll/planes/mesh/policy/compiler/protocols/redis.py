"""Redis by Envoy's own filter: requests are balanced one by one, keys are spread where the cluster hashes.

Rule: RESP2. Envoy's filter speaks either RESP2 or RESP3 on a listener, not both; a client that begins with ``HELLO 3`` and
has no way back must be told to speak RESP2. Commands that Envoy does not know are refused by it, not handed on.

A route by key's prefix has no document of the mesh, so that everything goes to one cluster.
"""

from __future__ import annotations

from typing import Any

from envoy.extensions.filters.network.redis_proxy.v3 import redis_proxy_pb2

from atoll.planes.mesh.policy.compiler import http, messages

REDIS = "envoy.filters.network.redis_proxy"
OPERATION_S = 30.0  # more than any command but one that blocks, which Envoy refuses to begin with
CUSTOM_COMMANDS = ("call",)  # requests of the RPC that has Redis's protocol for a transport
_Proxy = redis_proxy_pb2.RedisProxy


def proxy_to(stat_prefix: str, cluster: str) -> Any:
    proxy = _Proxy(
        stat_prefix=stat_prefix,
        settings=_Proxy.ConnPoolSettings(
            op_timeout=messages.duration(OPERATION_S), enable_command_stats=True
        ),
        prefix_routes=_Proxy.PrefixRoutes(catch_all_route=_Proxy.PrefixRoutes.Route(cluster=cluster)),
        custom_commands=CUSTOM_COMMANDS,
    )
    return http.network_filter(REDIS, proxy)
