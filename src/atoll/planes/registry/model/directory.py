"""The directory: every service that there is, joined from the ordered store and the ephemeral table.

Rule: it changes by ``apply_stored`` and ``apply_live`` alone, each the word of a watch, and says which services each of
them changed. Nothing here has a clock: a service that lost its last instance is remembered until ``forget``.

A live instance wins over a persistent one of the same identity; both at once happen only where two nodes admitted them
in the same moment, which no rule of one node can prevent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from msgspec.structs import replace

from atoll.planes.registry.model import selectors
from atoll.planes.registry.model.naming import Hosts, ServiceInfo, View
from atoll.planes.registry.model.switches import Switches
from atoll.resources import instance as instances
from atoll.resources import naming_keys, records
from atoll.resources import service as services
from atoll.resources.instance import Health, Instance, InstanceId, Override, StoredInstance
from atoll.resources.labels import Labels
from atoll.resources.naming_keys import Part
from atoll.resources.records import NOTHING
from atoll.resources.service import Service, ServiceKey
from atoll.store.api import KeyValue

SHARED_VALUES_MAX: Final = 4096  # of published values that are kept once for all who published the same
VIEWS_MAX: Final = 128  # selections remembered of one service


class ServiceState:
    """One service. ``views`` remembers what selections came to until something changes, ``infos`` the last answers,
    and ``stamp_ms`` the newest time in any of them.
    """

    __slots__ = (
        "_seen",
        "announced",
        "health",
        "infos",
        "key",
        "live",
        "overrides",
        "persistent",
        "record",
        "stamp_ms",
        "used",
        "views",
    )

    def __init__(self, key: ServiceKey) -> None:
        self.key = key
        self.record: Service | None = None
        self.live: dict[InstanceId, Instance] = {}
        self.persistent: dict[InstanceId, StoredInstance] = {}
        self.overrides: dict[InstanceId, Override] = {}
        self.health: dict[InstanceId, Health] = {}
        self.views: dict[View, Hosts] = {}
        self.infos: dict[View, ServiceInfo] = {}
        self.stamp_ms = 0
        self.used = False  # it has instances, or had some not long ago
        self.announced = False  # those who watch by pattern know of it
        self._seen: tuple[Instance, ...] | None = None

    @property
    def ephemeral(self) -> bool | None:
        """What kind of instances it takes; None: the next one decides."""
        if self.record is not None and self.record.ephemeral is not None:
            return self.record.ephemeral
        if self.live:
            return True
        return False if self.persistent else None

    @property
    def exists(self) -> bool:
        """Whether it is in lists."""
        return self.record is not None or self.used

    @property
    def is_empty(self) -> bool:
        return not self.live and not self.persistent

    def instances(self) -> tuple[Instance, ...]:
        """As everybody sees them, operators' overrides applied, in the order of cluster, address and port."""
        if self._seen is None:
            found = {
                identity: self._stored_seen(identity, each) for identity, each in self.persistent.items()
            }
            found.update(self.live)
            for identity, override in self.overrides.items():
                if identity in found:
                    found[identity] = instances.overridden(found[identity], override)
            self._seen = tuple(found[identity] for identity in sorted(found))
        return self._seen

    def instance(self, identity: InstanceId) -> Instance | None:
        """One of ``instances``."""
        found = self.live.get(identity)
        if found is None:
            stored = self.persistent.get(identity)
            if stored is None:
                return None
            found = self._stored_seen(identity, stored)
        return instances.overridden(found, self.overrides.get(identity))

    def changed(self) -> None:
        self._seen = None
        self.views.clear()

    def answer(self, view: View, hosts: Hosts, now_ms: int, stale: bool) -> ServiceInfo:
        """A fresh answer, whose time is later than that of any before."""
        if len(self.infos) >= VIEWS_MAX:
            self.infos.clear()
            self.views.clear()
        self.stamp_ms = max(now_ms, self.stamp_ms + 1)
        info = ServiceInfo(self.key, ",".join(view.clusters), hosts, self.stamp_ms, stale)
        self.views[view] = hosts
        self.infos[view] = info
        return info

    def _stored_seen(self, identity: InstanceId, stored: StoredInstance) -> Instance:
        health = self.health.get(identity)
        if health is None or health.healthy == stored.instance.healthy:
            return stored.instance
        return replace(stored.instance, healthy=health.healthy)


class Directory:
    """All services of all namespaces."""

    def __init__(self) -> None:
        self.services: dict[ServiceKey, ServiceState] = {}
        self.switches = Switches()
        self.labels: dict[str, Mapping[str, str]] = {}
        self.on_instance: Callable[[ServiceState, InstanceId], None] | None = None
        """Hears of each instance that came, went or looks different, after it did."""
        self._by_bytes: dict[bytes, ServiceState] = {}
        self._shared: dict[bytes, Instance] = {}

    def service(self, key: ServiceKey) -> ServiceState | None:
        return self.services.get(key)

    def labels_of(self, address: str) -> Mapping[str, str]:
        """What an operator says of an address (an IP)."""
        return self.labels.get(address, NOTHING)

    # --------------------------------------------------------------------------------- what is live

    def apply_live(self, key: bytes, value: bytes | None, lost: bool) -> ServiceKey:
        """The entry of the ephemeral table that stands for ``key`` now; ``value`` None: there is none any more."""
        raw, identity = naming_keys.split_instance(key[len(naming_keys.LIVE) :])
        state = self._by_bytes.get(raw) or self._made(raw)
        if value is None:
            state.live.pop(identity, None)
        else:
            state.live[identity] = self._live(identity, value, lost)
            state.used = True
        state.changed()
        if self.on_instance is not None:
            self.on_instance(state, identity)
        return state.key

    def _live(self, identity: InstanceId, value: bytes, lost: bool) -> Instance:
        """Instances that published the same share everything but their address."""
        like = self._shared.get(value)
        if like is None:
            like = instances.decode_published(identity, value)
            if len(self._shared) >= SHARED_VALUES_MAX:
                self._shared.clear()
            self._shared[value] = like
        return Instance(
            identity.ip,
            identity.port,
            identity.cluster,
            like.weight,
            like.healthy and not lost,
            like.enabled,
            True,
            like.metadata,
            like.instance_id,
        )

    # ------------------------------------------------------------------------------- what is stored

    def apply_stored(self, kv: KeyValue) -> list[ServiceKey]:
        """One key of the ordered store, put or (version 0) deleted. The services that look different now."""
        found = naming_keys.part_of(kv.key)
        if found is None:
            return []
        part, rest = found
        if part is Part.SWITCHES:
            self.switches = records.decode(Switches, kv.value, kv.mod_revision) if kv.version else Switches()
            return list(self.services)  # what was held back by one may be told now
        if part is Part.LABELS:
            return self._apply_labels(rest.decode(), kv)
        if part is Part.SERVICE:
            state = self._by_bytes.get(rest) or self._made(rest)
            state.record = _record(kv)
            state.used = not state.is_empty
        else:
            raw, identity = naming_keys.split_instance(rest)
            state = self._by_bytes.get(raw) or self._made(raw)
            _apply_to_instance(state, part, identity, kv)
            if self.on_instance is not None:
                self.on_instance(state, identity)
        state.changed()
        return [state.key]

    def reset_stored(self) -> list[ServiceKey]:
        """Forget all that the store held, to be told anew what it holds. The services that may look different."""
        for state in self.services.values():
            touched = {**state.persistent, **state.overrides}
            state.record = None
            state.persistent.clear()
            state.overrides.clear()
            state.health.clear()
            state.changed()
            if self.on_instance is not None:
                for identity in touched:
                    self.on_instance(state, identity)
        self.switches = Switches()
        self.labels.clear()
        return list(self.services)

    def _apply_labels(self, address: str, kv: KeyValue) -> list[ServiceKey]:
        if kv.version:
            self.labels[address] = records.decode(Labels, kv.value, kv.mod_revision).labels
        else:
            self.labels.pop(address, None)
        touched = [
            state for state in self.services.values() if state.record and state.record.selector.kind != "none"
        ]
        for state in touched:
            state.changed()
        return [state.key for state in touched]

    # ---------------------------------------------------------------------------------- forgetting

    def forget(self, key: ServiceKey) -> bool:
        """Forget a service that has neither record nor instances. False: it has, or was not there."""
        state = self.services.get(key)
        if state is None or state.record is not None or not state.is_empty or state.overrides:
            return False
        del self.services[key]
        del self._by_bytes[naming_keys.service_bytes(key)]
        return True

    def _made(self, raw: bytes) -> ServiceState:
        state = ServiceState(naming_keys.service_of(raw))
        self.services[state.key] = state
        self._by_bytes[raw] = state
        return state


def _record(kv: KeyValue) -> Service | None:
    """Raises INVALID also for a selector that this release does not know: it would fail whoever asks."""
    if not kv.version:
        return None
    record = services.decode(kv.value, kv.mod_revision)
    selectors.labels_in(record.selector)
    return record


def _apply_to_instance(state: ServiceState, part: Part, identity: InstanceId, kv: KeyValue) -> None:
    there, revision = kv.version > 0, kv.mod_revision
    if part is Part.INSTANCE:
        if there:
            state.persistent[identity] = records.decode(StoredInstance, kv.value, revision)
            state.used = True
        else:
            state.persistent.pop(identity, None)
    elif part is Part.OVERRIDE:
        if there:
            state.overrides[identity] = records.decode(Override, kv.value, revision)
        else:
            state.overrides.pop(identity, None)
    elif there:
        state.health[identity] = records.decode(Health, kv.value, revision)
    else:
        state.health.pop(identity, None)
