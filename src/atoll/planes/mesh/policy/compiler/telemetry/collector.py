"""The OpenTelemetry collector: the cluster by which proxies send it traces and access logs (OTLP over gRPC).

Rule: one collector for the whole mesh, as the mesh's choices name it, and every Envoy has its cluster; it is looked up by
DNS where it is no address.
"""

from __future__ import annotations

from typing import Any

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import grpc_service_pb2, protocol_pb2
from envoy.config.endpoint.v3 import endpoint_components_pb2 as endpoints
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2

from atoll.planes.mesh.model.snapshot import Resource, Type
from atoll.planes.mesh.policy.compiler import messages
from atoll.resources.mesh.clients import Client

CLUSTER = "otel"
PORT = 4317  # OTLP over gRPC, where none is named
_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_CONNECT_S = 2.0
_SEND_WITHIN_S = 5.0


def cluster(address: str) -> Resource:
    """``address``: ``HOST`` or ``HOST:PORT``."""
    host, _, port = address.rpartition(":") if ":" in address else (address, "", str(PORT))
    host = host.strip("[]")
    member = endpoints.LbEndpoint(
        endpoint=endpoints.Endpoint(address=messages.socket_address(host, int(port)))
    )
    options = http_protocol_options_pb2.HttpProtocolOptions()
    options.explicit_http_config.http2_protocol_options.CopyFrom(protocol_pb2.Http2ProtocolOptions())
    message = cluster_pb2.Cluster(
        name=CLUSTER,
        type=cluster_pb2.Cluster.STATIC if messages.is_address(host) else cluster_pb2.Cluster.STRICT_DNS,
        connect_timeout=messages.duration(_CONNECT_S),
        load_assignment=endpoint_pb2.ClusterLoadAssignment(
            cluster_name=CLUSTER, endpoints=[endpoints.LocalityLbEndpoints(lb_endpoints=[member])]
        ),
    )
    message.typed_extension_protocol_options[_HTTP_OPTIONS].CopyFrom(messages.packed(options))
    return messages.sealed(Type.CLUSTER, message)


def grpc_service() -> Any:
    return grpc_service_pb2.GrpcService(
        envoy_grpc=grpc_service_pb2.GrpcService.EnvoyGrpc(cluster_name=CLUSTER),
        timeout=messages.duration(_SEND_WITHIN_S),
    )


def service_name(client: Client) -> str:
    return f"{client.service}.{client.namespace}"
