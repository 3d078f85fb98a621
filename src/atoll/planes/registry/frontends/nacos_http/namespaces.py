"""Namespaces, as the console and administration tools see them.

Rule: 1.x and 2.x write the default namespace as the empty text, 3.x as ``public``; whichever is asked in is answered.
"""

from __future__ import annotations

from typing import Any

from atoll.errors import AtollError, Code, Reason
from atoll.planes.registry.frontends.nacos_http.application import Operation
from atoll.planes.registry.frontends.nacos_http.call import Call
from atoll.planes.registry.frontends.nacos_http.doors import Doors
from atoll.planes.registry.service.namespaces import Namespaces
from atoll.resources.namespace import Namespace, NamespaceView
from atoll.wire.nacos import parameters

QUOTA = 200
"""What the reference shows where no quota is set; here there is none then."""


class NamespacesApi:
    def __init__(self, namespaces: Namespaces, doors: Doors) -> None:
        self._namespaces = namespaces
        self._doors = doors

    def operations(self) -> dict[str, Operation]:
        return {
            "namespaces.list": self.list,
            "namespaces.get": self.get,
            "namespaces.exists": self.exists,
            "namespaces.count": self.count,
            "namespaces.create": self.create,
            "namespaces.update": self.update,
            "namespaces.delete": self.delete,
        }

    def list(self, call: Call) -> Any:
        return [_shown(call, each) for each in self._namespaces.every()]

    def get(self, call: Call) -> Any:
        return _shown(call, self._namespaces.get(call.namespace))

    def exists(self, call: Call) -> bool:
        wanted = call.text("customNamespaceId")
        return bool(wanted) and self._namespaces.exists(parameters.namespace(wanted))

    def count(self, call: Call) -> int:
        wanted = call.first("customNamespaceId", "namespaceId")
        return int(bool(wanted) and self._namespaces.exists(parameters.namespace(wanted)))

    async def create(self, call: Call) -> bool:
        wanted = call.first("customNamespaceId", "namespaceId").strip()
        if wanted:
            parameters.check(parameters.NAMESPACE, wanted)
        try:
            await self._namespaces.create(call.actor, _wanted(call, wanted))
        except AtollError as error:
            if error.code is Code.CONFLICT and not call.is_result:  # v1 says no without a reason
                return False
            raise
        return True

    async def update(self, call: Call) -> bool:
        await self._namespaces.update(call.actor, _wanted(call, call.namespace))
        return True

    async def delete(self, call: Call) -> bool:
        if call.namespace == parameters.DEFAULT_NAMESPACE:
            raise parameters.invalid("namespaceId", "the namespace public cannot be deleted")
        try:
            return await self._namespaces.remove(call.actor, call.namespace)
        except AtollError as error:
            if error.reason is not Reason.NAMESPACE_NOT_FOUND:
                raise
            return False


def _wanted(call: Call, name: str) -> Namespace:
    title = call.first("namespaceName", "namespaceShowName")
    if not title:
        raise parameters.missing("namespaceName")
    if parameters.NAMESPACE_NAME.pattern.fullmatch(title) is None:
        raise parameters.illegal(
            parameters.NAMESPACE_NAME.name, "illegal characters should not appear in the param."
        )
    return Namespace(id=name, name=title, description=call.text("namespaceDesc"))


def _shown(call: Call, each: NamespaceView) -> dict[str, Any]:
    public = each.id == parameters.DEFAULT_NAMESPACE
    return {
        "namespace": "" if public and "/v3/" not in call.path else each.id,
        "namespaceShowName": each.name,
        "namespaceDesc": each.description or None,
        "quota": each.configs_max or QUOTA,
        "configCount": each.configs,
        "type": 0 if public else 2,
    }
