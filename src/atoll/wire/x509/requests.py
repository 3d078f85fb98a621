"""Certificate signing requests (PKCS #10, RFC 2986): made by a workload, read by the node that signs.

Rule: of a request only its public key is used, once its signature proved that the sender has the private one. The names in
it are the sender's word; ``uris`` and ``others`` are there to be compared with what was proven, never to be copied.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from atoll.errors import AtollError, Code

CURVES = ("secp256r1", "secp384r1")
HASHES = ("sha256", "sha384", "sha512")


class Request(msgspec.Struct, frozen=True):
    """``others``: names that are no URI, as text."""

    public_key: ec.EllipticCurvePublicKey
    common_name: str
    uris: tuple[str, ...]
    others: tuple[str, ...]


def make(key: str, uris: Sequence[str] = (), common_name: str = "") -> str:
    """A request (PEM) for the private ``key`` (PEM)."""
    name = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)] if common_name else []
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(name))
    if uris:
        names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri) for uri in uris])
        builder = builder.add_extension(names, critical=not common_name)
    return builder.sign(private_key(key), hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def read(pem: str) -> Request:
    """Raises INVALID for what is no request, one whose key did not sign it, and a key of another kind than ECDSA on P-256
    or P-384.
    """
    try:
        request = x509.load_pem_x509_csr(pem.encode())
        key = request.public_key()
        signed = request.is_signature_valid
        names = _names(request)
        algorithm = request.signature_hash_algorithm
    except (
        ValueError,
        UnsupportedAlgorithm,
        x509.DuplicateExtension,
        x509.UnsupportedGeneralNameType,
    ) as error:
        raise _invalid(f"not a certificate signing request: {error}") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in CURVES:
        raise _invalid(
            "the key of the signing request is of another kind; make an ECDSA key on P-256 or P-384"
        )
    if not signed or algorithm is None or algorithm.name not in HASHES:
        raise _invalid("the signing request is not signed by the key that is in it (with SHA-256 or better)")
    common = request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    uris = tuple(each.value for each in names if isinstance(each, x509.UniformResourceIdentifier))
    others = tuple(str(each.value) for each in names if not isinstance(each, x509.UniformResourceIdentifier))
    return Request(key, str(common[0].value) if common else "", uris, others)


def public_key_of(pem: str) -> bytes:
    """For comparing with that of a certificate. Raises INVALID."""
    return read(pem).public_key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def private_key(pem: str) -> ec.EllipticCurvePrivateKey:
    """Raises INVALID."""
    try:
        key = serialization.load_pem_private_key(pem.encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise _invalid(f"not a private key in PEM without a password: {error}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise _invalid("the private key is of another kind; expected ECDSA")
    return key


def _names(request: x509.CertificateSigningRequest) -> list[x509.GeneralName]:
    try:
        return list(request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        return []


def _invalid(text: str) -> AtollError:
    return AtollError(Code.INVALID, text)
