"""Policy documents of the mesh over the node's API, typed."""

from __future__ import annotations

from atoll.client.node import Client
from atoll.resources.mesh.document_api import (
    Applied,
    ApplyOrder,
    DeleteOrder,
    Differences,
    DocumentName,
    DocumentsAsked,
    DocumentShown,
)


class MeshDocuments:
    """The documents of ``client``'s mesh."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def find(self, asked: DocumentsAsked) -> list[DocumentShown]:
        return await self._client.get("/v1/mesh/documents", list[DocumentShown], asked)

    async def one(self, name: DocumentName) -> DocumentShown:
        return await self._client.get("/v1/mesh/document", DocumentShown, name)

    async def apply(self, order: ApplyOrder) -> Applied:
        """Raises INVALID / CONTENT_INVALID with the place of every error; nothing was written then."""
        return await self._client.post("/v1/mesh/documents/apply", order, Applied)

    async def delete(self, order: DeleteOrder) -> Applied:
        return await self._client.post("/v1/mesh/documents/delete", order, Applied)

    async def diff(self, order: ApplyOrder) -> Differences:
        """What applying it would change, errors or not."""
        return await self._client.post("/v1/mesh/documents/diff", order, Differences)
