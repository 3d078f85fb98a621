"""The messages in ``Any`` fields that explanations understand.

Rule: what is not in the table is None to the caller, who says that it was not looked into; nothing is guessed.
"""

from __future__ import annotations

from typing import Any

from envoy.config.route.v3.route_components_pb2 import FilterConfig
from envoy.extensions.filters.http.cors.v3.cors_pb2 import Cors, CorsPolicy
from envoy.extensions.filters.http.fault.v3.fault_pb2 import HTTPFault
from envoy.extensions.filters.http.jwt_authn.v3.config_pb2 import JwtAuthentication, PerRouteConfig
from envoy.extensions.filters.http.local_ratelimit.v3.local_rate_limit_pb2 import LocalRateLimit
from envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBAC, RBACPerRoute
from envoy.extensions.filters.http.router.v3.router_pb2 import Router
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from envoy.extensions.filters.network.rbac.v3.rbac_pb2 import RBAC as NetworkRbac
from envoy.extensions.filters.network.redis_proxy.v3.redis_proxy_pb2 import RedisProxy
from envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy
from envoy.extensions.path.match.uri_template.v3.uri_template_match_pb2 import UriTemplateMatchConfig
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import DownstreamTlsContext

KNOWN: dict[str, Any] = {
    kind.DESCRIPTOR.full_name: kind
    for kind in (
        Cors,
        CorsPolicy,
        DownstreamTlsContext,
        FilterConfig,
        HTTPFault,
        HttpConnectionManager,
        JwtAuthentication,
        LocalRateLimit,
        NetworkRbac,
        PerRouteConfig,
        RBAC,
        RBACPerRoute,
        RedisProxy,
        Router,
        TcpProxy,
        UriTemplateMatchConfig,
    )
}


def unpacked(packed: Any) -> Any | None:
    """The message in an ``Any``; None: of a type that explanations do not understand."""
    kind = KNOWN.get(packed.type_url.rpartition("/")[2])
    return kind.FromString(packed.value) if kind is not None else None
