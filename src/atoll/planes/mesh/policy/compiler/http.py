"""The HTTP connection manager of every listener: of the workload's own calls, of calls to it, and at the border.

Rule: every HTTP listener of the mesh is made here, so that what is true of all of them (headers, paths, upgrades, what is
logged and traced) is said once. What decides over requests comes as filters, in the order in which they are asked.

The border does not believe its callers: it sets the address and the request id itself, and drops what a header claims of
a certificate. A sidecar's callers are its workload and its peers; it adds the peer's identity to what they say, as Istio's
does, so that the last element of ``x-forwarded-client-cert`` is always the sidecar's own word.
"""

from __future__ import annotations

import enum
from typing import Any

import msgspec
from envoy.config.listener.v3 import listener_components_pb2
from envoy.extensions.filters.http.cors.v3 import cors_pb2
from envoy.extensions.filters.http.fault.v3 import fault_pb2
from envoy.extensions.filters.http.grpc_stats.v3 import config_pb2 as grpc_stats_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as manager_pb2,
)
from google.protobuf.message import Message

from atoll.planes.mesh.policy.compiler import messages, telemetry

MANAGER = "envoy.filters.network.http_connection_manager"
CORS, FAULT, ROUTER = "envoy.filters.http.cors", "envoy.filters.http.fault", "envoy.filters.http.router"
GRPC_STATS = "envoy.filters.http.grpc_stats"
_BORDER_IDLE_S = 300.0  # of a stream; sidecars leave it to the routes' time-outs
_BORDER_HEADERS_S = 10.0  # within which a request's headers must have come
_Manager = manager_pb2.HttpConnectionManager


class Direction(enum.StrEnum):
    OUTBOUND = "outbound"  # calls of the workload
    INBOUND = "inbound"  # calls to the workload
    GATEWAY = "gateway"  # calls from outside the mesh


class Connection(msgspec.Struct, frozen=True):
    """``routes``: the name of a route configuration, by RDS, or a ``RouteConfiguration``. ``filters``: those that decide
    before the common ones, in their order.
    """

    direction: Direction
    stat_prefix: str
    routes: Any
    filters: tuple[Any, ...] = ()
    observed: telemetry.Observed = telemetry.NOT_OBSERVED


def connection_manager(connection: Connection) -> Any:
    """The network filter that ends the listener's filter chain."""
    manager = _Manager(
        stat_prefix=connection.stat_prefix,
        http_filters=_filters(connection),
        access_log=list(connection.observed.access_logs),
        tracing=connection.observed.tracing,
        normalize_path=messages.boolean(True),
        server_header_transformation=_Manager.PASS_THROUGH,
        upgrade_configs=[_Manager.UpgradeConfig(upgrade_type="websocket")],
        stream_idle_timeout=messages.duration(0),
    )
    if isinstance(connection.routes, str):
        manager.rds.CopyFrom(
            manager_pb2.Rds(route_config_name=connection.routes, config_source=messages.from_ads())
        )
    else:
        manager.route_config.CopyFrom(connection.routes)
    _set_trust(manager, connection.direction)
    return network_filter(MANAGER, manager)


def http_filter(name: str, config: Message) -> Any:
    return manager_pb2.HttpFilter(name=name, typed_config=messages.packed(config))


def network_filter(name: str, config: Message) -> Any:
    return listener_components_pb2.Filter(name=name, typed_config=messages.packed(config))


def _filters(connection: Connection) -> list[Any]:
    """Faults and cross-origin rules are the routes' to say, on the caller's side and at the border. There a browser asks
    whether it may before it shows who it is, so that it is answered before anything is asked of it.
    """
    stats = http_filter(GRPC_STATS, grpc_stats_pb2.FilterConfig(emit_filter_state=True))
    router = http_filter(ROUTER, router_pb2.Router())
    if connection.direction is Direction.INBOUND:
        return [*connection.filters, stats, router]
    cors, fault = http_filter(CORS, cors_pb2.Cors()), http_filter(FAULT, fault_pb2.HTTPFault())
    return [cors, *connection.filters, stats, fault, router]


def _set_trust(manager: Any, direction: Direction) -> None:
    if direction is Direction.GATEWAY:
        manager.use_remote_address.value = True
        manager.forward_client_cert_details = _Manager.SANITIZE_SET
        manager.stream_idle_timeout.CopyFrom(messages.duration(_BORDER_IDLE_S))
        manager.request_headers_timeout.CopyFrom(messages.duration(_BORDER_HEADERS_S))
    else:
        manager.use_remote_address.value = False
    if direction is Direction.INBOUND:
        manager.forward_client_cert_details = _Manager.APPEND_FORWARD
    if direction is not Direction.OUTBOUND:
        manager.set_current_client_cert_details.subject.value = True
        manager.set_current_client_cert_details.uri = True
        manager.set_current_client_cert_details.dns = True
