"""What the mesh's certificate authority keeps in the store: roots, intermediates, who may enrol, what is issued.

Rule: a record of a root has its private key only where the root is kept by the mesh itself; that of an offline root is
never in the store, and neither is the key of an intermediate, which stays in its node's data folder. A join token is kept
as its hash.

Written by the mesh plane alone. Times are Unix seconds.
"""

from __future__ import annotations

import enum

import msgspec

from atoll.resources.records import Record


class Stage(enum.StrEnum):
    """A root goes through these, one way. At most one root is in each."""

    TRUSTED = "trusted"  # everybody is to trust it; nobody is signed by it yet
    SIGNING = "signing"
    LEAVING = (
        "leaving"  # nobody is signed by it any more; trusted until the last certificate under it is over
    )


class Root(msgspec.Struct, frozen=True):
    """``key`` empty: offline. ``since_s``: in this stage."""

    certificate: str
    fingerprint: str
    stage: Stage
    since_s: float
    not_after_s: float
    key: str = ""


class Foreign(msgspec.Struct, frozen=True):
    """The roots (PEM) of another trust domain, whose workloads are believed to be who they say in *their* domain."""

    trust_domain: str
    roots: str
    imported_s: float


class Roots(Record, frozen=True, kw_only=True):
    """``renew_before_s``: whoever holds a certificate from before then renews it now. ``automatic``: the next stage begins by
    itself as soon as it is safe.
    """

    trust_domain: str
    roots: tuple[Root, ...] = ()
    foreign: tuple[Foreign, ...] = ()
    renew_before_s: float = 0.0
    automatic: bool = True

    def at(self, stage: Stage) -> Root | None:
        return next((root for root in self.roots if root.stage is stage), None)

    def root(self, fingerprint: str) -> Root | None:
        return next((root for root in self.roots if root.fingerprint == fingerprint), None)


class Intermediate(Record, frozen=True, kw_only=True):
    """What one node signs with. ``certificate`` empty: its ``request`` (PEM) waits for the root's signature."""

    node: str
    request: str
    certificate: str = ""
    root: str = ""  # fingerprint of the one that signed it
    not_after_s: float = 0.0


class Ledger(Record, frozen=True, kw_only=True):
    """A certificate that is out. ``bundle``: the version of the roots that its holder trusts. ``superseded``: its holder has
    a newer one. ``how``: what proved the holder. The record ends with the certificate, by its lease.
    """

    serial: str
    spiffe_id: str
    instance: str
    root: str
    issued_s: float
    not_after_s: float
    bundle: str = ""
    how: str = ""
    superseded: bool = False


class JoinToken(Record, frozen=True, kw_only=True):
    """Good once, for one service, until it is over. Its key is the hash of the secret."""

    service: str
    namespace: str
    not_after_s: float
    made_by: str = ""


class UserMapping(Record, frozen=True, kw_only=True):
    """``services`` (``NAMESPACE/SERVICE``, ``NAMESPACE/*``) that processes of ``uid`` on the machine of ``node`` may be;
    ``node`` empty: on every machine.
    """

    uid: int
    services: tuple[str, ...]
    node: str = ""
