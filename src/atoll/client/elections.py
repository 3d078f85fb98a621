"""Elections over the node's API, typed."""

from __future__ import annotations

from collections.abc import AsyncIterator

from atoll.client.node import Client
from atoll.resources.election_views import ElectionOrder, ElectionView, HandoverOrder, Observed
from atoll.resources.node import Done


class Elections:
    """The coordination plane's part of ``client``."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def every(self) -> list[ElectionView]:
        return await self._client.get("/v1/elections", list[ElectionView])

    async def one(self, name: str) -> ElectionView:
        return await self._client.get("/v1/election", ElectionView, name=name)

    def observe(self, name: str) -> AsyncIterator[Observed]:
        """The leader now, and every one from then on."""
        return self._client.lines("/v1/election/observe", Observed, name=name)

    async def handover(self, name: str, to: str) -> Done:
        return await self._client.post("/v1/election/handover", HandoverOrder(name, to), Done)

    async def pause(self, name: str) -> Done:
        return await self._client.post("/v1/election/pause", ElectionOrder(name), Done)

    async def resume(self, name: str) -> Done:
        return await self._client.post("/v1/election/resume", ElectionOrder(name), Done)
