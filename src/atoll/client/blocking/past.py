# Generated from src/atoll/client/past.py by `python3 dev.py generate`; edit that file instead.
"""What was, and why, over the node's API, typed."""

from __future__ import annotations

from atoll.client.blocking.node import Client
from atoll.resources.events import Differences, Explanation, Topology
from atoll.resources.past_api import DifferencesAsked, ExplainAsked, TopologyAsked


class Past:
    """The memory of ``client``'s cluster."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def explain(self, asked: ExplainAsked) -> list[Explanation]:
        return self._client.get("/v1/explain", list[Explanation], asked)

    def topology(self, asked: TopologyAsked) -> Topology:
        return self._client.get("/v1/topology", Topology, asked)

    def differences(self, asked: DifferencesAsked) -> Differences:
        return self._client.get("/v1/topology/diff", Differences, asked)
