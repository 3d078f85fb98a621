"""The push service behind real gRPC: who is told, who shares, what is set aside, who is not let in, who is cut off."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import hpack
import pytest
from envoy.service.discovery.v3 import discovery_pb2
from envoy.service.status.v3 import csds_pb2, csds_pb2_grpc

from atoll.errors import AtollError, Code
from atoll.planes.mesh.model.policies import Policies
from atoll.planes.mesh.model.world import World, world_of
from atoll.planes.mesh.policy.admission import Admission, Door
from atoll.planes.mesh.policy.compiler import Compiled
from atoll.planes.mesh.service.groups import Stage
from atoll.planes.mesh.service.push import Rules
from atoll.planes.mesh.service.sessions import Pace
from atoll.resources.mesh.client_status import ClientStatus, State
from atoll.resources.mesh.clients import Client
from atoll.resources.mesh.documents.kinds import Document, DocumentKey, Kind
from atoll.resources.mesh.documents.virtual_service import VirtualService
from atoll.resources.mesh.services import Endpoint, MeshService
from atoll.wire.xds.messages import DELTA_PATH
from atoll.wire.xds.snapshot import Snapshot, Type
from bench.load import framing
from tests.peers.ads_client import CLUSTER, AdsClient
from tests.peers.xds_server import XdsServer
from tests.unit.mesh.xds_kit import cluster, endpoints, listener, route, snapshot
from tests.waiting import wait_until

WITHIN_S = 10.0
KEY = DocumentKey(Kind.VIRTUAL_SERVICE, "default", "reviews")
NODE = "sidecar~reviews.default~1"


def service(name: str, address: str) -> MeshService:
    host = f"{name}.default.svc.cluster.local"
    return MeshService(host, name, "default", endpoints=(Endpoint(address, 80),))


def document(hash8: str) -> Document[VirtualService]:
    return Document(KEY, VirtualService(hosts=("reviews",)), hash8)


def world(hash8: str = "", **addresses: str) -> World:
    """Services by name and address; with the document in this version."""
    made = world_of({each.host: each for each in (service(*pair) for pair in addresses.items())})
    return made.with_policies(Policies([document(hash8)])) if hash8 else made


class Compiler:
    """Gives each client a cluster for its own service, and one that the document shaped; ``count`` of compilations."""

    def __init__(self) -> None:
        self.count: dict[str, int] = {}
        self._clusters: dict[bytes, Any] = {}

    def __call__(self, world: World, client: Client) -> Compiled:
        self.count[client.service] = self.count.get(client.service, 0) + 1
        mine = [each for each in world.services.values() if each.name == client.service]
        made = [cluster(each.name, each.endpoints[0].address) for each in mine]
        found = world.policies.get(KEY)
        if found is not None:
            made.append(cluster("shaped", found.hash8, documents=[str(KEY)]))
        every = snapshot(*made, *(endpoints(each.name) for each in made))
        kept = self._clusters.setdefault(
            repr(sorted(every.clusters)).encode() + b"".join(one.body for one in every.clusters.values()),
            every,
        )
        return Compiled(kept)


@pytest.fixture
def compiler() -> Compiler:
    return Compiler()


@pytest.fixture
def server(compiler: Compiler) -> Iterator[XdsServer]:
    with XdsServer(compiler) as running:
        yield running


@pytest.fixture
def connect(server: XdsServer) -> Iterator[Callable[..., AdsClient]]:
    opened: list[AdsClient] = []

    def open_one(node: str = NODE, **more: Any) -> AdsClient:
        opened.append(AdsClient(server.port, node, **more))
        return opened[-1]

    yield open_one
    for each in opened:
        each.close()


def bodies(message: Any) -> list[bytes]:
    return sorted(each.resource.value for each in message.resources)


def started(client: AdsClient) -> list[bytes]:
    """It asks for clusters and accepts them."""
    client.say(CLUSTER)
    message = client.hear()
    client.accept(message)
    return bodies(message)


def status(server: XdsServer, node: str) -> ClientStatus:
    return next(each for each in server.statuses() if each.node == node)


def wait_state(server: XdsServer, node: str, state: State) -> ClientStatus:
    def there() -> ClientStatus | None:
        found = status(server, node)
        return found if found.state is state else None

    return wait_until(there, WITHIN_S, f"{node} to be {state}")


# ------------------------------------------------------------------------------------ who is told


def test_only_those_whom_a_change_concerns_are_sent_anything(
    server: XdsServer, compiler: Compiler, connect: Callable[..., AdsClient]
) -> None:
    server.change(world(a="1", b="1"))
    concerned = [connect(f"sidecar~a.default~{number}") for number in range(3)]
    others = [connect(f"sidecar~b.default~{number}") for number in range(3)]
    for each in (*concerned, *others):
        started(each)
    for number in range(3):
        wait_state(server, f"sidecar~a.default~{number}", State.SYNCED)
        wait_state(server, f"sidecar~b.default~{number}", State.SYNCED)
    before, compiled = server.metric("atoll_mesh_responses_total{"), dict(compiler.count)
    server.change(world(a="2", b="1"))
    for each in concerned:
        message = each.hear()
        assert bodies(message) == [b"cluster a 2"]
        each.accept(message)
    assert all(each.silent() for each in others)
    assert server.metric("atoll_mesh_responses_total{") - before == len(concerned)
    assert {name: count - compiled[name] for name, count in compiler.count.items()} == {"a": 1, "b": 1}


def test_the_delay_is_from_the_change_to_its_confirmation(
    server: XdsServer, connect: Callable[..., AdsClient]
) -> None:
    server.change(world(reviews="1"))
    client = connect()
    started(client)
    wait_state(server, NODE, State.SYNCED)
    assert server.metric("atoll_mesh_push_delay_seconds_count") == 0
    server.change(world(reviews="2"))
    message = client.hear()
    assert status(server, NODE).state is State.STALE
    assert server.metric("atoll_mesh_push_delay_seconds_count") == 0
    client.accept(message)
    assert 0 < wait_state(server, NODE, State.SYNCED).delay_s < WITHIN_S
    assert server.metric("atoll_mesh_push_delay_seconds_count") == 1


def test_a_change_that_is_tried_reaches_only_its_clients(
    server: XdsServer, connect: Callable[..., AdsClient]
) -> None:
    server.change(world("old", reviews="1"))
    tried, other = connect("sidecar~reviews.default~1"), connect("sidecar~reviews.default~2")
    for number, each in enumerate((tried, other), start=1):
        started(each)
        wait_state(server, f"sidecar~reviews.default~{number}", State.SYNCED)

    def change(stable: World) -> World:
        return stable.with_policies(Policies([document("new")]))

    server.call(server.push.stage, Stage("try", change, frozenset({"sidecar~reviews.default~1"})))
    message = tried.hear()
    assert bodies(message) == [b"cluster shaped new"]
    tried.accept(message)
    assert other.silent()
    assert {each.node: each.stage for each in server.statuses()} == {
        "sidecar~reviews.default~1": "try",
        "sidecar~reviews.default~2": "",
    }
    server.change(world("old", reviews="2"))
    assert bodies(tried.hear()) == bodies(other.hear()) == [b"cluster reviews 2"]
    server.call(server.push.unstage, "try")
    assert status(server, "sidecar~reviews.default~1").stage == ""


# ------------------------------------------------------------------------------------ what is set aside


def test_a_refused_document_is_set_aside_for_its_class_until_it_changes(
    server: XdsServer, connect: Callable[..., AdsClient]
) -> None:
    server.change(world("good", reviews="1", ratings="1"))
    replicas = [connect("sidecar~reviews.default~1"), connect("sidecar~reviews.default~2")]
    stranger = connect("sidecar~ratings.default~1")
    for each in (*replicas, stranger):
        assert b"cluster shaped good" in started(each)
    for node in ("sidecar~reviews.default~1", "sidecar~reviews.default~2", "sidecar~ratings.default~1"):
        wait_state(server, node, State.SYNCED)
    server.change(world("evil", reviews="1", ratings="1"))
    message = replicas[0].hear()
    assert bodies(message) == [b"cluster shaped evil"]
    replicas[0].refuse(message, "cluster shaped: nobody can do that")
    replicas[1].refuse(replicas[1].hear(), "cluster shaped: nobody can do that")
    told = wait_state(server, "sidecar~reviews.default~2", State.NACK)
    assert [(each.document, each.hash8) for each in told.set_aside] == [(str(KEY), "evil")]
    assert "nobody can do that" in told.set_aside[0].text
    stranger.accept(stranger.hear())
    assert wait_state(server, "sidecar~ratings.default~1", State.SYNCED).set_aside == ()
    late = connect("sidecar~reviews.default~3")
    assert b"cluster shaped good" in started(late)
    server.change(world("evil", reviews="2", ratings="1"))
    assert bodies(replicas[0].hear()) == [b"cluster reviews 2"], "everything else goes on"
    server.change(world("better", reviews="2", ratings="1"))
    replicas[1].accept(replicas[1].hear())
    assert bodies(replicas[1].hear()) == [b"cluster shaped better"]
    assert status(server, "sidecar~reviews.default~2").set_aside == ()


@pytest.mark.parametrize("first", ["refusal", "acceptance"])
def test_what_one_replica_refuses_and_another_accepts_is_the_matter_of_the_one(
    server: XdsServer, connect: Callable[..., AdsClient], first: str
) -> None:
    nodes = ["sidecar~reviews.default~1", "sidecar~reviews.default~2"]
    server.change(world("good", reviews="1"))
    refusing, accepting = (connect(node) for node in nodes)
    for each in (refusing, accepting):
        started(each)
    for node in nodes:
        wait_state(server, node, State.SYNCED)
    server.change(world("new", reviews="1"))
    refused, accepted = refusing.hear(), accepting.hear()
    if first == "acceptance":
        accepting.accept(accepted)
        wait_state(server, nodes[1], State.SYNCED)
    refusing.refuse(refused, "cluster shaped: no room on this machine")
    wait_state(server, nodes[0], State.NACK)
    if first == "refusal":
        accepting.accept(accepted)
        wait_state(server, nodes[1], State.SYNCED)
    assert [each.set_aside for each in server.statuses()] == [(), ()]
    told = wait_state(server, nodes[0], State.NACK).types["CLUSTER"]
    assert "no room" in told.text
    late = connect("sidecar~reviews.default~3")
    assert b"cluster shaped new" in started(late)
    assert refusing.silent(), "what it refused is not sent again"


def test_a_new_document_that_is_refused_is_as_if_it_were_not_there(
    server: XdsServer, connect: Callable[..., AdsClient]
) -> None:
    server.change(world(reviews="1"))
    client = connect()
    started(client)
    wait_state(server, NODE, State.SYNCED)
    server.change(world("evil", reviews="1"))
    client.refuse(client.hear(), "no")
    told = wait_state(server, NODE, State.NACK)
    assert [each.document for each in told.set_aside] == [str(KEY)]
    late = connect("sidecar~reviews.default~2")
    assert started(late) == [b"cluster reviews 1"]


def test_a_snapshot_that_is_not_consistent_is_not_served() -> None:
    broken = snapshot(cluster("a"), endpoints("a"), listener("http", ["http"]), route("http", ["missing"]))
    good = snapshot(cluster("a"), endpoints("a"))
    served: list[Snapshot] = [good]

    def compile(world: World, client: Client) -> Compiled:
        return Compiled(served[0], ("route http leads nowhere",) if served[0] is broken else ())

    with XdsServer(compile) as server, AdsClient(server.port, NODE) as client:
        server.change(world(a="1"))
        started(client)
        served[0] = broken
        server.change(world(a="2"))
        client.say(Type.LISTENER.value)
        assert not client.hear().resources
        assert status(server, NODE).problems == ("route http leads nowhere",)


# ------------------------------------------------------------------------------------ who is not let in


def test_trap_13_a_node_is_needed_once_and_must_not_change(
    server: XdsServer, connect: Callable[..., AdsClient]
) -> None:
    server.change(world(reviews="1"))
    client = connect()
    started(client)  # its second request has no node
    client.say(CLUSTER, node="sidecar~ratings.default~1")
    assert client.status() is grpc.StatusCode.INVALID_ARGUMENT
    assert "a stream is of one node" in client.details()
    assert server.statuses() == []


@pytest.mark.parametrize("node", ["", "nobody", "sidecar~reviews~1"])
def test_who_does_not_say_who_it_is_is_told_how(connect: Callable[..., AdsClient], node: str) -> None:
    client = connect(node)
    client.say(CLUSTER)
    assert client.status() is grpc.StatusCode.INVALID_ARGUMENT


def test_who_cannot_prove_it_is_denied(server: XdsServer, connect: Callable[..., AdsClient]) -> None:
    server.unproven.add(NODE)
    client = connect()
    client.say(CLUSTER)
    assert client.status() is grpc.StatusCode.PERMISSION_DENIED
    assert server.statuses() == []


def test_who_comes_too_fast_waits_and_who_would_wait_too_long_is_sent_away() -> None:
    door = Door(Admission(per_s=10.0, burst=2.0, wait_s_max=0.25, clients_max=10))
    assert [door.ask(0, 5.0), door.ask(1, 5.0)] == [0.0, 0.0]
    assert [round(door.ask(2, 5.0), 3), round(door.ask(3, 5.0), 3)] == [0.1, 0.2]
    with pytest.raises(AtollError) as sent_away:
        door.ask(4, 5.0)
    assert (sent_away.value.code, sent_away.value.retry_after_s) == (Code.UNAVAILABLE, 0.25)
    assert round(door.ask(4, 5.1), 3) == 0.2
    assert door.ask(5, 60.0) == 0.0
    with pytest.raises(AtollError) as full:
        door.ask(10, 100.0)
    assert full.value.code is Code.EXHAUSTED
    assert door.refused == 2


def test_a_node_that_is_full_says_so() -> None:
    rules = Rules(admission=Admission(clients_max=1))
    with XdsServer(rules=rules) as server, AdsClient(server.port, NODE) as first:
        server.change(world())
        started(first)
        with AdsClient(server.port, "sidecar~late.default~1") as late:
            late.say(CLUSTER)
            assert late.status() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert server.metric("atoll_mesh_clients_refused_total") == 1


# ------------------------------------------------------------------------------------ who is cut off


def test_a_client_that_never_reads_costs_one_response_and_is_cut_off() -> None:
    """It opens its stream with no window at all, so that nothing that is said can leave."""
    filler = "x" * 1_000_000
    with XdsServer(rules=Rules(pace=Pace(read_s_max=0.5))) as server:
        server.serve(snapshot(cluster("a", filler), endpoints("a")))
        stuck = socket.create_connection(("127.0.0.1", server.port), WITHIN_S)
        stuck.sendall(opening_without_a_window())
        wait_until(lambda: server.statuses(), WITHIN_S, "the stream")
        for number in range(20):
            server.serve(snapshot(cluster("a", f"{filler}{number}"), endpoints("a")))
        assert server.statuses()[0].types["CLUSTER"].responses == 1
        wait_until(lambda: not server.statuses(), WITHIN_S, "the end of a client that does not read")
        assert server.metric("atoll_mesh_clients_cut_off_total") == 1
        stuck.close()


def opening_without_a_window() -> bytes:
    head = [(":method", "POST"), (":scheme", "http"), (":path", DELTA_PATH), (":authority", "x")]
    head += [("te", "trailers"), ("content-type", "application/grpc")]
    request = discovery_pb2.DeltaDiscoveryRequest(type_url=CLUSTER)
    request.node.id = NODE
    settings = framing.frame(framing.SETTINGS, 0, 0, struct.pack(">HI", 4, 0))
    opened = framing.frame(framing.HEADERS, framing.END_HEADERS, 1, hpack.Encoder().encode(head))
    return framing.PREFACE + settings + opened + framing.data(1, framing.message(request.SerializeToString()))


# ------------------------------------------------------------------------------------ client status discovery


def test_csds_tells_what_each_client_has(server: XdsServer, connect: Callable[..., AdsClient]) -> None:
    server.change(world("good", reviews="1"))
    client = connect()
    started(client)
    wait_state(server, NODE, State.SYNCED)
    server.change(world("evil", reviews="2"))
    client.refuse(client.hear(), "cluster shaped is bad")
    wait_state(server, NODE, State.NACK)
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        stub = csds_pb2_grpc.ClientStatusDiscoveryServiceStub(channel)
        (config,) = stub.FetchClientStatus(csds_pb2.ClientStatusRequest(), timeout=WITHIN_S).config
        assert config.node.id == NODE
        told = {each.name: each for each in config.generic_xds_configs}
        assert told["reviews"].xds_config.value == b"cluster reviews 2"
        assert told["reviews"].config_status == csds_pb2.STALE
        assert told["shaped"].xds_config.value == b"cluster shaped good"
        request = csds_pb2.ClientStatusRequest(exclude_resource_contents=True)
        request.node_matchers.add().node_id.prefix = "sidecar~other"
        assert not list(stub.FetchClientStatus(request, timeout=WITHIN_S).config)


def test_a_compiler_that_fails_takes_from_nobody_what_it_has() -> None:
    good = Compiled(snapshot(cluster("a"), endpoints("a")))

    def compile(world: World, client: Client) -> Compiled:
        if "bad" in [each.name for each in world.services.values()]:
            raise ZeroDivisionError("a bug")
        return good

    with XdsServer(compile) as server, AdsClient(server.port, NODE) as client:
        server.change(world(a="1"))
        assert started(client) == [b"cluster a "]
        server.change(world(a="1", bad="1"))
        assert client.silent()
        assert "internal error" in status(server, NODE).problems[0]
        server.change(world(a="2"))
        assert status(server, NODE).problems == ()
        assert not client.ended.is_set()
