"""Naming at work: registering, looking up, subscribing. What the frontends call.

Rule: what is not awaited is an act in memory and cannot fail for want of a store or a peer. Ephemeral instances go
into the ephemeral table and come back by its watch, which is the only way into the directory; so a registration made
here and one that another node handed on look alike. ``run`` does what time brings.

    naming.client_opened(Client(id, address=...))
    naming.register(id, key, [Instance("10.0.0.1", 8080)])      # replaces this client's set; []: takes it back
    info = naming.subscribe(id, key, Selection(), sink)         # the list now; sink(push) whenever it changes
    naming.client_closed(id, clean=False)                       # damped: see store/ephemeral.py

Who only sends beats (HTTP) has no connection to stand for it: ``register_beating``, ``beat``, ``deregister_beating``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import msgspec

from atoll.errors import AtollError, Code, Reason
from atoll.planes.registry.model import selectors
from atoll.planes.registry.model.directory import Directory, ServiceState
from atoll.planes.registry.model.naming import (
    ClientView,
    Hosts,
    PublisherView,
    Selection,
    ServiceDetail,
    ServiceInfo,
    ServiceSummary,
    SubscriberView,
    View,
)
from atoll.planes.registry.policy import selection
from atoll.planes.registry.policy.cluster_clock import ClusterClock
from atoll.planes.registry.policy.instance_ids import InstanceIds
from atoll.planes.registry.policy.push_window import Agenda, Window
from atoll.planes.registry.service.beating import BeatAnswer, Beating
from atoll.planes.registry.service.clients import INSTANCES_PER_CLIENT_MAX, Clients
from atoll.planes.registry.service.fuzzy_watches import FuzzySink, FuzzyWatches
from atoll.planes.registry.service.naming_across import ClientDetail, NamingAcross
from atoll.planes.registry.service.naming_follower import NamingFollower
from atoll.planes.registry.service.naming_writes import Audit, NamingWrites
from atoll.planes.registry.service.pushes import Pushes, Sink, same
from atoll.resources import instance as instances
from atoll.resources import naming_keys
from atoll.resources.actor import Actor
from atoll.resources.instance import Instance, InstanceId
from atoll.resources.registry_client import Client
from atoll.resources.service import Selector, Service, ServiceKey
from atoll.runtime import loop
from atoll.runtime.clock import Clock
from atoll.store.api import Store
from atoll.store.ephemeral import Change, EphemeralTable
from atoll.store.peers import Peers

RESTAMPED_AFTER_MS = 100  # an answer is at most so much older than the moment it is given

EMPTY_KEPT_S = 60.0  # a service without record and instances is forgotten after so long

_NO_SELECTOR = Selector()


class Chosen(msgspec.Struct, frozen=True):
    """What an operator chose. ``strict``: as upstream, slips included (``policy/selection.py``).
    ``override_kept_s``: how long an operator's word outlives its instance.
    """

    window: Window = Window()
    strict: bool = False
    override_kept_s: float = 600.0


class NamingParts(msgspec.Struct, frozen=True):
    """What naming stands on."""

    table: EphemeralTable
    peers: Peers
    store: Store
    clock: Clock
    audit: Audit
    chosen: Chosen = Chosen()


class Naming(NamingWrites):
    """Of one node. All methods belong to the loop's thread. What is awaited is in ``naming_writes``.

    ``stale``, set by whoever watches the store: it is away, and what lies in it is shown as it was last seen.
    """

    def __init__(self, parts: NamingParts) -> None:
        self.table, self.peers, self.clock, self.chosen = parts.table, parts.peers, parts.clock, parts.chosen
        directory = Directory()
        self.follower = NamingFollower(parts.store, directory, self.changed)
        super().__init__(parts.store, directory, self.follower, parts.audit, parts.clock)
        self.clients = Clients()
        self._ids = InstanceIds(self.table.node_id)
        self.cluster_clock = ClusterClock(self.clock.wall_s(), self.clock.now_s())
        self.pushes = Pushes(self, self.clock, self.chosen.window)
        self.fuzzy = FuzzyWatches(self.clock, self.chosen.window)
        self.stale = False
        self.on_client: list[Callable[[Client, bool], None]] = []  # (client, whether it came or went)
        self._emptied: Agenda[ServiceKey] = Agenda()
        self._wake = loop.Event()
        self.table.watch(naming_keys.LIVE, self._live_changed)
        self.beating = Beating(self, self.peers)
        clocks = (self.clock, self.cluster_clock)
        self.across = NamingAcross(self.peers, self.clients, self.pushes, clocks)
        self.pushes.wake = self.fuzzy.wake = self.beating.wake = self._wake.set

    # -------------------------------------------------------------------------------------- clients

    def client_opened(self, client: Client) -> None:
        if self.clients.get(client.id) is None:
            self._hear(client, True)
        self.clients.opened(client, self.clock.wall_s())

    def client_closed(self, client_id: str, clean: bool) -> None:
        """``clean``: it said goodbye, and what it registered is gone at once. Otherwise damped."""
        self.pushes.drop_client(client_id)
        self.fuzzy.drop_client(client_id)
        known = self.clients.closed(client_id)
        if known is not None:
            self.table.drop_client(client_id, clean)
            self._hear(known.client, False)

    def _hear(self, client: Client, came: bool) -> None:
        for hear in self.on_client:
            hear(client, came)

    # ----------------------------------------------------------------------------------- registering

    def register(self, client_id: str, key: ServiceKey, wanted: Sequence[Instance]) -> None:
        """``wanted`` is all that the client has of this service from now on. Raises INVALID for an instance that is
        wrong, SERVICE_KIND where the service is a persistent one, EXHAUSTED over the limit.
        """
        known = self.clients.require(client_id)
        wanted = [self._checked(key, instance) for instance in wanted]
        before = known.published.get(key, {})
        if known.count() - len(before) + len(wanted) > INSTANCES_PER_CLIENT_MAX:
            text = f"client {client_id} registers more than {INSTANCES_PER_CLIENT_MAX} instances"
            raise AtollError(Code.EXHAUSTED, text)
        after = {instance.id: None for instance in wanted}
        for instance in wanted:
            self._publish(client_id, key, instance)
        for identity in before:
            if identity not in after:
                self.table.delete(client_id, naming_keys.live_key(key, identity))
        if after:
            known.published[key] = after
        else:
            known.published.pop(key, None)
        known.updated_s = self.clock.wall_s()

    def _checked(self, key: ServiceKey, instance: Instance) -> Instance:
        instances.check(instance)
        state = self.directory.service(key)
        if not instance.ephemeral or (state is not None and state.ephemeral is False):
            kinds = (
                ("a persistent", "an ephemeral") if instance.ephemeral else ("an ephemeral", "a persistent")
            )
            text = f"{key} is {kinds[0]} service, it cannot take {kinds[1]} instance"
            raise AtollError(Code.INVALID, text, reason=Reason.SERVICE_KIND)
        if self.directory.switches.disable_add_ip and (state is None or state.instance(instance.id) is None):
            raise AtollError(Code.DENIED, "the switch disableAddIP is on: no new instance may be registered")
        if not instance.metadata:
            return instance
        known = state.instance(instance.id) if state is not None else None
        return self._ids.named(key, instance, known, int(self.clock.wall_s() * 1_000))

    def _publish(self, client_id: str, key: ServiceKey, instance: Instance) -> None:
        at, value = naming_keys.live_key(key, instance.id), instances.encode_published(instance)
        held = self.table.get(at)
        if (
            held is None
            or held.lost
            or held.client != client_id
            or held.origin != self.table.node_id
            or held.value != value
        ):
            self.table.put(client_id, at, value)

    def published(self, client_id: str, key: ServiceKey) -> Sequence[InstanceId]:
        """What a client of this node has of one service; nothing of a client that is not there."""
        known = self.clients.get(client_id)
        return tuple(known.published.get(key, ())) if known is not None else ()

    def registered(self, client_id: str) -> int:
        """The number of instances that a client of this node has registered."""
        known = self.clients.get(client_id)
        return known.count() if known is not None else 0

    # --------------------------------------------------------------------------------- without connection

    def register_beating(self, key: ServiceKey, instance: Instance, client: Client | None = None) -> None:
        """Register an instance that beats will keep alive. ``client``: what is known of who asked."""
        self.beating.register(key, instance, client)

    def beat(
        self,
        key: ServiceKey,
        identity: InstanceId,
        body: Instance | None = None,
        client: Client | None = None,
    ) -> BeatAnswer:
        """The instance is alive. ``body``: the whole instance, which registers it where nobody knows it."""
        switches = self.directory.switches
        told = client or Client(identity.ip, address=identity.ip)
        known = self.beating.beat(key, identity, body, told)
        interval_ms = switches.client_beat_interval_ms
        seen = self.directory.service(key)
        if known and seen is not None and (instance := seen.instance(identity)) is not None:
            interval_ms = instances.beat_time_ms(instance, instances.BEAT_INTERVAL, interval_ms)
        return BeatAnswer(interval_ms, known, switches.light_beat_enabled)

    async def deregister_beating(self, key: ServiceKey, identity: InstanceId) -> bool:
        """On whichever node it is held. False: no reachable node holds it."""
        return await self.beating.deregister(key, identity)

    # ------------------------------------------------------------------------------------ looking up

    def query(self, key: ServiceKey, wanted: Selection) -> ServiceInfo:
        """The list as it is now; of a service that nobody knows it is empty."""
        return self.info(key, wanted)

    def info(self, key: ServiceKey, wanted: Selection) -> ServiceInfo:
        state = self.directory.service(key)
        now_ms, stale = self.cluster_clock.now_ms(self.clock.now_s()), self.stale
        if state is None:
            return ServiceInfo(key, ",".join(wanted.clusters), Hosts(()), now_ms, stale)
        view = self._view(state, wanted)
        hosts = state.views.get(view)
        last = state.infos.get(view)
        if (
            last is not None
            and last.selected is hosts
            and last.stale == stale
            and now_ms - last.last_ref_time_ms < RESTAMPED_AFTER_MS
        ):
            return last
        if hosts is None:
            hosts = self._selected(state, wanted)
            if last is not None and same(last.selected, hosts):
                hosts = last.selected  # so that what was encoded of it serves again
        return state.answer(view, hosts, now_ms, stale)

    def view_of(self, key: ServiceKey, wanted: Selection) -> View:
        return self._view(self.directory.service(key), wanted)

    def _view(self, state: ServiceState | None, wanted: Selection) -> View:
        selector = _NO_SELECTOR if state is None or state.record is None else state.record.selector
        labels = selectors.consumer_labels(selector, wanted, self.directory.labels_of)
        return View(wanted.clusters, wanted.healthy_only, wanted.enabled_only, selector, labels)

    def _selected(self, state: ServiceState, wanted: Selection) -> Hosts:
        labels_of, strict = self.directory.labels_of, self.chosen.strict
        return selection.select(state.instances(), state.record, wanted, labels_of, strict)

    def instance(self, key: ServiceKey, identity: InstanceId) -> Instance:
        """One instance, overrides applied. Raises NOT_FOUND."""
        state = self.directory.service(key)
        found = state.instance(identity) if state is not None else None
        if found is None:
            text = f"{key} has no instance {identity}"
            raise AtollError(Code.NOT_FOUND, text, reason=Reason.INSTANCE_NOT_FOUND)
        return found

    def service(self, key: ServiceKey) -> ServiceDetail:
        """A service with all of its instances. Raises NOT_FOUND for one that has neither record nor instances."""
        state = self.directory.service(key)
        if state is None or not state.exists:
            raise AtollError(Code.NOT_FOUND, f"there is no service {key}", reason=Reason.SERVICE_NOT_FOUND)
        ephemeral = state.ephemeral is not False
        return ServiceDetail(
            state.record or Service(key=key), state.record is not None, ephemeral, state.instances()
        )

    def services(self, namespace: str, group: str | None = None) -> list[ServiceKey]:
        """The services of a namespace, in order; ``group`` None: of all groups."""
        found = [
            key
            for key, state in self.directory.services.items()
            if key.namespace == namespace and (group is None or key.group == group) and state.exists
        ]
        return sorted(found)

    def summary(self, key: ServiceKey) -> ServiceSummary:
        """One line of a list. Raises NOT_FOUND."""
        detail = self.service(key)
        found = detail.instances
        names = {each.cluster for each in found} | set(detail.service.clusters)
        healthy = sum(each.healthy for each in found)
        enabled = [each for each in found if each.enabled]
        protected = selection.reached(enabled, detail.service.protect_threshold)
        return ServiceSummary(
            key, len(names), len(found), healthy, detail.ephemeral, detail.explicit, protected
        )

    def publishers(self, key: ServiceKey) -> list[PublisherView]:
        """Who registered the instances of a service, on whichever node."""
        state = self.directory.service(key)
        if state is None:
            return []
        return [self._publisher(state, identity) for identity in sorted({*state.live, *state.persistent})]

    def _publisher(self, state: ServiceState, identity: InstanceId) -> PublisherView:
        held = self.table.get(naming_keys.live_key(state.key, identity))
        instance = state.instance(identity) or Instance(identity.ip, identity.port, identity.cluster)
        if held is None:
            return PublisherView(state.key, f"{identity.ip}:{identity.port}#false", "", instance)
        return PublisherView(state.key, held.client, held.origin, instance)

    async def delete_service(self, actor: Actor, key: ServiceKey) -> int:
        """As below it, and one that is remembered without record and instances is forgotten here and now."""
        revision = await super().delete_service(actor, key)
        self._forget_empty(key)
        return revision

    # ----------------------------------------------------------------------------------- subscribing

    def subscribe(self, client_id: str, key: ServiceKey, wanted: Selection, sink: Sink) -> ServiceInfo:
        """The list now, and from now on ``sink(push)`` for each change: see ``pushes``."""
        self.clients.require(client_id).updated_s = self.clock.wall_s()
        return self.pushes.subscribe(client_id, key, wanted, sink)

    def unsubscribe(self, client_id: str, key: ServiceKey, wanted: Selection) -> bool:
        """False: it was not subscribed."""
        return self.pushes.unsubscribe(client_id, key, wanted.clusters)

    async def subscribers(self, key: ServiceKey) -> list[SubscriberView]:
        """Who is subscribed to a service, on all nodes that answer."""
        return await self.across.subscribers(key)

    async def all_clients(self) -> list[ClientView]:
        """The clients of all nodes that answer."""
        return await self.across.all_clients()

    async def client(self, client_id: str) -> ClientDetail:
        """One client with what it registered and is subscribed to, on whichever node. Raises NOT_FOUND."""
        return await self.across.client(client_id)

    def fuzzy_watch(self, client_id: str, pattern: str, sink: FuzzySink) -> list[ServiceKey]:
        """The services that match now, and from now on ``sink(notice)`` when one appears or goes."""
        self.clients.require(client_id)
        parsed = self.fuzzy.watch(client_id, pattern, sink)
        return [key for key in self.services(parsed.namespace) if parsed.matches(key)]

    def fuzzy_unwatch(self, client_id: str, pattern: str) -> bool:
        """False: it was not watched."""
        return self.fuzzy.unwatch(client_id, pattern)

    # --------------------------------------------------------------------------------------- changes

    def _live_changed(self, changes: Sequence[Change]) -> None:
        touched: dict[ServiceKey, None] = {}
        for change in changes:
            if change.visible:
                entry = change.after
                value, lost = (None, False) if entry is None else (entry.value, entry.lost)
                touched[self.directory.apply_live(change.key, value, lost)] = None
        self.changed(touched)

    def changed(self, keys: Iterable[ServiceKey]) -> None:
        """These services may look different now."""
        keys = list(keys)
        for key in keys:
            state = self.directory.services[key]
            self._announce(state)
            if state.is_empty:
                self._emptied.add(key, self.clock.now_s() + EMPTY_KEPT_S)
            else:
                self._emptied.discard(key)
        if self.directory.switches.push_enabled:
            self.pushes.changed(keys)

    # ------------------------------------------------------------------------------------------ time

    async def run(self) -> None:
        """Do what time brings; for as long as the node runs."""
        while True:
            due_s = min(each.next_s() for each in (self.beating, self.pushes, self.fuzzy, self._emptied))
            self._wake.clear()
            within_s = None if due_s == float("inf") else max(0.0, due_s - self.clock.now_s())
            await loop.wait_event(self._wake, within_s)
            self.tick(self.clock.now_s())

    def tick(self, now_s: float) -> None:
        """Do what is due by now."""
        self.beating.tick(now_s)
        self.pushes.tick(now_s)
        self.fuzzy.tick(now_s)
        for key in self._emptied.take(now_s):
            self._forget_empty(key)

    def _forget_empty(self, key: ServiceKey) -> None:
        state = self.directory.service(key)
        if state is not None and state.is_empty:
            state.used = False
            self._announce(state)
            self.directory.forget(key)

    def _announce(self, state: ServiceState) -> None:
        if state.exists != state.announced:
            state.announced = state.exists
            self.fuzzy.changed(state.key, state.exists)
