"""TLS at the border: certificates that outsiders know, and what is asked of theirs.

Rule: a key is either a secret that the gateway's agent serves by its name (``credentialName``; the authority for clients
under that name with ``-cacert``), or a file that Envoy reads itself. A secret that changes is taken up at once, a file when
the gateway starts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from envoy.config.core.v3 import base_pb2
from envoy.extensions.transport_sockets.tls.v3 import common_pb2, tls_pb2

from atoll.planes.mesh.policy.compiler.security import tls
from atoll.resources.mesh import proxy
from atoll.resources.mesh.documents.gateway import ServerTls

HTTP_ALPNS = ("h2", "http/1.1")
_Parameters = common_pb2.TlsParameters
_VERSIONS = {
    "TLS_AUTO": _Parameters.TLS_AUTO,
    "TLSV1_0": _Parameters.TLSv1_0,
    "TLSV1_1": _Parameters.TLSv1_1,
    "TLSV1_2": _Parameters.TLSv1_2,
    "TLSV1_3": _Parameters.TLSv1_3,
}
_NAME_KINDS = ("DNS", "URI", "IP_ADDRESS")


def socket(said: ServerTls, alpns: Sequence[str]) -> Any:
    """The transport socket of a server that ends its callers' TLS."""
    if said.mode == "ISTIO_MUTUAL":
        return tls.mesh_downstream(alpns)
    common = tls_pb2.CommonTlsContext(tls_params=_parameters(said), alpn_protocols=alpns)
    if said.credentialName:
        common.tls_certificate_sds_secret_configs.append(tls.secret(said.credentialName))
    else:
        common.tls_certificates.append(
            common_pb2.TlsCertificate(
                certificate_chain=base_pb2.DataSource(filename=said.serverCertificate),
                private_key=base_pb2.DataSource(filename=said.privateKey),
            )
        )
    context = tls_pb2.DownstreamTlsContext(common_tls_context=common)
    if said.mode in ("MUTUAL", "OPTIONAL_MUTUAL"):
        _ask_clients(context.common_tls_context, said)
        context.require_client_certificate.value = said.mode == "MUTUAL"
    return tls.socket(context)


def _parameters(said: ServerTls) -> Any:
    return _Parameters(
        tls_minimum_protocol_version=_VERSIONS[said.minProtocolVersion],
        tls_maximum_protocol_version=_VERSIONS[said.maxProtocolVersion],
        cipher_suites=said.cipherSuites,
    )


def _ask_clients(common: Any, said: ServerTls) -> None:
    checked = common_pb2.CertificateValidationContext(
        match_typed_subject_alt_names=[
            tls.san(kind, name) for name in said.subjectAltNames for kind in _NAME_KINDS
        ]
    )
    if said.caCrl:
        checked.crl.filename = said.caCrl
    if said.credentialName:
        combined = common.combined_validation_context
        combined.default_validation_context.CopyFrom(checked)
        combined.validation_context_sds_secret_config.CopyFrom(
            tls.secret(said.credentialName + proxy.AUTHORITY_SUFFIX)
        )
    else:
        checked.trusted_ca.filename = said.caCertificates
        common.validation_context.CopyFrom(checked)
