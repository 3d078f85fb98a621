"""Services and instances as Atoll's own API takes and gives them. Never stored.

Rule: a question is a struct of query fields, an order a struct that is a body; both refuse fields that they do not
have, so that a misspelt one is an error and not a default. ``namespace`` empty is ``public``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import msgspec

from atoll.resources.instance import Instance
from atoll.resources.records import NOTHING
from atoll.resources.service import DEFAULT_CLUSTER, DEFAULT_GROUP, Cluster, Selector, Service, ServiceKey

PAGE_SIZE_MAX = 500

Page = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
PageSize = Annotated[int, msgspec.Meta(ge=1, le=PAGE_SIZE_MAX)]
Port = Annotated[int, msgspec.Meta(ge=0, le=65_535)]
Weight = Annotated[float, msgspec.Meta(ge=0, le=10_000)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]


class ServicesAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``group`` and ``name``: contained in the service's, empty for every one."""

    namespace: str = ""
    group: str = ""
    name: str = ""
    with_empty: bool = True  # services without instances too
    page: Page = 1
    page_size: PageSize = 100


class ServiceAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    group: str = DEFAULT_GROUP
    namespace: str = ""


class InstancesAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``clusters``: names with commas between them. ``address``: of the consumer, for selectors; empty: who asks."""

    name: str
    group: str = DEFAULT_GROUP
    namespace: str = ""
    clusters: str = ""
    healthy_only: bool = False
    address: str = ""


class AddressLabels(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an operator says of an address (an IP): its zone, its region. Selectors look at it, on both sides. As an
    order: all of it, nothing: the address is forgotten.
    """

    address: str
    labels: Mapping[str, str] = NOTHING


class InstanceAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    ip: str
    port: Port
    cluster: str = DEFAULT_CLUSTER
    group: str = DEFAULT_GROUP
    namespace: str = ""
    ephemeral: bool = True


class ServiceOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Make a service before its first instance. ``ephemeral`` null: that one decides."""

    name: str
    group: str = DEFAULT_GROUP
    namespace: str = ""
    ephemeral: bool | None = None
    protect_threshold: Share = 0.0
    selector: Selector = Selector()
    metadata: Mapping[str, str] = NOTHING


class ServiceChangeOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Change what is fixed about a service; null: it stays."""

    name: str
    group: str = DEFAULT_GROUP
    namespace: str = ""
    ephemeral: bool | None = None
    protect_threshold: Share | None = None
    selector: Selector | None = None
    metadata: Mapping[str, str] | None = None


class ClusterOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the instances of one cluster of a service are probed."""

    name: str
    cluster: Cluster
    group: str = DEFAULT_GROUP
    namespace: str = ""


class InstanceOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Register an instance. An ephemeral one lives as long as it beats."""

    name: str
    ip: str
    port: Port
    cluster: str = DEFAULT_CLUSTER
    group: str = DEFAULT_GROUP
    namespace: str = ""
    weight: Weight = 1.0
    enabled: bool = True
    ephemeral: bool = True
    metadata: Mapping[str, str] = NOTHING


class Beating(msgspec.Struct, frozen=True):
    """When to beat next, in seconds; 0: never, it is persistent. ``known`` False: there is no such instance (any more),
    register it again.
    """

    known: bool
    interval_s: float


class OverrideOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An operator's word on one instance, which outlives its registrations; null: it stays as it is."""

    name: str
    ip: str
    port: Port
    cluster: str = DEFAULT_CLUSTER
    group: str = DEFAULT_GROUP
    namespace: str = ""
    weight: Weight | None = None
    enabled: bool | None = None
    metadata: Mapping[str, str] | None = None


class OverrideRemoval(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The instance's own word holds again."""

    name: str
    ip: str
    port: Port
    cluster: str = DEFAULT_CLUSTER
    group: str = DEFAULT_GROUP
    namespace: str = ""


class HealthOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Set the health of a persistent instance that nothing probes."""

    name: str
    ip: str
    port: Port
    healthy: bool
    cluster: str = DEFAULT_CLUSTER
    group: str = DEFAULT_GROUP
    namespace: str = ""


class ServiceSummary(msgspec.Struct, frozen=True):
    key: ServiceKey
    ephemeral: bool | None
    clusters: int
    instances: int
    healthy: int


class ServicePage(msgspec.Struct, frozen=True):
    total: int
    page: int
    page_size: int
    services: tuple[ServiceSummary, ...]


class Hosts(msgspec.Struct, frozen=True):
    """The instances that a consumer is given. ``protected``: so few are healthy that the unhealthy ones are among
    them. ``stale``: the store is away, persistent ones and overrides are the last that were known.
    """

    key: ServiceKey
    instances: tuple[Instance, ...]
    protected: bool = False
    stale: bool = False


class ServiceShown(msgspec.Struct, frozen=True):
    """One service: what is stored of it, and every instance whether it is handed out or not."""

    service: Service
    instances: tuple[Instance, ...]
    stale: bool = False


class SubscriberShown(msgspec.Struct, frozen=True):
    node: str
    client: str
    address: str
    app: str = ""
    version: str = ""
    clusters: str = ""
    pushed_s: float = 0.0  # Unix time by that node's clock; 0: not yet
    acknowledged_s: float = 0.0


class ClientShown(msgspec.Struct, frozen=True):
    """A client of some node: ``kind`` is what keeps it alive, a ``connection``, a ``beat`` or ``poll``. Unix times."""

    id: str
    node: str
    kind: str
    address: str
    app: str
    version: str
    opened_s: float
    updated_s: float
    published: int
    subscribed: int


class PublisherShown(msgspec.Struct, frozen=True):
    """Who registered an instance. ``node`` has the client; empty for a persistent instance."""

    instance: Instance
    client: str
    node: str


class MemberShown(msgspec.Struct, frozen=True):
    """One node of the cluster. ``me``: the node that answers. Addresses are ``host:port``; empty: not served."""

    node: str
    me: bool
    nodes: str = ""
    nacos: str = ""
    nacos_grpc: str = ""
    release: str = ""
