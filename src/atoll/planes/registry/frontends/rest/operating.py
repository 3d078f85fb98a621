"""An operator's side of naming over the registry's own API: services, clusters, and the last word on an instance.

Rule: it shapes orders into what ``service.naming`` decides and commits, and decides nothing. All of it needs the store.
"""

from __future__ import annotations

import msgspec

from atoll.planes.registry.frontends.rest.door import (
    Call,
    Door,
    administering,
    delete,
    get,
    known,
    post,
    put,
    writing,
)
from atoll.planes.registry.frontends.rest.naming import key_named, resource_of
from atoll.planes.registry.model.naming_decisions import OverrideChange, ServiceChange
from atoll.planes.registry.service.naming import Naming
from atoll.resources.config_api import Removed
from atoll.resources.instance import InstanceId
from atoll.resources.naming_api import (
    AddressLabels,
    ClusterOrder,
    HealthOrder,
    OverrideOrder,
    OverrideRemoval,
    ServiceAsked,
    ServiceChangeOrder,
    ServiceOrder,
)
from atoll.resources.node import Done
from atoll.resources.service import Service
from atoll.runtime.http_api import Endpoint


class OperatingApi:
    def __init__(self, naming: Naming, door: Door) -> None:
        self._naming = naming
        self._door = door

    def endpoints(self) -> list[Endpoint]:
        reset = delete("/v1/instance/override", "Take it back.", self.reset, Done, OverrideRemoval)
        declared = [
            post("/v1/service", "Make a service.", self.create, Done, ServiceOrder),
            put("/v1/service", "Change what is fixed.", self.update, Done, ServiceChangeOrder),
            delete("/v1/service", "Remove it, if empty.", self.remove, Removed, ServiceAsked),
            put("/v1/service/cluster", "How it is probed.", self.update_cluster, Done, ClusterOrder),
            put("/v1/instance/override", "The last word on it.", self.override, Done, OverrideOrder),
            reset,
            put("/v1/instance/health", "Set it by hand.", self.set_health, Done, HealthOrder),
        ]
        labels = put("/v1/labels", "Say where an address is.", self.set_labels, Done, AddressLabels)
        return [
            *(self._door.guarded(writing(resource_of), endpoint) for endpoint in declared),
            self._door.guarded(administering, labels),
            self._door.guarded(
                known, get("/v1/labels", "Of all addresses.", self.labels, list[AddressLabels])
            ),
        ]

    async def create(self, call: Call) -> Done:
        order: ServiceOrder = call.body
        service = Service(
            key=key_named(order),
            ephemeral=order.ephemeral,
            protect_threshold=order.protect_threshold,
            selector=order.selector,
            metadata=order.metadata,
        )
        return Done(await self._naming.create_service(call.actor, service))

    async def update(self, call: Call) -> Done:
        order: ServiceChangeOrder = call.body
        change = ServiceChange(order.ephemeral, order.protect_threshold, order.selector, order.metadata)
        return Done(await self._naming.update_service(call.actor, key_named(order), change))

    async def remove(self, call: Call) -> Removed:
        await self._naming.delete_service(call.actor, key_named(call.fields))
        return Removed(True)

    async def update_cluster(self, call: Call) -> Done:
        order: ClusterOrder = call.body
        return Done(await self._naming.update_cluster(call.actor, key_named(order), order.cluster))

    async def override(self, call: Call) -> Done:
        order: OverrideOrder = call.body
        change = OverrideChange(order.weight, order.enabled, order.metadata)
        where = key_named(order), _identity(order)
        return Done(await self._naming.override_instance(call.actor, *where, change))

    async def reset(self, call: Call) -> Done:
        asked: OverrideRemoval = call.fields
        return Done(await self._naming.remove_override(call.actor, key_named(asked), _identity(asked)))

    async def set_health(self, call: Call) -> Done:
        order: HealthOrder = call.body
        where = key_named(order), _identity(order)
        return Done(await self._naming.set_health(call.actor, *where, order.healthy))

    async def labels(self, call: Call) -> list[AddressLabels]:
        return [
            AddressLabels(address, said) for address, said in sorted(self._naming.directory.labels.items())
        ]

    async def set_labels(self, call: Call) -> Done:
        order: AddressLabels = call.body
        return Done(await self._naming.set_labels(call.actor, order.address, order.labels))


def _identity(named: msgspec.Struct) -> InstanceId:
    """Of an order or a question."""
    return InstanceId(named.cluster, named.ip, named.port)  # type: ignore[attr-defined]
