"""What a consistent change of naming writes: from the directory and a command to operations under guards.

Rule: each function reads the directory and its arguments alone and guards every record that it read, so that two nodes
that decide at once cannot both be right. Raises ``AtollError`` where the change must not be. What a probe found is no
change that anybody made: it carries no ``action`` and gets no audit entry.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

import msgspec

from atoll.errors import AtollError, Code, Reason
from atoll.planes.registry.model import checkers, selectors, switches
from atoll.planes.registry.model.directory import Directory, ServiceState
from atoll.resources import instance as instances
from atoll.resources import naming_keys, records
from atoll.resources import service as services
from atoll.resources.instance import Health, Instance, InstanceId, Override, StoredInstance
from atoll.resources.labels import Labels
from atoll.resources.naming_keys import Part
from atoll.resources.records import NOTHING, Record
from atoll.resources.service import Cluster, Selector, Service, ServiceKey
from atoll.store.api import Compare, Delete, Operation, Put, Relation, Target, prefix_end

LABELS_PER_ADDRESS_MAX = 64
LABEL_CHARS_MAX = 256
ADDRESSES_MAX = 100_000  # with labels
METADATA_BATCH_MAX = 100  # instances whose metadata one call changes; a transaction holds 128 operations


class Write(msgspec.Struct, frozen=True):
    """``operations`` empty: nothing has to change. ``action`` empty: not for the audit log."""

    guards: tuple[Compare, ...] = ()
    operations: tuple[Operation, ...] = ()
    action: str = ""
    subject: str = ""
    before: bytes | None = None
    after: bytes | None = None


class ServiceChange(msgspec.Struct, frozen=True):
    """What is to be changed of a service's record; None: it stays."""

    ephemeral: bool | None = None
    protect_threshold: float | None = None
    selector: Selector | None = None
    metadata: Mapping[str, str] | None = None


class OverrideChange(msgspec.Struct, frozen=True):
    """What is to be overridden of an instance; None: as it is now. ``metadata`` replaces all of it."""

    weight: float | None = None
    enabled: bool | None = None
    metadata: Mapping[str, str] | None = None


class MetadataChange(msgspec.Struct, frozen=True):
    """Entries of metadata to set, and names of entries to remove."""

    put: Mapping[str, str] = NOTHING
    remove: tuple[str, ...] = ()


R = TypeVar("R", bound=Record)

# ------------------------------------------------------------------------------------------- services


def create_service(directory: Directory, service: Service) -> Write:
    """Raises CONFLICT / SERVICE_EXISTS for one that has a record or instances."""
    state = directory.service(service.key)
    if state is not None and state.exists:
        text = f"service {service.key} exists already"
        raise AtollError(Code.CONFLICT, text, reason=Reason.SERVICE_EXISTS)
    return _write_service(None, service, "service.create")


def update_service(directory: Directory, key: ServiceKey, change: ServiceChange) -> Write:
    """Raises NOT_FOUND; a service that has no record yet gets one."""
    state = require_service(directory, key)
    old = state.record or Service(key=key)
    wanted = {
        name: value for name in change.__struct_fields__ if (value := getattr(change, name)) is not None
    }
    ephemeral = wanted.get("ephemeral", state.ephemeral)
    if not state.is_empty and state.ephemeral is not None and ephemeral != state.ephemeral:
        kind = "ephemeral" if state.ephemeral else "persistent"
        text = f"{key} has {kind} instances: its kind can be changed only while it is empty"
        raise AtollError(Code.INVALID, text, reason=Reason.SERVICE_KIND)
    return _write_service(state, msgspec.structs.replace(old, **wanted), "service.update")


def delete_service(directory: Directory, key: ServiceKey) -> Write:
    """Raises NOT_FOUND, and CONFLICT / SERVICE_NOT_EMPTY while it has instances."""
    state = require_service(directory, key)
    if not state.is_empty:
        count = len(state.instances())
        text = f"service {key} has {count} instances: deregister them first"
        raise AtollError(Code.CONFLICT, text, reason=Reason.SERVICE_NOT_EMPTY)
    prefix = naming_keys.stored_prefix(Part.INSTANCE, key)
    none_stored = Compare(prefix, Target.CREATE, Relation.EQUAL, 0, prefix_end(prefix))
    before = services.encode(state.record) if state.record is not None else None
    if before is None:
        return Write((none_stored,), (), "service.delete", str(key))
    at = naming_keys.stored_service(key)
    return Write(
        (none_stored, unchanged(at, state.record)), (Delete(at),), "service.delete", str(key), before
    )


def update_cluster(directory: Directory, key: ServiceKey, cluster: Cluster) -> Write:
    """Raises NOT_FOUND for the service; the cluster is made if there was none of that name."""
    state = require_service(directory, key)
    old = state.record or Service(key=key)
    service = msgspec.structs.replace(old, clusters={**old.clusters, cluster.name: cluster})
    return _write_service(state, service, "cluster.update")


def _write_service(state: ServiceState | None, service: Service, action: str) -> Write:
    services.check(service)
    for cluster in service.clusters.values():
        checkers.check(cluster.checker)
    selectors.labels_in(service.selector)
    at = naming_keys.stored_service(service.key)
    old = state.record if state is not None else None
    before = services.encode(old) if old is not None else None
    after = services.encode(service)
    return Write((unchanged(at, old),), (Put(at, after),), action, str(service.key), before, after)


# ------------------------------------------------------------------------------- persistent instances


def register_persistent(directory: Directory, key: ServiceKey, instance: Instance, now_s: float) -> Write:
    """Raises INVALID, with SERVICE_KIND where the service takes ephemeral instances."""
    instances.check(instance)
    state = directory.service(key)
    if state is not None and state.ephemeral is True:
        text = f"{key} is an ephemeral service, it cannot take a persistent instance"
        raise AtollError(Code.INVALID, text, reason=Reason.SERVICE_KIND)
    old = state.persistent.get(instance.id) if state is not None else None
    if directory.switches.disable_add_ip and old is None:
        raise AtollError(Code.DENIED, "the switch disableAddIP is on: no new instance may be registered")
    if old is not None and old.instance == instance:
        return Write()
    stored = StoredInstance(key=key, instance=instance, registered_s=now_s)
    if old is not None:
        stored = msgspec.structs.replace(old, instance=instance)
    at = naming_keys.stored(Part.INSTANCE, key, instance.id)
    service_at = naming_keys.stored_service(key)
    guards = (unchanged(at, old), unchanged(service_at, state.record if state is not None else None))
    after = records.encode(stored)
    return Write(guards, (Put(at, after),), "instance.register", f"{key} {instance.id}", _bytes(old), after)


def deregister_persistent(directory: Directory, key: ServiceKey, identity: InstanceId) -> Write:
    """What is not there is no error: nothing is written. What was found of its health goes with it."""
    state = directory.service(key)
    old = state.persistent.get(identity) if state is not None else None
    if old is None:
        return Write()
    at = naming_keys.stored(Part.INSTANCE, key, identity)
    gone = (Delete(at), Delete(naming_keys.stored(Part.HEALTH, key, identity)))
    return Write((unchanged(at, old),), gone, "instance.deregister", f"{key} {identity}", _bytes(old))


def set_health(directory: Directory, key: ServiceKey, identity: InstanceId, health: Health) -> Write:
    """By hand. Raises NOT_FOUND, and INVALID / HEALTH_CHECKED where something else decides on health."""
    state = require_service(directory, key)
    record = state.record or Service(key=key)
    if identity not in state.persistent:
        if identity not in state.live:
            raise _no_instance(key, identity)
        why = "its client's liveness decides"
    elif record.cluster(identity.cluster).checker.kind != "NONE":
        why = f"cluster {identity.cluster} is probed by {record.cluster(identity.cluster).checker.kind}"
    else:
        write = record_health(directory, key, identity, health)
        before = _bytes(state.health.get(identity))
        subject = f"{key} {identity}"
        return Write(
            write.guards, write.operations, "instance.health", subject, before, records.encode(health)
        )
    text = f"the health of {identity} cannot be set by hand: {why}; set the checker of its cluster to NONE"
    raise AtollError(Code.INVALID, text, reason=Reason.HEALTH_CHECKED)


def record_health(directory: Directory, key: ServiceKey, identity: InstanceId, health: Health) -> Write:
    """What a probe found. Nothing is written for an instance that is gone, or that is known to be so."""
    state = directory.service(key)
    stored = state.persistent.get(identity) if state is not None else None
    if state is None or stored is None:
        return Write()
    old = state.health.get(identity)
    known = old.healthy if old is not None else stored.instance.healthy
    if known == health.healthy:
        return Write()
    at = naming_keys.stored(Part.HEALTH, key, identity)
    guards = (unchanged(naming_keys.stored(Part.INSTANCE, key, identity), stored), unchanged(at, old))
    return Write(guards, (Put(at, records.encode(health)),))


# ----------------------------------------------------------------------------------------- overrides


def override_instance(
    directory: Directory, key: ServiceKey, identity: InstanceId, change: OverrideChange
) -> Write:
    """An operator's word on an instance. Raises NOT_FOUND for the service; the instance itself may be away: the word
    holds when it comes back.
    """
    state = require_service(directory, key)
    old = state.overrides.get(identity) or Override(
        key=key, ip=identity.ip, port=identity.port, cluster=identity.cluster
    )
    wanted = {
        name: value for name in change.__struct_fields__ if (value := getattr(change, name)) is not None
    }
    return _write_override(state, identity, msgspec.structs.replace(old, **wanted))


def remove_override(directory: Directory, key: ServiceKey, identity: InstanceId) -> Write:
    """Let the client's own word hold again. None there: nothing is written."""
    state = directory.service(key)
    old = state.overrides.get(identity) if state is not None else None
    if old is None:
        return Write()
    at = naming_keys.stored(Part.OVERRIDE, key, identity)
    subject = f"{key} {identity}"
    return Write((unchanged(at, old),), (Delete(at),), "instance.override-end", subject, _bytes(old))


def override_metadata(
    directory: Directory, key: ServiceKey, identities: Sequence[InstanceId], change: MetadataChange
) -> Write:
    """Change single entries of what the instances show. Raises NOT_FOUND for the service, or where one is away."""
    if len(identities) > METADATA_BATCH_MAX:
        text = f"are {len(identities)}, one call changes at most {METADATA_BATCH_MAX}"
        raise services.invalid("instances", text)
    writes: list[Write] = []
    for identity in identities:
        seen = require_service(directory, key).instance(identity)
        if seen is None:
            raise _no_instance(key, identity)
        kept = {name: value for name, value in seen.metadata.items() if name not in change.remove}
        whole = OverrideChange(metadata={**kept, **change.put})
        writes.append(override_instance(directory, key, identity, whole))
    return _merged(writes, str(key))


def _write_override(state: ServiceState, identity: InstanceId, override: Override) -> Write:
    if override.weight is not None:
        instances.check_weight(override.weight)
    services.check_metadata(override.metadata or NOTHING)
    instances.check(Instance(identity.ip, identity.port, identity.cluster))
    old = state.overrides.get(identity)
    at = naming_keys.stored(Part.OVERRIDE, state.key, identity)
    after = records.encode(override)
    subject = f"{state.key} {identity}"
    return Write((unchanged(at, old),), (Put(at, after),), "instance.override", subject, _bytes(old), after)


def _merged(writes: Sequence[Write], subject: str) -> Write:
    if not writes:
        return Write()
    return Write(
        tuple(guard for write in writes for guard in write.guards),
        tuple(operation for write in writes for operation in write.operations),
        writes[0].action,
        subject if len(writes) > 1 else writes[0].subject,
        b"".join(write.before or b"" for write in writes) or None,
        b"".join(write.after or b"" for write in writes) or None,
    )


# ------------------------------------------------------------------------------ switches and labels


def set_switch(directory: Directory, entry: str, value: str) -> Write:
    """Raises INVALID for an entry or a value that is none."""
    old = directory.switches
    at = Part.SWITCHES.value
    before = _bytes(old) if old.revision else None
    after = records.encode(switches.changed(old, entry, value))
    return Write((unchanged(at, old),), (Put(at, after),), "switch.set", entry, before, after)


def set_labels(directory: Directory, address: str, labels: Mapping[str, str]) -> Write:
    """All labels of an address (an IP) from now on; none: the address is forgotten. Raises INVALID, EXHAUSTED."""
    instances.check(Instance(address, 0))
    if len(labels) > LABELS_PER_ADDRESS_MAX:
        raise services.invalid("labels", f"are {len(labels)}, at most {LABELS_PER_ADDRESS_MAX} are allowed")
    for name, value in labels.items():
        if not name or not value or len(name) + len(value) > LABEL_CHARS_MAX:
            text = f"{name!r} must have a name and a value, of at most {LABEL_CHARS_MAX} characters together"
            raise services.invalid("labels", text)
    old = directory.labels.get(address)
    if old is None and len(directory.labels) >= ADDRESSES_MAX:
        raise AtollError(Code.EXHAUSTED, f"at most {ADDRESSES_MAX} addresses may have labels")
    at = naming_keys.stored_labels(address)
    before = records.encode(Labels(address=address, labels=old)) if old is not None else None
    if not labels:
        return Write((), (Delete(at),), "labels.set", address, before) if old is not None else Write()
    after = records.encode(Labels(address=address, labels=labels))
    return Write((), (Put(at, after),), "labels.set", address, before, after)


# --------------------------------------------------------------------------------------------- shared


def require_service(directory: Directory, key: ServiceKey) -> ServiceState:
    """Raises NOT_FOUND / SERVICE_NOT_FOUND."""
    state = directory.service(key)
    if state is None or not state.exists:
        text = f"there is no service {key}"
        raise AtollError(Code.NOT_FOUND, text, reason=Reason.SERVICE_NOT_FOUND)
    return state


def unchanged(at: bytes, old: Record | None) -> Compare:
    """The guard that a record is as it was read, or still absent."""
    return Compare(at, Target.MOD, Relation.EQUAL, old.revision if old is not None else 0)


def _bytes(record: Record | None) -> bytes | None:
    return records.encode(record) if record is not None else None


def _no_instance(key: ServiceKey, identity: InstanceId) -> AtollError:
    return AtollError(Code.NOT_FOUND, f"{key} has no instance {identity}", reason=Reason.INSTANCE_NOT_FOUND)
