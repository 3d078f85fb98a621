"""Who a peer of the mesh is, and what it may say of itself. Pure.

Rule: a name that a client gives (``node.id``, the subject of a CSR) is compared with what was proven, and never taken for
it. Istio's form of SPIFFE ids: ``spiffe://TRUST_DOMAIN/ns/NAMESPACE/sa/ACCOUNT``.
"""

from __future__ import annotations

import re

import msgspec

from atoll.errors import AtollError, Code, Reason

_SPIFFE = re.compile(r"spiffe://([a-z0-9._-]{1,255})/ns/([A-Za-z0-9._-]{1,63})/sa/([A-Za-z0-9._@:-]{1,128})")
_NODE = re.compile(r"[a-z_]+~([^~]+)\.([^~.]+)~[^~]*")  # a service may have dots, a namespace has none


class Workload(msgspec.Struct, frozen=True, order=True):
    """A service of a namespace, in a trust domain."""

    trust_domain: str
    namespace: str
    service: str

    @property
    def spiffe_id(self) -> str:
        return f"spiffe://{self.trust_domain}/ns/{self.namespace}/sa/{self.service}"


def parse_spiffe_id(text: str) -> Workload:
    """Raises DENIED for what is no workload's id."""
    found = _SPIFFE.fullmatch(text)
    if found is None:
        raise _denied(
            f"{text!r} is not a workload's identity; expected spiffe://TRUST_DOMAIN/ns/NAMESPACE/sa/SERVICE"
        )
    return Workload(found[1], found[2], found[3])


def require_node(spiffe_id: str, node_id: str, trust_domain: str) -> Workload:
    """The workload behind a connection whose certificate says ``spiffe_id`` and whose xDS node says ``node_id``
    (``KIND~SERVICE.NAMESPACE~INSTANCE``). Raises DENIED, naming both, unless they are the same.
    """
    if not spiffe_id:
        raise _denied(
            f"the xDS client {node_id!r} showed no certificate of the mesh; start it by `atoll sidecar`, or give it one by "
            "`atoll mesh certificate`"
        )
    workload = parse_spiffe_id(spiffe_id)
    if workload.trust_domain != trust_domain:
        raise _denied(
            f"{spiffe_id} is of the trust domain {workload.trust_domain}, this mesh is {trust_domain}"
        )
    named = _NODE.fullmatch(node_id)
    if named is None:
        raise _denied(f"node.id {node_id!r} is not KIND~SERVICE.NAMESPACE~INSTANCE")
    if (named[1], named[2]) != (workload.service, workload.namespace):
        raise _denied(
            f"node.id {node_id!r} speaks of {named[1]}.{named[2]}, but its certificate is of {spiffe_id}; a client is "
            "given its own configuration only"
        )
    return workload


def _denied(text: str) -> AtollError:
    return AtollError(Code.DENIED, text, reason=Reason.PERMISSION_DENIED)
