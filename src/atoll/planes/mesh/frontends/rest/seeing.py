"""How clients stand, why a request goes where it goes, what a proxy has: over the mesh's own API.

Rule: it only asks ``service.seeing``. Whoever may look may ask: configurations hold no secrets, those come by SDS.
"""

from __future__ import annotations

import msgspec

from atoll.planes.mesh.frontends.rest.door import Call, Door, looking
from atoll.planes.mesh.policy.explain.dump import DUMP_BYTES_MAX
from atoll.planes.mesh.service.seeing import Seeing
from atoll.resources.mesh.seeing_api import (
    ClientsAsked,
    ClientsShown,
    DiffOrder,
    DiffShown,
    ExplainAnswer,
    ExplainOrder,
)
from atoll.runtime.http_api import Endpoint


class SeeingApi:
    def __init__(self, seeing: Seeing, door: Door, node_id: str) -> None:
        self._seeing = seeing
        self._door = door
        self._node_id = node_id

    def endpoints(self) -> list[Endpoint]:
        declared = [
            Endpoint(
                "GET",
                "/v1/mesh/clients",
                "The clients of this node.",
                self.clients,
                ClientsShown,
                query=ClientsAsked,
            ),
            Endpoint(
                "POST",
                "/v1/mesh/explain",
                "Why a request goes where it goes.",
                self.explain,
                ExplainAnswer,
                body=ExplainOrder,
            ),
            Endpoint(
                "POST",
                "/v1/mesh/diff",
                "What a proxy has against what is intended.",
                self.diff,
                DiffShown,
                body=DiffOrder,
            ),
        ]
        large = [msgspec.structs.replace(each, body_bytes_max=DUMP_BYTES_MAX) for each in declared]
        return [self._door.guarded(looking, each) for each in large]

    async def clients(self, call: Call) -> ClientsShown:
        asked: ClientsAsked = call.fields
        return ClientsShown(tuple(self._seeing.statuses(asked.client)), self._node_id)

    async def explain(self, call: Call) -> ExplainAnswer:
        return await self._seeing.explain(call.body)

    async def diff(self, call: Call) -> DiffShown:
        return await self._seeing.diff(call.body)
