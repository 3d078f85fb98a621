"""Clusters for gRPC: a sidecar's cluster, narrowed; and load assignments where gRPC would refuse a sidecar's.

Rule: as ``routes``. gRPC has no SDS: certificates come from the providers of its bootstrap, under the name ``proxyless.PROVIDER``;
and a cluster is TLS as a whole or not at all, where a sidecar decides for each endpoint.
"""

from __future__ import annotations

from typing import Any

import msgspec
from envoy.config.cluster.v3 import circuit_breaker_pb2, cluster_pb2, outlier_detection_pb2
from envoy.config.core.v3 import base_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.extensions.transport_sockets.tls.v3 import common_pb2, tls_pb2

from atoll.planes.mesh.policy.compiler import messages
from atoll.planes.mesh.policy.compiler.grpc.differences import Differs
from atoll.planes.mesh.policy.compiler.security import tls
from atoll.resources.mesh import proxy, proxyless
from atoll.wire.xds.snapshot import Resource, Type

_Cluster = cluster_pb2.Cluster
_ALL_FAILED_PERCENT = 99  # gRPC ejects what failed more than so many of a hundred calls
_EJECTION_CALLS = 5  # Envoy's own default of consecutive errors


class Narrowed(msgspec.Struct, frozen=True):
    resource: Resource
    differs: tuple[Differs, ...] = ()


class Caller(msgspec.Struct, frozen=True):
    """What of the client and of all endpoints together the TLS of a cluster depends on. ``certificates``: it was started
    with certificate providers. ``all_speak``: every endpoint of the service speaks the mesh's TLS.
    """

    certificates: bool
    all_speak: bool


def cluster(given: Resource, caller: Caller) -> Narrowed:
    wide = _Cluster.FromString(given.body)
    found: list[Differs] = []
    narrow = _Cluster(name=wide.name)
    if not _discovery(wide, narrow):
        return Narrowed(_nowhere(wide.name, given.documents), (Differs.DISCOVERY,))
    _balancing(wide, narrow, found)
    _limits(wide, narrow, found)
    if wide.HasField("outlier_detection"):
        narrow.outlier_detection.CopyFrom(_ejection(wide.outlier_detection, found))
    context = _mesh_context(wide, caller, found)
    if context is not None:
        narrow.transport_socket.CopyFrom(_mesh_tls(context))
    if wide.HasField("lrs_server"):
        narrow.lrs_server.CopyFrom(wide.lrs_server)
    refers = ((Type.ENDPOINTS, wide.name),) if narrow.type == _Cluster.EDS else ()
    sealed = messages.sealed(Type.CLUSTER, narrow, refers, given.documents)
    return Narrowed(sealed, tuple(dict.fromkeys(found)))


def _nowhere(name: str, documents: tuple[str, ...]) -> Resource:
    """A cluster that gRPC cannot find the members of, or that has none: routes refer to it, and calls there fail."""
    message = _Cluster(name=name, type=_Cluster.EDS)
    message.eds_cluster_config.eds_config.CopyFrom(messages.from_ads())
    return messages.sealed(Type.CLUSTER, message, ((Type.ENDPOINTS, name),), documents)


def _mesh_context(wide: Any, caller: Caller, found: list[Differs]) -> Any | None:
    """The sidecar's TLS context of the mesh where the client is to speak it; None: plain text."""
    by_endpoint = [_context(each.transport_socket) for each in wide.transport_socket_matches]
    chosen = [context for context in by_endpoint if context is not None]
    always = _context(wide.transport_socket)
    if always is not None and not _is_of_the_mesh(always):
        found.append(Differs.TLS_ORIGINATION)
        return None
    if always is None and not chosen:
        return None
    if not caller.certificates:
        found.append(Differs.NO_CERTIFICATES)
        return None
    if always is None and not caller.all_speak:
        found.append(Differs.MIXED_TLS)
        return None
    return always or chosen[0]


def _context(socket: Any) -> Any | None:
    if not socket.typed_config.Is(tls_pb2.UpstreamTlsContext.DESCRIPTOR):
        return None
    return tls_pb2.UpstreamTlsContext.FromString(socket.typed_config.value)


def _is_of_the_mesh(context: Any) -> bool:
    secrets = context.common_tls_context.tls_certificate_sds_secret_configs
    return any(secret.name == proxy.IDENTITY_SECRET for secret in secrets)


def _discovery(wide: Any, narrow: Any) -> bool:
    if wide.type == _Cluster.EDS:
        narrow.type = _Cluster.EDS
        narrow.eds_cluster_config.eds_config.CopyFrom(messages.from_ads())
        return True
    members = [member for group in wide.load_assignment.endpoints for member in group.lb_endpoints]
    if wide.type not in (_Cluster.STRICT_DNS, _Cluster.LOGICAL_DNS) or len(members) != 1:
        return False
    narrow.type = _Cluster.LOGICAL_DNS
    narrow.load_assignment.CopyFrom(wide.load_assignment)
    return True


def _balancing(wide: Any, narrow: Any, found: list[Differs]) -> None:
    if wide.lb_policy == _Cluster.MAGLEV:
        found.append(Differs.MAGLEV)
    elif wide.lb_policy in (_Cluster.LEAST_REQUEST, _Cluster.RANDOM):
        found.append(Differs.BALANCING)
    ring = wide.lb_policy in (_Cluster.MAGLEV, _Cluster.RING_HASH)
    narrow.lb_policy = _Cluster.RING_HASH if ring else _Cluster.ROUND_ROBIN
    size = wide.ring_hash_lb_config.minimum_ring_size.value
    if wide.lb_policy == _Cluster.RING_HASH and size:
        narrow.ring_hash_lb_config.minimum_ring_size.value = size


def _limits(wide: Any, narrow: Any, found: list[Differs]) -> None:
    for each in wide.circuit_breakers.thresholds:
        if each.HasField("retry_budget"):
            found.append(Differs.RETRY_BUDGET)
        if each.HasField("max_connections") or each.HasField("max_pending_requests"):
            found.append(Differs.LIMITS)
        if each.HasField("max_requests"):
            narrow.circuit_breakers.thresholds.append(
                circuit_breaker_pb2.CircuitBreakers.Thresholds(
                    priority=each.priority, max_requests=each.max_requests
                )
            )
    if wide.HasField("upstream_connection_options"):
        found.append(Differs.CONNECTIONS)


def _ejection(wide: Any, found: list[Differs]) -> Any:
    """Consecutive errors are counted by an Envoy only; the nearest is an endpoint that failed every call of so many."""
    found.append(Differs.EJECTION)
    narrow = outlier_detection_pb2.OutlierDetection()
    for name in ("interval", "base_ejection_time", "max_ejection_time", "max_ejection_percent"):
        if wide.HasField(name):
            getattr(narrow, name).CopyFrom(getattr(wide, name))
    counted = [
        getattr(wide, name).value
        for name in ("consecutive_5xx", "consecutive_gateway_failure", "consecutive_local_origin_failure")
        if wide.HasField(name) and getattr(wide, name).value
    ]
    narrow.enforcing_success_rate.value = 0
    narrow.enforcing_failure_percentage.value = 100
    narrow.failure_percentage_threshold.value = _ALL_FAILED_PERCENT
    narrow.failure_percentage_minimum_hosts.value = 1
    narrow.failure_percentage_request_volume.value = min(counted, default=_EJECTION_CALLS)
    return narrow


def _mesh_tls(wide: Any) -> Any:
    provided = common_pb2.CertificateProviderPluginInstance(instance_name=proxyless.PROVIDER)
    combined = wide.common_tls_context.combined_validation_context.default_validation_context
    checked = common_pb2.CertificateValidationContext(
        ca_certificate_provider_instance=provided,
        match_subject_alt_names=[each.matcher for each in combined.match_typed_subject_alt_names],
    )
    common = tls_pb2.CommonTlsContext(
        tls_certificate_provider_instance=provided,
        combined_validation_context=tls_pb2.CommonTlsContext.CombinedCertificateValidationContext(
            default_validation_context=checked
        ),
    )
    context = tls_pb2.UpstreamTlsContext(common_tls_context=common)
    return base_pb2.TransportSocket(name=tls.SOCKET_NAME, typed_config=messages.packed(context))


def assignment(given: Resource) -> Resource:
    """``given`` itself, unless gRPC would refuse it: for a Unix socket, or an address that stands there twice."""
    wide = endpoint_pb2.ClusterLoadAssignment.FromString(given.body)
    seen: set[tuple[str, int]] = set()
    narrow = endpoint_pb2.ClusterLoadAssignment()
    narrow.CopyFrom(wide)
    for group in narrow.endpoints:
        kept = [member for member in group.lb_endpoints if _is_new(member, seen)]
        del group.lb_endpoints[:]
        group.lb_endpoints.extend(kept)
    return given if narrow == wide else messages.sealed(Type.ENDPOINTS, narrow, (), given.documents)


def nobody(name: str) -> Resource:
    """The assignment of a cluster that leads nowhere."""
    return messages.sealed(Type.ENDPOINTS, endpoint_pb2.ClusterLoadAssignment(cluster_name=name))


def _is_new(member: Any, seen: set[tuple[str, int]]) -> bool:
    if not member.endpoint.address.HasField("socket_address"):
        return False
    at = member.endpoint.address.socket_address
    key = at.address, at.port_value
    known = key in seen
    seen.add(key)
    return not known
