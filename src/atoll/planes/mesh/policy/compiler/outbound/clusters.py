"""Clusters: how a client connects to what stands behind one port, or one subset, of a service.

Rule: a cluster depends on the service's face and on its documents, never on endpoints; those come by EDS.

Endpoints with a sidecar before them and endpoints without live in one cluster: which transport an endpoint gets is
decided by its metadata. Towards the former it is the mesh's TLS: our certificate, theirs checked against the mesh's roots
*and* against the SPIFFE ids under which this service may answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import base_pb2, protocol_pb2
from envoy.extensions.transport_sockets.raw_buffer.v3 import raw_buffer_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2
from envoy.type.v3 import percent_pb2
from google.protobuf import struct_pb2

from atoll.planes.mesh.model.snapshot import Resource, Type
from atoll.planes.mesh.model.world import Choices, Face
from atoll.planes.mesh.policy.compiler import messages, names
from atoll.planes.mesh.policy.compiler.outbound.assignments import MUTUAL, TLS_MODE
from atoll.planes.mesh.policy.compiler.outbound.targets import Target
from atoll.planes.mesh.policy.compiler.security import tls
from atoll.resources.mesh import proxy
from atoll.resources.mesh.clients import spiffe_id
from atoll.resources.mesh.services import Protocol

HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_RAW = "envoy.transport_sockets.raw_buffer"


def cluster(target: Target, face: Face, choices: Choices) -> Resource:
    port = face.service.port(target.port)
    protocol = port.protocol if port is not None else Protocol.TCP
    message = cluster_pb2.Cluster(
        name=target.name,
        type=cluster_pb2.Cluster.EDS,
        eds_cluster_config=cluster_pb2.Cluster.EdsClusterConfig(eds_config=messages.from_ads()),
        connect_timeout=messages.duration(choices.connect_timeout_s),
        common_lb_config=cluster_pb2.Cluster.CommonLbConfig(
            healthy_panic_threshold=percent_pb2.Percent(value=choices.panic_percent)
        ),
    )
    if protocol.is_http:
        message.typed_extension_protocol_options[HTTP_OPTIONS].CopyFrom(messages.packed(_http(protocol)))
    if face.mutual_tls and choices.mutual_tls and not face.service.external:
        message.transport_socket_matches.extend(_transports(target, face, choices, _alpns(protocol)))
    return messages.sealed(Type.CLUSTER, message, ((Type.ENDPOINTS, target.name),))


def _http(protocol: Protocol) -> http_protocol_options_pb2.HttpProtocolOptions:
    explicit = http_protocol_options_pb2.HttpProtocolOptions.ExplicitHttpConfig()
    if protocol is Protocol.HTTP:
        explicit.http_protocol_options.CopyFrom(protocol_pb2.Http1ProtocolOptions())
    else:
        explicit.http2_protocol_options.CopyFrom(protocol_pb2.Http2ProtocolOptions())
    return http_protocol_options_pb2.HttpProtocolOptions(explicit_http_config=explicit)


def _transports(target: Target, face: Face, choices: Choices, alpns: Sequence[str]) -> list[Any]:
    namespace = face.service.namespace
    peers = [spiffe_id(choices.trust_domain, namespace, account) for account in face.accounts]
    mutual = struct_pb2.Struct(fields={TLS_MODE: struct_pb2.Value(string_value=MUTUAL)})
    return [
        cluster_pb2.Cluster.TransportSocketMatch(
            name="mutual",
            match=mutual,
            transport_socket=tls.mesh_upstream(
                names.outbound_sni(target.host, target.port, target.subset), peers, alpns
            ),
        ),
        cluster_pb2.Cluster.TransportSocketMatch(
            name="plain",
            match=struct_pb2.Struct(),
            transport_socket=base_pb2.TransportSocket(
                name=_RAW, typed_config=messages.packed(raw_buffer_pb2.RawBuffer())
            ),
        ),
    ]


def _alpns(protocol: Protocol) -> tuple[str, ...]:
    """What the peer may select: only what this cluster is going to speak."""
    if protocol is Protocol.HTTP:
        return (proxy.MESH_ALPN, "http/1.1")
    return (proxy.MESH_ALPN, "h2") if protocol.is_http else (proxy.MESH_ALPN,)
