"""Targets: the clusters that a client is to have, as values: which endpoints of which service stand behind each.

Rule: a target says all that its load assignment depends on besides the service's endpoints, so that clients with equal
targets share one assignment. Where a client stands is in it only where a document says that this matters.
"""

from __future__ import annotations

import msgspec

from atoll.planes.mesh.policy.compiler import names
from atoll.planes.mesh.policy.compiler.routing.scene import Ref
from atoll.resources.mesh.services import Locality


class Spread(msgspec.Struct, frozen=True):
    """How the localities of endpoints count for a client at ``own``. ``shares``: what each locality pattern gets, in
    percent; without, the nearest come first. ``failover``: which region follows which. ``labels``: names of labels, and the
    client's values, by which near is told instead.
    """

    own: Locality
    shares: tuple[tuple[str, float], ...] = ()
    failover: tuple[tuple[str, str], ...] = ()
    labels: tuple[tuple[str, str], ...] = ()


class Target(msgspec.Struct, frozen=True):
    """``labels``: those that an endpoint of its subset carries, sorted."""

    ref: Ref
    labels: tuple[tuple[str, str], ...] = ()
    spread: Spread | None = None

    @property
    def name(self) -> str:
        return names.outbound_cluster(*self.ref)


class Targets:
    """Those of one plan that are served by EDS, by host. Compared by identity: a plan that is kept keeps its targets."""

    def __init__(self, targets: tuple[Target, ...]) -> None:
        self.by_host: dict[str, list[Target]] = {}
        for target in targets:
            self.by_host.setdefault(target.ref.host, []).append(target)
