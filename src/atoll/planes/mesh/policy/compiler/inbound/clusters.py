"""The cluster of a port of the workload: the application itself.

Rule: the sidecar never limits how many connections or requests the application takes: that is the application's to say
(or a ``LocalRateLimit``'s), so that Envoy's own limits, which were made for remote clusters, are out of the way.
"""

from __future__ import annotations

from typing import Any

from envoy.config.cluster.v3 import circuit_breaker_pb2, cluster_pb2
from envoy.config.core.v3 import protocol_pb2
from envoy.config.endpoint.v3 import endpoint_components_pb2 as endpoints
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2

from atoll.planes.mesh.model.snapshot import Resource, Type
from atoll.planes.mesh.policy.compiler import messages, names
from atoll.resources.mesh.clients import Inbound
from atoll.resources.mesh.services import Protocol

HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_LOOPBACK = "127.0.0.1"
_CONNECT_S = 1.0  # on the same machine
_UNLIMITED = messages.uint32(0xFFFF_FFFF)


def application(inbound: Inbound) -> Resource:
    name = names.inbound_cluster(inbound.port)
    message = cluster_pb2.Cluster(
        name=name,
        type=cluster_pb2.Cluster.STATIC,
        connect_timeout=messages.duration(_CONNECT_S),
        load_assignment=endpoint_pb2.ClusterLoadAssignment(cluster_name=name, endpoints=[_at(inbound)]),
        circuit_breakers=circuit_breaker_pb2.CircuitBreakers(thresholds=[_thresholds()]),
    )
    if inbound.protocol.is_http:
        options = messages.packed(_http(inbound.protocol))
        message.typed_extension_protocol_options[HTTP_OPTIONS].CopyFrom(options)
    return messages.sealed(Type.CLUSTER, message)


def _at(inbound: Inbound) -> Any:
    if inbound.app_path:
        address = messages.pipe_address(inbound.app_path)
    else:
        address = messages.socket_address(_LOOPBACK, inbound.app_port)
    member = endpoints.LbEndpoint(endpoint=endpoints.Endpoint(address=address))
    return endpoints.LocalityLbEndpoints(lb_endpoints=[member])


def _thresholds() -> Any:
    return circuit_breaker_pb2.CircuitBreakers.Thresholds(
        max_connections=_UNLIMITED,
        max_pending_requests=_UNLIMITED,
        max_requests=_UNLIMITED,
        max_retries=_UNLIMITED,
    )


def _http(protocol: Protocol) -> Any:
    """HTTP/1 for what calls itself HTTP: an application need not know HTTP/2 without TLS."""
    explicit = http_protocol_options_pb2.HttpProtocolOptions.ExplicitHttpConfig()
    if protocol is Protocol.HTTP:
        explicit.http_protocol_options.CopyFrom(protocol_pb2.Http1ProtocolOptions())
    else:
        explicit.http2_protocol_options.CopyFrom(protocol_pb2.Http2ProtocolOptions())
    return http_protocol_options_pb2.HttpProtocolOptions(explicit_http_config=explicit)
