"""Who still calls a service without the mesh's TLS, over the node's API. Any account may look."""

from __future__ import annotations

from atoll.planes.mesh.frontends.rest.door import Call, Door, looking
from atoll.planes.mesh.service.plaintext import Plaintext
from atoll.resources.mesh.plaintext_api import PlaintextAsked, PlaintextShown
from atoll.runtime.http_api import Endpoint


class PlaintextApi:
    def __init__(self, plaintext: Plaintext, door: Door) -> None:
        self._plaintext = plaintext
        self._door = door

    def endpoints(self) -> list[Endpoint]:
        shown = Endpoint(
            "GET",
            "/v1/mesh/plaintext",
            "Who still calls a service without the mesh's TLS.",
            self.show,
            PlaintextShown,
            query=PlaintextAsked,
        )
        return [self._door.guarded(looking, shown)]

    async def show(self, call: Call) -> PlaintextShown:
        asked: PlaintextAsked = call.fields
        return await self._plaintext.shown(asked.service, asked.namespace)
