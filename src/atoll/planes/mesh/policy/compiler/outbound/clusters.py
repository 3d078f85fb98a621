"""Clusters: how a client connects to what stands behind one port, or one subset, of a service.

Rule: a cluster depends on the service's face and on its DestinationRule, never on endpoints; those come by EDS. The
exceptions are services that are looked up by DNS, whose endpoints are names, and those that have none but the address that
was dialled.
"""

from __future__ import annotations

from typing import Any, Final

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import address_pb2, protocol_pb2
from envoy.config.endpoint.v3 import endpoint_components_pb2, endpoint_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2
from envoy.type.v3 import percent_pb2

from atoll.planes.mesh.model.snapshot import Resource, Type
from atoll.planes.mesh.model.world import Choices, Face
from atoll.planes.mesh.policy.compiler import messages
from atoll.planes.mesh.policy.compiler.outbound import assignments, balancing, limits, transports
from atoll.planes.mesh.policy.compiler.outbound.targets import Finding, Target
from atoll.planes.mesh.policy.compiler.routing import destinations
from atoll.resources.mesh.documents.destination_rule import (
    ClientTls,
    HttpPool,
    LoadBalancer,
    TcpPool,
    TrafficPolicy,
)
from atoll.resources.mesh.services import Endpoint, Protocol, Resolution

HTTP_OPTIONS: Final = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
PASSTHROUGH: Final = "passthrough"  # to the address that was dialled, where traffic is intercepted
_KEEPALIVE_IDLE_S = 300.0  # of a connection in use, until it is probed
_STREAMS_MAX = 2_147_483_647  # of one connection of HTTP/2, by its specification

Cluster = cluster_pb2.Cluster
Options = http_protocol_options_pb2.HttpProtocolOptions


def cluster(
    target: Target, face: Face, policy: TrafficPolicy, choices: Choices, documents: tuple[str, ...] = ()
) -> Resource:
    """Of ``target``, a port or subset of ``face``, for which ``policy`` holds."""
    pool = policy.connectionPool
    tcp = (pool.tcp if pool is not None else None) or TcpPool()
    message = Cluster(
        name=target.name,
        connect_timeout=messages.duration(tcp.connectTimeout or choices.connect_timeout_s),
        circuit_breakers=limits.circuit_breakers(policy),
    )
    refers = _set_discovery(message, target, face, policy)
    _set_panic(message, policy, choices)
    if policy.outlierDetection is not None:
        message.outlier_detection.CopyFrom(limits.outlier_detection(policy.outlierDetection))
    _set_keepalive(message, tcp)
    protocol = transports.protocol_of(face, target.ref.port)
    if protocol.is_http:
        http = (pool.http if pool is not None else None) or HttpPool()
        options = _http_options(protocol, http, tcp, policy.tls)
        message.typed_extension_protocol_options[HTTP_OPTIONS].CopyFrom(messages.packed(options))
    transports.set_transport(message, target.ref, face, policy.tls, choices)
    return messages.sealed(Type.CLUSTER, message, refers, documents)


def missing() -> Resource:
    """What stands for destinations that are not there: nobody, so that a request is answered 503."""
    name = destinations.MISSING.cluster
    message = Cluster(
        name=name,
        type=Cluster.EDS,
        eds_cluster_config=Cluster.EdsClusterConfig(eds_config=messages.from_ads()),
        connect_timeout=messages.duration(1),
    )
    return messages.sealed(Type.CLUSTER, message, ((Type.ENDPOINTS, name),))


def passthrough(choices: Choices) -> Resource:
    """Whatever address was dialled, as it was dialled."""
    message = Cluster(
        name=PASSTHROUGH,
        type=Cluster.ORIGINAL_DST,
        lb_policy=Cluster.CLUSTER_PROVIDED,
        connect_timeout=messages.duration(choices.connect_timeout_s),
        circuit_breakers=limits.circuit_breakers(TrafficPolicy()),
    )
    options = Options(use_downstream_protocol_config=_as_called())
    message.typed_extension_protocol_options[HTTP_OPTIONS].CopyFrom(messages.packed(options))
    return messages.sealed(Type.CLUSTER, message)


def _set_discovery(
    message: Any, target: Target, face: Face, policy: TrafficPolicy
) -> tuple[tuple[Type, str], ...]:
    if target.found is Finding.DIALLED:
        message.type = Cluster.ORIGINAL_DST
        message.lb_policy = Cluster.CLUSTER_PROVIDED
        return ()
    balancing.set_balancer(message, policy.loadBalancer or LoadBalancer())
    if target.spread is not None and target.spread.shares:
        message.common_lb_config.locality_weighted_lb_config.SetInParent()
    if target.found is Finding.EDS:
        message.type = Cluster.EDS
        message.eds_cluster_config.eds_config.CopyFrom(messages.from_ads())
        return ((Type.ENDPOINTS, target.name),)
    message.type = Cluster.STRICT_DNS if target.found is Finding.DNS else Cluster.STATIC
    message.dns_lookup_family = Cluster.V4_PREFERRED
    message.load_assignment.CopyFrom(_named(target, face))
    return ()


def _named(target: Target, face: Face) -> Any:
    """Endpoints that are names, to be looked up by the client."""
    result = endpoint_pb2.ClusterLoadAssignment(cluster_name=target.name)
    if target.found is Finding.NOBODY:
        return result
    port = target.ref.port
    by_itself = (Endpoint(face.host, port),) if face.service.resolution is Resolution.NONE else ()
    chosen = [each for each in by_itself or face.service.endpoints if assignments.belongs(each, target)]
    members = [assignments.member(each, port) for each in chosen]
    result.endpoints.append(endpoint_components_pb2.LocalityLbEndpoints(lb_endpoints=members))
    return result


def _set_panic(message: Any, policy: TrafficPolicy, choices: Choices) -> None:
    said = policy.outlierDetection
    percent = choices.panic_percent
    if said is not None and said.minHealthPercent is not None:
        percent = float(said.minHealthPercent)
    message.common_lb_config.healthy_panic_threshold.CopyFrom(percent_pb2.Percent(value=percent))


def _set_keepalive(message: Any, tcp: TcpPool) -> None:
    said = tcp.tcpKeepalive
    keepalive = address_pb2.TcpKeepalive()
    keepalive.keepalive_time.value = _whole(said.time if said is not None else None, _KEEPALIVE_IDLE_S)
    if said is not None and said.interval is not None:
        keepalive.keepalive_interval.value = _whole(said.interval, 1.0)
    if said is not None and said.probes is not None:
        keepalive.keepalive_probes.value = said.probes
    message.upstream_connection_options.tcp_keepalive.CopyFrom(keepalive)


def _whole(seconds: float | None, otherwise: float) -> int:
    return max(1, round(otherwise if seconds is None else seconds))


def _http_options(protocol: Protocol, http: HttpPool, tcp: TcpPool, said: ClientTls | None) -> Any:
    options = Options()
    common = options.common_http_protocol_options
    if http.idleTimeout is not None:
        common.idle_timeout.CopyFrom(messages.duration(http.idleTimeout))
    if http.maxRequestsPerConnection:
        common.max_requests_per_connection.value = http.maxRequestsPerConnection
    if tcp.maxConnectionDuration is not None:
        common.max_connection_duration.CopyFrom(messages.duration(tcp.maxConnectionDuration))
    if transports.asks_for_server_name(said):
        options.upstream_http_protocol_options.auto_sni = True
        options.upstream_http_protocol_options.auto_san_validation = not (said and said.insecureSkipVerify)
    http2 = protocol_pb2.Http2ProtocolOptions()
    if http.maxConcurrentStreams:
        http2.max_concurrent_streams.value = min(http.maxConcurrentStreams, _STREAMS_MAX)
    if http.useClientProtocol:
        options.use_downstream_protocol_config.CopyFrom(_as_called())
    elif protocol is Protocol.HTTP and http.h2UpgradePolicy != "UPGRADE":
        options.explicit_http_config.http_protocol_options.SetInParent()
    else:
        options.explicit_http_config.http2_protocol_options.CopyFrom(http2)
    return options


def _as_called() -> Any:
    result = Options.UseDownstreamHttpConfig()
    result.http_protocol_options.SetInParent()
    result.http2_protocol_options.SetInParent()
    return result
