"""Whether a workload may have the identity that it asks for. Pure.

Rule: exactly one proof counts, the strongest word that was given: a join token, else the present certificate, else the uid of
a Unix socket's peer. It says who the workload *is*; the request must agree with it, and its CSR may name nothing else. What
is refused is refused with the ways that there are.
"""

from __future__ import annotations

import re

import msgspec

from atoll.errors import AtollError, Code, Reason
from atoll.planes.mesh.policy.identities import Workload, parse_spiffe_id
from atoll.resources.mesh.authority import JoinToken, Ledger
from atoll.resources.mesh.identity import EnrolOrder
from atoll.resources.mesh.secrets import CONTROL_PLANE_NAMESPACE

_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
TTL_S_MIN = 30.0
INSTANCE_CHARS_MAX = 128


class Proof(msgspec.Struct, frozen=True):
    """What the way on which a request came says of its sender. ``uid`` None: no Unix socket. ``services``: what that uid may
    be, None: everything. ``held``: the ledger's record of the certificate that was shown.
    """

    uid: int | None = None
    services: tuple[str, ...] | None = ()
    spiffe_id: str = ""
    held: Ledger | None = None
    token: JoinToken | None = None


class Granted(msgspec.Struct, frozen=True):
    """``how``: for the ledger and the audit log."""

    workload: Workload
    how: str


def decide(order: EnrolOrder, proof: Proof, trust_domain: str, now_s: float) -> Granted:
    """Raises INVALID for an order that nobody could be granted, DENIED otherwise."""
    require_names(order.service, order.namespace)
    if len(order.instance) > INSTANCE_CHARS_MAX:
        raise AtollError(Code.INVALID, f"instance: at most {INSTANCE_CHARS_MAX} characters")
    wanted = Workload(trust_domain, order.namespace, order.service)
    if order.token:
        how = _by_token(wanted, proof.token, now_s)
    elif proof.spiffe_id:
        how = _by_certificate(wanted, proof)
    elif proof.uid is not None:
        how = _by_uid(wanted, proof.uid, proof.services)
    else:
        raise _denied(
            "nothing proves who asks: show a join token (`atoll mesh token SERVICE`), ask at the node's Unix socket as a "
            "user that may be this service, or renew with the certificate of it"
        )
    return Granted(wanted, how)


def require_request(uris: tuple[str, ...], others: tuple[str, ...], granted: Workload) -> None:
    """What a CSR may name: nothing, or the granted identity. Raises INVALID."""
    wrong = [name for name in (*uris, *others) if name != granted.spiffe_id]
    if wrong:
        text = f"the signing request names {wrong[0]!r}, and what is granted is {granted.spiffe_id}; name that, or nothing"
        raise AtollError(Code.INVALID, text)


def ttl_s(asked_s: float, most_s: float) -> float:
    """Raises INVALID for a lifetime that is shorter than a renewal takes."""
    if asked_s and asked_s < TTL_S_MIN:
        raise AtollError(
            Code.INVALID, f"a certificate for {asked_s:g} s is refused; at least {TTL_S_MIN:g} s"
        )
    return min(asked_s or most_s, most_s)


def _by_token(wanted: Workload, token: JoinToken | None, now_s: float) -> str:
    if token is None or token.not_after_s <= now_s:
        raise AtollError(
            Code.DENIED,
            "this join token is unknown, used or over; each is good once: make another by `atoll mesh token SERVICE`",
            reason=Reason.INVALID_TOKEN,
        )
    if (token.namespace, token.service) != (wanted.namespace, wanted.service):
        raise _denied(f"this join token is not for {wanted.namespace}/{wanted.service}")
    return "token"


def _by_certificate(wanted: Workload, proof: Proof) -> str:
    if parse_spiffe_id(proof.spiffe_id) != wanted:
        raise _denied(
            f"a certificate of {proof.spiffe_id} renews that identity only, and not {wanted.spiffe_id}"
        )
    if proof.held is None:
        raise _denied(f"the certificate of {proof.spiffe_id} that was shown was withdrawn; enrol again")
    return "certificate"


def _by_uid(wanted: Workload, uid: int, services: tuple[str, ...] | None) -> str:
    named = (f"{wanted.namespace}/{wanted.service}", f"{wanted.namespace}/*")
    if services is not None and not any(each in named for each in services):
        may = f"it may be {', '.join(services)}" if services else "it may be none"
        raise _denied(
            f"uid {uid} may not be {named[0]}; {may}. Its operator maps it: "
            f"atoll mesh user map {uid} {named[0]}"
        )
    return f"uid {uid}"


def require_names(service: str, namespace: str) -> None:
    """Raises INVALID for names that no identity can have, DENIED for the nodes' own."""
    for field, text in (("service", service), ("namespace", namespace)):
        if not _NAME.fullmatch(text):
            raise AtollError(
                Code.INVALID, f"{field} {text[:80]!r}: must be 1 to 63 letters, digits, '.', '_' or '-'"
            )
    if "." in namespace:
        raise AtollError(Code.INVALID, f"namespace {namespace!r}: must have no '.'")
    if namespace == CONTROL_PLANE_NAMESPACE:
        raise _denied(f"the namespace {CONTROL_PLANE_NAMESPACE} is the nodes' own")


def _denied(text: str) -> AtollError:
    return AtollError(Code.DENIED, text, reason=Reason.PERMISSION_DENIED)
