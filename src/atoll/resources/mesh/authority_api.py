"""The mesh's authority as the node's API takes orders for it and shows it. Never stored; no private key is in it.

Times are Unix seconds.
"""

from __future__ import annotations

import msgspec

from atoll.resources.mesh.authority import Stage


class RootShown(msgspec.Struct, frozen=True):
    name: str
    fingerprint: str
    stage: Stage
    since_s: float
    not_after_s: float
    offline: bool
    certificate: str


class IntermediateShown(msgspec.Struct, frozen=True):
    """``root`` empty: there is no certificate yet. ``request``: what waits for an offline root's signature (PEM)."""

    node: str
    root: str
    not_after_s: float
    request: str = ""


class AuthorityShown(msgspec.Struct, frozen=True):
    """``trust_domain`` empty: nobody has made it yet. ``certificates``: how many are in use. ``waits_for``: what the next stage
    of an exchange of roots waits for.
    """

    trust_domain: str
    version: str = ""
    roots: tuple[RootShown, ...] = ()
    intermediates: tuple[IntermediateShown, ...] = ()
    foreign: tuple[str, ...] = ()
    certificates: int = 0
    waits_for: tuple[str, ...] = ()
    automatic: bool = True


class CertificateShown(msgspec.Struct, frozen=True):
    """``how``: what proved the holder. ``bundle``: the version of the roots that the holder trusts."""

    serial: str
    spiffe_id: str
    instance: str
    root: str
    issued_s: float
    not_after_s: float
    bundle: str
    how: str


class CertificateNamed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    serial: str


class CreateOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The first root, an offline one (PEM)."""

    certificate: str


class RotateOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Exchange the root. ``certificate`` empty: by one that the mesh keeps itself. ``automatic``: go on by itself."""

    certificate: str = ""
    automatic: bool = True


class AdvanceOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``force``: although somebody may not trust the new root yet, or still stands under the old one."""

    force: bool = False


class IntermediateOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    node: str
    certificate: str


class TrustOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``roots`` (PEM) of another trust domain; empty: it is not believed any more."""

    trust_domain: str
    roots: str = ""


class TokenOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``ttl_s`` 0: a quarter of an hour."""

    service: str
    namespace: str = "default"
    ttl_s: float = 0.0


class TokenMade(msgspec.Struct, frozen=True):
    """``token`` is shown this once; what is stored is its hash."""

    token: str
    not_after_s: float


class UserOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What processes of ``uid`` may be; no ``services``: nothing any more. ``node`` empty: on every machine."""

    uid: int
    services: tuple[str, ...] = ()
    node: str = ""


class UserShown(msgspec.Struct, frozen=True):
    uid: int
    services: tuple[str, ...]
    node: str
