"""Services and instances over the node's API, typed. For applications there is ``atoll.client.registry``."""

from __future__ import annotations

from atoll.client.node import Client
from atoll.resources.config_api import Removed
from atoll.resources.instance import Instance
from atoll.resources.naming_api import (
    AddressLabels,
    Beating,
    ClientShown,
    ClusterOrder,
    HealthOrder,
    Hosts,
    InstanceAsked,
    InstanceOrder,
    InstancesAsked,
    MemberShown,
    OverrideOrder,
    OverrideRemoval,
    PublisherShown,
    ServiceAsked,
    ServiceChangeOrder,
    ServiceOrder,
    ServicePage,
    ServicesAsked,
    ServiceShown,
    SubscriberShown,
)
from atoll.resources.node import Done


class Services:
    """The naming part of ``client``."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def every(self, asked: ServicesAsked) -> ServicePage:
        return await self._client.get("/v1/services", ServicePage, asked)

    async def one(self, asked: ServiceAsked) -> ServiceShown:
        return await self._client.get("/v1/service", ServiceShown, asked)

    async def create(self, order: ServiceOrder) -> Done:
        return await self._client.post("/v1/service", order, Done)

    async def update(self, order: ServiceChangeOrder) -> Done:
        return await self._client.send("PUT", "/v1/service", order, Done)

    async def remove(self, asked: ServiceAsked) -> Removed:
        return await self._client.send("DELETE", "/v1/service", None, Removed, asked)

    async def update_cluster(self, order: ClusterOrder) -> Done:
        return await self._client.send("PUT", "/v1/service/cluster", order, Done)

    async def publishers(self, asked: ServiceAsked) -> list[PublisherShown]:
        return await self._client.get("/v1/service/publishers", list[PublisherShown], asked)

    async def subscribers(self, asked: ServiceAsked) -> list[SubscriberShown]:
        return await self._client.get("/v1/service/subscribers", list[SubscriberShown], asked)

    async def clients(self) -> list[ClientShown]:
        """Of all nodes."""
        return await self._client.get("/v1/clients", list[ClientShown])

    async def instances(self, asked: InstancesAsked) -> Hosts:
        """Those that a consumer is given."""
        return await self._client.get("/v1/instances", Hosts, asked)

    async def instance(self, asked: InstanceAsked) -> Instance:
        return await self._client.get("/v1/instance", Instance, asked)

    async def register(self, order: InstanceOrder) -> Beating:
        return await self._client.post("/v1/instance", order, Beating)

    async def beat(self, asked: InstanceAsked) -> Beating:
        return await self._client.send("PUT", "/v1/instance/beat", None, Beating, asked)

    async def deregister(self, asked: InstanceAsked) -> Removed:
        return await self._client.send("DELETE", "/v1/instance", None, Removed, asked)

    async def override(self, order: OverrideOrder) -> Done:
        return await self._client.send("PUT", "/v1/instance/override", order, Done)

    async def remove_override(self, asked: OverrideRemoval) -> Done:
        return await self._client.send("DELETE", "/v1/instance/override", None, Done, asked)

    async def set_health(self, order: HealthOrder) -> Done:
        return await self._client.send("PUT", "/v1/instance/health", order, Done)

    async def labels(self) -> list[AddressLabels]:
        """What an operator said of addresses, in their order."""
        return await self._client.get("/v1/labels", list[AddressLabels])

    async def set_labels(self, order: AddressLabels) -> Done:
        """All labels of an address from now on."""
        return await self._client.send("PUT", "/v1/labels", order, Done)

    async def members(self) -> list[MemberShown]:
        """The nodes of the cluster."""
        return await self._client.get("/v1/members", list[MemberShown])
