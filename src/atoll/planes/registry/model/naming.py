"""The values that naming hands out: what is asked for, what is answered.

Rule: none of them knows a protocol. A ``ServiceInfo`` is one object for everybody who asks the same, so a frontend may
keep what it encoded of it in ``hosts_memo``, which goes on living while the hosts stay the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from atoll.resources.instance import Instance
from atoll.resources.records import NOTHING
from atoll.resources.service import Selector, Service, ServiceKey


class Selection(msgspec.Struct, frozen=True, gc=False):
    """Which instances of a service somebody wants. ``clusters`` empty: all. ``enabled_only`` False is for those who
    look after the service, not for those who call it. ``address`` (an IP) and ``labels`` are the consumer's.
    """

    clusters: tuple[str, ...] = ()
    healthy_only: bool = False
    enabled_only: bool = True
    address: str = ""
    labels: Mapping[str, str] = NOTHING

    @classmethod
    def of_text(cls, clusters: str, healthy_only: bool = False, address: str = "") -> Selection:
        """From the comma list in which Nacos' protocols name clusters."""
        names = tuple(sorted({name.strip() for name in clusters.split(",")} - {""}))
        return cls(names, healthy_only, True, address)


EVERYTHING = Selection(enabled_only=False)


class View(msgspec.Struct, frozen=True, gc=False):
    """What a selection of one service comes down to: two selections with the same view are given the same list.
    ``labels``: those of the consumer that the service's selector looks at.
    """

    clusters: tuple[str, ...]
    healthy_only: bool
    enabled_only: bool
    selector: Selector
    labels: tuple[str, ...]


class Hosts(msgspec.Struct, frozen=True, gc=False):
    """What a selection came to. ``protected``: the protect threshold was reached, the unhealthy are shown healthy.
    ``memo``: for frontends, what they encoded of these hosts, by a name of theirs.
    """

    hosts: tuple[Instance, ...]
    protected: bool = False
    memo: dict[str, Any] = msgspec.field(default_factory=dict)


class ServiceInfo(msgspec.Struct, frozen=True, gc=False):
    """An answer. ``last_ref_time_ms`` never goes back for a service, on no node; it is not the time of a change.
    ``stale``: the store is away; what lies in it is shown as it was last seen.
    """

    key: ServiceKey
    clusters: str
    selected: Hosts
    last_ref_time_ms: int
    stale: bool = False

    @property
    def hosts(self) -> tuple[Instance, ...]:
        return self.selected.hosts

    @property
    def protected(self) -> bool:
        return self.selected.protected

    @property
    def hosts_memo(self) -> dict[str, Any]:
        return self.selected.memo


class ServiceSummary(msgspec.Struct, frozen=True, gc=False):
    """One line of a list of services. ``explicit``: it has a record and stays without instances."""

    key: ServiceKey
    clusters: int
    instances: int
    healthy: int
    ephemeral: bool
    explicit: bool
    protected: bool  # the protect threshold is reached


class ServiceDetail(msgspec.Struct, frozen=True, gc=False):
    """A service as those who look after it see it: its record (or the defaults) and every instance."""

    service: Service
    explicit: bool
    ephemeral: bool
    instances: tuple[Instance, ...]


class PublisherView(msgspec.Struct, frozen=True, gc=False):
    """Who registered which instance. ``node`` has the client; empty for a persistent instance."""

    key: ServiceKey
    client: str
    node: str
    instance: Instance


class SubscriberView(msgspec.Struct, frozen=True, gc=False):
    """Who is told of changes, and what it was told last. Times: Unix, by the node's clock; 0: not yet."""

    key: ServiceKey
    client: str
    node: str
    address: str
    port: int
    app: str
    version: str
    clusters: str
    pushed_s: float = 0.0
    acknowledged_s: float = 0.0
    last_ref_time_ms: int = 0


class ClientView(msgspec.Struct, frozen=True, gc=False):
    """A client of some node. ``kind``: see ``ClientKind``. ``updated_s``: Unix time of its last act."""

    id: str
    node: str
    kind: str
    address: str
    port: int
    app: str
    version: str
    opened_s: float
    updated_s: float
    published: int
    subscribed: int
