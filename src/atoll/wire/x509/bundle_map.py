"""Trust bundles as SPIFFE exchanges them: JSON Web Key sets with the authorities of a trust domain, and a map of them.

Rule: only X.509 authorities are read and written; keys of JWT SVIDs are passed over.

Sources: SPIFFE Trust Domain and Bundle, sections 3 and 4; gRFC A87, for the map by trust domain.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509 import load_pem_x509_certificate

from atoll.errors import AtollError, Code
from atoll.wire.x509 import certificates

USE = "x509-svid"
_CURVES = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}
_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"


def encode(domains: Mapping[str, str]) -> bytes:
    """The map: roots (PEM) by trust domain."""
    bundles = {domain: {"keys": _keys(roots)} for domain, roots in sorted(domains.items())}
    return msgspec.json.encode({"trust_domains": bundles})


def encode_one(roots: str) -> bytes:
    """The bundle of one trust domain."""
    return msgspec.json.encode({"keys": _keys(roots)})


def decode_one(data: bytes) -> str:
    """The roots (PEM) in the bundle of one trust domain. Raises INVALID."""
    try:
        found = msgspec.json.decode(data, type=dict[str, Any])
        keys = [key for key in found.get("keys", []) if key.get("use") == USE]
        ders = [base64.b64decode(key["x5c"][0], validate=True) for key in keys]
    except (msgspec.MsgspecError, AttributeError, KeyError, IndexError, TypeError, binascii.Error) as error:
        raise AtollError(
            Code.INVALID, f"not a SPIFFE trust bundle (JSON with keys of use {USE}): {error}"
        ) from error
    return "".join(certificates.split("".join(_pem(der) for der in ders)))


def _keys(roots: str) -> list[dict[str, Any]]:
    return [_key(pem) for pem in certificates.split(roots)]


def _key(pem: str) -> dict[str, Any]:
    loaded = load_pem_x509_certificate(pem.encode())
    der = loaded.public_bytes(serialization.Encoding.DER)
    key: dict[str, Any] = {"use": USE, "x5c": [base64.b64encode(der).decode()]}
    public = loaded.public_key()
    if isinstance(public, ec.EllipticCurvePublicKey):
        numbers, size = public.public_numbers(), (public.curve.key_size + 7) // 8
        crv = _CURVES.get(public.curve.name, public.curve.name)
        return {"kty": "EC", "crv": crv, "x": _number(numbers.x, size), "y": _number(numbers.y, size), **key}
    if isinstance(public, rsa.RSAPublicKey):
        modulus, exponent = public.public_numbers().n, public.public_numbers().e
        return {
            "kty": "RSA",
            "n": _number(modulus, (modulus.bit_length() + 7) // 8),
            "e": _number(exponent, (exponent.bit_length() + 7) // 8),
            **key,
        }
    raise AtollError(Code.INVALID, "a root of another kind than ECDSA or RSA has no place in a trust bundle")


def _number(value: int, size_bytes: int) -> str:
    return base64.urlsafe_b64encode(value.to_bytes(size_bytes, "big")).rstrip(b"=").decode()


def _pem(der: bytes) -> str:
    return f"{_BEGIN}\n{base64.encodebytes(der).decode()}{_END}\n"
