"""What was, and why, over the node's API, typed."""

from __future__ import annotations

from atoll.client.node import Client
from atoll.resources.events import Differences, Explanation, Topology
from atoll.resources.past_api import DifferencesAsked, ExplainAsked, TopologyAsked


class Past:
    """The memory of ``client``'s cluster."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def explain(self, asked: ExplainAsked) -> list[Explanation]:
        return await self._client.get("/v1/explain", list[Explanation], asked)

    async def topology(self, asked: TopologyAsked) -> Topology:
        return await self._client.get("/v1/topology", Topology, asked)

    async def differences(self, asked: DifferencesAsked) -> Differences:
        return await self._client.get("/v1/topology/diff", Differences, asked)
