"""TLS contexts: of the mesh itself (keys by SDS from the workload's own agent), and of what documents ask for.

Rule: the mesh's own contexts name secrets and never hold them. A client of the mesh checks the SPIFFE id of the service
that it means to reach; a server accepts any identity that its roots vouch for and leaves the rest to authorisation.

Application protocols: inside the mesh a client offers ``istio`` besides what it speaks, so that a server which also takes
an application's own TLS on the same port can tell the two apart before the handshake (filter chain match). A server
selects by its own order of preference.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from envoy.config.core.v3 import base_pb2, config_source_pb2, grpc_service_pb2
from envoy.extensions.transport_sockets.tls.v3 import common_pb2, secret_pb2, tls_pb2
from envoy.type.matcher.v3 import string_pb2

from atoll.planes.mesh.policy.compiler import messages
from atoll.resources.mesh import proxy

SOCKET_NAME = "envoy.transport_sockets.tls"
_OLDEST_INSIDE = common_pb2.TlsParameters.TLSv1_2
_SDS_WAIT_S = 15.0
SYSTEM_ROOTS = "/etc/ssl/certs/ca-certificates.crt"  # where Debian and its kin keep them


def secret(name: str) -> Any:
    """A reference to a secret of the workload's agent."""
    return secret_pb2.SdsSecretConfig(name=name, sds_config=_agent())


def mesh_downstream(alpns: Sequence[str]) -> Any:
    """A transport socket: mutual TLS, whoever the peer is. ``alpns``: what is selected from, the best first."""
    context = tls_pb2.DownstreamTlsContext(
        common_tls_context=_mesh_common(alpns, common_pb2.CertificateValidationContext()),
        require_client_certificate=messages.boolean(True),
    )
    return socket(context)


def mesh_upstream(sni: str, spiffe_ids: Sequence[str], alpns: Sequence[str] = proxy.MESH_HTTP_ALPNS) -> Any:
    """A transport socket towards a peer that must be one of ``spiffe_ids`` (empty: whoever the roots vouch for)."""
    checked = common_pb2.CertificateValidationContext(
        match_typed_subject_alt_names=[san("URI", exact=one) for one in spiffe_ids]
    )
    return socket(
        tls_pb2.UpstreamTlsContext(common_tls_context=_mesh_common(alpns, checked), sni=sni),
    )


def socket(context: Any) -> Any:
    return base_pb2.TransportSocket(name=SOCKET_NAME, typed_config=messages.packed(context))


def host_san(name: str) -> Any:
    """A check that the peer's certificate is for ``name``, a host's or its address."""
    return san("IP_ADDRESS" if messages.is_address(name) else "DNS", exact=name)


def san(kind: str, exact: str) -> Any:
    """A check that the peer's certificate has this name of this kind: DNS, URI or IP_ADDRESS."""
    return common_pb2.SubjectAltNameMatcher(
        san_type=common_pb2.SubjectAltNameMatcher.SanType.Value(kind),
        matcher=string_pb2.StringMatcher(exact=exact),
    )


def _mesh_common(alpns: Sequence[str], checked: Any) -> Any:
    return tls_pb2.CommonTlsContext(
        tls_params=common_pb2.TlsParameters(tls_minimum_protocol_version=_OLDEST_INSIDE),
        alpn_protocols=list(alpns),
        tls_certificate_sds_secret_configs=[secret(proxy.IDENTITY_SECRET)],
        combined_validation_context=tls_pb2.CommonTlsContext.CombinedCertificateValidationContext(
            default_validation_context=checked,
            validation_context_sds_secret_config=secret(proxy.ROOTS_SECRET),
        ),
    )


def _agent() -> Any:
    service = grpc_service_pb2.GrpcService(
        envoy_grpc=grpc_service_pb2.GrpcService.EnvoyGrpc(cluster_name=proxy.SDS_CLUSTER)
    )
    return config_source_pb2.ConfigSource(
        api_config_source=config_source_pb2.ApiConfigSource(
            api_type=config_source_pb2.ApiConfigSource.GRPC,
            transport_api_version=config_source_pb2.ApiVersion.V3,
            grpc_services=[service],
            set_node_on_first_message_only=True,
        ),
        resource_api_version=config_source_pb2.ApiVersion.V3,
        initial_fetch_timeout=messages.duration(_SDS_WAIT_S),
    )
