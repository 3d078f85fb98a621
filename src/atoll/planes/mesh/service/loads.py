"""What clients report of the load that they send: requests by upstream cluster and locality, summed up per client.

Rule: a report is what happened since the report before, and is only added; who goes is forgotten ``KEPT_S`` later. gRPC
reports by locality, Envoy as well unless it is asked for endpoints; nobody here asks for endpoints, whose number has no
bound.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import msgspec

from atoll.runtime.clock import Clock
from atoll.runtime.metrics import Metrics, Sample

KEPT_S = 300.0
CLUSTERS_MAX = 10_000
"""Of one client: more are not counted one by one."""


class Load(msgspec.Struct):
    """Requests since the client came. ``active``: at the time of the last report."""

    succeeded: int = 0
    failed: int = 0
    issued: int = 0
    active: int = 0
    dropped: int = 0

    def add(self, other: Load) -> None:
        self.succeeded += other.succeeded
        self.failed += other.failed
        self.issued += other.issued
        self.dropped += other.dropped
        self.active = other.active


class Reported(msgspec.Struct):
    """By one node. ``loads`` by (cluster, locality)."""

    loads: dict[tuple[str, str], Load]
    at_s: float
    connected: int = 0


class Loads:
    """Of all clients of this node. ``on_report`` hears of each report: node, loads by (cluster, locality)."""

    def __init__(self, clock: Clock, metrics: Metrics) -> None:
        self.on_report: Callable[[str, Mapping[tuple[str, str], Load]], None] = _nobody
        self._clock = clock
        self._nodes: dict[str, Reported] = {}
        self._total = Load()
        metrics.read_on_scrape(
            "atoll_mesh_reported_requests_total",
            "Requests that clients of the mesh reported by LRS.",
            ("outcome",),
            self._samples,
        )

    def open(self, node: str) -> None:
        self._forget()
        self._reported(node).connected += 1

    def close(self, node: str) -> None:
        reported = self._reported(node)
        reported.connected -= 1
        reported.at_s = self._clock.now_s()

    def report(self, node: str, loads: Mapping[tuple[str, str], Load]) -> None:
        reported = self._reported(node)
        reported.at_s = self._clock.now_s()
        for key, load in loads.items():
            if key not in reported.loads and len(reported.loads) >= CLUSTERS_MAX:
                continue
            reported.loads.setdefault(key, Load()).add(load)
        for load in loads.values():
            self._total.add(load)
        self.on_report(node, loads)

    def of_node(self, node: str) -> Mapping[tuple[str, str], Load]:
        found = self._nodes.get(node)
        return found.loads if found is not None else {}

    def _reported(self, node: str) -> Reported:
        found = self._nodes.get(node)
        if found is None:
            found = self._nodes[node] = Reported({}, self._clock.now_s())
        return found

    def _forget(self) -> None:
        old_s = self._clock.now_s() - KEPT_S
        for node in [name for name, each in self._nodes.items() if not each.connected and each.at_s < old_s]:
            del self._nodes[node]

    def _samples(self) -> Iterable[Sample]:
        total = self._total
        return [(("succeeded",), total.succeeded), (("failed",), total.failed), (("dropped",), total.dropped)]


def _nobody(node: str, loads: Mapping[tuple[str, str], Load]) -> None:
    return None
