"""Instances: one address at which a service answers, and what an operator says of it against its own word.

Rule: an ``Instance`` is what its client published (ephemeral: in the ephemeral table; persistent: in the ordered
store); an ``Override`` is an operator's word on the same identity and wins over it, field by field, however often the
client registers again. Both are written by the registry plane alone; the mesh reads them.

``instance_id`` is empty where it is the usual ``ip#port#cluster#group@@service``: it can be computed, and a hundred
thousand of them would only fill memory.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from atoll.resources import service
from atoll.resources.records import FORMAT, NOTHING, Record
from atoll.resources.service import DEFAULT_CLUSTER, PORT_MAX, ServiceKey

IP_CHARS_MAX = 128
WEIGHT_MAX = 10_000.0

BEAT_INTERVAL = "preserved.heart.beat.interval"
BEAT_TIMEOUT = "preserved.heart.beat.timeout"
DELETE_TIMEOUT = "preserved.ip.delete.timeout"
ID_GENERATOR = "preserved.instance.id.generator"
REGISTER_SOURCE = "preserved.register.source"

_IP = re.compile(r"[^\u4e00-\u9fa5\s\x00]+")


class InstanceId(NamedTuple):
    """Which instance of a service it is, whoever registered it."""

    cluster: str
    ip: str
    port: int

    def __str__(self) -> str:
        return f"{self.ip}:{self.port}:{self.cluster}"


class Instance(msgspec.Struct, frozen=True, gc=False):
    """``ip`` may be a host name. ``weight`` 0 to 10,000; 0 asks clients to send nothing."""

    ip: str
    port: int
    cluster: str = DEFAULT_CLUSTER
    weight: float = 1.0
    healthy: bool = True
    enabled: bool = True
    ephemeral: bool = True
    metadata: Mapping[str, str] = NOTHING
    instance_id: str = ""

    @property
    def id(self) -> InstanceId:
        return InstanceId(self.cluster, self.ip, self.port)


class StoredInstance(Record, frozen=True, kw_only=True):
    """A persistent instance as it lies in the store."""

    key: ServiceKey
    instance: Instance
    registered_s: float = 0.0  # Unix time


class Override(Record, frozen=True, kw_only=True):
    """An operator's word on one instance; None: the client's own word holds. ``metadata`` None likewise, and an
    empty one says that there is none.
    """

    key: ServiceKey
    ip: str
    port: int
    cluster: str = DEFAULT_CLUSTER
    weight: float | None = None
    enabled: bool | None = None
    metadata: Mapping[str, str] | None = None

    @property
    def id(self) -> InstanceId:
        return InstanceId(self.cluster, self.ip, self.port)


class Health(Record, frozen=True, kw_only=True):
    """What probing found of a persistent instance, or what was set by hand. ``since_s``: Unix time."""

    healthy: bool
    since_s: float = 0.0
    cause: str = ""


def check(instance: Instance) -> None:
    """Raises INVALID with the parameter that is wrong."""
    service.require("ip", instance.ip, _IP, IP_CHARS_MAX)
    if not 0 <= instance.port <= PORT_MAX:
        raise service.invalid("port", f"is {instance.port}, it must be from 0 to {PORT_MAX}")
    check_weight(instance.weight)
    service.check_cluster(instance.cluster)
    if instance.metadata:
        service.check_metadata(instance.metadata)


def check_weight(weight: float) -> None:
    """Raises INVALID unless 0 <= ``weight`` <= 10,000."""
    if not 0 <= weight <= WEIGHT_MAX or math.isnan(weight):
        raise service.invalid("weight", f"is {weight:g}, it must be from 0 to {WEIGHT_MAX:g}")


def overridden(instance: Instance, override: Override | None) -> Instance:
    """``instance`` as an operator wants it seen."""
    if override is None:
        return instance
    return msgspec.structs.replace(
        instance,
        weight=instance.weight if override.weight is None else override.weight,
        enabled=instance.enabled if override.enabled is None else override.enabled,
        metadata=instance.metadata if override.metadata is None else override.metadata,
    )


def lost(instance: Instance) -> Instance:
    """``instance`` after the connection of its client was lost: there, and unhealthy."""
    return msgspec.structs.replace(instance, healthy=False)


def id_text(key: ServiceKey, instance: Instance) -> str:
    """The id that clients see."""
    if instance.instance_id:
        return instance.instance_id
    return f"{instance.ip}#{instance.port}#{instance.cluster}#{key.group}@@{key.name}"


def beat_time_ms(instance: Instance, name: str, default_ms: int) -> int:
    """One of the three reserved times of ``instance``'s metadata, in milliseconds, or ``default_ms``."""
    text = instance.metadata.get(name, "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 12 else default_ms


class _Published(msgspec.Struct, array_like=True, gc=False):
    """An ephemeral instance between nodes: what its key does not say already."""

    format: int
    weight: float
    healthy: bool
    enabled: bool
    metadata: dict[str, str]
    instance_id: str


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(_Published)


def encode_published(instance: Instance) -> bytes:
    """An ephemeral instance as the value of its entry in the ephemeral table; the entry's key has its identity."""
    return _ENCODER.encode(
        _Published(
            FORMAT,
            instance.weight,
            instance.healthy,
            instance.enabled,
            dict(instance.metadata),
            instance.instance_id,
        )
    )


def decode_published(identity: InstanceId, data: bytes) -> Instance:
    """Raises INVALID for bytes that are no such value. A newer format may only have added fields at the end."""
    try:
        found = _DECODER.decode(data)
    except msgspec.MsgspecError as error:
        raise service.invalid("instance", f"{identity} from another node cannot be read: {error}") from error
    return Instance(
        identity.ip,
        identity.port,
        identity.cluster,
        found.weight,
        found.healthy,
        found.enabled,
        True,
        found.metadata or NOTHING,
        found.instance_id,
    )
