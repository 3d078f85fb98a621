# Generated from src/atoll/client/mesh_canaries.py by `python3 dev.py generate`; edit that file instead.
"""Canaries of policy over the node's API, typed; and the reports of proxies."""

from __future__ import annotations

from atoll.client.blocking.node import Client
from atoll.resources.mesh.canary import Canary, CanaryAsked, CanaryMove, CanaryOrder, CanaryShown
from atoll.resources.mesh.traffic import REPORTS_PATH, ReportTaken, TrafficReport


class MeshCanaries:
    """The canaries of ``client``'s mesh."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def find(self) -> list[Canary]:
        return self._client.get("/v1/mesh/canaries", list[Canary])

    def one(self, name: str) -> CanaryShown:
        return self._client.get("/v1/mesh/canary", CanaryShown, CanaryAsked(name))

    def begin(self, order: CanaryOrder) -> CanaryShown:
        """Raises INVALID / CONTENT_INVALID with the place of every error, CONFLICT while another one runs."""
        return self._client.post("/v1/mesh/canaries", order, CanaryShown)

    def promote(self, name: str, why: str = "") -> CanaryShown:
        return self._client.post("/v1/mesh/canary/move", CanaryMove(name, "promote", why), CanaryShown)

    def cancel(self, name: str, why: str = "") -> CanaryShown:
        return self._client.post("/v1/mesh/canary/move", CanaryMove(name, "cancel", why), CanaryShown)


class MeshReports:
    """For the sidecar of a proxy; ``client`` speaks to the port of xDS with the workload's certificate."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def report(self, report: TrafficReport) -> ReportTaken:
        return self._client.post(REPORTS_PATH, report, ReportTaken)
