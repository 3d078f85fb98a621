"""What an operator says of instances against their own word: weight, enabled, metadata; and health by hand.

Rule: such a word is kept apart from what clients publish and outlives their registrations.

Source: Nacos 2.4.3, ``InstanceController`` (PUT, PATCH, metadata/batch), ``HealthController``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from atoll.planes.registry.frontends.nacos_http.application import Operation
from atoll.planes.registry.frontends.nacos_http.call import Call
from atoll.planes.registry.frontends.nacos_http.instances import identity_of
from atoll.planes.registry.model.naming_decisions import MetadataChange, OverrideChange
from atoll.planes.registry.service.naming import Naming
from atoll.resources.instance import Instance, InstanceId
from atoll.wire.nacos import parameters


class Overrides:
    def __init__(self, naming: Naming) -> None:
        self._naming = naming

    def operations(self) -> dict[str, Operation]:
        return {
            "instance.update": self.update,
            "instance.patch": self.patch,
            "instance.metadata.put": self.put_metadata,
            "instance.metadata.delete": self.delete_metadata,
            "health.set": self.set_health,
            "health.checkers": self.checkers,
        }

    async def update(self, call: Call) -> str:
        """All of the instance as the call has it: what is not said becomes the default."""
        change = _change(call)
        full = OverrideChange(
            weight=1.0 if change.weight is None else change.weight,
            enabled=True if change.enabled is None else change.enabled,
            metadata={} if change.metadata is None else change.metadata,
        )
        await self._naming.override_instance(call.actor, call.service_key(), identity_of(call), full)
        return "ok"

    async def patch(self, call: Call) -> str:
        """Only what is said. ``healthy`` belongs to a persistent instance that nothing probes."""
        key, identity, change = call.service_key(), identity_of(call), _change(call)
        if change != OverrideChange():
            await self._naming.override_instance(call.actor, key, identity, change)
        if call.text("healthy"):
            await self._naming.set_health(call.actor, key, identity, call.flag("healthy", True))
        return "ok"

    async def put_metadata(self, call: Call) -> Any:
        put = parameters.metadata(parameters.metadata_text(call.required("metadata")))
        return await self._metadata(call, MetadataChange(put=put))

    async def delete_metadata(self, call: Call) -> Any:
        names = tuple(parameters.metadata_text(call.required("metadata")))
        return await self._metadata(call, MetadataChange(remove=names))

    async def _metadata(self, call: Call, change: MetadataChange) -> Any:
        key = call.service_key()
        chosen = self._chosen(call)
        if chosen:
            await self._naming.override_metadata(call.actor, key, [each.id for each in chosen], change)
        kinds = {True: "ephemeral", False: "persist"}
        names = [f"{each.ip}:{each.port}:unknown:{each.cluster}:{kinds[each.ephemeral]}" for each in chosen]
        return {"updated": names}

    def _chosen(self, call: Call) -> list[Instance]:
        """Those that the call lists, or all of the service; of one kind, if it says which."""
        there = self._naming.service(call.service_key()).instances
        kind = call.text("consistencyType")
        if kind:
            there = tuple(each for each in there if each.ephemeral == (kind == "ephemeral"))
        listed = call.text("instances")
        if not listed:
            return list(there)
        wanted = {_identity(each) for each in _listed(listed)}
        return [each for each in there if each.id in wanted]

    async def set_health(self, call: Call) -> str:
        healthy = call.text("healthy") or call.text("valid")
        if not healthy:
            raise parameters.missing("healthy")
        key, identity = call.service_key(), identity_of(call)
        await self._naming.set_health(call.actor, key, identity, parameters.boolean(healthy))
        return "ok"

    def checkers(self, call: Call) -> Any:
        return CHECKERS


CHECKERS: Mapping[str, Mapping[str, Any]] = {
    "TCP": {"type": "TCP"},
    "HTTP": {"type": "HTTP", "path": "", "headers": "", "expectedResponseCode": 200},
    "MYSQL": {"type": "MYSQL", "user": None, "pwd": None, "cmd": None},
    "NONE": {"type": "NONE"},
}


class _Listed(msgspec.Struct, rename="camel"):
    ip: str
    port: int
    cluster_name: str = parameters.DEFAULT_CLUSTER


def _listed(text: str) -> list[_Listed]:
    try:
        return msgspec.json.decode(text, type=list[_Listed], strict=False)
    except msgspec.MsgspecError as error:
        raise parameters.invalid("instances", f"instances is no list of instances: {error}") from error


def _identity(each: _Listed) -> InstanceId:
    return InstanceId(each.cluster_name, each.ip, each.port)


def _change(call: Call) -> OverrideChange:
    weight, enabled, metadata = (
        call.text("weight"),
        call.first("enabled", "enable"),
        call.fields.get("metadata"),
    )
    return OverrideChange(
        weight=parameters.weight(parameters.number("weight", weight)) if weight else None,
        enabled=parameters.boolean(enabled) if enabled else None,
        metadata=None if metadata is None else parameters.metadata(parameters.metadata_text(metadata)),
    )
