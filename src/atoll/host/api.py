"""The node's own part of the HTTP API: itself, its settings, store, leases, logs, metrics and health.

Rule: nothing here decides; an endpoint asks a part of the node and shapes the answer. What planes add is theirs.
"""

from __future__ import annotations

import os

import msgspec

import atoll
from atoll.host import meters, settings
from atoll.host.state import State
from atoll.resources.node import (
    CompactOrder,
    Done,
    Lease,
    Leases,
    Listener,
    Node,
    SettingValue,
    StoreStatus,
)
from atoll.runtime import logs, loop, metrics, process
from atoll.runtime.http_api import Asked, Endpoint, Text

LEASES_MAX = 200  # shown; each costs a question to the store


def shown_settings(resolved: settings.Resolved) -> list[SettingValue]:
    """Every setting as text with its source; what a URL says of a password is not in it."""
    return [
        SettingValue(value.declared.name, settings.shown(value), value.source) for value in resolved.values
    ]


class Api:
    """The endpoints over one node's state."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._store_meters = meters.StoreMeters(state.metrics)

    def endpoints(self) -> list[Endpoint]:
        return [
            Endpoint("GET", "/livez", "Whether the process answers.", self.live, str, open_to_all=True),
            Endpoint(
                "GET", "/readyz", "Whether every part is ready.", self.ready, dict[str, str], open_to_all=True
            ),
            Endpoint("GET", "/metrics", "Prometheus' text format.", self.metrics, str),
            Endpoint("GET", "/v1/node", "The node.", self.node, Node),
            Endpoint(
                "GET", "/v1/settings", "Every setting and its source.", self.settings, list[SettingValue]
            ),
            Endpoint("GET", "/v1/logs", "The newest log lines.", self.logs, list[str]),
            Endpoint("GET", "/v1/store", "The store.", self.store, StoreStatus),
            Endpoint("GET", "/v1/leases", "Leases and their keys.", self.leases, Leases),
            Endpoint(
                "POST", "/v1/store/compact", "Forget old history.", self.compact, Done, body=CompactOrder
            ),
            Endpoint(
                "POST", "/v1/store/defragment", "Give free space back to the disk.", self.defragment, Done
            ),
        ]

    async def live(self, asked: Asked) -> Text:
        return Text(b"ok\n")

    async def ready(self, asked: Asked) -> Text:
        health = self._state.health
        status = 200 if health.is_ready else 503
        return Text(msgspec.json.encode(health.report()), "application/json", status)

    async def metrics(self, asked: Asked) -> Text:
        await self._store_meters.refresh(self._state.opened.store)
        return Text(self._state.metrics.text(), metrics.CONTENT_TYPE)

    async def node(self, asked: Asked) -> Node:
        state = self._state
        chosen = state.resolved.settings
        tls = bool(chosen.tls_certificate)
        return Node(
            version=atoll.__version__,
            pid=os.getpid(),
            started_at_s=state.started_at_s,
            ready_after_s=state.ready_after_s,
            resident_bytes=process.resident_bytes(),
            data=str(chosen.data),
            auth=chosen.auth,
            store=state.opened.url,
            listeners=tuple(Listener(name, str(each.address), tls) for name, each in state.listeners.items()),
            planes=tuple(plane.name for plane in state.planes),
            jobs=tuple(state.leader.running if state.leader else ()),
            health=state.health.report(),
            remarks=tuple(state.remarks),
        )

    async def settings(self, asked: Asked) -> list[SettingValue]:
        return shown_settings(self._state.resolved)

    async def logs(self, asked: Asked) -> list[str]:
        return logs.newest_lines()

    async def store(self, asked: Asked) -> StoreStatus:
        opened = self._state.opened
        status = await opened.store.status()
        leases = await opened.store.lease_list()
        return StoreStatus(
            url=opened.url,
            revision=status.revision,
            compact_revision=status.compact_revision,
            generation=status.generation,
            size_bytes=status.size_bytes,
            size_in_use_bytes=status.size_in_use_bytes,
            version=status.version,
            alarms=status.alarms,
            leases=len(leases.leases),
        )

    async def leases(self, asked: Asked) -> Leases:
        store = self._state.opened.store
        ids = (await store.lease_list()).leases
        found = [await store.lease_time_to_live(each, keys=True) for each in ids[:LEASES_MAX]]
        shown = [
            Lease(f"{each.lease:x}", each.granted_ttl_s, each.ttl_s, tuple(_text(key) for key in each.keys))
            for each in found
            if each.ttl_s >= 0
        ]
        return Leases(len(ids), tuple(shown))

    async def compact(self, asked: Asked) -> Done:
        store = self._state.opened.store
        revision = asked.body.revision or (await store.status()).revision
        return Done((await store.compact(revision)).revision)

    async def defragment(self, asked: Asked) -> Done:
        opened = self._state.opened
        await loop.in_thread(opened.defragment)
        return Done((await opened.store.status()).revision)


def _text(key: bytes) -> str:
    return key.decode("utf-8", "backslashreplace")
