"""Who may do what over gRPC, where everybody has to log in: every type of the table, and what is pushed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from atoll.access import accounts as changes
from atoll.resources.accounts import Grant
from atoll.wire.nacos.catalog.entry import OPEN, Status
from atoll.wire.nacos.catalog.grpc_types import TYPES, GrpcType, Way
from tests.conformance.nacos.raw import Raw, hosts
from tests.conformance.nacos.served import Served
from tests.waiting import wait_until

pytestmark = pytest.mark.peers
WITHIN_S = 20.0
GUARDED = [
    entry
    for entry in TYPES.values()
    if entry.way is Way.UNARY and entry.status is not Status.ABSENT and entry.permit is not OPEN
]
BODIES: dict[str, dict[str, Any]] = {
    "InstanceRequest": {"type": "registerInstance", "instance": {"ip": "1.1.1.1", "port": 80}},
    "PersistentInstanceRequest": {
        "serviceName": "persistent",
        "type": "registerInstance",
        "instance": {"ip": "1.1.1.1", "port": 80, "ephemeral": False},
    },
    "BatchInstanceRequest": {"type": "batchRegisterInstance", "instances": [{"ip": "1.1.1.1", "port": 80}]},
    "SubscribeServiceRequest": {"subscribe": True},
    "ConfigBatchListenRequest": {"listen": True, "configListenContexts": [{"dataId": "d", "group": "G"}]},
    "ConfigFuzzyWatchRequest": {"groupKeyPattern": "public>>*>>*", "watchType": "WATCH"},
    "NamingFuzzyWatchRequest": {"groupKeyPattern": "public>>*>>*", "watchType": "WATCH"},
    "LockOperationRequest": {"lockInstance": {"key": "k"}, "lockOperationEnum": "ACQUIRE"},
}
COMMON = {"dataId": "d", "group": "G", "content": "c", "serviceName": "s", "groupName": "G"}


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with Served() as running:
        running.require_login()
        running.add_user("reader", "readers")
        running.change_accounts(
            lambda table: changes.grant_resource(table, "readers", Grant("public:G:*/*", "r"))
        )
        running.add_user("nobody", "nothing")
        yield running


@pytest.fixture
def root(served: Served) -> Iterator[Raw]:
    with Raw(served.address, served.token_of("root")) as raw:
        yield raw.set_up()


def body_of(name: str) -> dict[str, Any]:
    return {**COMMON, **BODIES.get(name, {})}


@pytest.mark.parametrize("name", [entry.name for entry in GUARDED])
@pytest.mark.parametrize("token", ["", "forged", "a.b.c"], ids=["none", "forged", "no jwt"])
def test_nothing_is_answered_without_a_good_token(served: Served, name: str, token: str) -> None:
    with Raw(served.address, token) as raw:
        raw.set_up()
        for headers in ({}, {"User-Agent": "Nacos-Server"}, {"username": "root", "Authorization": "root"}):
            answer = raw.ask_with(headers, name, body_of(name))
            assert (answer["_type"], answer["errorCode"]) == (TYPES[name].response, 403), answer
        assert raw.stream.nothing_came()


@pytest.mark.parametrize("name", [entry.name for entry in GUARDED])
def test_the_administrator_may_do_everything(root: Raw, name: str) -> None:
    answer = root.ask(name, **body_of(name))
    assert answer["errorCode"] in (0, 300), answer


@pytest.mark.parametrize("entry", GUARDED, ids=[entry.name for entry in GUARDED])
def test_who_may_read_may_not_write(served: Served, entry: GrpcType) -> None:
    name, permit = entry.name, entry.permit
    with Raw(served.address, served.token_of("reader")) as raw:
        answer = raw.set_up().ask(name, **body_of(name))
        assert (answer["errorCode"] == 403) is (permit.action == "w"), answer


READS = ("ConfigQueryRequest", "ConfigBatchListenRequest", "ServiceQueryRequest", "SubscribeServiceRequest")


@pytest.mark.parametrize("name", [entry.name for entry in GUARDED])
def test_who_may_do_nothing_sees_nothing(served: Served, root: Raw, name: str) -> None:
    root.publish("d", "secret")
    root.register("s", "9.9.9.9")
    with Raw(served.address, served.token_of("nobody")) as raw:
        answer = raw.set_up().ask(name, **body_of(name))
        if name in READS or TYPES[name].permit.action == "w":
            assert answer["errorCode"] == 403
        assert "secret" not in str(answer)
        assert answer.get("serviceNames", []) == []
        assert raw.stream.nothing_came()


def test_of_a_batch_of_listens_only_the_readable_are_listened_to(served: Served, root: Raw) -> None:
    contexts = [{"dataId": "both", "group": group, "tenant": "", "md5": ""} for group in ("G", "H")]
    root.publish("both", "1")
    root.ask("ConfigPublishRequest", dataId="both", group="H", content="1")
    with Raw(served.address, served.token_of("reader")) as raw:
        raw.set_up()
        answer = raw.ask("ConfigBatchListenRequest", listen=True, configListenContexts=contexts)
        assert [each["group"] for each in answer["changedConfigs"]] == ["G"], (
            "nor is told what it may not read"
        )
        root.ask("ConfigPublishRequest", dataId="both", group="H", content="2")
        root.publish("both", "2")
        assert raw.stream.next("ConfigChangeNotifyRequest")["group"] == "G"
        assert raw.stream.nothing_came()


def test_a_permission_that_was_taken_away_holds_on_pushes(served: Served, root: Raw) -> None:
    grant = Grant("public:G:*/watched*", "r")
    served.add_user("watcher", "watchers")
    served.change_accounts(lambda table: changes.grant_resource(table, "watchers", grant))
    with Raw(served.address, served.token_of("watcher")) as raw:
        raw.set_up()
        raw.listen("watched")
        assert raw.subscribe("watched")["success"]
        root.publish("watched", "1")
        raw.stream.next("ConfigChangeNotifyRequest")
        root.register("watched", "10.0.0.1")
        assert hosts(raw.stream.next("NotifySubscriberRequest")["serviceInfo"]) == ["10.0.0.1:80"]
        served.change_accounts(lambda table: changes.revoke_resource(table, "watchers", grant))
        root.publish("watched", "2")
        wait_until(
            lambda: dropped(served, "ConfigChangeNotifyRequest"), WITHIN_S, "the notice to be held back"
        )
        root.register("watched", "10.0.0.2")
        wait_until(lambda: dropped(served, "NotifySubscriberRequest"), WITHIN_S, "the list to be held back")
        assert raw.stream.nothing_came()
        served.change_accounts(lambda table: changes.grant_resource(table, "watchers", grant))
        root.publish("watched", "3")
        raw.stream.next("ConfigChangeNotifyRequest")
        root.register("watched", "10.0.0.3")
        assert hosts(raw.stream.next("NotifySubscriberRequest")["serviceInfo"]) == ["10.0.0.3:80"]


def dropped(served: Served, kind: str) -> int:
    return int(dict(served.ask(served.opened.nacos_grpc.pushed)).get((kind, "dropped"), 0))


def test_a_token_ends(served: Served) -> None:
    with Raw(served.address, served.token_of("reader")) as raw:
        assert raw.set_up().query("d")["errorCode"] in (0, 300)
        served.clock.moved_s += 6 * 3_600.0
        answer = raw.query("d")
        assert (answer["_type"], answer["errorCode"], answer["message"]) == (
            "ConfigQueryResponse",
            403,
            "token expired!",
        )
        raw.token = served.token_of("reader")
        assert raw.query("d")["errorCode"] in (0, 300)
