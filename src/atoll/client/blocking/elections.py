# Generated from src/atoll/client/elections.py by `python3 dev.py generate`; edit that file instead.
"""Elections over the node's API, typed."""

from __future__ import annotations

from collections.abc import Iterator

from atoll.client.blocking.node import Client
from atoll.resources.election_views import ElectionOrder, ElectionView, HandoverOrder, Observed
from atoll.resources.node import Done


class Elections:
    """The coordination plane's part of ``client``."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def every(self) -> list[ElectionView]:
        return self._client.get("/v1/elections", list[ElectionView])

    def one(self, name: str) -> ElectionView:
        return self._client.get("/v1/election", ElectionView, name=name)

    def observe(self, name: str) -> Iterator[Observed]:
        """The leader now, and every one from then on."""
        return self._client.lines("/v1/election/observe", Observed, name=name)

    def handover(self, name: str, to: str) -> Done:
        return self._client.post("/v1/election/handover", HandoverOrder(name, to), Done)

    def pause(self, name: str) -> Done:
        return self._client.post("/v1/election/pause", ElectionOrder(name), Done)

    def resume(self, name: str) -> Done:
        return self._client.post("/v1/election/resume", ElectionOrder(name), Done)
