"""An answer of the proxy's own to a gRPC call: HTTP 200, and what is meant as gRPC's status.

Rule: Envoy's table from HTTP's status to gRPC's ("HTTP to gRPC Status Code Mapping" of gRPC's documentation).
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from atoll.planes.mesh.policy.explain.facts import Facts
from atoll.resources.mesh.explanations import Chance, Explanation, Outcome, Target

_OK = 200
_UNKNOWN = 2
_STATUS: Mapping[int, int] = {
    400: 13,  # INTERNAL
    401: 16,  # UNAUTHENTICATED
    403: 7,  # PERMISSION_DENIED
    404: 12,  # UNIMPLEMENTED
    429: 14,  # UNAVAILABLE
    502: 14,
    503: 14,
    504: 14,
}


def is_grpc(facts: Facts) -> bool:
    """``application/grpc``, alone or with the form of its messages behind a ``+`` or parameters behind a ``;``."""
    kind = facts.header("content-type")
    return kind == "application/grpc" or kind.startswith(("application/grpc+", "application/grpc;"))


def as_grpc(found: Explanation) -> Explanation:
    """``found`` as a gRPC caller sees it."""
    chances = tuple(_of_chance(each) for each in found.chances)
    targets = tuple(_of_target(each) for each in found.targets)
    changed = msgspec.structs.replace(found, chances=chances, targets=targets)
    if found.outcome is Outcome.FORWARDED or not found.status or found.is_plain:
        return changed
    status = _STATUS.get(found.status, _UNKNOWN)
    return msgspec.structs.replace(changed, status=_OK, grpc_status=status)


def _of_chance(chance: Chance) -> Chance:
    return msgspec.structs.replace(chance, status=_OK) if chance.status else chance


def _of_target(target: Target) -> Target:
    return msgspec.structs.replace(target, status=_OK) if target.status else target
