"""What a workload holds, and when it is due for renewal. Pure.

Rule: times are on the boot clock and counted from when the answer came: a workload whose wall clock is wrong renews in time
all the same. When the roots change, the workload first trusts the new ones and then renews: with that renewal it tells the
mesh that it does (``EnrolOrder.bundle``), which is what an exchange of roots waits for.
"""

from __future__ import annotations

import msgspec

from atoll.resources.mesh.identity import Bundle, Issued

HALF = 0.5
EARLIER_SHARE = 0.1  # renewals of workloads that began together do not stay together
AGAIN_S_MIN = 1.0
AGAIN_S_MAX = 60.0
RENEWED_AGAIN_S = 2.0  # at least between two renewals that a node asked for: clocks of nodes differ


class Held(msgspec.Struct, frozen=True):
    """``bundle``: whom it is to trust, perhaps newer than the one that came with ``issued``. ``told``: the version of the roots
    that the mesh knows it to trust; ``trusts``: of those that it does.
    """

    key: str
    issued: Issued
    bundle: Bundle
    told: str
    trusts: str
    since_s: float

    @property
    def ends_s(self) -> float:
        """When its certificate is over."""
        return self.since_s + self.issued.ttl_s


def due_s(held: Held, chance: float) -> float:
    """When it is to be renewed by its age. ``chance``: from 0 to 1."""
    return held.since_s + held.issued.ttl_s * (HALF - EARLIER_SHARE * chance)


def is_asked_for(held: Held) -> bool:
    """Whether it is to be renewed whatever its age."""
    return held.told != held.trusts or held.issued.issued_s < held.bundle.renew_before_s


def again_s(failures: int, chance: float) -> float:
    """How long to wait after ``failures`` in a row."""
    return float(min(AGAIN_S_MAX, AGAIN_S_MIN * 2 ** min(failures - 1, 10)) * (0.5 + 0.5 * chance))
