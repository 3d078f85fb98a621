"""Configuration over the registry's own API: lists, one item, publish with preview, removal, history, going back.

Rule: it shapes what ``service.configs`` answers, and decides nothing. A list shows only what the asker may read.
"""

from __future__ import annotations

import msgspec

from atoll.access import grants
from atoll.access.grants import Resource
from atoll.planes.registry.frontends.rest import config_shapes as shapes
from atoll.planes.registry.frontends.rest.door import Call, Door, delete, get, known, post, reading, writing
from atoll.planes.registry.policy.config_search import find
from atoll.planes.registry.service.configs import Configs
from atoll.resources import namespace
from atoll.resources.config_api import (
    ConfigAsked,
    ConfigPage,
    ConfigRemoval,
    ConfigsAsked,
    ConfigShown,
    EntryAsked,
    EntryShown,
    HistoryAsked,
    HistoryShown,
    PublishOrder,
    Removed,
    RollbackOrder,
    ServedAsked,
)
from atoll.resources.config_item import CONTENT_BYTES_MAX, ConfigKey, config_key
from atoll.resources.config_views import Published, Search
from atoll.resources.consumer import Consumer
from atoll.resources.watch_api import ConfigTold
from atoll.runtime.http_api import Asked, Endpoint

BODY_BYTES_MAX = 2 * CONTENT_BYTES_MAX + 65_536  # a content as a JSON string, escapes included, and the rest


def key_of(named: msgspec.Struct) -> ConfigKey:
    """Of a question or an order. Raises INVALID."""
    return config_key(named.namespace, named.group, named.data_id)  # type: ignore[attr-defined]


def resource_of(asked: Asked) -> Resource:
    key = key_of(asked.fields if asked.fields is not None else asked.body)
    return grants.config(key.namespace, key.group, key.data_id)


class ConfigsApi:
    def __init__(self, configs: Configs, door: Door) -> None:
        self._configs = configs
        self._door = door

    def endpoints(self) -> list[Endpoint]:
        read, write = reading(resource_of), writing(resource_of)
        published = post("/v1/config", "Publish.", self.publish, Published, PublishOrder)
        declared = [
            (known, get("/v1/configs", "Configurations.", self.every, ConfigPage, ConfigsAsked)),
            (read, get("/v1/config", "One, as an editor sees it.", self.one, ConfigShown, ConfigAsked)),
            (read, get("/v1/config/served", "As a consumer gets it.", self.served, ConfigTold, ServedAsked)),
            (write, msgspec.structs.replace(published, body_bytes_max=BODY_BYTES_MAX)),
            (write, delete("/v1/config", "Remove it.", self.remove, Removed, ConfigRemoval)),
            (read, get("/v1/config/history", "What it was.", self.history, HistoryShown, HistoryAsked)),
            (read, get("/v1/config/entry", "One entry of it.", self.entry, EntryShown, EntryAsked)),
            (write, post("/v1/config/rollback", "Go back.", self.rollback, Published, RollbackOrder)),
        ]
        return [self._door.guarded(needs, endpoint) for needs, endpoint in declared]

    async def every(self, call: Call) -> ConfigPage:
        asked: ConfigsAsked = call.fields
        search = Search(
            namespace=namespace.canonical(asked.namespace),
            group=asked.group,
            data_id=asked.data_id,
            app_name=asked.app,
            tags=_parts(asked.tags),
            types=_parts(asked.types),
            content=asked.content,
            blur=True,
            all_namespaces=asked.all_namespaces,
        )
        may = self._door.guard.allows
        found = [
            item
            for item in find(self._configs.view.items(), search)
            if may(call.principal, grants.config(item.key.namespace, item.key.group, item.key.data_id), "r")
        ]
        start = (asked.page - 1) * asked.page_size
        page = tuple(shapes.summary(item) for item in found[start : start + asked.page_size])
        return ConfigPage(len(found), asked.page, asked.page_size, page)

    async def one(self, call: Call) -> ConfigShown:
        key = key_of(call.fields)
        return shapes.shown(key, self._configs.item(key), self._configs.grays(key))

    async def served(self, call: Call) -> ConfigTold:
        asked: ServedAsked = call.fields
        key = key_of(asked)
        address = asked.address or call.asked.caller.address
        consumer = Consumer(address, shapes.labels_of(asked.labels), asked.tag, asked.app)
        return shapes.told(key, key.namespace, self._configs.query(key, consumer))

    async def publish(self, call: Call) -> Published:
        order: PublishOrder = call.body
        return await self._configs.publish(call.actor, key_of(order), order.content, order.details)

    async def remove(self, call: Call) -> Removed:
        asked: ConfigRemoval = call.fields
        return Removed(await self._configs.remove(call.actor, key_of(asked), asked.gray_name))

    async def history(self, call: Call) -> HistoryShown:
        asked: HistoryAsked = call.fields
        key = key_of(asked)
        page = await self._configs.history.page(key, asked.page, asked.page_size)
        entries = tuple(shapes.entry(each) for each in page.entries)
        return HistoryShown(key, page.total, page.page, page.page_size, entries)

    async def entry(self, call: Call) -> EntryShown:
        asked: EntryAsked = call.fields
        return shapes.entry(await self._configs.history.entry(key_of(asked), asked.id), with_content=True)

    async def rollback(self, call: Call) -> Published:
        order: RollbackOrder = call.body
        key = key_of(order)
        return await self._configs.history.rollback(call.actor, key, order.id, order.cas_md5)


def _parts(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())
