"""Small resources for tests of xDS itself, made by hand: the compiler is not what is tested here.

Rule: an Envoy and a gRPC client take the same ones, but for what they listen with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2  # noqa: F401 - registers the type
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2,  # noqa: F401 - registers the type
)
from google.protobuf import json_format
from xds.type.v3 import typed_struct_pb2  # noqa: F401 - registers the type

from atoll.wire.xds.snapshot import Resource, Snapshot, Type, resource

ADS = {"ads": {}, "resource_api_version": "V3"}
ROUTER = {
    "name": "envoy.filters.http.router",
    "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
}
HCM = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"


def _sealed(
    kind: Type,
    name: str,
    message: Any,
    refers: Sequence[tuple[Type, str]] = (),
    documents: Sequence[str] = (),
) -> Resource:
    return resource(
        kind, name, message.SerializeToString(deterministic=True), tuple(refers), tuple(documents)
    )


def cluster(name: str, documents: Sequence[str] = (), **fields: Any) -> Resource:
    form = {
        "name": name,
        "type": "EDS",
        "connect_timeout": "1s",
        "eds_cluster_config": {"eds_config": ADS},
        **fields,
    }
    message = json_format.ParseDict(form, cluster_pb2.Cluster())
    return _sealed(Type.CLUSTER, name, message, [(Type.ENDPOINTS, name)], documents)


def endpoints(name: str, ports: Sequence[int], weight: int = 1, **fields: Any) -> Resource:
    """At loopback ports, in one locality."""
    each = [
        {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}}
        for port in ports
    ]
    place = {"locality": {"region": "r"}, "lb_endpoints": each, "load_balancing_weight": weight}
    if not weight:
        del place["load_balancing_weight"]
    form = {"cluster_name": name, "endpoints": [place] if ports else [], **fields}
    return _sealed(Type.ENDPOINTS, name, json_format.ParseDict(form, endpoint_pb2.ClusterLoadAssignment()))


def route(name: str, to: str, domains: Sequence[str] = ("*",), documents: Sequence[str] = ()) -> Resource:
    """Everything to one cluster."""
    routes = [{"match": {"prefix": ""}, "route": {"cluster": to}}]
    form = {"name": name, "virtual_hosts": [{"name": "all", "domains": list(domains), "routes": routes}]}
    message = json_format.ParseDict(form, route_pb2.RouteConfiguration())
    return _sealed(Type.ROUTE, name, message, [(Type.CLUSTER, to)], documents)


def http_listener(name: str, port: int, routes: str, documents: Sequence[str] = ()) -> Resource:
    """Of an Envoy, at a loopback port."""
    manager = {
        "@type": HCM,
        "stat_prefix": name,
        "rds": {"route_config_name": routes, "config_source": ADS},
        "http_filters": [ROUTER],
    }
    form = {
        "name": name,
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }
    message = json_format.ParseDict(form, listener_pb2.Listener())
    return _sealed(Type.LISTENER, name, message, [(Type.ROUTE, routes)], documents)


def redis_listener(name: str, port: int, to: str) -> Resource:
    """Redis with RESP3, which the classes of xds-protos do not know: the filter's settings go as they are."""
    settings = {
        "stat_prefix": name,
        "settings": {"op_timeout": "1s"},
        "protocol_version": "RESP3",
        "prefix_routes": {"catch_all_route": {"cluster": to}},
    }
    proxy = "type.googleapis.com/envoy.extensions.filters.network.redis_proxy.v3.RedisProxy"
    typed = {
        "@type": "type.googleapis.com/xds.type.v3.TypedStruct",
        "type_url": proxy,
        "value": settings,
    }
    form = {
        "name": name,
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [{"filters": [{"name": "redis", "typed_config": typed}]}],
    }
    message = json_format.ParseDict(form, listener_pb2.Listener())
    return _sealed(Type.LISTENER, name, message, [(Type.CLUSTER, to)])


def grpc_listener(name: str, routes: str, filters: Sequence[Mapping[str, Any]] = (ROUTER,)) -> Resource:
    """Of a proxyless client, for the target ``xds:///NAME``."""
    manager = {
        "@type": HCM,
        "rds": {"route_config_name": routes, "config_source": ADS},
        "http_filters": list(filters),
    }
    message = json_format.ParseDict(
        {"name": name, "api_listener": {"api_listener": manager}}, listener_pb2.Listener()
    )
    return _sealed(Type.LISTENER, name, message, [(Type.ROUTE, routes)])


def snapshot(*resources: Resource) -> Snapshot:
    by_type: dict[Type, dict[str, Resource]] = {kind: {} for kind in Type}
    for each in resources:
        by_type[each.type][each.name] = each
    clusters, endpoints_of, listeners, routes = (by_type[kind] for kind in Type)
    return Snapshot(clusters, endpoints_of, listeners, routes)
