# Generated from src/atoll/client/mesh_documents.py by `python3 dev.py generate`; edit that file instead.
"""Policy documents of the mesh over the node's API, typed."""

from __future__ import annotations

from atoll.client.blocking.node import Client
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

    def find(self, asked: DocumentsAsked) -> list[DocumentShown]:
        return self._client.get("/v1/mesh/documents", list[DocumentShown], asked)

    def one(self, name: DocumentName) -> DocumentShown:
        return self._client.get("/v1/mesh/document", DocumentShown, name)

    def apply(self, order: ApplyOrder) -> Applied:
        """Raises INVALID / CONTENT_INVALID with the place of every error; nothing was written then."""
        return self._client.post("/v1/mesh/documents/apply", order, Applied)

    def delete(self, order: DeleteOrder) -> Applied:
        return self._client.post("/v1/mesh/documents/delete", order, Applied)

    def diff(self, order: ApplyOrder) -> Differences:
        """What applying it would change, errors or not."""
        return self._client.post("/v1/mesh/documents/diff", order, Differences)
