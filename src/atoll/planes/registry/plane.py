"""The plane put together: its services on a store, its frontends on them. Asked for by the host alone.

Rule: no decision is made here; this module knows which part gets which, and stops them in the reverse order.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from atoll.planes.registry.frontends import nacos_grpc, nacos_http, rest
from atoll.planes.registry.frontends.nacos_grpc import NacosGrpc
from atoll.planes.registry.frontends.nacos_http import OpenedHttp
from atoll.planes.registry.model.config_limits import ConfigLimits
from atoll.planes.registry.policy.control import ConnectionRule, Control, parse_rules
from atoll.planes.registry.policy.rollout_judge import Share
from atoll.planes.registry.service import access
from atoll.planes.registry.service.configs import ConfigParts, Configs
from atoll.planes.registry.service.connected import Connected
from atoll.planes.registry.service.locks import Locks
from atoll.planes.registry.service.namespaces import Namespaces
from atoll.planes.registry.service.naming import Chosen, Naming, NamingParts
from atoll.planes.registry.service.naming_meters import NamingMeters
from atoll.planes.registry.service.override_cleaning import OverrideCleaner
from atoll.planes.registry.service.probes import Prober
from atoll.planes.registry.service.recorder import Recorder
from atoll.planes.registry.service.registry import Registry
from atoll.planes.registry.settings import ConfigChoices, Settings
from atoll.resources.service import key_of as service_key
from atoll.runtime.clock import Clock
from atoll.runtime.http_api import Endpoint
from atoll.runtime.metrics import Metrics
from atoll.runtime.net import Address
from atoll.runtime.rng import system_rng
from atoll.runtime.tasks import Tasks
from atoll.store.accounts import AccountsTable
from atoll.store.api import Store
from atoll.store.audit import AuditWriter, Sealer
from atoll.store.audit_archive import FOLDER as AUDIT_FOLDER
from atoll.store.audit_archive import Archiver, Retention
from atoll.store.ephemeral import EphemeralTable
from atoll.store.event_log import Bounds
from atoll.store.nodes import Nodes, Parts, Place
from atoll.store.peers import Peers
from atoll.store.term import Term

DAY_S = 86_400.0

LeaderWork: TypeAlias = Callable[[Term], Coroutine[Any, Any, None]]
Undo: TypeAlias = Callable[[float], Awaitable[None]]


@dataclass(frozen=True)
class Ground:
    """What the plane stands on. ``data`` is the node's data folder; ``peers`` the other nodes, and
    this one as they know it; ``place`` where they meet, None where the store is this process's own and there are no others.
    """

    store: Store
    accounts: AccountsTable
    audit: AuditWriter
    clock: Clock
    metrics: Metrics
    tasks: Tasks
    data: Path
    peers: Peers
    ephemeral: EphemeralTable
    settings: Settings = Settings()
    address: Address = Address("127.0.0.1", 8848)  # where Nacos's HTTP API will be listened on
    place: Place | None = None


@dataclass
class Opened:
    """The running plane: ``endpoints`` for the HTTP API, ``jobs`` (by name) for the node that leads."""

    registry: Registry
    nacos_grpc: NacosGrpc
    nacos_http: OpenedHttp
    endpoints: Sequence[Endpoint]
    jobs: Sequence[tuple[str, LeaderWork]]
    nodes: Nodes | None = None
    undo: list[Undo] = field(default_factory=list)

    def user_of(self, token: str) -> str:
        """Whom a user's token stands for; empty while nobody needs to log in. Raises DENIED."""
        return rest.user_of(self.registry, token)

    def listening(self, addresses: Mapping[str, Address]) -> None:
        """The listeners are bound, by the names of their settings: from now on others may be told of this node."""
        nacos, grpc = (str(addresses[name]) for name in ("listen_nacos", "listen_nacos_grpc"))
        if self.nodes is not None:
            self.nodes.announce(nacos, grpc)
        else:
            peers = self.registry.peers
            peers.be(msgspec.structs.replace(peers.me, nacos=nacos, nacos_grpc=grpc))

    async def close(self, within_s: float) -> None:
        """Stop all parts, the newest first."""
        while self.undo:
            await self.undo.pop()(within_s)


async def open_plane(ground: Ground) -> Opened:
    """Start the parts that this release has. Raises what the store says of what it holds."""
    opened = await access.open_access(
        access.Ground(ground.store, ground.accounts, ground.audit, ground.clock, ground.tasks, ground.data),
        _access_options(ground.settings),
    )
    registry = await _registry(ground, opened)
    recorder = Recorder(registry.journal, registry.naming, registry.configs)
    registry.journal.answer_for(registry.peers)
    registry.journal.show(ground.metrics)
    ground.tasks.start("journal", registry.journal.keep_snapshots(recorder.instances))
    sealer = Sealer(ground.store, ground.clock)
    kept = Retention(ground.settings.audit_entries, ground.settings.audit_days * DAY_S)
    archiver = Archiver(ground.store, ground.clock, ground.data / AUDIT_FOLDER, kept)
    cleaner = OverrideCleaner(registry.naming, ground.store)
    nacos = nacos_grpc.open_api(registry)
    ground.tasks.start("nacos connections", nacos.run())
    http = nacos_http.open_http(registry, ground.address, ground.settings.http)
    http.show(ground.metrics)
    await http.push_from(ground.address.host)
    ground.tasks.start("nacos datagrams", http.run())
    undo: list[Undo] = [opened.close, http.close]
    nodes = None
    if ground.place is not None:
        nodes = await _join(ground, ground.place, registry, nacos)
        undo.append(nodes.close)
    configs = registry.configs
    jobs = [(sealer.name, sealer.run), (archiver.name, archiver.run), (cleaner.name, cleaner.run)]
    jobs += [(configs.rollouts.name, configs.rollouts.run), (configs.upkeep.name, configs.upkeep.run)]
    return Opened(registry, nacos, http, rest.endpoints(registry), jobs, nodes, undo)


def _access_options(settings: Settings) -> access.Options:
    bounds = Bounds(age_s_max=settings.journal_days * DAY_S, size_bytes_max=settings.journal_bytes)
    return access.Options(settings.token_ttl_s, bounds)


async def _join(ground: Ground, place: Place, registry: Registry, nacos: NacosGrpc) -> Nodes:
    """Among the other nodes, with what they hold."""
    naming = registry.naming
    nodes = Nodes(Parts(ground.store, naming.table, registry.peers, place, ground.clock, ground.tasks))

    def seen(answers: bool) -> None:
        naming.stale = not answers

    def shed() -> None:
        ground.tasks.start("sending clients away", nacos.shed())

    nodes.on_store = seen
    naming.table.on_shed = shed
    nodes.show(ground.metrics)
    await nodes.open()
    return nodes


async def _registry(ground: Ground, opened: access.Access) -> Registry:
    clock, start = ground.clock, ground.tasks.start
    audit, chosen = opened.audit.entry, _naming(ground.settings)
    naming = Naming(NamingParts(ground.ephemeral, ground.peers, ground.store, clock, audit, chosen))
    NamingMeters(naming, ground.metrics)
    await naming.follower.load()
    configs, namespaces = await _configs(ground, opened, naming)
    start("naming", naming.run())
    start("naming in the store", naming.follower.follow())
    start("beats of other nodes", naming.beating.run())
    start("time of all nodes", naming.across.run())
    start("probes", Prober(naming, system_rng()).run())
    start("configuration", configs.follow())
    return Registry(
        naming=naming,
        configs=configs,
        namespaces=namespaces,
        guard=opened.guard,
        accounts=opened.accounts,
        audit=opened.audit,
        journal=opened.journal,
        locks=Locks(ground.store),
        connected=Connected(),
        control=_control(ground.settings),
        peers=ground.peers,
        clock=clock,
        metrics=ground.metrics,
    )


async def _configs(ground: Ground, opened: access.Access, naming: Naming) -> tuple[Configs, Namespaces]:
    rng = system_rng()
    parts = ConfigParts(
        store=ground.store,
        clock=ground.clock,
        rng=rng,
        audit=opened.audit.entry,
        limits=_limits(ground.settings.configs),
        stale=lambda: naming.stale,
        known=lambda name: namespaces.exists(name),
        shares=lambda space, name: _share(naming, space, name),
    )
    configs = Configs(parts)
    namespaces = Namespaces(configs.view, configs.writer, lambda name: len(naming.services(name)), rng)
    configs.reach.join(naming.peers)
    await configs.start()
    return configs, namespaces


def _limits(chosen: ConfigChoices) -> ConfigLimits:
    return ConfigLimits(
        check=chosen.check,
        require_namespace=chosen.require_namespace,
        items_max=chosen.items_max,
        history_s_max=chosen.history_s_max,
    )


def _share(naming: Naming, space: str, name: str) -> Share | None:
    """How a service stands, for the gates of staged releases; None while what is known may be old."""
    if naming.stale:
        return None
    state = naming.directory.service(service_key(space, "", name))
    found = [each for each in state.instances() if each.enabled] if state is not None else []
    return Share(sum(each.healthy for each in found), len(found))


def _naming(settings: Settings) -> Chosen:
    return Chosen(strict=settings.strict, override_kept_s=settings.override_kept_s)


def _control(settings: Settings) -> Control:
    connections = ConnectionRule(settings.connections_max, settings.connections_per_address_max)
    return Control(parse_rules(settings.rate_limits), connections)
