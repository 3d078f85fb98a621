"""Targets: the clusters that a client is to have, as values: which endpoints of which service stand behind each.

Rule: a target says all that its load assignment depends on besides the service's endpoints, so that clients with equal
targets share one assignment. Where a client stands is in it only where a document says that this matters.
"""

from __future__ import annotations

import enum

import msgspec

from atoll.planes.mesh.model.world import Face
from atoll.planes.mesh.policy.compiler import names
from atoll.planes.mesh.policy.compiler.routing.scene import Ref
from atoll.resources.mesh.documents.destination_rule import TrafficPolicy
from atoll.resources.mesh.services import Locality, Resolution


class Spread(msgspec.Struct, frozen=True):
    """How the localities of endpoints count for a client at ``own``. ``shares``: what each locality pattern gets, in
    percent; without, the nearest come first. ``failover``: which region follows which. ``labels``: names of labels, and the
    client's values, by which near is told instead.
    """

    own: Locality
    shares: tuple[tuple[str, float], ...] = ()
    failover: tuple[tuple[str, str], ...] = ()
    labels: tuple[tuple[str, str], ...] = ()


class Finding(enum.Enum):
    """How a client finds the endpoints."""

    EDS = "eds"
    DNS = "dns"
    DIALLED = "dialled"  # the address that the application dialled, which is known where traffic is captured
    NOBODY = "nobody"


def finding(face: Face, policy: TrafficPolicy, captured: bool) -> Finding:
    """Where no address was dialled, a service that has nothing but its name is looked up by that, and one that is to be
    passed through is balanced.
    """
    resolution = face.service.resolution
    passed = policy.loadBalancer is not None and policy.loadBalancer.simple == "PASSTHROUGH"
    if captured and (passed or resolution is Resolution.NONE):
        return Finding.DIALLED
    if resolution is Resolution.NONE:
        return Finding.NOBODY if "*" in face.host else Finding.DNS
    return Finding.DNS if resolution is Resolution.DNS else Finding.EDS


class Target(msgspec.Struct, frozen=True):
    """``labels``: those that an endpoint of its subset carries, sorted."""

    ref: Ref
    labels: tuple[tuple[str, str], ...] = ()
    spread: Spread | None = None
    found: Finding = Finding.EDS

    @property
    def name(self) -> str:
        return names.outbound_cluster(*self.ref)


class Targets:
    """Those that are served by EDS, by host. Compared by identity: what stays as it is keeps its targets."""

    def __init__(self, every: tuple[Target, ...]) -> None:
        self.by_host: dict[str, list[Target]] = {}
        for target in every:
            if target.found is Finding.EDS:
                self.by_host.setdefault(target.ref.host, []).append(target)
