"""Targets: the clusters that a client is to have, as values: which endpoints of which service stand behind each.

Rule: a target says all that its load assignment depends on besides the service's endpoints, so that clients with equal
targets share one assignment.
"""

from __future__ import annotations

import msgspec

from atoll.planes.mesh.policy.compiler import names


class Target(msgspec.Struct, frozen=True):
    """``labels``: those that an endpoint of its subset carries, sorted."""

    host: str
    port: int
    subset: str = ""
    labels: tuple[tuple[str, str], ...] = ()

    @property
    def name(self) -> str:
        return names.outbound_cluster(self.host, self.port, self.subset)


class Targets:
    """Those of one plan that are served by EDS, by host. Compared by identity: a plan that is kept keeps its targets."""

    def __init__(self, targets: tuple[Target, ...]) -> None:
        self.by_host: dict[str, list[Target]] = {}
        for target in targets:
            self.by_host.setdefault(target.host, []).append(target)
