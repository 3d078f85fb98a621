"""Where naming keeps its things: keys in the ordered store, and keys in the ephemeral table.

Rule: parts of a key are separated by NUL, which no name may contain, so that a prefix is exactly one service or one
namespace. Only this module knows the layout.
"""

from __future__ import annotations

import enum

from atoll.resources.instance import InstanceId
from atoll.resources.keys import RESERVED_PREFIX
from atoll.resources.service import ServiceKey

NAMING = RESERVED_PREFIX + b"registry/naming/"
LIVE = b"naming/"  # in the ephemeral table


class Part(enum.Enum):
    """What lies under ``NAMING``. The values are the prefixes."""

    SERVICE = NAMING + b"service/"
    INSTANCE = NAMING + b"instance/"
    OVERRIDE = NAMING + b"override/"
    HEALTH = NAMING + b"health/"
    LABELS = NAMING + b"labels/"
    SWITCHES = NAMING + b"switches"


def service_bytes(key: ServiceKey) -> bytes:
    return f"{key.namespace}\0{key.group}\0{key.name}".encode()


def service_of(raw: bytes) -> ServiceKey:
    namespace, group, name = raw.decode().split("\0")
    return ServiceKey(namespace, group, name)


def instance_bytes(key: ServiceKey, identity: InstanceId) -> bytes:
    cluster, ip, port = identity
    return f"{key.namespace}\0{key.group}\0{key.name}\0{cluster}\0{ip}\0{port}".encode()


def split_instance(raw: bytes) -> tuple[bytes, InstanceId]:
    """The service's part of the key, still as bytes, and which instance it is."""
    service, cluster, ip, port = raw.rsplit(b"\0", 3)
    return service, InstanceId(cluster.decode(), ip.decode(), int(port))


def live_key(key: ServiceKey, identity: InstanceId) -> bytes:
    """The entry of one instance in the ephemeral table."""
    return LIVE + instance_bytes(key, identity)


def live_prefix(key: ServiceKey) -> bytes:
    """Of all instances of one service in the ephemeral table."""
    return LIVE + service_bytes(key) + b"\0"


def stored_service(key: ServiceKey) -> bytes:
    return Part.SERVICE.value + service_bytes(key)


def stored(part: Part, key: ServiceKey, identity: InstanceId) -> bytes:
    """The key of a persistent instance, of an override or of a health record."""
    return part.value + instance_bytes(key, identity)


def stored_prefix(part: Part, key: ServiceKey) -> bytes:
    return part.value + service_bytes(key) + b"\0"


def stored_labels(address: str) -> bytes:
    return Part.LABELS.value + address.encode()


def part_of(raw: bytes) -> tuple[Part, bytes] | None:
    """Which part a stored key belongs to, and the rest of it; None for one that this release does not know."""
    for part in Part:
        if raw.startswith(part.value):
            return part, raw[len(part.value) :]
    return None
