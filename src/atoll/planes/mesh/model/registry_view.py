"""Atoll's own registry as the mesh sees it: what lies in its ordered and its ephemeral table, as ``MeshService`` values.

Rule: the words of the two watches are the only way in, and ``service`` is computed from them alone. An instance that is
disabled, or whose weight is 0, is no endpoint; one that is unhealthy, or whose client was lost, is one in bad health.

What the mesh needs to know besides what every registry client publishes lies in metadata (of the instance, then of the
service's record):

| key | meaning |
|---|---|
| ``mesh.ports`` | the service's ports, ``NUMBER:PROTOCOL[=WHERE]`` by commas, the first being where the instance's own port is; ``80:http`` without |
| ``protocol`` | the protocol of port 80, where ``mesh.ports`` says nothing |
| ``mesh.mtls`` | ``true``: a sidecar stands before the instance |
| ``mesh.account`` | its service account; the service's name without |
| ``region``, ``zone``, ``sub_zone`` | its locality; the operator's labels of its address without |
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from atoll.errors import AtollError, Code
from atoll.resources import instance as instances
from atoll.resources import naming_keys, records
from atoll.resources import service as services
from atoll.resources.instance import Health, Instance, InstanceId, Override, StoredInstance
from atoll.resources.labels import Labels
from atoll.resources.mesh.instance_metadata import ACCOUNT, MUTUAL_TLS, PORTS, PROTOCOL
from atoll.resources.mesh.services import (
    PORT_OF_SERVICES,
    Endpoint,
    Locality,
    MeshService,
    Port,
    Protocol,
    host_of,
)
from atoll.resources.naming_keys import Part
from atoll.resources.records import NOTHING
from atoll.resources.service import DEFAULT_GROUP, Service, ServiceKey
from atoll.store.api import KeyValue

SOURCE: Final = "registry"
PORTS_MAX: Final = 64  # of one service
WEIGHT_UNITS: Final = 100  # an endpoint's weight for an instance's 1.0
_PORT_MAX: Final = 65_535


class _Made(NamedTuple):
    """An endpoint and the very objects that it was made of: of a large service one instance changes at a time."""

    instance: Instance
    shared: Mapping[str, str]
    operator: Mapping[str, str]
    endpoint: Endpoint


class _State:
    """What is known of one service."""

    __slots__ = ("endpoints", "health", "key", "live", "overrides", "record", "stored")

    def __init__(self, key: ServiceKey) -> None:
        self.key = key
        self.record: Service | None = None
        self.live: dict[InstanceId, Instance] = {}
        self.stored: dict[InstanceId, StoredInstance] = {}
        self.overrides: dict[InstanceId, Override] = {}
        self.health: dict[InstanceId, Health] = {}
        self.endpoints: dict[InstanceId, _Made] = {}

    @property
    def is_nothing(self) -> bool:
        return not (self.record or self.live or self.stored)

    def instances(self) -> list[Instance]:
        """In the order of cluster, address and port; a live one wins over a stored one."""
        found = {identity: self._seen(identity, each.instance) for identity, each in self.stored.items()}
        found.update(self.live)
        return [instances.overridden(found[each], self.overrides.get(each)) for each in sorted(found)]

    def _seen(self, identity: InstanceId, instance: Instance) -> Instance:
        health = self.health.get(identity)
        if health is None or health.healthy == instance.healthy:
            return instance
        return Instance(
            instance.ip,
            instance.port,
            instance.cluster,
            instance.weight,
            health.healthy,
            instance.enabled,
            instance.ephemeral,
            instance.metadata,
            instance.instance_id,
        )


class RegistryView:
    """All services of the registry. ``namespaces`` are spelled as documents spell them."""

    def __init__(self, domain: str) -> None:
        self._domain = domain
        self._services: dict[bytes, _State] = {}
        self._labels: dict[str, Mapping[str, str]] = {}

    def keys(self) -> list[bytes]:
        return list(self._services)

    def apply_live(self, key: bytes, value: bytes | None, lost: bool) -> bytes:
        """One entry of the ephemeral table; None: there is none any more. Returns which service it touched. Raises
        INVALID for a value that cannot be read.
        """
        raw, identity = naming_keys.split_instance(key[len(naming_keys.LIVE) :])
        state = self._state(raw)
        if value is None:
            state.live.pop(identity, None)
        else:
            found = instances.decode_published(identity, value)
            state.live[identity] = instances.lost(found) if lost else found
        return raw

    def apply_stored(self, kv: KeyValue) -> list[bytes]:
        """One key of the ordered store, put or (version 0) deleted. Returns which services it touched. Raises INVALID
        for a record that cannot be read.
        """
        found = naming_keys.part_of(kv.key)
        if found is None or found[0] is Part.SWITCHES:
            return []
        part, rest = found
        if part is Part.LABELS:
            return self._apply_labels(rest.decode(), kv)
        if part is Part.SERVICE:
            state = self._state(rest)
            state.record = services.decode(kv.value, kv.mod_revision) if kv.version else None
            return [rest]
        raw, identity = naming_keys.split_instance(rest)
        _apply_to_instance(self._state(raw), part, identity, kv)
        return [raw]

    def reset_stored(self) -> list[bytes]:
        """Forget what the store held, to be told anew. Returns which services may look different."""
        for state in self._services.values():
            state.record = None
            state.stored.clear()
            state.overrides.clear()
            state.health.clear()
        self._labels.clear()
        return self.keys()

    def service(self, raw: bytes) -> MeshService:
        """As it is now; a service that has nothing left is one without endpoints."""
        state = self._state(raw)
        key = state.key
        found = [each for each in state.instances() if each.enabled and each.weight > 0]
        metadata = state.record.metadata if state.record is not None else NOTHING
        namespace = document_namespace(key.namespace)
        group = "" if key.group == DEFAULT_GROUP else key.group
        return MeshService(
            host=host_of(key.name, namespace, self._domain, group),
            name=key.name,
            namespace=namespace,
            ports=_ports(metadata, found),
            endpoints=self._endpoints(state, metadata, found),
            labels=metadata,
            source=SOURCE,
        )

    def forget(self, raw: bytes) -> bool:
        """Forget a service that has nothing left. False: it has."""
        state = self._services.get(raw)
        if state is None or not state.is_nothing:
            return False
        del self._services[raw]
        return True

    def is_nothing(self, raw: bytes) -> bool:
        state = self._services.get(raw)
        return state is None or state.is_nothing

    def _apply_labels(self, address: str, kv: KeyValue) -> list[bytes]:
        if kv.version:
            self._labels[address] = records.decode(Labels, kv.value, kv.mod_revision).labels
        else:
            self._labels.pop(address, None)
        return [
            raw
            for raw, state in self._services.items()
            if any(identity.ip == address for identity in (*state.live, *state.stored))
        ]

    def _endpoints(
        self, state: _State, shared: Mapping[str, str], found: Sequence[Instance]
    ) -> tuple[Endpoint, ...]:
        before, made = state.endpoints, {}
        for instance in found:
            operator = self._labels.get(instance.ip, NOTHING)
            known = before.get(instance.id)
            if (
                known is None
                or known.instance is not instance
                or known.shared is not shared
                or known.operator is not operator
            ):
                known = _Made(instance, shared, operator, _endpoint(state.key, shared, operator, instance))
            made[instance.id] = known
        state.endpoints = made
        return tuple(each.endpoint for each in made.values())

    def _state(self, raw: bytes) -> _State:
        state = self._services.get(raw)
        if state is None:
            state = self._services[raw] = _State(naming_keys.service_of(raw))
        return state


def _endpoint(
    key: ServiceKey, shared: Mapping[str, str], operator: Mapping[str, str], instance: Instance
) -> Endpoint:
    own = instance.metadata
    labels = own if "cluster" in own else {**own, "cluster": instance.cluster}
    return Endpoint(
        instance.ip,
        instance.port,
        ports=_places(own.get(PORTS, "") or shared.get(PORTS, "")),
        weight=max(1, round(instance.weight * WEIGHT_UNITS)),
        healthy=instance.healthy,
        labels=labels,
        locality=_locality(own, operator),
        mutual_tls=own.get(MUTUAL_TLS) == "true",
        account=own.get(ACCOUNT) or shared.get(ACCOUNT) or key.name,
    )


def document_namespace(namespace: str) -> str:
    """The registry's ``public`` is what documents call ``default``."""
    return "default" if namespace == "public" else namespace


def read_ports(text: str) -> tuple[tuple[Port, int], ...]:
    """``NUMBER:PROTOCOL[=WHERE]`` by commas, as ports with where an instance listens (0: at its own port). Raises
    INVALID with what is wrong.
    """
    found: list[tuple[Port, int]] = []
    for part in text.split(","):
        number, _, rest = part.strip().partition(":")
        protocol, _, where = rest.partition("=")
        kind = _PROTOCOLS.get(protocol or "http")
        if kind is None:
            raise _wrong(part, f"{protocol!r} is no protocol: use one of {', '.join(_PROTOCOLS)}")
        found.append((Port(_number(part, number), kind), _number(part, where) if where else 0))
    if len(found) > PORTS_MAX:
        raise _wrong(text, f"more than {PORTS_MAX} ports")
    return tuple(found)


_PROTOCOLS: Final = {each.value: each for each in Protocol}


def _number(part: str, text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 0 < int(text) <= _PORT_MAX):
        raise _wrong(part, f"{text!r} is no port: use a number from 1 to {_PORT_MAX}")
    return int(text)


def _wrong(part: str, why: str) -> AtollError:
    return AtollError(Code.INVALID, f"metadata {PORTS} {part!r}: {why}; the form is NUMBER:PROTOCOL[=WHERE]")


def _ports(shared: Mapping[str, str], found: Iterable[Instance]) -> tuple[Port, ...]:
    """Those of the service's record; without, all that its instances tell of; a word that cannot be read is no word."""
    for text in (shared.get(PORTS, ""), *(each.metadata.get(PORTS, "") for each in found)):
        ports = _readable(text)
        if ports:
            return tuple(port for port, _ in ports)
    told = (shared.get(PROTOCOL, ""), *(each.metadata.get(PROTOCOL, "") for each in found))
    protocol = next((kind for text in told if (kind := _PROTOCOLS.get(text))), Protocol.HTTP)
    return (Port(PORT_OF_SERVICES, protocol),)


def _places(text: str) -> dict[int, int]:
    return {port.number: where for port, where in _readable(text) if where}


def _readable(text: str) -> tuple[tuple[Port, int], ...]:
    """Any client may publish anything; what the mesh cannot read is left out of it, and the service stays."""
    if not text:
        return ()
    try:
        return read_ports(text)
    except AtollError:
        return ()


def _locality(own: Mapping[str, str], operator: Mapping[str, str]) -> Locality:
    def of(name: str) -> str:
        return own.get(name) or operator.get(name) or ""

    return Locality(of("region"), of("zone"), of("sub_zone"))


def _apply_to_instance(state: _State, part: Part, identity: InstanceId, kv: KeyValue) -> None:
    there, revision = kv.version > 0, kv.mod_revision
    if part is Part.INSTANCE:
        state.stored.pop(identity, None)
        if there:
            state.stored[identity] = records.decode(StoredInstance, kv.value, revision)
    elif part is Part.OVERRIDE:
        state.overrides.pop(identity, None)
        if there:
            state.overrides[identity] = records.decode(Override, kv.value, revision)
    else:
        state.health.pop(identity, None)
        if there:
            state.health[identity] = records.decode(Health, kv.value, revision)
