"""Configuration over the registry's own API: lists, one item, publish with preview, removal, history, going back.

Rule: it shapes what ``service.configs`` answers, and decides nothing. A list shows only what the asker may read.
"""

from __future__ import annotations

import msgspec

from atoll.access import grants
from atoll.access.grants import Resource
from atoll.planes.registry.frontends.rest import config_shapes as shapes
from atoll.planes.registry.frontends.rest.door import Call, Door, delete, get, post, reading, writing
from atoll.planes.registry.service.configs import Configs
from atoll.resources.config_api import (
    ConfigAsked,
    ConfigRemoval,
    ConfigShown,
    PublishOrder,
    Removed,
    ServedAsked,
)
from atoll.resources.config_item import CONTENT_BYTES_MAX, ConfigKey, config_key
from atoll.resources.config_views import Published
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
            (read, get("/v1/config", "One, as an editor sees it.", self.one, ConfigShown, ConfigAsked)),
            (read, get("/v1/config/served", "As a consumer gets it.", self.served, ConfigTold, ServedAsked)),
            (write, msgspec.structs.replace(published, body_bytes_max=BODY_BYTES_MAX)),
            (write, delete("/v1/config", "Remove it.", self.remove, Removed, ConfigRemoval)),
        ]
        return [self._door.guarded(needs, endpoint) for needs, endpoint in declared]

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


def _parts(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())
