"""Fresh private keys and serial numbers of certificates, drawn from the system.

Rule: a key is PEM text in memory (PKCS #8, not encrypted); whoever stores one says where and with which mode.
"""

from __future__ import annotations

import secrets

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

SERIAL_BITS = 159  # positive and at most 20 octets (RFC 5280, 4.1.2.2)


def new_private_key() -> str:
    """An ECDSA key on P-256: what every TLS stack and every Envoy takes."""
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def new_serial() -> int:
    return secrets.randbits(SERIAL_BITS) | 1
