"""By which transport a cluster's endpoints are called: in plain text, by the mesh's TLS, or by TLS as a document says.

Rule: endpoints with a sidecar before them and endpoints without live in one cluster, and metadata of the endpoint decides.
Towards the former it is the mesh's TLS: our certificate, theirs checked against the mesh's roots *and* against the SPIFFE
ids under which this service may answer. What a DestinationRule's ``tls`` says holds for all endpoints instead.
"""

from __future__ import annotations

from typing import Any, Final

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import base_pb2
from envoy.extensions.transport_sockets.raw_buffer.v3 import raw_buffer_pb2
from envoy.extensions.transport_sockets.tls.v3 import common_pb2, tls_pb2
from envoy.type.matcher.v3 import string_pb2
from google.protobuf import struct_pb2

from atoll.planes.mesh.model.world import Choices, Face
from atoll.planes.mesh.policy.compiler import messages, names
from atoll.planes.mesh.policy.compiler.outbound.assignments import MUTUAL, TLS_MODE
from atoll.planes.mesh.policy.compiler.routing.scene import Ref
from atoll.planes.mesh.policy.compiler.security import tls
from atoll.resources.mesh import proxy
from atoll.resources.mesh.clients import spiffe_id
from atoll.resources.mesh.documents.destination_rule import ClientTls
from atoll.resources.mesh.services import Protocol

_RAW: Final = "envoy.transport_sockets.raw_buffer"
_PEER_TLS_OFF: Final = "DISABLE"

Match = cluster_pb2.Cluster.TransportSocketMatch


def set_transport(cluster: Any, ref: Ref, face: Face, said: ClientTls | None, choices: Choices) -> None:
    protocol = protocol_of(face, ref.port)
    if said is None:
        if face.mutual_tls and choices.mutual_tls and not face.service.external:
            cluster.transport_socket_matches.extend(_by_endpoint(ref, face, protocol, choices))
        return
    if said.mode == "ISTIO_MUTUAL":
        cluster.transport_socket.CopyFrom(_mesh(ref, face, protocol, choices))
    elif said.mode != _PEER_TLS_OFF:
        cluster.transport_socket.CopyFrom(_originated(said, protocol, face, choices))


def protocol_of(face: Face, port: int) -> Protocol:
    found = face.service.port(port)
    return found.protocol if found is not None else Protocol.TCP


def asks_for_server_name(said: ClientTls | None) -> bool:
    """Whether the server name in TLS, and the name in the certificate, are the request's own host."""
    return said is not None and said.mode in ("SIMPLE", "MUTUAL") and not said.sni


def _by_endpoint(ref: Ref, face: Face, protocol: Protocol, choices: Choices) -> list[Any]:
    mutual = struct_pb2.Struct(fields={TLS_MODE: struct_pb2.Value(string_value=MUTUAL)})
    raw = base_pb2.TransportSocket(name=_RAW, typed_config=messages.packed(raw_buffer_pb2.RawBuffer()))
    return [
        Match(name="mutual", match=mutual, transport_socket=_mesh(ref, face, protocol, choices)),
        Match(name="plain", match=struct_pb2.Struct(), transport_socket=raw),
    ]


def _mesh(ref: Ref, face: Face, protocol: Protocol, choices: Choices) -> Any:
    namespace = face.service.namespace
    peers = [spiffe_id(choices.trust_domain, namespace, account) for account in face.accounts]
    return tls.mesh_upstream(names.outbound_sni(*ref), peers, (proxy.MESH_ALPN, *_spoken(protocol)))


def _spoken(protocol: Protocol) -> tuple[str, ...]:
    """What the peer may select: only what this cluster is going to speak."""
    if protocol is Protocol.HTTP:
        return ("http/1.1",)
    return ("h2",) if protocol.is_http else ()


def _originated(said: ClientTls, protocol: Protocol, face: Face, choices: Choices) -> Any:
    """Files are those of the client's machine; a credential is a secret of its own agent."""
    common = tls_pb2.CommonTlsContext(alpn_protocols=_spoken(protocol))
    if said.mode == "MUTUAL":
        if said.credentialName:
            common.tls_certificate_sds_secret_configs.append(tls.secret(said.credentialName))
        else:
            common.tls_certificates.append(
                common_pb2.TlsCertificate(
                    certificate_chain=_file(said.clientCertificate), private_key=_file(said.privateKey)
                )
            )
    if not said.insecureSkipVerify:
        common.validation_context.CopyFrom(_validation(said, face, choices))
    return tls.socket(tls_pb2.UpstreamTlsContext(common_tls_context=common, sni=said.sni))


def _validation(said: ClientTls, face: Face, choices: Choices) -> Any:
    names_there = said.subjectAltNames or (face.entry.spec.subjectAltNames if face.entry is not None else ())
    result = common_pb2.CertificateValidationContext()
    result.trusted_ca.CopyFrom(_file(said.caCertificates or choices.system_roots))
    if said.caCrl:
        result.crl.CopyFrom(_file(said.caCrl))
    for name in names_there or ((said.sni,) if said.sni else ()):
        result.match_typed_subject_alt_names.append(_san(name))
    return result


def _san(name: str) -> Any:
    kind = common_pb2.SubjectAltNameMatcher.URI if "://" in name else common_pb2.SubjectAltNameMatcher.DNS
    return common_pb2.SubjectAltNameMatcher(san_type=kind, matcher=string_pb2.StringMatcher(exact=name))


def _file(path: str) -> Any:
    return base_pb2.DataSource(filename=path)
