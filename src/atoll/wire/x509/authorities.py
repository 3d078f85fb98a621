"""The two kinds of authority of the mesh: how a root is made, and how it signs a node's intermediate.

Rule: the same for a root that the mesh keeps and for one that an operator keeps offline.
"""

from __future__ import annotations

import msgspec

from atoll.wire.x509 import certificates, requests
from atoll.wire.x509.certificates import Issuer, Profile

ROOT_TTL_S = 3650 * 86_400.0
INTERMEDIATE_TTL_S = 90 * 86_400.0


def root(trust_domain: str, key: str, serial: int, now_s: float) -> Issuer:
    """A new root for the private ``key`` (PEM)."""
    name = f"atoll root of {trust_domain} {serial:x}"[:64]  # the longest common name (RFC 5280, appendix A)
    profile = Profile(serial, now_s, ROOT_TTL_S, name=name, path=1)
    return Issuer(certificates.self_sign(key, profile), key)


def intermediate(by: Issuer, request: str, node: str, stamp: Stamp) -> str:
    """The certificate (PEM) that answers a node's ``request``. Raises INVALID."""
    profile = Profile(stamp.serial, stamp.now_s, stamp.ttl_s, name=f"atoll intermediate {node}"[:64], path=0)
    return certificates.sign(by, requests.read(request).public_key, profile)


class Stamp(msgspec.Struct, frozen=True):
    """What is new with each certificate."""

    serial: int
    now_s: float
    ttl_s: float = INTERMEDIATE_TTL_S
