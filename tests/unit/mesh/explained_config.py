"""Small configurations for explanations, written as in Envoy's JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from google.protobuf import json_format

from atoll.planes.mesh.policy import explain
from atoll.planes.mesh.policy.explain.config import Config, of_messages
from atoll.resources.mesh.explanations import Explanation, Request

HTTP = "type.googleapis.com/envoy.extensions.filters.http"
NETWORK = "type.googleapis.com/envoy.extensions.filters.network"
HCM = f"{NETWORK}.http_connection_manager.v3.HttpConnectionManager"
TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
ROUTER = {"name": "envoy.filters.http.router", "typed_config": {"@type": f"{HTTP}.router.v3.Router"}}


def manager(*filters: Mapping[str, Any], routes: str = "http", **fields: Any) -> dict[str, Any]:
    config = {
        "@type": HCM,
        "stat_prefix": "x",
        "rds": {"route_config_name": routes},
        "http_filters": [*filters, ROUTER],
        **fields,
    }
    return {"filters": [{"name": "http", "typed_config": config}]}


def http_filter(name: str, kind: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "typed_config": {"@type": f"{HTTP}.{kind}", **fields}}


def listener(name: str, *chains: Mapping[str, Any], port: int = 15001, **fields: Any) -> Any:
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    body = {"name": name, "address": address, "filter_chains": list(chains), **fields}
    return json_format.ParseDict(body, Listener())


def routes(*routes: Mapping[str, Any], name: str = "http", **fields: Any) -> Any:
    host = {"name": "reviews", "domains": ["reviews"], "routes": list(routes), **fields}
    return json_format.ParseDict({"name": name, "virtual_hosts": [host]}, RouteConfiguration())


def to(cluster: str, **fields: Any) -> dict[str, Any]:
    return {
        "name": "VirtualService/default/reviews/0@cafebabe",
        "match": {"prefix": "/"},
        "route": {"cluster": cluster, **fields},
    }


def cluster(name: str, **fields: Any) -> Any:
    return json_format.ParseDict({"name": name, "type": "EDS", **fields}, Cluster())


def endpoints(name: str, *groups: Sequence[str], **fields: Any) -> Any:
    """A priority each group, of the health of each endpoint."""
    made = []
    for priority, group in enumerate(groups):
        hosts = [
            {
                "endpoint": {
                    "address": {"socket_address": {"address": f"10.0.{priority}.{number}", "port_value": 80}}
                },
                "health_status": health,
            }
            for number, health in enumerate(group)
        ]
        made.append({"priority": priority, "lb_endpoints": hosts})
    return json_format.ParseDict({"cluster_name": name, "endpoints": made, **fields}, ClusterLoadAssignment())


def plain(*filters: Mapping[str, Any], route: Mapping[str, Any] | None = None) -> Config:
    """One listener, one route, one cluster with one healthy endpoint."""
    messages = (
        listener("outbound_http", manager(*filters)),
        routes(route or to("a")),
        cluster("a"),
        endpoints("a", ["HEALTHY"]),
    )
    return of_messages(messages)


def ask(config: Config, path: str = "/", **fields: Any) -> Explanation:
    return explain.explain(config, Request(**{"host": "reviews", "path": path, **fields}))


def dump_of(messages: Sequence[Any]) -> bytes:
    """As ``/config_dump`` shows them."""
    places: dict[Any, tuple[str, Callable[[Any], Any]]] = {
        Listener: (
            "dynamic_listeners",
            lambda body: {"active_state": {"version_info": "1", "listener": body}},
        ),
        RouteConfiguration: (
            "dynamic_route_configs",
            lambda body: {"version_info": "1", "route_config": body},
        ),
        Cluster: ("dynamic_active_clusters", lambda body: {"version_info": "1", "cluster": body}),
        ClusterLoadAssignment: ("dynamic_endpoint_configs", lambda body: {"endpoint_config": body}),
    }
    sections = []
    for message in messages:
        field, wrap = places[type(message)]
        body = json_format.MessageToDict(message, preserving_proto_field_name=True)
        sections.append({field: [wrap({"@type": "x", **body})]})
    return json.dumps({"configs": sections}).encode()
