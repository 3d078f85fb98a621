"""Certificates of the mesh: the three kinds there are, how they are signed, and what one says.

Rule: a certificate is made from a ``Profile`` and from nothing that a requester wrote but its public key. Kinds:

- *root*: signs itself and intermediates, ``pathLen`` 1.
- *intermediate*: one a node, signed by the root, ``pathLen`` 0: what it signs can sign nothing.
- *workload*: one SPIFFE id as its only URI name and an empty subject (SPIFFE X509-SVID, sections 2 and 4), for both ends of
  TLS. Names of other kinds are added for nodes alone, whose xDS port gRPC clients know by its host name.

Every validity begins ``BACKDATED_S`` early, for peers whose clock is behind. Sources: RFC 5280; SPIFFE X509-SVID.
"""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
from typing import Any

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from atoll.errors import AtollError, Code
from atoll.wire.x509.requests import private_key

BACKDATED_S = 300.0


class Issuer(msgspec.Struct, frozen=True):
    """Who signs: its certificate and key, PEM."""

    certificate: str
    key: str


class Profile(msgspec.Struct, frozen=True):
    """What a certificate will say. ``name``: the subject of an authority. ``uri``, ``hosts``: a workload's names. ``path``:
    how many authorities may follow, None: it is none.
    """

    serial: int
    now_s: float
    ttl_s: float
    name: str = ""
    uri: str = ""
    hosts: tuple[str, ...] = ()
    path: int | None = None


class Facts(msgspec.Struct, frozen=True):
    """What a certificate says. ``fingerprint``: SHA-256 of it, hexadecimal."""

    serial: str
    name: str
    issuer_name: str
    uris: tuple[str, ...]
    not_before_s: float
    not_after_s: float
    is_authority: bool
    fingerprint: str


def self_sign(key: str, profile: Profile) -> str:
    """A root (PEM) for the private ``key``."""
    own = private_key(key)
    return _sign(profile, own.public_key(), _subject(profile), own)


def sign(issuer: Issuer, public_key: ec.EllipticCurvePublicKey, profile: Profile) -> str:
    """A certificate (PEM) that ends no later than its issuer. Raises INVALID when the issuer has ended."""
    by = _load(issuer.certificate)
    left_s = by.not_valid_after_utc.timestamp() - profile.now_s
    if left_s <= 0:
        raise AtollError(Code.INVALID, f"the issuer {_text(by.subject)} has ended; renew it first")
    bounded = msgspec.structs.replace(profile, ttl_s=min(profile.ttl_s, left_s))
    return _sign(bounded, public_key, by.subject, private_key(issuer.key), by)


def read(pem: str) -> Facts:
    """What the first certificate in ``pem`` says. Raises INVALID."""
    certificate = _load(pem)
    names = _extension(certificate, x509.SubjectAlternativeName)
    constraints = _extension(certificate, x509.BasicConstraints)
    uris = names.get_values_for_type(x509.UniformResourceIdentifier) if names is not None else []
    return Facts(
        serial=f"{certificate.serial_number:x}",
        name=_text(certificate.subject),
        issuer_name=_text(certificate.issuer),
        uris=tuple(uris),
        not_before_s=certificate.not_valid_before_utc.timestamp(),
        not_after_s=certificate.not_valid_after_utc.timestamp(),
        is_authority=constraints is not None and constraints.ca,
        fingerprint=fingerprint(pem),
    )


def fingerprint(pem: str) -> str:
    return hashlib.sha256(_load(pem).public_bytes(serialization.Encoding.DER)).hexdigest()


def public_key_of(pem: str) -> bytes:
    """For comparing: two with equal bytes are of one key."""
    return (
        _load(pem)
        .public_key()
        .public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


def public_key_of_private(key: str) -> bytes:
    return (
        private_key(key)
        .public_key()
        .public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


def is_pair(chain: str, key: str) -> bool:
    """Whether ``key``, of whatever kind, is that of the first certificate of ``chain``. Raises INVALID."""
    try:
        loaded = serialization.load_pem_private_key(key.encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise AtollError(Code.INVALID, f"not a private key in PEM without a password: {error}") from error
    form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return loaded.public_key().public_bytes(*form) == public_key_of(chain)


def split(pem: str) -> list[str]:
    """Each certificate of ``pem`` by itself, spelt anew. Raises INVALID when there is none, or something is none."""
    try:
        found = x509.load_pem_x509_certificates(pem.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise AtollError(Code.INVALID, f"not certificates in PEM: {error}") from error
    return [each.public_bytes(serialization.Encoding.PEM).decode() for each in found]


def is_signed_by(pem: str, authority: str) -> bool:
    """Whether the first certificate of ``pem`` names ``authority`` as its issuer and has its signature."""
    try:
        _load(pem).verify_directly_issued_by(_load(authority))
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def require_root(pem: str, now_s: float) -> Facts:
    """``pem`` if it is one self-signed authority that is in force. Raises INVALID."""
    if len(split(pem)) != 1:
        raise AtollError(Code.INVALID, "expected one root certificate, and found several")
    facts = read(pem)
    if not facts.is_authority or not is_signed_by(pem, pem):
        raise AtollError(
            Code.INVALID, f"{facts.name} is not a root: it must be an authority that signed itself"
        )
    if not facts.not_before_s <= now_s < facts.not_after_s:
        raise AtollError(Code.INVALID, f"the root {facts.name} is not in force now")
    return facts


def _sign(
    profile: Profile,
    public_key: ec.EllipticCurvePublicKey,
    issuer_name: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    issuer: x509.Certificate | None = None,
) -> str:
    authority = profile.path is not None
    builder = (
        x509.CertificateBuilder()
        .subject_name(_subject(profile))
        .issuer_name(issuer_name)
        .public_key(public_key)
        .serial_number(profile.serial)
        .not_valid_before(_moment(profile.now_s - BACKDATED_S))
        .not_valid_after(_moment(profile.now_s + profile.ttl_s))
        .add_extension(x509.BasicConstraints(authority, profile.path), critical=True)
        .add_extension(_usage(authority), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(_issuer_key(issuer, key), critical=False)
    )
    for extension, critical in _names(profile):
        builder = builder.add_extension(extension, critical)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def _names(profile: Profile) -> list[tuple[x509.ExtensionType, bool]]:
    if profile.path is not None:
        return []
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(profile.uri)]
    names += [_host(host) for host in profile.hosts]
    purposes = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    return [(x509.SubjectAlternativeName(names), True), (purposes, False)]


def _host(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _usage(authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _issuer_key(
    issuer: x509.Certificate | None, key: ec.EllipticCurvePrivateKey
) -> x509.AuthorityKeyIdentifier:
    known = _extension(issuer, x509.SubjectKeyIdentifier) if issuer is not None else None
    if known is not None:
        return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(known)
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())


def _extension(certificate: x509.Certificate, kind: type[x509.ExtensionType]) -> Any:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _subject(profile: Profile) -> x509.Name:
    name = [x509.NameAttribute(NameOID.COMMON_NAME, profile.name)] if profile.name else []
    return x509.Name(name)


def _text(name: x509.Name) -> str:
    common = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(common[0].value) if common else name.rfc4514_string()


def _moment(unix_s: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(int(unix_s), datetime.UTC)


def _load(pem: str) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(pem.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise AtollError(Code.INVALID, f"not a certificate in PEM: {error}") from error
