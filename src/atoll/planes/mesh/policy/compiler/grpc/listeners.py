"""Listeners for gRPC: one for each name by which an application may dial a service, one for each port that it serves.

Rule: an application dials ``xds:///NAME`` and asks for the listener NAME, exactly as it was written; so every spelling of a
service's name is a listener, all of them with the routes of the same service. gRPC refuses a listener without a router.

A gRPC server asks by the address that it listens at, filled into the template of its bootstrap (``proxyless.SERVER``).
"""

from __future__ import annotations

from typing import Any

from envoy.config.listener.v3 import api_listener_pb2, listener_components_pb2, listener_pb2
from envoy.config.route.v3 import route_components_pb2, route_pb2
from envoy.extensions.filters.http.fault.v3 import fault_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as manager_pb2,
)
from envoy.extensions.transport_sockets.tls.v3 import common_pb2, tls_pb2

from atoll.planes.mesh.policy.compiler import http, messages
from atoll.planes.mesh.policy.compiler.security import tls
from atoll.resources.mesh import proxyless
from atoll.wire.xds.snapshot import Resource, Type


def client(name: str, routes: str) -> Resource:
    """Of the target ``xds:///name``."""
    manager = manager_pb2.HttpConnectionManager(
        rds=manager_pb2.Rds(route_config_name=routes, config_source=messages.from_ads()),
        http_filters=[
            http.http_filter(http.FAULT, fault_pb2.HTTPFault()),
            http.http_filter(http.ROUTER, router_pb2.Router()),
        ],
    )
    message = listener_pb2.Listener(
        name=name, api_listener=api_listener_pb2.ApiListener(api_listener=messages.packed(manager))
    )
    return messages.sealed(Type.LISTENER, message, ((Type.ROUTE, routes),))


def server(
    address: str, port: int, rules: tuple[Any, ...], secure: bool, documents: tuple[str, ...]
) -> Resource:
    """Of a server at ``address:port``, as gRPC writes it (``[::]``). ``rules``: filters of RBAC, in their order. ``secure``: the mesh's TLS, from
    everybody; otherwise plain text.
    """
    manager = manager_pb2.HttpConnectionManager(
        route_config=_serves_everything(),
        http_filters=[*rules, http.http_filter(http.ROUTER, router_pb2.Router())],
    )
    chain = listener_components_pb2.FilterChain(filters=[http.network_filter(http.MANAGER, manager)])
    if secure:
        chain.transport_socket.CopyFrom(_mesh_tls())
    message = listener_pb2.Listener(
        name=proxyless.SERVER % f"{address}:{port}",
        address=messages.socket_address(address.strip("[]"), port),
        filter_chains=[chain],
    )
    return messages.sealed(Type.LISTENER, message, (), documents)


def _serves_everything() -> Any:
    route = route_components_pb2.Route(
        match=route_components_pb2.RouteMatch(prefix="/"),
        non_forwarding_action=route_components_pb2.NonForwardingAction(),
    )
    host = route_components_pb2.VirtualHost(name="served", domains=["*"], routes=[route])
    return route_pb2.RouteConfiguration(name="served", virtual_hosts=[host])


def _mesh_tls() -> Any:
    provided = common_pb2.CertificateProviderPluginInstance(instance_name=proxyless.PROVIDER)
    common = tls_pb2.CommonTlsContext(
        tls_certificate_provider_instance=provided,
        validation_context=common_pb2.CertificateValidationContext(ca_certificate_provider_instance=provided),
    )
    return tls.socket(
        tls_pb2.DownstreamTlsContext(
            common_tls_context=common, require_client_certificate=messages.boolean(True)
        )
    )
