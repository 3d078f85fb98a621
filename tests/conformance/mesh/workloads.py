"""Identities for tests: an authority, workloads' certificates with SPIFFE ids, and the secret service that an Envoy asks.

Rule: nothing here is Atoll's own authority or agent: keys and certificates are made with ``cryptography``, the service is
grpcio's, so that what is tested is what was compiled and not whether Atoll agrees with itself.

    with SecretService(tmp_path, authority, "spiffe://cluster.local/ns/default/sa/reviews") as secrets:
        ...  # secrets.path is the Unix socket of the cluster ``sds``
"""

from __future__ import annotations

import datetime
import shutil
import ssl
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2
from envoy.service.discovery.v3 import discovery_pb2

from atoll.resources.mesh import secrets

_DAYS = 2
_STREAM = "/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets"
DOMAIN = "spiffe://cluster.local"


def spiffe(service: str, namespace: str = "default", domain: str = DOMAIN) -> str:
    return f"{domain}/ns/{namespace}/sa/{service}"


@dataclass(frozen=True)
class Identity:
    """PEM."""

    certificate: bytes
    key: bytes


class Authority:
    def __init__(self, name: str = "authority") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = _builder(self._name, self._key.public_key(), self._name)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self._certificate = builder.sign(self._key, hashes.SHA256())
        self.pem = self._certificate.public_bytes(serialization.Encoding.PEM)

    def issue(self, *uris: str, dns: tuple[str, ...] = ()) -> Identity:
        key = ec.generate_private_key(ec.SECP256R1())
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri) for uri in uris]
        names += [x509.DNSName(name) for name in dns]
        builder = _builder(x509.Name([]), key.public_key(), self._name)
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=True)
        certificate = builder.sign(self._key, hashes.SHA256())
        return Identity(
            certificate.public_bytes(serialization.Encoding.PEM),
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            ),
        )


def _builder(
    subject: x509.Name, key: ec.EllipticCurvePublicKey, issuer: x509.Name
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=_DAYS))
    )


def client_context(
    folder: Path, authority: Authority, identity: Identity | None, *alpns: str
) -> ssl.SSLContext:
    """Of a peer of the mesh that shows ``identity``, or none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # a SPIFFE id is no host name
    context.load_verify_locations(cadata=authority.pem.decode())
    if identity is not None:
        with tempfile.NamedTemporaryFile(dir=folder, suffix=".pem") as file:
            file.write(identity.certificate + identity.key)
            file.flush()
            context.load_cert_chain(file.name)
    if alpns:
        context.set_alpn_protocols(list(alpns))
    return context


class SecretService:
    """Serves ``default`` and ``ROOTCA``, and ``others`` by name, at a Unix socket. ``path``: short enough for one."""

    def __init__(
        self, authority: Authority, identity: Identity, others: Mapping[str, Identity] | None = None
    ) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="sds-"))
        self.path = str(self._folder / "s")
        self._answer = discovery_pb2.DiscoveryResponse(version_info="1", type_url=_TYPE)
        for name, each in {secrets.CERTIFICATE: identity, **(others or {})}.items():
            self._add(_certificate(name, each))
        self._add(_roots(authority))
        self._server = grpc.server(ThreadPoolExecutor(8))
        handler = grpc.stream_stream_rpc_method_handler(
            self._serve,
            request_deserializer=discovery_pb2.DiscoveryRequest.FromString,
            response_serializer=discovery_pb2.DiscoveryResponse.SerializeToString,
        )
        service, method = _STREAM[1:].split("/")
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(service, {method: handler}),)
        )
        self._server.add_insecure_port(f"unix:{self.path}")

    def __enter__(self) -> SecretService:
        self._server.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.stop(0).wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _add(self, secret: Any) -> None:
        self._answer.resources.add().Pack(secret)

    def _serve(self, requests: Iterator[Any], context: Any) -> Iterator[Any]:
        """Each name is answered once; what comes after is an acknowledgement."""
        for request in requests:
            if request.response_nonce:
                continue
            answer = discovery_pb2.DiscoveryResponse(version_info="1", type_url=_TYPE, nonce="1")
            for resource in self._answer.resources:
                secret = secret_pb2.Secret.FromString(resource.value)
                if secret.name in request.resource_names:
                    answer.resources.append(resource)
            yield answer


_TYPE = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"


def _certificate(name: str, identity: Identity) -> Any:
    secret = secret_pb2.Secret(name=name)
    secret.tls_certificate.certificate_chain.inline_bytes = identity.certificate
    secret.tls_certificate.private_key.inline_bytes = identity.key
    return secret


def _roots(authority: Authority) -> Any:
    secret = secret_pb2.Secret(name=secrets.ROOTS)
    secret.validation_context.trusted_ca.inline_bytes = authority.pem
    return secret
