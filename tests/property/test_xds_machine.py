"""xDS streams against a dumb client: random worlds, requests, answers, refusals and reconnects, in any order.

Rule: the client knows nothing of the server's reasons. An Envoy asks for all clusters and listeners, then for the endpoints of
the clusters and the routes of the listeners that it has; a gRPC client goes from its listener to routes, clusters and
endpoints. Messages lie in two queues and move one at a time, so that everything crosses everything.

What must hold: an Envoy never has a listener or a route to a cluster that it does not have or that never had endpoints; nothing
is sent that the client has and did not ask for; once all is delivered the client has the newest world, but for what it refuses.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
from envoy.service.discovery.v3 import discovery_pb2
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from atoll.wire.xds.delta import Delta
from atoll.wire.xds.messages import read_delta_request, read_request
from atoll.wire.xds.shelf import Shelf
from atoll.wire.xds.snapshot import Resource, Snapshot, Type
from atoll.wire.xds.sotw import Sotw
from atoll.wire.xds.stream import CLUSTER, ENDPOINTS, LISTENER, ROUTE, Limits
from tests.unit.mesh.xds_kit import cluster, endpoints, listener, route, snapshot

NAMES = ("a", "b", "c", "d")
BAD = "bad"
MESSAGES_MAX = 400
"""More than this many after the last change is a loop."""

content = st.sampled_from(["1", "2", "3"])


@st.composite
def worlds(draw: st.DrawFn, bad: bool = False) -> Snapshot:
    names = draw(st.lists(st.sampled_from(NAMES), unique=True, min_size=1))
    spoiled = draw(st.sampled_from(names)) if bad and draw(st.booleans()) else ""
    made: list[Resource] = []
    for name in names:
        made += [cluster(name, BAD if name == spoiled else draw(content)), endpoints(name, draw(content))]
    for each in ("http", "alt"):
        made.append(route(each, draw(st.lists(st.sampled_from(names), unique=True))))
    made.append(listener("http", routes=[draw(st.sampled_from(["http", "alt"]))]))
    if draw(st.booleans()):
        made.append(listener("tcp", clusters=[draw(st.sampled_from(names))]))
    return snapshot(*made)


class Client:
    """``has``: by type and name, resources. ``asked``: names that it asked for since it last heard of them."""

    def __init__(self, delta: bool, grpc: bool, picky: bool) -> None:
        self.delta, self.grpc, self.picky = delta, grpc, picky
        self.has: dict[str, dict[str, Resource]] = {kind.value: {} for kind in Type}
        self.versions: dict[str, Any] = {kind.value: {} if delta else "" for kind in Type}
        self.warm: set[str] = set()  # clusters that had endpoints
        self.warming: set[str] = set()  # clusters that want them (again)
        self.dirty = False  # it came back to a world that changed, by state-of-the-world
        self.connect()

    def connect(self) -> None:
        self.out: list[tuple[str, Any]] = []
        self.nonces: dict[str, str] = {}
        self.names: dict[str, set[str] | None] = {}  # asked for; None: everything
        self.asked: dict[str, set[str]] = {kind.value: set() for kind in Type}
        self.heard: set[str] = set()
        self.ask()

    # ------------------------------------------------------------------------------- what it asks for

    def wants(self) -> dict[str, set[str] | None]:
        referred = {
            kind.value: {
                name
                for held in self.has.values()
                for one in held.values()
                for of, name in one.refers
                if of is kind
            }
            for kind in Type
        }
        if self.grpc:
            return {LISTENER: {"http"}, **{each: referred[each] for each in (ROUTE, CLUSTER, ENDPOINTS)}}
        begun = bool(self.has[LISTENER]) or (CLUSTER in self.heard and not self.warming)
        wanted: dict[str, set[str] | None] = {CLUSTER: None, ENDPOINTS: referred[ENDPOINTS]}
        return {**wanted, LISTENER: None, ROUTE: referred[ROUTE]} if begun else wanted

    def ask(self) -> None:
        while any(self._ask_for(type_url, names) for type_url, names in self.wants().items()):
            continue

    def _ask_for(self, type_url: str, names: set[str] | None) -> bool:
        if names == self.names.get(type_url, set()):
            return False
        self.request(type_url, names)
        return True

    def request(
        self, type_url: str, names: set[str] | None, nonce: str = "", error: str | None = None
    ) -> None:
        before = self.names.get(type_url, set()) or set()
        first = type_url not in self.names
        self.names[type_url] = names
        added, dropped = (names or set()) - before, before - (names or set())
        self.asked[type_url] |= added
        for name in dropped:
            self.has[type_url].pop(name, None)
            if self.delta:
                self.versions[type_url].pop(name, None)
        if self.delta:
            message = discovery_pb2.DeltaDiscoveryRequest(
                type_url=type_url,
                resource_names_subscribe=sorted(added),
                resource_names_unsubscribe=sorted(dropped),
                initial_resource_versions=self.versions[type_url] if first else {},
                response_nonce=nonce,
            )
        else:
            message = discovery_pb2.DiscoveryRequest(
                type_url=type_url,
                resource_names=sorted(names or ()),
                version_info=self.versions[type_url],
                response_nonce=nonce or self.nonces.get(type_url, ""),
            )
        if error is not None:
            message.error_detail.message = error
        self.out.append((type_url, message))

    # ------------------------------------------------------------------------------- what it hears

    def hear(self, data: bytes, known: dict[bytes, Resource]) -> None:
        kind = discovery_pb2.DeltaDiscoveryResponse if self.delta else discovery_pb2.DiscoveryResponse
        message = kind.FromString(data)
        type_url = message.type_url
        self.nonces[type_url] = message.nonce
        packed = [each.resource if self.delta else each for each in message.resources]
        told = {known[each.value].name: known[each.value] for each in packed}
        assert len(told) == len(packed), "one resource twice"
        wanted = self.names[type_url]
        crossed = wanted is not None and (not told or any(name not in wanted for name in told))
        if wanted is not None:  # it took a name back in between
            told = {name: one for name, one in told.items() if name in wanted}
        removed = list(message.removed_resources) if self.delta else []
        assert crossed or self.picky or self._is_news(type_url, told, removed), (
            f"{type_url} {told}: nothing new"
        )
        self.asked[type_url].difference_update(told, removed)
        self.heard.add(type_url)
        bad = [name for name, one in told.items() if BAD.encode() in one.body] if self.picky else []
        if bad:
            self.request(type_url, wanted, message.nonce, f"no: {' '.join(bad)}")
            return
        self._apply(type_url, told, removed)
        if self.delta:
            for each in message.resources:
                self.versions[type_url][each.name] = each.version
            for name in removed:
                self.versions[type_url].pop(name, None)
        else:
            self.versions[type_url] = message.version_info
        self.request(type_url, self.wants().get(type_url, wanted), message.nonce)
        self.ask()

    def _is_news(self, type_url: str, told: dict[str, Resource], removed: list[str]) -> bool:
        has, asked = self.has[type_url], self.asked[type_url]
        news = any(has.get(name) != one or name in asked for name, one in told.items())
        news = news or any(name in has or name in asked for name in removed)
        gone = type_url in (CLUSTER, LISTENER) and not self.delta and set(has) - set(told)
        warming = type_url == ENDPOINTS and not self.warming.isdisjoint(told)
        return news or bool(gone) or warming or type_url not in self.heard

    def _apply(self, type_url: str, told: dict[str, Resource], removed: list[str]) -> None:
        before = self.has[type_url]
        if type_url in (CLUSTER, LISTENER) and not self.delta:
            self.has[type_url] = dict(told)
        else:
            self.has[type_url] = {**before, **told}
            for name in removed:
                self.has[type_url].pop(name, None)
        if type_url == CLUSTER:
            self.warming |= {name for name, one in told.items() if before.get(name) != one}
            self.warm &= set(self.has[CLUSTER])
            self.warming &= set(self.has[CLUSTER])
        if type_url == ENDPOINTS:
            self.warm |= set(told) & set(self.has[CLUSTER])
            self.warming -= set(told)

    # ------------------------------------------------------------------------------- what must hold

    def broken(self) -> list[str]:
        if self.grpc:
            return []
        return [
            f"{one.name} refers to {name}"
            for type_url in (LISTENER, ROUTE)
            for one in self.has[type_url].values()
            for kind, name in one.refers
            if kind is Type.CLUSTER and name not in self.warm
        ]


class Conversation(RuleBasedStateMachine):
    """``late``: time passes, and then nobody refuses: what is taken for granted cannot be refused any more."""

    @initialize(delta=st.booleans(), grpc=st.booleans(), picky=st.booleans(), world=worlds())
    def begin(self, delta: bool, grpc: bool, picky: bool, world: Snapshot) -> None:
        grpc = grpc and not delta
        self.known: dict[bytes, Resource] = {}
        self.picky = picky and not grpc
        self.now_s = 1_000.0
        self.shelf = Shelf()
        self.client = Client(delta, grpc, self.picky)
        self.set_world(world)
        self.start_stream()

    def start_stream(self) -> None:
        self.stream: Sotw | Delta = Delta(Limits()) if self.client.delta else Sotw(Limits())
        self.stream.advance(self.shelf.goal(self.world))
        self.arriving: list[bytes] = []

    def set_world(self, world: Snapshot) -> None:
        self.world = world
        self.known.update({one.body: one for one in world.resources()})

    # ------------------------------------------------------------------------------- what happens

    @rule(data=st.data())
    def the_world_changes(self, data: st.DataObject) -> None:
        self.set_world(data.draw(worlds(bad=self.picky)))
        self.stream.advance(self.shelf.goal(self.world))

    @rule(count=st.integers(1, 4))
    def the_server_hears(self, count: int) -> None:
        for _ in range(count):
            if self.client.out:
                self.deliver()

    @rule(count=st.integers(1, 4))
    def the_server_says(self, count: int) -> None:
        for _ in range(count):
            data = self.stream.take(self.now_s)
            if data is not None:
                self.arriving.append(data)

    @rule(count=st.integers(1, 4))
    def the_client_hears(self, count: int) -> None:
        for _ in range(count):
            if self.arriving:
                self.client.hear(self.arriving.pop(0), self.known)

    @precondition(lambda self: not self.picky)
    @rule(passed_s=st.sampled_from([0.1, 1.0, 6.0, 20.0]))
    def time_passes(self, passed_s: float) -> None:
        self.now_s += passed_s

    @rule(restarted=st.booleans(), world=worlds())
    def the_connection_is_lost(self, restarted: bool, world: Snapshot) -> None:
        """``restarted``: the server knows nothing of before, and the world is another one."""
        if restarted:
            self.shelf = Shelf()
            self.set_world(world)
        self.client.dirty = self.client.dirty or not self.client.delta
        self.client.connect()
        self.start_stream()

    @rule()
    def all_is_delivered(self) -> None:
        for _ in range(MESSAGES_MAX):
            if not self.step():
                break
        else:
            raise AssertionError("it does not end")
        self.check_converged()
        # a new stream of the whole world has no older body of what was refused on it
        self.client.dirty = self.client.dirty and bool(self.spoiled())

    def step(self) -> bool:
        """One thing that can happen; False: all is quiet."""
        moves: list[Callable[[], bool]] = [self.deliver, self.answer, self.say, self.wait]
        return any(move() for move in moves)

    def deliver(self) -> bool:
        if not self.client.out:
            return False
        _, message = self.client.out.pop(0)
        data = message.SerializeToString()
        if isinstance(self.stream, Delta):
            self.stream.on_request(read_delta_request(data), self.now_s)
        else:
            self.stream.on_request(read_request(data), self.now_s)
        return True

    def answer(self) -> bool:
        if self.arriving:
            self.client.hear(self.arriving.pop(0), self.known)
            self.check_references()
            return True
        return False

    def say(self) -> bool:
        data = self.stream.take(self.now_s)
        if data is not None:
            self.arriving.append(data)
        return data is not None

    def wait(self) -> bool:
        due_s = self.stream.due_s
        if due_s == float("inf"):
            return False
        self.now_s = max(due_s, self.now_s)
        return self.say() or self.stream.due_s > self.now_s and self.stream.due_s != float("inf")

    # ------------------------------------------------------------------------------- what must hold

    @invariant()
    def check_references(self) -> None:
        client: Client | None = getattr(self, "client", None)
        if client is not None and not client.dirty:
            assert not client.broken(), client.broken()

    def check_converged(self) -> None:
        client, world = self.client, self.world
        if spoiled := self.spoiled():
            return self.check_but_for(spoiled)
        assert not client.warming, f"{client.warming} wait for endpoints"
        wants = client.wants()
        for kind in Type:
            names = wants.get(kind.value, set())
            should = {name: one for name, one in world.of(kind).items() if names is None or name in names}
            assert client.has[kind.value] == should, kind
        assert self.stream.is_current
        return None

    def spoiled(self) -> set[str]:
        """What the client refuses of this world."""
        clusters = self.world.clusters.values()
        return {one.name for one in clusters if self.client.picky and BAD.encode() in one.body}

    def check_but_for(self, spoiled: set[str]) -> None:
        """What was refused stays as it was; all other clusters are the newest."""
        has = self.client.has[CLUSTER]
        for name, one in self.world.clusters.items():
            if name not in spoiled:
                assert has.get(name) == one, name
            else:
                assert name not in has or BAD.encode() not in has[name].body
        assert not self.stream.is_current


Conversation.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestConversation = Conversation.TestCase
