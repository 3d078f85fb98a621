"""Outbound listeners: where a workload's calls enter its sidecar.

Rule: routes are never written into a listener, they come by RDS: a changed listener would close connections.
"""

from __future__ import annotations

from envoy.config.core.v3 import base_pb2
from envoy.config.listener.v3 import listener_components_pb2 as components
from envoy.config.listener.v3 import listener_pb2

from atoll.planes.mesh.model.snapshot import Resource, Type
from atoll.planes.mesh.policy.compiler import http as connections
from atoll.planes.mesh.policy.compiler import messages, names
from atoll.resources.mesh.clients import Client

_LOOPBACK = "127.0.0.1"


def http(client: Client) -> Resource:
    """The one listener of outbound HTTP, which goes by Host."""
    address = (
        messages.pipe_address(client.http_path)
        if client.http_path
        else messages.socket_address(_LOOPBACK, client.http_port)
    )
    manager = connections.connection_manager(
        connections.Connection(connections.Direction.OUTBOUND, names.OUTBOUND_HTTP, names.HTTP_ROUTES)
    )
    message = listener_pb2.Listener(
        name=names.OUTBOUND_HTTP,
        address=address,
        traffic_direction=base_pb2.OUTBOUND,
        filter_chains=[components.FilterChain(filters=[manager])],
    )
    return messages.sealed(Type.LISTENER, message, ((Type.ROUTE, names.HTTP_ROUTES),))
