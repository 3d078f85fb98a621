"""Following configurations and services over one long-lived answer.

Rule: what waits to be told is a set of names, never a queue of values: a slow reader is told the newest state of each
thing that changed, and costs no more than what it follows. Permissions are asked when the stream opens and again before
each line; a user's stream ends after ``USER_STREAM_S_MAX`` seconds, so that a token which ended does not live on in it.

The doubt: nothing comes back over such an answer, so "acknowledged" means that the connection took the line.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import msgspec

from atoll.access import grants
from atoll.errors import AtollError, Code
from atoll.planes.registry.frontends.rest import config_shapes, naming_shapes
from atoll.planes.registry.frontends.rest.door import Call, Door, known, post
from atoll.planes.registry.model.config_listeners import Listener
from atoll.planes.registry.model.naming import Selection, ServiceInfo
from atoll.planes.registry.service.configs import Configs
from atoll.planes.registry.service.journal import Journal
from atoll.planes.registry.service.naming import Naming
from atoll.planes.registry.service.pushes import Push
from atoll.planes.registry.service.recorder import config_subject
from atoll.resources.config_item import ConfigKey, config_key
from atoll.resources.config_views import Changed
from atoll.resources.consumer import IDENTITY_LABEL, Consumer
from atoll.resources.registry_client import Client
from atoll.resources.service import ServiceKey, key_of
from atoll.resources.watch_api import (
    ALIVE_EVERY_S,
    ConfigFollowed,
    ServiceFollowed,
    ServiceTold,
    Told,
    WatchOrder,
)
from atoll.runtime import loop
from atoll.runtime.clock import Clock
from atoll.runtime.http_api import Endpoint
from atoll.runtime.rng import new_token

USER_STREAM_S_MAX = 600.0
CLIENT_ID_BYTES = 9
SDK = "atoll-api"


@dataclass
class WatchParts:
    """What a stream is fed by."""

    configs: Configs
    naming: Naming
    journal: Journal
    clock: Clock


class WatchApi:
    def __init__(self, parts: WatchParts, door: Door) -> None:
        self._parts = parts
        self._door = door

    def endpoints(self) -> list[Endpoint]:
        watch = post("/v1/watch", "Follow configurations and services.", self.watch, Told, WatchOrder)
        return [self._door.guarded(known, msgspec.structs.replace(watch, streams=True))]

    async def watch(self, call: Call) -> AsyncIterator[Told]:
        clock = self._parts.clock
        end_s = clock.now_s() + (USER_STREAM_S_MAX if call.principal.name else float("inf"))
        stream = _Stream(self._parts, self._door, call)
        try:
            stream.open()
            yield Told(clock.wall_s())
            while clock.now_s() < end_s:
                for told in stream.due():
                    yield told
                if not await loop.wait_event(stream.changed, ALIVE_EVERY_S):
                    yield Told(clock.wall_s())
        finally:
            stream.close()


class _Stream:
    """What one answer follows, and what it has to tell."""

    def __init__(self, parts: WatchParts, door: Door, call: Call) -> None:
        self._parts = parts
        self._door = door
        self._principal = call.principal
        self._order: WatchOrder = call.body
        self._client = _client(call, parts.clock.wall_s())
        self._configs = {_config_key(each): each for each in self._order.configs}
        self._services = {_service_key(each): each for each in self._order.services}
        self._due_configs: dict[ConfigKey, None] = {}
        self._due_services: dict[tuple[ServiceKey, str], Push | ServiceInfo] = {}
        self.changed = loop.Event()
        if len(self._services) < len(self._order.services):
            raise AtollError(
                Code.INVALID, "the same clusters of a service are followed twice; follow them once"
            )

    def open(self) -> None:
        """Listen and subscribe. Raises DENIED, and EXHAUSTED past a limit."""
        self._parts.naming.client_opened(self._client)
        consumer = self._consumer()
        for key, followed in self._configs.items():
            self._require(key)
            listener = Listener(self._client.id, consumer, followed.md5, self._config_changed)
            differs = self._parts.configs.listen(listener, key)
            if differs or not followed.md5:
                self._due_configs[key] = None
        for (service, clusters), wanted in self._services.items():
            self._require(service)
            selection = Selection.of_text(clusters, wanted.healthy_only, self._client.address)
            info = self._parts.naming.subscribe(self._client.id, service, selection, self._hosts_changed)
            self._due_services[service, clusters] = info

    def close(self) -> None:
        self._parts.configs.client_closed(self._client.id)
        self._parts.naming.client_closed(self._client.id, clean=True)

    def due(self) -> Iterator[Told]:
        """What changed since the last look; taking the next one says that this one is on its way."""
        self.changed.clear()
        while self._due_configs:
            config = next(iter(self._due_configs))
            del self._due_configs[config]
            yield self._config_told(config)
        while self._due_services:
            service, clusters = next(iter(self._due_services))
            what = self._due_services.pop((service, clusters))
            info = what if isinstance(what, ServiceInfo) else what.info
            yield self._service_told(service, clusters, info)
            if isinstance(what, Push):
                what.acknowledged()

    def _config_told(self, key: ConfigKey) -> Told:
        self._require(key)
        served = self._parts.configs.query(key, self._consumer())
        self._parts.journal.fetched(self._client.id, config_subject(key), served.md5 if served else "")
        told = config_shapes.told(key, self._configs[key].namespace, served)
        subject = str(grants.config(key.namespace, key.group, key.data_id))
        self._parts.journal.fetched(self._client.id, subject, told.md5)
        return Told(self._parts.clock.wall_s(), told)

    def _service_told(self, key: ServiceKey, clusters: str, info: ServiceInfo) -> Told:
        self._require(key)
        told = ServiceTold(self._services[key, clusters], naming_shapes.hosts(info))
        return Told(self._parts.clock.wall_s(), None, told)

    def _config_changed(self, change: Changed) -> None:
        self._due_configs[change.key] = None
        self.changed.set()

    def _hosts_changed(self, push: Push) -> None:
        self._due_services[push.key, push.info.clusters] = push
        self.changed.set()

    def _consumer(self) -> Consumer:
        order, client = self._order, self._client
        return Consumer(client.address, client.labels, order.tag, order.app)

    def _require(self, key: ConfigKey | ServiceKey) -> None:
        if isinstance(key, ConfigKey):
            resource = grants.config(key.namespace, key.group, key.data_id)
        else:
            resource = grants.service(key.namespace, key.group, key.name)
        self._door.guard.require(self._principal, resource, "r")


def _client(call: Call, now_s: float) -> Client:
    order: WatchOrder = call.body
    labels = dict(order.labels)
    if order.client:
        labels[IDENTITY_LABEL] = order.client
    return Client(
        id=f"api-{new_token(CLIENT_ID_BYTES)}",
        address=call.actor.address,
        app=order.app,
        version=SDK,
        labels=labels,
        user=call.principal.name,
        opened_s=now_s,
    )


def _config_key(followed: ConfigFollowed) -> ConfigKey:
    return config_key(followed.namespace, followed.group, followed.data_id)


def _service_key(followed: ServiceFollowed) -> tuple[ServiceKey, str]:
    clusters = ",".join(Selection.of_text(followed.clusters).clusters)
    return key_of(followed.namespace, followed.group, followed.name), clusters
