"""Clients and who talks to whom: publishers, subscribers, connections, of all nodes.

Rule: a client's id is what the node that it talks to calls it; lists of ids are of the whole cluster.

Source: Nacos 2.4.3, ``ClientInfoControllerV2``, ``ServiceController`` (subscribers), ``ServerLoaderController``; 3.1 of v3.
"""

from __future__ import annotations

from typing import Any

from atoll.planes.registry.frontends.nacos_http import shapes
from atoll.planes.registry.frontends.nacos_http.application import Operation
from atoll.planes.registry.frontends.nacos_http.call import Call
from atoll.planes.registry.model.naming import ClientView, SubscriberView
from atoll.planes.registry.service.naming_across import ClientDetail
from atoll.planes.registry.service.registry import Registry
from atoll.resources.instance import Instance
from atoll.resources.registry_client import ClientKind
from atoll.resources.service import ServiceKey


class Clients:
    def __init__(self, registry: Registry) -> None:
        self._naming = registry.naming
        self._peers = registry.peers
        self._connected = registry.connected

    def operations(self) -> dict[str, Operation]:
        return {
            "clients.list": self.ids,
            "clients.get": self.one,
            "clients.published": self.published,
            "clients.published.v3": self.published_v3,
            "clients.subscribed": self.subscribed,
            "clients.subscribed.v3": self.subscribed_v3,
            "clients.publishers": self.publishers,
            "clients.publishers.v3": self.publishers_v3,
            "clients.subscribers": self.subscribers,
            "clients.subscribers.v3": self.subscribers_v3,
            "service.subscribers": self.of_service,
            "service.subscribers.v3": self.of_service_v3,
            "loader.current": self.connections,
            "loader.cluster": self.cluster,
            "loader.reload": self.send_away,
        }

    # ------------------------------------------------------------------------------------------- clients

    async def ids(self, call: Call) -> Any:
        return [each.id for each in await self._naming.all_clients()]

    async def one(self, call: Call) -> Any:
        return _client((await self._known(call)).view)

    async def _known(self, call: Call) -> ClientDetail:
        """Raises NOT_FOUND."""
        return await self._naming.client(call.required("clientId"))

    async def published(self, call: Call) -> Any:
        found = (await self._known(call)).published
        return [{**_named(each.key), "registeredInstance": _address(each.instance)} for each in found]

    async def published_v3(self, call: Call) -> Any:
        found = (await self._known(call)).published
        return [
            {**_named_v3(each.key), "publisherInfo": _publisher(each.client, each.instance)} for each in found
        ]

    async def subscribed(self, call: Call) -> Any:
        found = (await self._known(call)).subscribed
        return [{**_named(each.key), "subscriberInfo": _subscriber(each)} for each in found]

    async def subscribed_v3(self, call: Call) -> Any:
        found = (await self._known(call)).subscribed
        return [{**_named_v3(each.key), "subscriberInfo": _subscriber_v3(each)} for each in found]

    # ------------------------------------------------------------------------------------------ services

    def publishers(self, call: Call) -> Any:
        found = self._naming.publishers(call.service_key())
        return [
            {"clientId": each.client, **_address(each.instance)}
            for each in found
            if _at(call, each.instance.ip, each.instance.port)
        ]

    def publishers_v3(self, call: Call) -> Any:
        found = self._naming.publishers(call.service_key())
        return [
            {**_named_v3(each.key), "publisherInfo": _publisher(each.client, each.instance)}
            for each in found
            if _at(call, each.instance.ip, each.instance.port)
        ]

    async def subscribers(self, call: Call) -> Any:
        found = await self._naming.subscribers(call.service_key())
        return [
            {"clientId": each.client, "ip": each.address, "port": each.port, **_subscriber(each)}
            for each in found
            if _at(call, each.address, each.port)
        ]

    async def subscribers_v3(self, call: Call) -> Any:
        found = await self._naming.subscribers(call.service_key())
        return [
            {**_named_v3(each.key), "subscriberInfo": _subscriber_v3(each)}
            for each in found
            if _at(call, each.address, each.port)
        ]

    async def of_service(self, call: Call) -> Any:
        found = await self._of_service(call)
        number, size = call.page(1000)
        shown = [_row(each) for each in shapes.slice_of(found, number, size)]
        return {"subscribers": shown, "count": len(found)}

    async def of_service_v3(self, call: Call) -> Any:
        found = await self._of_service(call)
        number, size = call.page(100)
        rows = [
            {
                **_named_v3(each.key),
                "ip": each.address,
                "port": each.port,
                "agent": each.version,
                "appName": each.app,
            }
            for each in shapes.slice_of(found, number, size)
        ]
        return shapes.page(number, size, len(found), rows)

    async def _of_service(self, call: Call) -> list[SubscriberView]:
        call.required("serviceName")
        return await self._naming.subscribers(call.service_key())

    # -------------------------------------------------------------------------------------- connections

    def send_away(self, call: Call) -> str:
        """Ask one client of this node to connect elsewhere."""
        self._connected.send_away(call.required("connectionId"), call.text("redirectAddress"))
        return "success"

    def connections(self, call: Call) -> Any:
        found = self._connected.clients()
        return {
            each.id: {
                "metaInfo": {
                    "connectionId": each.id,
                    "clientIp": each.address,
                    "remotePort": each.port,
                    "version": each.version,
                    "appName": each.app,
                    "labels": dict(each.labels),
                    "createTime": shapes.date(each.opened_s),
                }
            }
            for each in found
        }

    async def cluster(self, call: Call) -> Any:
        """How many connections each node has."""
        count = {each.node: 0 for each in self._peers.members()}
        for each in await self._naming.all_clients():
            if each.kind == ClientKind.CONNECTION.value:
                count[each.node] = count.get(each.node, 0) + 1
        loads = sorted(count.values()) or [0]
        return {
            "total": sum(loads),
            "min": loads[0],
            "max": loads[-1],
            "avg": sum(loads) // len(loads),
            "memberCount": len(loads),
            "metricsCount": len(loads),
            "completed": True,
            "detail": [
                {"address": node, "metric": {"conCount": str(number)}}
                for node, number in sorted(count.items())
            ],
        }


def _at(call: Call, ip: str, port: int) -> bool:
    wanted_ip, wanted_port = call.text("ip"), call.integer("port", 0)
    return wanted_ip in ("", ip) and wanted_port in (0, port)


def _client(each: ClientView) -> dict[str, Any]:
    connection = each.kind == ClientKind.CONNECTION.value
    return {
        "clientId": each.id,
        "ephemeral": True,
        "lastUpdatedTime": shapes.milliseconds(each.updated_s),
        "clientType": "connection" if connection else "ipPort",
        "connectType": "GRPC" if connection else None,
        "appName": each.app,
        "version": each.version,
        "clientIp": each.address,
        "clientPort": each.port,
    }


def _named(key: ServiceKey) -> dict[str, Any]:
    return {"namespace": key.namespace, "group": key.group, "serviceName": key.name}


def _named_v3(key: ServiceKey) -> dict[str, Any]:
    return {"namespaceId": key.namespace, "groupName": key.group, "serviceName": key.name}


def _address(instance: Instance) -> dict[str, Any]:
    return {"ip": instance.ip, "port": instance.port, "cluster": instance.cluster}


def _publisher(client: str, instance: Instance) -> dict[str, Any]:
    return {
        "clientId": client,
        "ip": instance.ip,
        "port": instance.port,
        "clusterName": instance.cluster,
    }


def _subscriber(each: SubscriberView) -> dict[str, Any]:
    return {"app": each.app, "agent": each.version, "addr": f"{each.address}:{each.port}"}


def _subscriber_v3(each: SubscriberView) -> dict[str, Any]:
    return {
        "clientId": each.client,
        "appName": each.app,
        "agent": each.version,
        "address": f"{each.address}:{each.port}",
    }


def _row(each: SubscriberView) -> dict[str, Any]:
    return {
        "addrStr": f"{each.address}:{each.port}",
        "agent": each.version,
        "app": each.app,
        "ip": each.address,
        "port": each.port,
        "namespaceId": each.key.namespace,
        "serviceName": each.key.grouped,
        "cluster": each.clusters,
    }
