"""Services and instances over the registry's own API.

Rule: it shapes what ``service.naming`` answers, and decides nothing. A list shows only what the asker may read. An
ephemeral instance that is registered here lives by beats, on whichever node they arrive.
"""

from __future__ import annotations

import msgspec

from atoll.access import grants
from atoll.access.grants import Resource
from atoll.planes.registry.frontends.rest import naming_shapes as shapes
from atoll.planes.registry.frontends.rest.door import (
    Call,
    Door,
    administering,
    delete,
    get,
    known,
    post,
    put,
    reading,
    writing,
)
from atoll.planes.registry.model.naming import Selection
from atoll.planes.registry.service.naming import Naming
from atoll.resources import instance as instances
from atoll.resources import namespace
from atoll.resources.config_api import Removed
from atoll.resources.instance import Instance, InstanceId
from atoll.resources.naming_api import (
    Beating,
    ClientShown,
    Hosts,
    InstanceAsked,
    InstanceOrder,
    InstancesAsked,
    PublisherShown,
    ServiceAsked,
    ServicePage,
    ServicesAsked,
    ServiceShown,
    SubscriberShown,
)
from atoll.resources.registry_client import Client
from atoll.resources.service import ServiceKey, key_of
from atoll.runtime.http_api import Asked, Endpoint

SDK = "atoll-api"


def key_named(named: msgspec.Struct) -> ServiceKey:
    """Of a question or an order. Raises INVALID."""
    return key_of(named.namespace, named.group, named.name)  # type: ignore[attr-defined]


def resource_of(asked: Asked) -> Resource:
    return resource(key_named(asked.fields if asked.fields is not None else asked.body))


def resource(key: ServiceKey) -> Resource:
    return grants.service(key.namespace, key.group, key.name)


class NamingApi:
    def __init__(self, naming: Naming, door: Door) -> None:
        self._naming = naming
        self._door = door

    def endpoints(self) -> list[Endpoint]:
        read, write = reading(resource_of), writing(resource_of)
        asked = InstanceAsked
        beat = msgspec.structs.replace(
            put("/v1/instance/beat", "Say that it is alive.", self.beat, Beating), query=asked
        )
        declared = [
            (known, get("/v1/services", "Services.", self.every, ServicePage, ServicesAsked)),
            (read, get("/v1/service", "One, with every instance.", self.one, ServiceShown, ServiceAsked)),
            (
                read,
                get(
                    "/v1/service/publishers",
                    "Who registered.",
                    self.publishers,
                    list[PublisherShown],
                    ServiceAsked,
                ),
            ),
            (
                read,
                get(
                    "/v1/service/subscribers",
                    "Who is told.",
                    self.subscribers,
                    list[SubscriberShown],
                    ServiceAsked,
                ),
            ),
            (administering, get("/v1/clients", "Clients of all nodes.", self.clients, list[ClientShown])),
            (read, get("/v1/instances", "As a consumer gets them.", self.hosts, Hosts, InstancesAsked)),
            (read, get("/v1/instance", "One of them.", self.instance, Instance, asked)),
            (write, post("/v1/instance", "Register.", self.register, Beating, InstanceOrder)),
            (write, delete("/v1/instance", "Deregister.", self.deregister, Removed, asked)),
            (write, beat),
        ]
        return [self._door.guarded(needs, endpoint) for needs, endpoint in declared]

    # ------------------------------------------------------------------------------------------ services

    async def every(self, call: Call) -> ServicePage:
        asked: ServicesAsked = call.fields
        may = self._door.guard.allows
        found = [
            summary
            for key in self._naming.services(namespace.canonical(asked.namespace))
            if asked.group in key.group and asked.name in key.name
            if may(call.principal, resource(key), "r")
            if (summary := self._naming.summary(key)).instances or asked.with_empty
        ]
        start = (asked.page - 1) * asked.page_size
        page = tuple(shapes.summary(each) for each in found[start : start + asked.page_size])
        return ServicePage(len(found), asked.page, asked.page_size, page)

    async def one(self, call: Call) -> ServiceShown:
        detail = self._naming.service(key_named(call.fields))
        service = msgspec.structs.replace(detail.service, ephemeral=detail.ephemeral)
        return ServiceShown(service, detail.instances, self._naming.stale)

    async def publishers(self, call: Call) -> list[PublisherShown]:
        found = self._naming.publishers(key_named(call.fields))
        return [PublisherShown(each.instance, each.client, each.node) for each in found]

    async def subscribers(self, call: Call) -> list[SubscriberShown]:
        return [shapes.subscriber(each) for each in await self._naming.subscribers(key_named(call.fields))]

    async def clients(self, call: Call) -> list[ClientShown]:
        return [shapes.client(each) for each in await self._naming.all_clients()]

    # ----------------------------------------------------------------------------------------- instances

    async def hosts(self, call: Call) -> Hosts:
        asked: InstancesAsked = call.fields
        address = asked.address or call.actor.address
        wanted = Selection.of_text(asked.clusters, asked.healthy_only, address)
        return shapes.hosts(self._naming.query(key_named(asked), wanted))

    async def instance(self, call: Call) -> Instance:
        return self._naming.instance(key_named(call.fields), _identity(call.fields))

    async def register(self, call: Call) -> Beating:
        order: InstanceOrder = call.body
        key, instance = key_named(order), _instance(order)
        if not order.ephemeral:
            await self._naming.register_persistent(call.actor, key, instance)
            return Beating(True, 0.0)
        self._naming.register_beating(key, instance, _client(call))
        interval_ms = instances.beat_time_ms(instance, instances.BEAT_INTERVAL, self._interval_ms())
        return Beating(True, interval_ms / 1000)

    async def beat(self, call: Call) -> Beating:
        asked: InstanceAsked = call.fields
        answer = self._naming.beat(key_named(asked), _identity(asked), client=_client(call))
        return Beating(answer.known, answer.interval_ms / 1000)

    async def deregister(self, call: Call) -> Removed:
        asked: InstanceAsked = call.fields
        key, identity = key_named(asked), _identity(asked)
        if asked.ephemeral:
            return Removed(await self._naming.deregister_beating(key, identity))
        return Removed(bool(await self._naming.deregister_persistent(call.actor, key, identity)))

    def _interval_ms(self) -> int:
        return self._naming.directory.switches.client_beat_interval_ms


def _identity(asked: InstanceAsked) -> InstanceId:
    return InstanceId(asked.cluster, asked.ip, asked.port)


def _instance(order: InstanceOrder) -> Instance:
    return Instance(
        ip=order.ip,
        port=order.port,
        cluster=order.cluster,
        weight=order.weight,
        enabled=order.enabled,
        ephemeral=order.ephemeral,
        metadata=order.metadata,
    )


def _client(call: Call) -> Client:
    """Who asked, as far as is known; naming gives it the id that an address has."""
    return Client("", address=call.actor.address, version=SDK, user=call.actor.user)
