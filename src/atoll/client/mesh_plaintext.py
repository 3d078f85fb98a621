"""Who still calls a service without the mesh's TLS, over the node's API, typed."""

from __future__ import annotations

from atoll.client.node import Client
from atoll.resources.mesh.plaintext_api import PlaintextAsked, PlaintextShown


class MeshPlaintext:
    def __init__(self, client: Client) -> None:
        self._client = client

    async def shown(self, service: str, namespace: str) -> PlaintextShown:
        return await self._client.get(
            "/v1/mesh/plaintext", PlaintextShown, PlaintextAsked(service, namespace)
        )
