"""What this release has: store drivers and planes. The only place that lists planes.

Rule: an entry loads its code at first use, so that a node pays only for what it runs, and a plane whose folder was
taken out of the installation is left out of the list.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import platform
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import quote

from atoll.errors import AtollError, Code
from atoll.host.leader import Job
from atoll.host.settings import Settings
from atoll.runtime import loop
from atoll.runtime.clock import Clock
from atoll.runtime.grpc_call import ErrorTable
from atoll.runtime.grpc_call import Limits as GrpcLimits
from atoll.runtime.grpc_server import Route
from atoll.runtime.http1 import Application
from atoll.runtime.http1 import Limits as HttpLimits
from atoll.runtime.http_api import Endpoint
from atoll.runtime.http_guard import Sessions
from atoll.runtime.metrics import Metrics
from atoll.runtime.net import Address
from atoll.runtime.tasks import Tasks
from atoll.runtime.tls import ServerTls
from atoll.store import accounts
from atoll.store.accounts import AccountsTable
from atoll.store.api import Driver, Limits, Store
from atoll.store.audit import AuditWriter
from atoll.store.ephemeral import EphemeralTable
from atoll.store.nodes import Certificates, Place
from atoll.store.peers import Peers
from atoll.store.shell import StoreShell

STORE_FILE = "store.db"
ACCOUNTS_READ_WITHIN_S = 10.0
STORE_FORMS = "sqlite:PATH, memory:, or etcd://HOST:PORT[,HOST:PORT...]"


Addresses: TypeAlias = Mapping[str, Address]


async def _nothing(within_s: float) -> None:
    return None


def _nobody(addresses: Addresses) -> None:
    return None


def _nowhere() -> None:
    return None


@dataclass
class OpenStore:
    """An open store. ``embedded`` is the driver when this process is the store; None for a cluster's."""

    url: str  # for people: without password
    driver: Driver
    embedded: Any = None

    @functools.cached_property
    def store(self) -> Store:
        """The asyncio side; first asked for on the event loop."""
        return StoreShell(self.driver)

    def on_stop(self, callback: Callable[[AtollError], None]) -> None:
        """``callback`` hears from any thread when an embedded store had to stop: its disk failed it."""
        if self.embedded is not None:
            self.embedded.engine.on_stop(callback)

    def defragment(self) -> None:
        """Give free space back to the disk. Blocks. Raises INVALID for a store that is no file of this process."""
        if not hasattr(self.embedded, "defragment"):
            raise AtollError(
                Code.INVALID, f"only a sqlite: store has a file to defragment; this is {self.url}"
            )
        self.embedded.defragment()

    def close(self) -> None:
        self.driver.close()


@dataclass
class Context:
    """What a plane gets: what this node has one of."""

    settings: Settings
    store: OpenStore
    clock: Clock
    metrics: Metrics
    tasks: Tasks
    peers: Peers
    ephemeral: EphemeralTable
    accounts: AccountsTable
    audit: AuditWriter


@dataclass(frozen=True)
class GrpcFace:
    """What a listener needs to serve one gRPC API."""

    routes: Mapping[str, Route]
    errors: ErrorTable
    limits: GrpcLimits


@dataclass(frozen=True)
class Face:
    """What a plane answers on listeners of its own: gRPC, HTTP/1, or both on one port. ``listens`` are the settings
    of the addresses; one server stands behind all of them. ``name`` is its label in metrics, ``title`` is for people.
    """

    name: str
    title: str
    listens: tuple[str, ...]
    grpc: GrpcFace | None = None
    http: Application | None = None
    http_limits: HttpLimits | None = None
    tls: ServerTls | None = None  # of its own, instead of the node's
    only_tls: bool = True  # with ``tls``: nobody is served without it


@dataclass
class Started:
    """What a started plane gives: faces of its own, endpoints for the HTTP API, how to stop it. ``listening`` is
    called when the listeners are bound, with the address of each by its setting; ``leave`` before they are closed, so
    that clients can be told to go to another node.
    """

    name: str
    faces: Sequence[Face] = ()
    endpoints: Sequence[Endpoint] = ()
    jobs: Sequence[Job] = ()  # for the node that leads
    sessions: Sessions | None = None  # who knows the users' tokens of the HTTP API
    listening: Callable[[Addresses], None] = _nobody
    also: Addresses = field(default_factory=dict)
    leave: Callable[[], None] = _nowhere
    stop: Callable[[float], Awaitable[None]] = _nothing


def open_store(settings: Settings) -> OpenStore:
    """Open the store that ``store.url`` names. Raises INVALID, and whatever the driver says of what it found."""
    url = settings.store_url
    if url.startswith("etcd://"):
        return _open_etcd(settings)
    scheme, _, path = url.partition(":")
    if scheme == "memory" and not path:
        return _embedded(settings, "memory:")
    if scheme == "sqlite":
        return _embedded(settings, f"sqlite:{path or settings.data / STORE_FILE}")
    raise AtollError(Code.INVALID, f"store.url {url!r} is not a store; expected {STORE_FORMS}")


def limits(settings: Settings) -> Limits:
    return Limits(quota_bytes=settings.store_quota_bytes)


def _embedded(settings: Settings, url: str) -> OpenStore:
    from atoll.store.engine import Retention

    retention = Retention(history_s=settings.store_compact_after_s)
    if url == "memory:":
        from atoll.store.memory import open_memory

        driver = open_memory(limits(settings), retention)
    else:
        from atoll.store.sqlite import open_sqlite

        driver = open_sqlite(Path(url.removeprefix("sqlite:")), limits(settings), retention)
    return OpenStore(url, driver, driver)


def _open_etcd(settings: Settings) -> OpenStore:
    from atoll.store import etcd, etcd_url

    address = etcd_url.parse(_with_credentials(settings))
    driver = etcd.EtcdDriver(address)
    return OpenStore(address.text(), driver)


def _with_credentials(settings: Settings) -> str:
    """The URL with what the other ``store.`` settings add to it."""
    hosts, _, query = settings.store_url.partition("?")
    options = [query] if query else []
    files = {"ca": settings.store_ca, "cert": settings.store_certificate, "key": settings.store_key}
    options += [f"{name}={quote(path)}" for name, path in files.items() if path]
    if settings.store_user:
        password = quote(_read_secret(settings.store_password_file, "store.password_file"), safe="")
        hosts = hosts.replace("://", f"://{quote(settings.store_user, safe='')}:{password}@", 1)
    return "?".join([hosts, "&".join(options)]) if options else hosts


def _read_secret(path: str, setting: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise AtollError(Code.INVALID, f"{setting} {path!r} cannot be read: {error}") from error


async def open_accounts(opened: OpenStore, audit: AuditWriter) -> AccountsTable:
    """The accounts of everybody on the store. Raises CORRUPT, NEWER_FORMAT, and UNAVAILABLE for a cluster that is away."""
    if opened.embedded is not None:
        return accounts.open_embedded(opened.embedded, audit)
    async with loop.bounded(ACCOUNTS_READ_WITHIN_S, "reading the accounts"):
        return await accounts.open_cluster(opened.driver, opened.store, audit)


def planes() -> list[str]:
    """The planes of this installation."""
    return [name for name in _PLANES if importlib.util.find_spec(f"atoll.planes.{name}")]


async def start_planes(context: Context) -> list[Started]:
    return [await _PLANES[name](context) for name in planes()]


async def _coordination(context: Context) -> Started:
    """The etcd API is served over an embedded store only: a cluster has its own."""
    from atoll.planes.coordination.frontends import etcd, http

    endpoints = http.ElectionsApi(context.store.store, context.clock).endpoints()
    if context.store.embedded is None:
        return Started("coordination", endpoints=endpoints)
    scheme = "https" if context.settings.tls_certificate else "http"
    urls = (f"{scheme}://{context.settings.address('listen_etcd')}",)
    chosen = etcd.Settings(client_urls=urls, limits=limits(context.settings))
    api = await etcd.open_api(context.store.embedded, chosen, context.clock, context.accounts)
    context.tasks.start("etcd watch progress", api.report_progress())
    face = Face("etcd", "etcd v3 API", ("listen_etcd",), GrpcFace(api.routes, api.errors, api.limits))
    return Started("coordination", (face,), endpoints)


async def _registry(context: Context) -> Started:
    from atoll.planes.registry import plane

    ground = plane.Ground(
        store=context.store.store,
        accounts=context.accounts,
        audit=context.audit,
        clock=context.clock,
        metrics=context.metrics,
        tasks=context.tasks,
        data=context.settings.data,
        peers=context.peers,
        ephemeral=context.ephemeral,
        settings=_registry_settings(context.settings),
        address=context.settings.address("listen_nacos"),
        place=None if context.store.embedded is not None else _place(context.settings),
    )
    opened = await plane.open_plane(ground)
    jobs = [Job(name, work) for name, work in opened.jobs]
    nacos = opened.nacos_grpc
    grpc = GrpcFace(nacos.routes, nacos.errors, nacos.limits)
    return Started(
        "registry",
        faces=(
            Face(
                "nacos",
                "Nacos API",
                ("listen_nacos", "listen_nacos_grpc"),
                grpc,
                opened.nacos_http.application,
                opened.nacos_http.limits,
            ),
        ),
        endpoints=opened.endpoints,
        jobs=jobs,
        sessions=opened.user_of,
        listening=opened.listening,
        also={"other nodes": opened.nodes.address} if opened.nodes is not None else {},
        leave=nacos.leave,
        stop=opened.close,
    )


def _place(settings: Settings) -> Place:
    files = Certificates(settings.nodes_certificate, settings.nodes_key, settings.nodes_ca)
    return Place(settings.address("listen_nodes"), settings.nodes_address, files)


def _registry_settings(settings: Settings) -> Any:
    from atoll.planes.registry.settings import ConfigChoices, HttpCompatibility
    from atoll.planes.registry.settings import Settings as RegistrySettings

    http = HttpCompatibility(
        settings.registry_nacos_http_client,
        settings.registry_nacos_http_admin,
        settings.registry_nacos_http_console,
    )
    configs = ConfigChoices(
        settings.registry_config_check,
        settings.registry_config_namespaces,
        settings.registry_config_items_max,
        settings.registry_config_history_s,
    )
    return RegistrySettings(
        http=http,
        configs=configs,
        rate_limits=settings.registry_rate_limits,
        connections_max=settings.registry_connections_max,
        connections_per_address_max=settings.registry_connections_per_address_max,
        strict=settings.registry_nacos_strict,
        override_kept_s=max(60.0, settings.registry_override_kept_s),
        token_ttl_s=settings.registry_token_ttl_s,
        journal_days=settings.registry_journal_days,
        journal_bytes=settings.registry_journal_bytes,
        audit_entries=settings.registry_audit_entries,
        audit_days=settings.registry_audit_days,
    )


async def _mesh(context: Context) -> Started:
    from atoll.planes.mesh import plane

    ground = plane.Ground(
        store=context.store.store,
        accounts=context.accounts,
        audit=context.audit,
        clock=context.clock,
        metrics=context.metrics,
        tasks=context.tasks,
        data=context.settings.data,
        owner_uid=os.geteuid(),
        peers=context.peers,
        ephemeral=context.ephemeral,
        settings=_mesh_settings(context.settings),
    )
    opened = await plane.open_plane(ground)
    jobs = [Job(name, work) for name, work in opened.jobs]
    face = Face(
        "xds",
        "xDS",
        ("listen_xds",),
        GrpcFace(opened.xds, plane.XDS_ERRORS, plane.XDS_LIMITS),
        http=opened.workloads,
        http_limits=HttpLimits(connections_max=plane.CONNECTIONS_MAX),
        tls=opened.tls,
        only_tls=not context.settings.mesh_insecure_xds,
    )
    return Started("mesh", (face,), endpoints=opened.endpoints, jobs=jobs, stop=opened.close)


def _mesh_settings(settings: Settings) -> Any:
    from atoll.planes.mesh.settings import Settings as MeshSettings

    return MeshSettings(
        domain=settings.mesh_domain,
        trust_domain=settings.mesh_trust_domain,
        root_namespace=settings.mesh_root_namespace,
        empty_endpoints=settings.mesh_empty_endpoints,
        unknown=settings.mesh_unknown,
        scope=settings.mesh_scope,
        access_log=settings.mesh_access_log,
        otlp=settings.mesh_otlp,
        trace_percent=settings.mesh_trace_percent,
        services_file=settings.mesh_services_file,
        zookeeper=settings.mesh_zookeeper,
        insecure_xds=settings.mesh_insecure_xds,
        offline_root=settings.mesh_offline_root,
        certificate_ttl_s=settings.mesh_certificate_ttl_s,
        socket=settings.mesh_socket,
        xds_names=_xds_names(settings),
    )


def _xds_names(settings: Settings) -> tuple[str, ...]:
    """What a client may call this node when it asks for xDS."""
    named = [name.strip() for name in settings.mesh_xds_names.split(",") if name.strip()]
    host = settings.address("listen_xds").host
    everywhere = [platform.node()] if host in ("0.0.0.0", "::") else [host]
    return ("localhost", "127.0.0.1", "::1", *everywhere, *named)


_PLANES: dict[str, Callable[[Context], Awaitable[Started]]] = {
    "coordination": _coordination,
    "registry": _registry,
    "mesh": _mesh,
}
