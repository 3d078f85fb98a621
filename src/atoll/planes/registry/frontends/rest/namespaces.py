"""Namespaces over the registry's own API.

Rule: any account may see them, as clients have to name them; only an administrator changes them.
"""

from __future__ import annotations

from atoll.planes.registry.frontends.rest.door import Call, Door, administering, delete, get, known, post, put
from atoll.planes.registry.service.namespaces import Namespaces
from atoll.resources.config_api import Removed
from atoll.resources.namespace import Namespace, NamespaceView, canonical
from atoll.resources.namespace_api import NamespaceNamed, NamespaceOrder, NamespaceRemoval
from atoll.runtime.http_api import Endpoint


class NamespacesApi:
    def __init__(self, namespaces: Namespaces, door: Door) -> None:
        self._namespaces = namespaces
        self._door = door

    def endpoints(self) -> list[Endpoint]:
        view, order, admin = NamespaceView, NamespaceOrder, administering
        declared = [
            (known, get("/v1/namespaces", "Namespaces.", self.every, list[NamespaceView])),
            (known, get("/v1/namespace", "One of them.", self.one, view, NamespaceNamed)),
            (admin, post("/v1/namespace", "Make a namespace.", self.create, view, order)),
            (admin, put("/v1/namespace", "Describe it anew.", self.update, view, order)),
            (admin, delete("/v1/namespace", "Remove it.", self.remove, Removed, NamespaceRemoval)),
        ]
        return [self._door.guarded(needs, endpoint) for needs, endpoint in declared]

    async def every(self, call: Call) -> list[NamespaceView]:
        return self._namespaces.every()

    async def one(self, call: Call) -> NamespaceView:
        return self._namespaces.get(canonical(call.fields.id))

    async def create(self, call: Call) -> NamespaceView:
        return await self._namespaces.create(call.actor, _namespace(call.body))

    async def update(self, call: Call) -> NamespaceView:
        return await self._namespaces.update(call.actor, _namespace(call.body))

    async def remove(self, call: Call) -> Removed:
        asked: NamespaceRemoval = call.fields
        return Removed(await self._namespaces.remove(call.actor, canonical(asked.id), asked.force))


def _namespace(order: NamespaceOrder) -> Namespace:
    return Namespace(id=order.id, name=order.name, description=order.description)
