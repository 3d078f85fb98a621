"""How a Nacos client's connection begins, is kept, and ends: what no SDK shows, said by hand over grpcio."""

from __future__ import annotations

import functools
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from atoll.errors import AtollError
from atoll.planes.registry.frontends.nacos_grpc import NacosGrpc
from atoll.planes.registry.settings import Settings
from atoll.wire.grpc import message
from atoll.wire.http2 import frames
from atoll.wire.http2.frames import END_STREAM, PREFACE
from atoll.wire.nacos import payload
from atoll.wire.nacos.catalog.entry import Status
from atoll.wire.nacos.catalog.grpc_types import TYPES, Way
from tests.conformance.nacos.raw import Raw, hosts
from tests.conformance.nacos.served import Served
from tests.peers.nodes import Layout, atoll_nodes
from tests.unit import http2_peers as peers
from tests.waiting import wait_until

pytestmark = pytest.mark.peers
WITHIN_S = 20.0
SLOW_SERVICES = 30


@pytest.fixture
def served() -> Iterator[Served]:
    with Served() as running:
        yield running


@pytest.fixture
def client(served: Served) -> Iterator[Raw]:
    with Raw(served.address) as raw:
        yield raw.set_up()


# ------------------------------------------------------------------------------------------- the handshake


def test_a_server_check_needs_no_set_up_and_names_the_connection(served: Served) -> None:
    with Raw(served.address) as raw:
        checked = raw.ask("ServerCheckRequest")
        assert checked["_type"] == "ServerCheckResponse"
        assert (checked["resultCode"], checked["errorCode"], checked["success"]) == (200, 0, True)
        assert checked["supportAbilityNegotiation"] is True
        raw.set_up()
        ids = served.ask(lambda: [each.id for each in served.opened.nacos_grpc.connections])
        assert ids == [checked["connectionId"]]
        _, address, port = checked["connectionId"].split("_")
        assert (address, port.isdecimal()) == ("127.0.0.1", True)


def test_every_transport_has_a_name_of_its_own(served: Served) -> None:
    with Raw(served.address) as one, Raw(served.address) as other:
        assert (
            one.ask("ServerCheckRequest")["connectionId"] != other.ask("ServerCheckRequest")["connectionId"]
        )


def test_whoever_did_not_set_up_is_told_to_connect_again(served: Served, client: Raw) -> None:
    assert client.ask("HealthCheckRequest")["success"], "somebody else's set-up is not one's own"
    with Raw(served.address) as raw:
        for name in ("HealthCheckRequest", "ConfigQueryRequest", "InstanceRequest"):
            answer = raw.ask(name)
            assert (answer["_type"], answer["errorCode"]) == ("ErrorResponse", 301)
        raw.set_up()
        assert raw.ask("HealthCheckRequest")["_type"] == "HealthCheckResponse"


def test_a_node_that_is_starting_says_so_to_everybody(served: Served) -> None:
    class Asked:
        connection_id = 0

        def __init__(self) -> None:
            self.answers: list[bytes] = []

        def reply(self, message: bytes) -> None:
            self.answers.append(message)

    asked = Asked()
    starting = served.ask(lambda: NacosGrpc(served.opened.registry, lambda: False))
    handler = starting.routes[payload.REQUEST_PATH].handler
    for name in ("ServerCheckRequest", "ConfigQueryRequest", "NoSuchRequest"):
        served.ask(functools.partial(handler, asked, payload.encode(name, b"{}")))
    found = [payload.decode(answer) for answer in asked.answers]
    assert [each.type for each in found] == ["ErrorResponse"] * 3
    assert {json.loads(each.body)["errorCode"] for each in found} == {300}


@pytest.mark.parametrize("table", [{}, {"fuzzyWatch": True}], ids=["empty", "with abilities"])
def test_an_ability_table_is_answered_with_ours(served: Served, table: dict[str, bool]) -> None:
    with Raw(served.address) as raw:
        stream = raw.open_stream()
        stream.send("ConnectionSetupRequest", {"clientVersion": "v", "labels": {}, "abilityTable": table})
        abilities = stream.next("SetupAckRequest")["abilityTable"]
        assert abilities["fuzzyWatch"] and abilities["lock"]
        assert "mcp" not in abilities and "agent" not in abilities, "what is not there is not announced"


@pytest.mark.parametrize("fields", [{}, {"abilityTable": None}, {"clientAbilities": {}}])
def test_without_an_ability_table_nothing_is_sent(served: Served, fields: dict[str, object]) -> None:
    with Raw(served.address) as raw:
        raw.stream = raw.open_stream()
        raw.stream.send("ConnectionSetupRequest", {"clientVersion": "Nacos-Go-Client:v2.3.5", **fields})
        wait_until(
            lambda: raw.ask("HealthCheckRequest")["_type"] == "HealthCheckResponse", WITHIN_S, "the set-up"
        )
        assert raw.subscribe("anything")["success"]
        assert raw.stream.nothing_came()


def test_a_second_stream_takes_the_place_of_the_first(served: Served, client: Raw) -> None:
    client.register("twice", "10.0.0.1")
    client.subscribe("twice")
    first = client.stream
    client.set_up()
    assert first.ended.wait(WITHIN_S)
    assert first.status is grpc.StatusCode.OK
    with Raw(served.address).set_up() as other:
        other.register("twice", "10.0.0.2")
        info = client.stream.next("NotifySubscriberRequest")["serviceInfo"]
        assert hosts(info) == ["10.0.0.1:80", "10.0.0.2:80"]
    assert served.ask(lambda: len(served.opened.nacos_grpc.connections)) <= 2


def test_what_comes_before_the_set_up_is_ignored(served: Served) -> None:
    with Raw(served.address) as raw:
        raw.stream = raw.open_stream()
        raw.stream.send_raw(b"\xff\xff")
        raw.stream.send("NoSuchRequest", {})
        raw.stream.send("ConnectionSetupRequest", {"abilityTable": {}})
        raw.stream.next("SetupAckRequest")


def test_a_set_up_that_cannot_be_read_ends_the_stream(served: Served) -> None:
    with Raw(served.address) as raw:
        stream = raw.open_stream()
        stream.send_raw(payload.encode("ConnectionSetupRequest", b'{"labels":[]}'))
        assert stream.ended.wait(WITHIN_S)
        assert stream.status is grpc.StatusCode.INVALID_ARGUMENT


# ---------------------------------------------------------------------------------------- order of refusal


def test_types_that_only_servers_send_are_forbidden(served: Served, client: Raw) -> None:
    names = [entry.name for entry in TYPES.values() if entry.way is Way.CLUSTER]
    assert len(names) >= 5
    with Raw(served.address) as stranger:
        for name in names:
            for raw in (client, stranger):
                answer = raw.ask(name)
                assert (answer["_type"], answer["errorCode"]) == ("ErrorResponse", 502)
                assert answer["message"] == f" invoke {name} from sdk is forbidden"


def test_unknown_types_have_no_handler(client: Raw) -> None:
    for name in ("NoSuchRequest", "", "ConfigQueryResponse", "SetupAckRequest", "PushAckRequest"):
        answer = client.ask(name)
        assert (answer["_type"], answer["errorCode"]) == ("ErrorResponse", 302), name


def test_absent_features_say_that_they_are_not_implemented(client: Raw) -> None:
    for entry in TYPES.values():
        if entry.module == "ai":
            answer = client.ask(entry.name)
            assert (answer["_type"], answer["errorCode"]) == ("ErrorResponse", 501)
            assert answer["message"] == entry.note


@pytest.mark.parametrize(
    "name", [entry.name for entry in TYPES.values() if entry.way is Way.UNARY and entry.body is not None]
)
def test_a_body_that_cannot_be_read_is_a_bad_gateway(client: Raw, name: str) -> None:
    for body in (b"[]", b"{", b"\xff", b'"text"', b"1"):
        if name == "ServerCheckRequest":
            assert client.ask_body(name, body)["_type"] == "ServerCheckResponse"
            continue
        answer = client.ask_body(name, body)
        assert (answer["_type"], answer["errorCode"]) == ("ErrorResponse", 502), (body, answer)


def test_bytes_that_are_no_payload_are_a_bad_gateway(client: Raw) -> None:
    assert client.ask_raw(b"\xff\xff\xff")["errorCode"] == 502
    assert client.ask_raw(b"")["errorCode"] == 302, "an empty message is a payload without a type"
    assert client.ask("HealthCheckRequest")["success"]


def test_every_type_that_works_is_answered_in_its_own_class(client: Raw) -> None:
    for entry in TYPES.values():
        if entry.way is Way.UNARY and entry.status is not Status.ABSENT:
            answer = client.ask(entry.name)
            assert answer["_type"] == entry.response, answer
            assert {"resultCode", "errorCode", "success"} <= answer.keys()
            assert answer["success"] is (answer["resultCode"] == 200)
            assert None not in answer.values()


def test_a_message_above_the_limit_is_refused_and_the_connection_goes_on(client: Raw) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        client.publish("large", "x" * (10 * 1024 * 1024))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert client.ask("HealthCheckRequest")["success"]


# ------------------------------------------------------------------------------------------------- the end


def test_a_client_that_says_goodbye_is_gone_at_once(served: Served, client: Raw) -> None:
    client.subscribe("bye")
    with Raw(served.address).set_up() as other:
        other.register("bye", "10.0.0.1")
        assert len(client.stream.next("NotifySubscriberRequest")["serviceInfo"]["hosts"]) == 1
    assert client.stream.next("NotifySubscriberRequest", 5.0)["serviceInfo"]["hosts"] == []


def test_a_client_that_is_lost_is_unhealthy_first(served: Served, client: Raw) -> None:
    client.subscribe("lost")
    with connect(served) as lost:
        lost.sendall(PREFACE + frames.settings({}))
        setup = payload.encode("ConnectionSetupRequest", b'{"abilityTable":{}}')
        lost.sendall(_call(1, payload.STREAM_PATH, setup, flags=0))
        _read_until(lost, b"SetupAckRequest")
        instance = {"ip": "10.0.0.9", "port": 80}
        body = {"serviceName": "lost", "groupName": "G", "type": "registerInstance", "instance": instance}
        request = payload.encode("InstanceRequest", json.dumps(body).encode())
        lost.sendall(_call(3, payload.REQUEST_PATH, request))
        _read_until(lost, b"registerInstance")
        assert client.stream.next("NotifySubscriberRequest")["serviceInfo"]["hosts"][0]["healthy"]
    info = client.stream.next("NotifySubscriberRequest", 5.0)["serviceInfo"]
    assert [host["healthy"] for host in info["hosts"]] == [False]


def test_a_half_closed_stream_ends_the_registration(client: Raw) -> None:
    client.stream.half_close()
    assert client.stream.ended.wait(WITHIN_S)
    assert client.ask("HealthCheckRequest")["errorCode"] == 301
    client.set_up()
    assert client.ask("HealthCheckRequest")["success"]


# -------------------------------------------------------------------------------------------------- silence


def test_a_silent_client_is_asked_and_stays_if_it_answers(served: Served, client: Raw) -> None:
    served.clock.moved_s += 21.0
    client.stream.next("ClientDetectionRequest")
    (own,) = served.ask(lambda: list(served.opened.nacos_grpc.connections))
    wait_until(lambda: served.ask(lambda: own.active_s > own.asked_s), WITHIN_S, "its answer")
    served.clock.moved_s += 6.0
    wait_until(lambda: _looked_after(served), WITHIN_S, "the next look at all clients")
    assert client.ask("HealthCheckRequest")["success"]


def test_a_silent_client_that_does_not_answer_is_cut(served: Served) -> None:
    with Raw(served.address, answering=False).set_up() as client:
        client.register("silent", "10.0.0.1")
        served.clock.moved_s += 21.0
        client.stream.next("ClientDetectionRequest")
        served.clock.moved_s += 6.0
        assert client.stream.ended.wait(WITHIN_S)
        assert client.stream.status is grpc.StatusCode.UNAVAILABLE
        info = served.ask(lambda: served.opened.registry.naming.services("public"))
        assert [key.name for key in info] == ["silent"], "it may come back"


def test_any_request_is_a_sign_of_life(served: Served, client: Raw) -> None:
    for _ in range(3):
        served.clock.moved_s += 15.0
        assert client.ask("HealthCheckRequest")["success"]
        wait_until(lambda: _looked_after(served), WITHIN_S, "the next look at all clients")
    assert client.stream.nothing_came()


def _looked_after(served: Served) -> bool:
    """Have the clients been looked at, at the clock's time of now? Done by hand, as ``run`` does it."""
    served.ask(lambda: served.opened.nacos_grpc.connections.look_after(served.clock.now_s()))
    return True


# ---------------------------------------------------------------------------------------------- sent away


def test_a_client_that_is_sent_away_is_cut_after_a_grace(served: Served, client: Raw) -> None:
    client.register("moving", "10.0.0.1")
    connected = served.opened.registry.connected
    (own,) = served.ask(connected.clients)
    served.ask(lambda: connected.send_away(own.id, "10.1.1.1:8848"))
    with pytest.raises(AtollError, match="no client"):
        served.ask(lambda: connected.send_away("nobody"))
    reset = client.stream.next("ConnectResetRequest")
    assert (reset["serverIp"], reset["serverPort"]) == ("10.1.1.1", "8848")
    assert reset["connectionId"] == own.id
    assert client.ask("HealthCheckRequest")["success"], "during its grace it is served"
    served.clock.moved_s += 4.0
    assert client.stream.ended.wait(WITHIN_S)
    assert client.stream.status is grpc.StatusCode.UNAVAILABLE
    assert client.ask("HealthCheckRequest")["errorCode"] == 301, "another transport by now"


def test_what_a_client_that_was_sent_away_had_is_kept_for_it(served: Served, client: Raw) -> None:
    with Raw(served.address).set_up() as moving:
        moving.register("moved", "10.0.0.1")
        client.subscribe("moved")
        connections = served.opened.nacos_grpc.connections
        _, own = served.ask(lambda: list(connections))
        served.ask(lambda: connections.send_away(own))
        moving.stream.next("ConnectResetRequest")
    wait_until(lambda: served.ask(lambda: len(connections)) == 1, WITHIN_S, "its connection to end")
    assert hosts(client.subscribe("moved")["serviceInfo"]) == ["10.0.0.1:80"]
    assert client.stream.nothing_came()


def test_a_node_that_is_cut_off_sends_those_away_first_who_registered_something(
    served: Served, client: Raw
) -> None:
    """The others would look in vain, elsewhere, for what is only known here."""
    client.subscribe("another")
    with Raw(served.address).set_up() as provider:
        provider.register("moving", "10.0.0.1")
        nacos = served.opened.nacos_grpc
        shedding = served.begin(nacos.shed())
        provider.stream.next("ConnectResetRequest")
        sent_away = served.ask(lambda: [each.sent_away for each in nacos.connections])
        assert sent_away == [False, True]
        client.stream.next("ConnectResetRequest")
        shedding.result(WITHIN_S)


def test_a_node_that_stops_sends_its_clients_away_first(tmp_path: Path) -> None:
    with atoll_nodes(tmp_path, Layout("memory:"), 1) as (node,), Raw(node.address).set_up() as client:
        node.process.terminate()
        client.stream.next("ConnectResetRequest")
        assert client.stream.ended.wait(WITHIN_S)
        assert client.stream.status is grpc.StatusCode.UNAVAILABLE


# ------------------------------------------------------------------------------------------------- limits


def test_connections_above_the_limit_are_turned_away() -> None:
    with Served(Settings(connections_per_address_max=2)) as served:
        with Raw(served.address).set_up(), Raw(served.address).set_up(), Raw(served.address) as third:
            stream = third.open_stream()
            stream.send("ConnectionSetupRequest", {"abilityTable": {}})
            stream.next("ConnectResetRequest")
            assert stream.ended.wait(WITHIN_S)
            assert stream.status is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert third.ask("HealthCheckRequest")["errorCode"] == 301
        count = served.opened.nacos_grpc.connections
        wait_until(lambda: not served.ask(lambda: len(count)), WITHIN_S, "the places to be free again")
        with Raw(served.address).set_up() as another:
            assert another.ask("HealthCheckRequest")["success"]


def test_requests_above_a_rate_are_answered_503_a_second_later() -> None:
    with Served(Settings(rate_limits="ConfigQuery=3/h,ConfigPublish=0/h:monitor")) as served:
        with Raw(served.address).set_up() as client:
            assert client.publish("a", "1")["success"]
            codes = [client.query("a")["errorCode"] for _ in range(5)]
            assert codes == [0, 0, 0, 503, 503]
            assert client.query("a")["_type"] == "ConfigQueryResponse"
            assert client.ask("HealthCheckRequest")["success"]
        over = dict(served.ask(served.opened.nacos_grpc.over_limit))
        assert over == {("ConfigQuery", "intercept"): 3, ("ConfigPublish", "monitor"): 1}


def test_a_client_that_does_not_read_costs_a_bounded_amount(served: Served, client: Raw) -> None:
    """It subscribes to lists of 60 KB and then reads nothing more; the others are served meanwhile."""
    names = [f"large-{number}" for number in range(SLOW_SERVICES)]

    def register(service: str, weight: float) -> None:
        instances = [{"ip": f"10.0.{at}.1", "port": 80, "weight": weight} for at in range(200)]
        fields = {"serviceName": service, "groupName": "G", "type": "batchRegisterInstance"}
        assert client.ask("BatchInstanceRequest", instances=instances, **fields)["success"]

    for name in names:
        register(name, 1.0)
    with connect(served) as slow:
        slow.sendall(PREFACE + frames.settings({}) + frames.window_update(0, 2**24))
        setup = payload.encode("ConnectionSetupRequest", b'{"abilityTable":{}}')
        slow.sendall(_call(1, payload.STREAM_PATH, setup, flags=0))
        _read_until(slow, b"SetupAckRequest")
        for number, name in enumerate(names):
            body = json.dumps({"serviceName": name, "groupName": "G", "subscribe": True}).encode()
            slow.sendall(
                _call(3 + 2 * number, payload.REQUEST_PATH, payload.encode("SubscribeServiceRequest", body))
            )
            _read_until(slow, b"grpc-status")
        for round_number in range(5):
            for name in names:
                register(name, 2.0 + round_number)
        _, own = served.ask(lambda: list(served.opened.nacos_grpc.connections))
        wait_until(
            lambda: served.ask(lambda: own.pushes.held) >= SLOW_SERVICES, WITHIN_S, "all lists to wait"
        )
        assert served.ask(lambda: own.pushes.held) <= 2 * SLOW_SERVICES
        assert served.ask(lambda: own.stream.held_bytes) < 1_000_000
        client.subscribe("quick")
        with Raw(served.address).set_up() as other:
            other.register("quick", "10.0.0.1")
            client.stream.next("NotifySubscriberRequest")


def test_pings_without_a_stream_are_no_reason_to_part(served: Served) -> None:
    """Go and Python clients send one every 60 s; gRPC's default would end the connection at the third."""
    with connect(served) as client:
        client.sendall(PREFACE + frames.settings({}))
        for number in range(10):
            served.clock.moved_s += 60.0
            client.sendall(frames.ping(b"ping%04d" % number))
            _read_until(client, b"ping%04d" % number)


def connect(served: Served) -> socket.socket:
    host, _, port = served.address.partition(":")
    return socket.create_connection((host, int(port)), WITHIN_S)


def _call(stream_id: int, path: str, body: bytes, flags: int = END_STREAM) -> bytes:
    head = tuple((name, path.encode() if name == b":path" else value) for name, value in peers.GRPC)
    return peers.headers(stream_id, head) + peers.data(stream_id, message.encode(body), flags)


def _read_until(client: socket.socket, wanted: bytes) -> bytes:
    answer = b""
    while wanted not in answer:
        piece = client.recv(65_536)
        assert piece, f"closed before {wanted!r} came: {answer!r}"
        answer += piece
    return answer
