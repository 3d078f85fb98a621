"""The plane put together: its services on a store, its frontends on them. Asked for by the host alone.

Rule: no decision is made here; this module knows which part gets which, and stops them in the reverse order.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import atoll
from atoll.planes.mesh.frontends import rest
from atoll.planes.mesh.frontends.ads import Ads
from atoll.planes.mesh.frontends.csds import Csds
from atoll.planes.mesh.frontends.lrs import Lrs
from atoll.planes.mesh.frontends.xds import LIMITS, Visitors, status_of
from atoll.planes.mesh.model.document_view import DocumentView
from atoll.planes.mesh.model.policy_index import Settings as Naming
from atoll.planes.mesh.model.world import Choices, EmptyEndpoints, Scope, Unknown
from atoll.planes.mesh.policy import compiler
from atoll.planes.mesh.policy.compiler import Memo
from atoll.planes.mesh.service import canaries
from atoll.planes.mesh.service.canaries import Canaries
from atoll.planes.mesh.service.documents import Documents
from atoll.planes.mesh.service.groups import Compile
from atoll.planes.mesh.service.identity.issuing import Owner
from atoll.planes.mesh.service.identity.opening import Choices as AuthorityChoices
from atoll.planes.mesh.service.identity.opening import Ground as AuthorityGround
from atoll.planes.mesh.service.identity.opening import open_authority
from atoll.planes.mesh.service.loads import Loads
from atoll.planes.mesh.service.mesh import Mesh
from atoll.planes.mesh.service.plaintext import Plaintext
from atoll.planes.mesh.service.push import Push
from atoll.planes.mesh.service.sources import Source
from atoll.planes.mesh.service.sources.registry import RegistrySource
from atoll.planes.mesh.service.sources.remembered import Remembered
from atoll.planes.mesh.service.sources.static_file import StaticFile
from atoll.planes.mesh.service.sources.zookeeper import ZooKeeperSource
from atoll.planes.mesh.service.traffic import Traffic
from atoll.planes.mesh.service.worlds import Worlds
from atoll.planes.mesh.settings import Settings
from atoll.runtime.clock import Clock
from atoll.runtime.grpc_call import ErrorTable
from atoll.runtime.grpc_server import Route
from atoll.runtime.http1 import Application, Http1Server
from atoll.runtime.http1 import Limits as HttpLimits
from atoll.runtime.http_api import Endpoint, application
from atoll.runtime.http_guard import SocketGate
from atoll.runtime.listener import Listener, listen_unix
from atoll.runtime.logs import Log
from atoll.runtime.metrics import Metrics
from atoll.runtime.tasks import Tasks
from atoll.runtime.tls import ServerTls
from atoll.store.accounts import AccountsTable
from atoll.store.api import Store
from atoll.store.audit import AuditWriter
from atoll.store.ephemeral import EphemeralTable
from atoll.store.peers import Peers
from atoll.store.term import Term

SOCKET_FILE = "mesh.sock"
SERVICES_FILE = "mesh-services"
SOCKET_MODE = 0o666
CONNECTIONS_MAX = 20_000  # of HTTP: each workload keeps one, on which it hears whom to trust

LeaderWork: TypeAlias = Callable[[Term], Coroutine[Any, Any, None]]
Undo: TypeAlias = Callable[[float], Awaitable[None]]


XDS_ERRORS: ErrorTable = status_of
XDS_LIMITS = LIMITS


@dataclass(frozen=True)
class Ground:
    """What the plane stands on. ``data`` is the node's data folder; ``owner_uid`` whose processes of this machine may be any
    workload (root's as well); ``peers`` the other nodes; ``ephemeral`` what they and
    this one hold of instances.
    """

    store: Store
    accounts: AccountsTable
    audit: AuditWriter
    clock: Clock
    metrics: Metrics
    tasks: Tasks
    data: Path
    owner_uid: int
    peers: Peers
    ephemeral: EphemeralTable
    settings: Settings = Settings()


@dataclass
class Opened:
    """The running plane: ``endpoints`` for the HTTP API, ``workloads``, ``xds`` and ``tls`` for the port of xDS, ``jobs``
    (by name) for the node that leads.
    """

    mesh: Mesh
    tls: ServerTls
    workloads: Application
    xds: Mapping[str, Route]
    endpoints: Sequence[Endpoint] = ()
    jobs: Sequence[tuple[str, LeaderWork]] = ()
    undo: list[Undo] = field(default_factory=list)

    async def close(self, within_s: float) -> None:
        """Stop all parts, the newest first."""
        while self.undo:
            await self.undo.pop()(within_s)


async def open_plane(ground: Ground) -> Opened:
    """Start the parts. Raises what the store says of what it holds, and what a source of services cannot read."""
    identity = await open_authority(_authority_ground(ground))
    worlds = Worlds(_choices(ground.settings), _sources(ground), ground.clock)
    documents = await _documents(ground, worlds)
    compile = functools.partial(compiler.compile, memo=Memo())
    push = Push(compile, ground.clock, ground.metrics)
    worlds.on_world = push.world_changed
    ground.tasks.start("mesh push", push.run())
    tried = await _canaries(ground, documents, push, compile)
    mesh = Mesh(
        store=ground.store,
        accounts=ground.accounts,
        audit=ground.audit,
        peers=ground.peers,
        clock=ground.clock,
        metrics=ground.metrics,
        settings=ground.settings,
        worlds=worlds,
        documents=documents,
        push=push,
        loads=Loads(ground.clock, ground.metrics),
        canaries=tried,
        plaintext=Plaintext(lambda: _connected(push), ground.peers, ground.clock),
        authority=identity.authority,
    )
    await worlds.start(ground.tasks)
    endpoints = rest.endpoints(mesh)
    socket = _open_socket(ground, endpoints)
    opened = Opened(
        mesh,
        identity.authority.server.tls,
        rest.for_workloads(mesh),
        _xds_routes(mesh),
        endpoints,
        [*identity.jobs, (tried.name, tried.run)],
    )
    opened.undo.append(socket.close)
    return opened


async def _canaries(ground: Ground, documents: Documents, push: Push, compile: Compile) -> Canaries:
    parts = canaries.Parts(
        store=ground.store,
        documents=documents,
        push=push,
        traffic=Traffic(),
        compile=compile,
        peers=ground.peers,
        clock=ground.clock,
        audit=ground.audit.entry,
    )
    made = Canaries(parts)
    await made.following.load()
    ground.tasks.start("mesh canaries in the store", made.following.follow())
    ground.tasks.start("mesh canaries", made.try_on())
    return made


def _connected(push: Push) -> list[str]:
    return [session.who.id.node for session in push.sessions()]


def _xds_routes(mesh: Mesh) -> Mapping[str, Route]:
    """Every client hears of itself alone; where nobody proves who he is, everybody may hear of all."""
    visitors = Visitors(mesh.authority.admit)
    ads = Ads(mesh.push, visitors, mesh.clock)
    csds = Csds(mesh.push, visitors, lambda peer: mesh.settings.insecure_xds)
    return {**ads.routes, **csds.routes, **Lrs(mesh.loads, visitors).routes}


def _authority_ground(ground: Ground) -> AuthorityGround:
    settings = ground.settings
    choices = AuthorityChoices(
        trust_domain=settings.trust_domain,
        certificate_ttl_s=settings.certificate_ttl_s,
        offline_root=settings.offline_root,
        insecure=settings.insecure_xds,
        hosts=settings.xds_names,
    )
    return AuthorityGround(
        store=ground.store,
        audit=ground.audit,
        clock=ground.clock,
        metrics=ground.metrics,
        tasks=ground.tasks,
        data=ground.data,
        owner=Owner(ground.peers.node_id, ground.owner_uid),
        choices=choices,
    )


def _open_socket(ground: Ground, endpoints: Sequence[Endpoint]) -> Listener:
    """Anybody may connect; the gate, and whose folder it is in, decide how far that goes."""
    path = Path(ground.settings.socket or ground.data / SOCKET_FILE)
    app = application(endpoints, SocketGate(ground.owner_uid), Log("mesh"), atoll.__version__, {})
    return listen_unix(
        path,
        SOCKET_MODE,
        http1=Http1Server(app, ground.clock, limits=HttpLimits(connections_max=CONNECTIONS_MAX)),
    )


async def _documents(ground: Ground, worlds: Worlds) -> Documents:
    """Read, followed, and part of the world."""
    naming = Naming(ground.settings.domain, ground.settings.root_namespace)
    documents = Documents(ground.store, ground.audit.entry, lambda: worlds.world.told, naming)

    def hear(view: DocumentView) -> None:
        worlds.change(lambda world: world.with_policies(view.policies))

    documents.follower.on_change.append(hear)
    await documents.follower.load()
    ground.tasks.start("policy documents", documents.follower.follow())
    return documents


def _choices(settings: Settings) -> Choices:
    return Choices(
        domain=settings.domain,
        trust_domain=settings.trust_domain,
        root_namespace=settings.root_namespace,
        empty_endpoints=EmptyEndpoints(settings.empty_endpoints),
        unknown=Unknown(settings.unknown),
        scope=Scope(settings.scope),
        access_log=settings.access_log,
        otlp=settings.otlp,
        trace_percent=settings.trace_percent,
    )


def _sources(ground: Ground) -> list[Source]:
    """The one that is named first says what a service is where several know it."""
    settings = ground.settings
    registry = RegistrySource(ground.store, ground.ephemeral, settings.domain, ground.clock)
    found: list[Source] = [Remembered(registry, ground.data / SERVICES_FILE, ground.clock)]
    if settings.services_file:
        found.append(StaticFile(Path(settings.services_file), settings.domain))
    if settings.zookeeper:
        found.append(ZooKeeperSource(settings.zookeeper, settings.domain))
    return found
