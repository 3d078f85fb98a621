# Generated from src/atoll/client/services.py by `python3 dev.py generate`; edit that file instead.
"""Services and instances over the node's API, typed. For applications there is ``atoll.client.registry``."""

from __future__ import annotations

from atoll.client.blocking.node import Client
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

    def every(self, asked: ServicesAsked) -> ServicePage:
        return self._client.get("/v1/services", ServicePage, asked)

    def one(self, asked: ServiceAsked) -> ServiceShown:
        return self._client.get("/v1/service", ServiceShown, asked)

    def create(self, order: ServiceOrder) -> Done:
        return self._client.post("/v1/service", order, Done)

    def update(self, order: ServiceChangeOrder) -> Done:
        return self._client.send("PUT", "/v1/service", order, Done)

    def remove(self, asked: ServiceAsked) -> Removed:
        return self._client.send("DELETE", "/v1/service", None, Removed, asked)

    def update_cluster(self, order: ClusterOrder) -> Done:
        return self._client.send("PUT", "/v1/service/cluster", order, Done)

    def publishers(self, asked: ServiceAsked) -> list[PublisherShown]:
        return self._client.get("/v1/service/publishers", list[PublisherShown], asked)

    def subscribers(self, asked: ServiceAsked) -> list[SubscriberShown]:
        return self._client.get("/v1/service/subscribers", list[SubscriberShown], asked)

    def clients(self) -> list[ClientShown]:
        """Of all nodes."""
        return self._client.get("/v1/clients", list[ClientShown])

    def instances(self, asked: InstancesAsked) -> Hosts:
        """Those that a consumer is given."""
        return self._client.get("/v1/instances", Hosts, asked)

    def instance(self, asked: InstanceAsked) -> Instance:
        return self._client.get("/v1/instance", Instance, asked)

    def register(self, order: InstanceOrder) -> Beating:
        return self._client.post("/v1/instance", order, Beating)

    def beat(self, asked: InstanceAsked) -> Beating:
        return self._client.send("PUT", "/v1/instance/beat", None, Beating, asked)

    def deregister(self, asked: InstanceAsked) -> Removed:
        return self._client.send("DELETE", "/v1/instance", None, Removed, asked)

    def override(self, order: OverrideOrder) -> Done:
        return self._client.send("PUT", "/v1/instance/override", order, Done)

    def remove_override(self, asked: OverrideRemoval) -> Done:
        return self._client.send("DELETE", "/v1/instance/override", None, Done, asked)

    def set_health(self, order: HealthOrder) -> Done:
        return self._client.send("PUT", "/v1/instance/health", order, Done)

    def labels(self) -> list[AddressLabels]:
        """What an operator said of addresses, in their order."""
        return self._client.get("/v1/labels", list[AddressLabels])

    def set_labels(self, order: AddressLabels) -> Done:
        """All labels of an address from now on."""
        return self._client.send("PUT", "/v1/labels", order, Done)

    def members(self) -> list[MemberShown]:
        """The nodes of the cluster."""
        return self._client.get("/v1/members", list[MemberShown])
