"""Configuration for those who administer it: search, history, who listens, quotas.

Rule: a list says only what its asker may read of the namespace as a whole; one item of it is asked for by its own name.

Source: Nacos 2.4.3, ``ConfigController``, ``HistoryController``, ``ListenerController``, ``CapacityController``; 3.1 of v3.
"""

from __future__ import annotations

from typing import Any

from atoll.errors import AtollError, Code, Reason
from atoll.planes.registry.frontends.nacos_http import answer, items, shapes
from atoll.planes.registry.frontends.nacos_http.answer import Bare
from atoll.planes.registry.frontends.nacos_http.application import Operation
from atoll.planes.registry.frontends.nacos_http.call import Call
from atoll.planes.registry.service.registry import Registry
from atoll.resources.config_item import Capacity, ConfigItem, ConfigKey, HistoryEntry
from atoll.resources.config_views import Search, Usage
from atoll.wire.nacos import parameters

_PAD = 10
"""The column of the operation is a CHAR(10) in the reference's database, and clients see it so."""


class Records:
    def __init__(self, registry: Registry) -> None:
        self._configs = registry.configs
        self._reach = registry.configs.reach

    def operations(self) -> dict[str, Operation]:
        return {
            "config.search": self.search,
            "config.list.v3": self.search_v3,
            "history.list": self.history,
            "history.list.v3": self.history,
            "history.detail": self.history_one,
            "history.detail.v3": self.history_one,
            "history.previous": self.previous,
            "history.previous.v3": self.previous,
            "history.configs": self.all_keys,
            "history.configs.v3": self.all_keys_v3,
            "config.listeners": self.listeners,
            "config.listeners.v3": self.listeners_v3,
            "config.listeners.ip": self.listeners_of_address,
            "config.listeners.ip.v3": self.listeners_of_address_v3,
            "config.metrics": self.metrics,
            "capacity.get": self.capacity,
            "capacity.set": self.set_capacity,
        }

    # ------------------------------------------------------------------------------------------- search

    def search(self, call: Call) -> Bare:
        """Bare in v2 as well."""
        number, size = call.page(100)
        found = self._configs.search(_search(call), number, size)
        page = shapes.page(number, size, found.total, [items.listed(each) for each in found.items])
        return answer.json(page)

    def search_v3(self, call: Call) -> Any:
        number, size = call.page(100)
        found = self._configs.search(_search(call), number, size)
        return shapes.page(number, size, found.total, [items.listed_v3(each) for each in found.items])

    # ------------------------------------------------------------------------------------------ history

    async def history(self, call: Call) -> Any:
        number, size = call.page(100)
        found = await self._configs.history.page(call.config_key(), number, size)
        return shapes.page(number, size, found.total, [_entry(call, each) for each in found.entries])

    async def history_one(self, call: Call) -> Any:
        """Of the item that the call names, and that permission was asked for; any other entry is not found."""
        entry = await self._configs.history.entry(
            call.config_key(), parameters.integer("nid", call.required("nid"))
        )
        return {**_entry(call, entry), **_detail(entry)}

    async def previous(self, call: Call) -> Any:
        entry_id = parameters.integer("id", call.required("id"))
        entry = await self._configs.history.newest(call.config_key(), entry_id)
        return {**_entry(call, entry), **_detail(entry)}

    def all_keys(self, call: Call) -> Any:
        return [items.listed(each) | {"content": None} for each in self._all(call)]

    def all_keys_v3(self, call: Call) -> Any:
        return [items.listed_v3(each) for each in self._all(call)]

    def _all(self, call: Call) -> list[ConfigItem]:
        found = self._configs.search(Search(namespace=call.namespace), 1, 10_000)
        return list(found.items)

    # ---------------------------------------------------------------------------------------- listeners

    async def listeners(self, call: Call) -> Any:
        found, _ = await self._reach.listeners(call.config_key())
        return _status({each.address: each.md5 for each in found})

    async def listeners_v3(self, call: Call) -> Any:
        found, _ = await self._reach.listeners(call.config_key())
        return {"queryType": "config", "listenersStatus": {each.address: each.md5 for each in found}}

    async def listeners_of_address(self, call: Call) -> Any:
        return _status(await self._of_address(call))

    async def listeners_of_address_v3(self, call: Call) -> Any:
        return {"queryType": "ip", "listenersStatus": await self._of_address(call)}

    async def _of_address(self, call: Call) -> dict[str, str]:
        """Of one namespace: that is what the asker may read."""
        found, _ = await self._reach.listened(call.required("ip"))
        return {
            _group_key(each.key): each.listener.md5 for each in found if each.key.namespace == call.namespace
        }

    async def metrics(self, call: Call) -> Any:
        """What a client has in its caches is known by its listening alone."""
        found, _ = await self._reach.listened(call.required("ip"))
        return {"cacheData": {_group_key(each.key): each.listener.md5 for each in found}, "snapshotData": {}}

    # ------------------------------------------------------------------------------------------- quotas

    def capacity(self, call: Call) -> Any:
        scope, name = _scope(call)
        return _usage(self._configs.capacity.usage(scope, name))

    async def set_capacity(self, call: Call) -> Any:
        scope, name = _scope(call)
        wanted = Capacity(
            scope=scope,
            name=name,
            items_max=call.integer("quota", 0),
            content_bytes_max=call.integer("maxSize", 0),
        )
        await self._configs.capacity.put(call.actor, wanted)
        return True


def _search(call: Call) -> Search:
    tags = call.first("config_tags", "configTags")
    return Search(
        namespace=call.namespace,
        group=call.first("groupName", "group"),
        data_id=call.text("dataId"),
        app_name=call.text("appName"),
        tags=tuple(tag.strip() for tag in tags.split(",") if tag.strip()),
        types=tuple(each.strip() for each in call.text("types").split(",") if each.strip()),
        content=call.first("config_detail", "configDetail"),
        blur=call.text("search") == "blur",
    )


def _entry(call: Call, entry: HistoryEntry) -> dict[str, Any]:
    """Without its content: a list leaves that out."""
    v3 = "/v3/" in call.path
    what: dict[str, Any] = {"id": str(entry.id), "lastId": -1, "dataId": entry.key.data_id}
    if v3:
        what |= {"groupName": entry.key.group, "namespaceId": entry.key.namespace}
    else:
        what |= {"group": entry.key.group, "tenant": items.tenant_text(entry.key)}
    created, changed = entry.created_s, entry.modified_s
    return {
        **what,
        "appName": entry.app_name,
        "md5": entry.md5,
        "content": None,
        "srcIp": entry.address,
        "srcUser": entry.user,
        "opType": entry.op if v3 else entry.op.ljust(_PAD),
        "publishType": entry.publish_type,
        "grayName": entry.gray_name,
        "createTime" if v3 else "createdTime": shapes.milliseconds(created) if v3 else shapes.date(created),
        "modifyTime" if v3 else "lastModifiedTime": shapes.milliseconds(changed)
        if v3
        else shapes.date(changed),
        "encryptedDataKey": entry.encrypted_data_key,
    }


def _detail(entry: HistoryEntry) -> dict[str, Any]:
    return {"content": entry.content, "extInfo": ""}


def _status(found: dict[str, str]) -> dict[str, Any]:
    """The name of the second field is the reference's own."""
    return {"collectStatus": 200, "lisentersGroupkeyStatus": found}


def _group_key(key: ConfigKey) -> str:
    parts = [key.data_id, key.group, *((key.namespace,) if items.tenant_text(key) else ())]
    return "+".join(part.replace("%", "%25").replace("+", "%2B") for part in parts)


def _scope(call: Call) -> tuple[str, str]:
    group = call.first("groupName", "group")
    if group:
        return "group", parameters.group(group)
    if not call.fields.get("tenant") and not call.fields.get("namespaceId"):
        message = "Param 'tenant' or 'group' is required."
        raise AtollError(
            Code.INVALID, message, reason=Reason.PARAMETER_MISSING, facts={"parameter": "tenant"}
        )
    return "namespace", call.namespace


def _usage(usage: Usage) -> dict[str, Any]:
    name = "group" if usage.scope == "group" else "tenant"
    return {
        "id": None,
        name: usage.name,
        "quota": usage.items_max,
        "usage": usage.items,
        "maxSize": usage.content_bytes_max,
        "maxAggrCount": 0,
        "maxAggrSize": 0,
        "gmtCreate": shapes.date(usage.created_s),
        "gmtModified": shapes.date(usage.modified_s),
    }
