"""Listeners over HTTP: a request that is held until an item changes, or until its time is over.

Rule: what a client knows is compared when it comes, and from then on every change of its items wakes it; nothing can
be lost between the two, because comparing and listening are one act. A client that leaves is forgotten at once.

Source: Nacos's ``LongPollingService``: hold ``Long-Pulling-Timeout`` less 500 ms, at least 10 s.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from atoll.access.grants import READ, config
from atoll.errors import AtollError, Code, Reason
from atoll.planes.registry.frontends.nacos_http.answer import Bare, Fields
from atoll.planes.registry.frontends.nacos_http.call import Call
from atoll.planes.registry.frontends.nacos_http.doors import Doors
from atoll.planes.registry.service.configs import Configs, Listener
from atoll.resources.config_item import ConfigKey
from atoll.resources.config_views import Changed
from atoll.resources.consumer import Consumer
from atoll.runtime import loop
from atoll.runtime.http1 import Receive
from atoll.wire.nacos import listening, parameters
from atoll.wire.nacos.listening import Known

HOLD_S_MIN = 10.0
HOLD_S_MAX = 120.0
EARLY_S = 0.5  # before the client's own time-out
HELD_MAX = 20_000
"""Requests that a node holds at a time; each has a connection as well."""


class Listening:
    """The held requests of one node."""

    def __init__(self, configs: Configs, doors: Doors) -> None:
        self._configs = configs
        self._doors = doors
        self._numbers = itertools.count(1)
        self.held = 0

    async def listen(self, call: Call, receive: Receive) -> Bare:
        known = {self._key(call, each): each for each in listening.decode(call.required("Listening-Configs"))}
        timeout = call.header(b"long-pulling-timeout")
        if not timeout:
            changed = self._differing(call, known)
            return Bare(listening.encode(changed), fields=_old_fields(changed))
        hold_s = _hold_s(timeout)
        if call.header(b"long-pulling-timeout-no-hangup").lower() == "true":
            return Bare(listening.encode(self._differing(call, known)))
        if self.held >= HELD_MAX:
            message = f"this node holds {HELD_MAX} listeners already"
            raise AtollError(Code.UNAVAILABLE, message, reason=Reason.RATE_LIMITED, retry_after_s=2.0)
        self.held += 1
        try:
            return Bare(listening.encode(await self._hold(call, known, hold_s, receive)))
        finally:
            self.held -= 1

    def _key(self, call: Call, known: Known) -> ConfigKey:
        namespace = parameters.namespace(known.tenant)
        group, data_id = parameters.group(known.group), parameters.data_id(known.data_id)
        self._doors.require(call, config(namespace, group, data_id), READ)
        return ConfigKey(namespace, group, data_id)

    def _differing(self, call: Call, known: dict[ConfigKey, Known]) -> list[Known]:
        consumer = consumer_of(call)
        return [each for key, each in known.items() if self._configs.md5(key, consumer) != each.md5]

    async def _hold(
        self, call: Call, known: dict[ConfigKey, Known], hold_s: float, receive: Receive
    ) -> Sequence[Known]:
        woken = loop.Event()
        changed: dict[ConfigKey, Known] = {}

        def tell(change: Changed) -> None:
            changed[change.key] = known[change.key]
            woken.set()

        client = f"http-{call.peer[0]}:{call.peer[1]}-{next(self._numbers)}"
        consumer = consumer_of(call)
        try:
            for key, each in known.items():
                if self._configs.listen(Listener(client, consumer, each.md5, tell), key):
                    changed[key] = each
            if not changed:
                await loop.wait_event_while(woken, _left(receive), hold_s)
        finally:
            self._configs.client_closed(client)
        return list(changed.values())


def consumer_of(call: Call) -> Consumer:
    """Who asks, as far as a gray release may depend on it."""
    return Consumer(
        address=call.peer[0],
        tag=call.header(b"vipserver-tag"),
        app=call.header(b"client-appname"),
    )


async def _left(receive: Receive) -> None:
    """Ends when the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        continue


def _hold_s(timeout_ms: str) -> float:
    asked_s = parameters.integer("Long-Pulling-Timeout", timeout_ms) / 1000
    return min(max(asked_s - EARLY_S, HOLD_S_MIN), HOLD_S_MAX)


def _old_fields(changed: Sequence[Known]) -> Fields:
    """Clients before 2.0.4 read the answer of a short poll from its head."""
    body = listening.encode(changed).strip()
    return [(b"probe-modify-response", listening.short(changed)), (b"probe-modify-response-new", body)]
