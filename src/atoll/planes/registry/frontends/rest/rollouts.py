"""Staged releases, previews and listeners over the registry's own API.

Rule: it shapes what ``service.configs`` answers, and decides nothing. A list shows only what the asker may read. A gate
may look only where its author may: at services that they may read, and at URLs, which the leading node asks from within
the operator's network, only if they are an administrator.
"""

from __future__ import annotations

import msgspec

from atoll.access import grants
from atoll.planes.registry.frontends.rest import config_shapes as shapes
from atoll.planes.registry.frontends.rest.configs import BODY_BYTES_MAX, key_of, resource_of
from atoll.planes.registry.frontends.rest.door import Call, Door, get, known, post, reading, writing
from atoll.planes.registry.service.configs import Configs
from atoll.resources.config_api import (
    ConfigAsked,
    Listening,
    PublishOrder,
    RolloutMove,
    RolloutOrder,
    RolloutShown,
)
from atoll.resources.config_item import DEFAULT_GROUP
from atoll.resources.config_views import Preview
from atoll.resources.rollout import HealthyGate
from atoll.runtime.http_api import Endpoint


class RolloutsApi:
    def __init__(self, configs: Configs, door: Door) -> None:
        self._configs = configs
        self._door = door

    def endpoints(self) -> list[Endpoint]:
        read, write = reading(resource_of), writing(resource_of)
        preview = post("/v1/config/preview", "What a publish would do.", self.preview, Preview, PublishOrder)
        start = post("/v1/rollout", "Release in steps.", self.start, RolloutShown, RolloutOrder)
        move = post("/v1/rollout/move", "Move one on.", self.move, RolloutShown, RolloutMove)
        listening = get("/v1/config/listeners", "Who listens.", self.listeners, Listening, ConfigAsked)
        declared = [
            (write, msgspec.structs.replace(preview, body_bytes_max=BODY_BYTES_MAX)),
            (read, listening),
            (known, get("/v1/rollouts", "Staged releases.", self.every, list[RolloutShown])),
            (read, get("/v1/rollout", "The newest of one.", self.one, RolloutShown, ConfigAsked)),
            (write, msgspec.structs.replace(start, body_bytes_max=BODY_BYTES_MAX)),
            (write, move),
        ]
        return [self._door.guarded(needs, endpoint) for needs, endpoint in declared]

    async def preview(self, call: Call) -> Preview:
        order: PublishOrder = call.body
        return await self._configs.reach.preview(call.actor, key_of(order), order.content, order.details)

    async def listeners(self, call: Call) -> Listening:
        key = key_of(call.fields)
        return Listening(key, *await self._configs.reach.listeners(key))

    async def every(self, call: Call) -> list[RolloutShown]:
        may = self._door.guard.allows
        return [
            shapes.rollout(each)
            for each in self._configs.rollouts.every()
            if may(call.principal, grants.config(each.key.namespace, each.key.group, each.key.data_id), "r")
        ]

    async def one(self, call: Call) -> RolloutShown:
        return shapes.rollout(self._configs.rollouts.get(key_of(call.fields)))

    async def start(self, call: Call) -> RolloutShown:
        order: RolloutOrder = call.body
        key = key_of(order)
        self._require_gates(call, order)
        return shapes.rollout(
            await self._configs.stage(call.actor, key, order.content, order.details, order.plan)
        )

    def _require_gates(self, call: Call, order: RolloutOrder) -> None:
        guard = self._door.guard
        for gate in order.plan.gates:
            if not isinstance(gate, HealthyGate):
                guard.require_admin(call.principal)
                continue
            for service in gate.services:
                group, _, name = service.rpartition("@@")
                namespace = gate.namespace or order.namespace
                guard.require(call.principal, grants.service(namespace, group or DEFAULT_GROUP, name), "r")

    async def move(self, call: Call) -> RolloutShown:
        order: RolloutMove = call.body
        rollouts = self._configs.rollouts
        return shapes.rollout(await rollouts.move(call.actor, key_of(order), order.move, order.why))
