# Generated from src/atoll/client/mesh_seeing.py by `python3 dev.py generate`; edit that file instead.
"""What is seen of the mesh, over the node's API, typed: how clients stand, why a request goes where it goes."""

from __future__ import annotations

from atoll.client.blocking.node import Client
from atoll.resources.mesh.seeing_api import (
    ClientsAsked,
    ClientsShown,
    DiffOrder,
    DiffShown,
    ExplainAnswer,
    ExplainOrder,
)


class MeshSeeing:
    """That part of ``client``."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def clients(self, asked: ClientsAsked) -> ClientsShown:
        """Those that are connected to the node that is asked."""
        return self._client.get("/v1/mesh/clients", ClientsShown, asked)

    def explain(self, order: ExplainOrder) -> ExplainAnswer:
        return self._client.post("/v1/mesh/explain", order, ExplainAnswer)

    def diff(self, order: DiffOrder) -> DiffShown:
        return self._client.post("/v1/mesh/diff", order, DiffShown)
