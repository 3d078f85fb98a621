"""The secret discovery service (SDS) of a workload's own agent: what the secrets look like, and one Envoy stream of them.

Rule: a stream is told only the secrets that it names, each change once, and the newest only: while a response is not
acknowledged nothing is sent, and what changed meanwhile goes out together afterwards. A refused secret is not sent again
until it changes. State of the world alone: Envoy opens a stream for each secret, so there is nothing for the incremental form
to save.

Whom to trust is said by Envoy's SPIFFE validator, which takes each trust domain's roots for that domain only: in one list of
roots, a foreign authority could sign this mesh's identities.

Sources: envoy.extensions.transport_sockets.tls.v3.Secret, SPIFFECertValidatorConfig; the xDS protocol, "ACK/NACK".
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import msgspec
from envoy.config.core.v3 import base_pb2, extension_pb2
from envoy.extensions.transport_sockets.tls.v3 import common_pb2, secret_pb2, tls_spiffe_validator_config_pb2
from google.protobuf import any_pb2

from atoll.wire.xds import messages

TYPE_URL = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
STREAM_PATH = "/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets"
_VALIDATOR = "envoy.tls.cert_validator.spiffe"
_VERSION_CHARS = 16


class Secret(msgspec.Struct, frozen=True):
    """``entry``: as a response has it; ``version``: of its content."""

    name: str
    entry: bytes
    version: str


def certificate(name: str, chain: str, key: str) -> Secret:
    """A key and its certificate chain, both PEM, inlined: they are never in a file."""
    return _secret(
        secret_pb2.Secret(
            name=name,
            tls_certificate=common_pb2.TlsCertificate(
                certificate_chain=_inline(chain), private_key=_inline(key)
            ),
        )
    )


def trust(name: str, domains: Mapping[str, str]) -> Secret:
    """Whom to trust: roots (PEM) by trust domain."""
    validator = tls_spiffe_validator_config_pb2.SPIFFECertValidatorConfig(
        trust_domains=[
            tls_spiffe_validator_config_pb2.SPIFFECertValidatorConfig.TrustDomain(
                name=domain, trust_bundle=_inline(roots)
            )
            for domain, roots in sorted(domains.items())
        ]
    )
    packed = any_pb2.Any()
    packed.Pack(validator, deterministic=True)
    context = common_pb2.CertificateValidationContext(
        custom_validator_config=extension_pb2.TypedExtensionConfig(name=_VALIDATOR, typed_config=packed)
    )
    return _secret(secret_pb2.Secret(name=name, validation_context=context))


def authority(name: str, roots: str) -> Secret:
    """Whom to trust: whoever ``roots`` (PEM) vouch for."""
    context = common_pb2.CertificateValidationContext(trusted_ca=_inline(roots))
    return _secret(secret_pb2.Secret(name=name, validation_context=context))


class SecretStream:
    """One stream. ``on_request`` takes a request, ``advance`` what the secrets are now; both give the response to send, or
    None. ``refused``: what the client said of the last secrets that it did not take; ``held``: versions that it did.
    """

    def __init__(self, secrets: Mapping[str, Secret]) -> None:
        self.held: dict[str, str] = {}
        self.refused = ""
        self._secrets = secrets
        self._wanted: tuple[str, ...] = ()
        self._sent: dict[str, str] = {}
        self._nonce = 0
        self._waits = False

    @property
    def wanted(self) -> tuple[str, ...]:
        return self._wanted

    def on_request(self, data: bytes) -> bytes | None:
        """Raises ``ProtocolFault``."""
        request = messages.read_request(data)
        if request.nonce and request.nonce != str(self._nonce):
            return None  # to a response that another one has followed
        if request.nonce and self._waits:
            self._waits = False
            self._answered(request.error)
        self._wanted = request.names
        return self._next()

    def advance(self, secrets: Mapping[str, Secret]) -> bytes | None:
        self._secrets = secrets
        return self._next()

    def _answered(self, error: str | None) -> None:
        if error is None:
            self.refused = ""
            self.held.update(self._sent)
        else:
            self.refused = error

    def _next(self) -> bytes | None:
        if self._waits:
            return None
        known = {name: self._secrets[name] for name in self._wanted if name in self._secrets}
        if all(self._sent.get(name) == secret.version for name, secret in known.items()):
            return None
        self._sent = {name: secret.version for name, secret in known.items()}
        self._waits = True
        self._nonce += 1
        version = hashlib.sha256("".join(self._sent.values()).encode()).hexdigest()[:_VERSION_CHARS]
        return messages.response(
            TYPE_URL, version, str(self._nonce), [secret.entry for secret in known.values()]
        )


def _inline(text: str) -> base_pb2.DataSource:
    return base_pb2.DataSource(inline_string=text)


def _secret(message: secret_pb2.Secret) -> Secret:
    body = message.SerializeToString(deterministic=True)
    version = hashlib.sha256(body).hexdigest()[:_VERSION_CHARS]
    return Secret(message.name, messages.entry(TYPE_URL, body), version)
