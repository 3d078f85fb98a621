"""Naming over gRPC, said by hand: what the protocol promises beyond what an SDK shows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.conformance.nacos.raw import Raw, hosts
from tests.conformance.nacos.served import Served
from tests.waiting import wait_until

pytestmark = pytest.mark.peers
WITHIN_S = 20.0


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with Served() as running:
        yield running


@pytest.fixture
def client(served: Served) -> Iterator[Raw]:
    with Raw(served.address) as raw:
        yield raw.set_up()


@pytest.fixture
def other(served: Served) -> Iterator[Raw]:
    with Raw(served.address) as raw:
        yield raw.set_up()


def listed(client: Raw, service: str, **fields: Any) -> list[str]:
    answer = client.ask("ServiceQueryRequest", serviceName=service, groupName="G", **fields)
    assert answer["_type"] == "QueryServiceResponse"
    return hosts(answer["serviceInfo"])


def test_an_instance_is_shown_with_every_field(client: Raw) -> None:
    answer = client.register(
        "full", "10.0.0.1", 8080, weight=2.5, clusterName="c1", metadata={"a": "b", "n": 1}, enabled=True
    )
    assert (answer["_type"], answer["type"]) == ("InstanceResponse", "registerInstance")
    info = client.ask("ServiceQueryRequest", serviceName="full", groupName="G")["serviceInfo"]
    assert info["hosts"] == [
        {
            "instanceId": "10.0.0.1#8080#c1#G@@full",
            "ip": "10.0.0.1",
            "port": 8080,
            "weight": 2.5,
            "healthy": True,
            "enabled": True,
            "ephemeral": True,
            "clusterName": "c1",
            "serviceName": "G@@full",
            "metadata": {"a": "b", "n": "1"},
            "instanceHeartBeatInterval": 5000,
            "instanceHeartBeatTimeOut": 15000,
            "ipDeleteTimeout": 30000,
            "instanceIdGenerator": "simple",
        }
    ]
    assert (info["name"], info["groupName"], info["clusters"]) == ("full", "G", "")
    assert info["allIPs"] is False
    assert info["valid"] is True
    assert info["cacheMillis"] == 10_000


def test_an_instance_may_ask_for_an_id_of_its_own(client: Raw) -> None:
    metadata = {"preserved.instance.id.generator": "snowflake"}

    def seen() -> tuple[str, str]:
        client.register("flake", "10.0.0.1", metadata=metadata)
        (host,) = client.ask("ServiceQueryRequest", serviceName="flake", groupName="G")["serviceInfo"][
            "hosts"
        ]
        return host["instanceId"], host["instanceIdGenerator"]

    first = seen()
    assert first[0].endswith("#DEFAULT#G@@flake") and first[0][0].isdecimal() and "10.0.0.1" not in first[0]
    assert first[1] == "snowflake"
    assert seen() == first


def test_a_second_registration_of_a_connection_replaces_the_first(client: Raw, other: Raw) -> None:
    client.register("one", "10.0.0.1")
    client.register("one", "10.0.0.2")
    assert listed(other, "one") == ["10.0.0.2:80"]
    other.register("one", "10.0.0.3")
    assert listed(other, "one") == ["10.0.0.2:80", "10.0.0.3:80"]


def test_a_batch_is_the_whole_set_of_its_connection(client: Raw) -> None:
    def batch(*ips: str) -> dict[str, Any]:
        return client.ask(
            "BatchInstanceRequest",
            serviceName="batch",
            groupName="G",
            type="batchRegisterInstance",
            instances=[{"ip": ip, "port": 80} for ip in ips],
        )

    answer = batch("10.0.0.1", "10.0.0.2", "10.0.0.3")
    assert (answer["_type"], answer["type"]) == ("BatchInstanceResponse", "batchRegisterInstance")
    assert len(listed(client, "batch")) == 3
    batch("10.0.0.2", "10.0.0.4")
    assert listed(client, "batch") == ["10.0.0.2:80", "10.0.0.4:80"]
    assert batch()["success"]
    assert listed(client, "batch") == []


def test_to_deregister_needs_no_right_address_and_no_registration(client: Raw) -> None:
    client.register("gone", "10.0.0.1")
    fields = {"serviceName": "gone", "groupName": "G", "type": "deregisterInstance"}
    for _ in range(2):
        answer = client.ask("InstanceRequest", instance={"ip": "1.2.3.4", "port": 1}, **fields)
        assert answer["success"], answer
        assert listed(client, "gone") == []


def test_the_group_may_be_in_the_name_or_nowhere(client: Raw, other: Raw) -> None:
    instance = {"ip": "10.0.0.1", "port": 80}
    client.ask("InstanceRequest", serviceName="H@@named", type="registerInstance", instance=instance)
    answer = other.ask("ServiceQueryRequest", serviceName="named", groupName="H")
    assert hosts(answer["serviceInfo"]) == ["10.0.0.1:80"]
    client.ask("InstanceRequest", serviceName="default", type="registerInstance", instance=instance)
    info = other.ask("ServiceQueryRequest", serviceName="default")["serviceInfo"]
    assert (info["groupName"], hosts(info)) == ("DEFAULT_GROUP", ["10.0.0.1:80"])


@pytest.mark.parametrize("spelling", ["", "public", None, "null"])
def test_a_subscriber_is_told_in_its_own_spelling(client: Raw, other: Raw, spelling: str | None) -> None:
    service = f"spelled-{spelling}"
    answer = client.subscribe(service, namespace=spelling)
    assert answer["_type"] == "SubscribeServiceResponse"
    assert answer["serviceInfo"]["hosts"] == []
    other.register(service, "10.0.0.1")
    push = client.stream.next("NotifySubscriberRequest")
    assert push["namespace"] == (spelling or "")
    assert (push["serviceName"], push["groupName"]) == (service, "G")
    assert hosts(push["serviceInfo"]) == ["10.0.0.1:80"]
    assert isinstance(push["requestId"], str)


def test_subscribing_to_clusters_names_them_back(client: Raw, other: Raw) -> None:
    other.register("clusters", "10.0.0.1", clusterName="a")
    info = client.subscribe("clusters", clusters="b,a")["serviceInfo"]
    assert (info["clusters"], hosts(info)) == ("b,a", ["10.0.0.1:80"])
    assert listed(other, "clusters", cluster="b") == []
    with_three = other.ask(
        "BatchInstanceRequest",
        serviceName="clusters",
        groupName="G",
        type="batchRegisterInstance",
        instances=[{"ip": f"10.0.0.{at}", "port": 80, "clusterName": name} for at, name in enumerate("abc")],
    )
    assert with_three["success"]
    push = client.stream.next("NotifySubscriberRequest")["serviceInfo"]
    assert (push["clusters"], hosts(push)) == ("b,a", ["10.0.0.0:80", "10.0.0.1:80"])


def test_only_the_healthy_if_asked_in_either_spelling(client: Raw) -> None:
    client.register("health", "10.0.0.1", healthy=False)
    assert listed(client, "health") == ["10.0.0.1:80"]
    assert listed(client, "health", healthyOnly=True) == []
    assert listed(client, "health", healthOnly=True) == []


def test_the_disabled_are_not_shown(client: Raw) -> None:
    client.register("disabled", "10.0.0.1", enabled=False)
    assert listed(client, "disabled") == []


def test_the_time_of_a_list_never_goes_back(client: Raw, other: Raw) -> None:
    times = [client.subscribe("time")["serviceInfo"]["lastRefTime"]]
    for number in range(3):
        other.register("time", f"10.0.0.{number}")
        times.append(client.stream.next("NotifySubscriberRequest")["serviceInfo"]["lastRefTime"])
        times.append(client.ask("ServiceQueryRequest", serviceName="time")["serviceInfo"]["lastRefTime"])
    pushed = times[:1] + times[1::2]
    assert pushed == sorted(set(pushed)), "clients drop a push that is not newer than the last"
    assert times == sorted(times)


def test_unsubscribed_is_not_told(client: Raw, other: Raw) -> None:
    client.subscribe("quiet")
    client.subscribe("quiet", subscribe=False)
    client.subscribe("loud")
    other.register("quiet", "10.0.0.1")
    other.register("loud", "10.0.0.1")
    assert client.stream.next("NotifySubscriberRequest")["serviceName"] == "loud"
    assert client.stream.nothing_came()


def test_an_empty_list_is_pushed_too(client: Raw, other: Raw) -> None:
    other.register("emptied", "10.0.0.1")
    client.subscribe("emptied")
    fields = {"serviceName": "emptied", "groupName": "G", "type": "deregisterInstance"}
    other.ask("InstanceRequest", instance={"ip": "10.0.0.1", "port": 80}, **fields)
    assert client.stream.next("NotifySubscriberRequest")["serviceInfo"]["hosts"] == []


def test_a_list_that_was_not_acknowledged_is_pushed_again(served: Served, other: Raw) -> None:
    with Raw(served.address, answering=False).set_up() as client:
        client.subscribe("again")
        other.register("again", "10.0.0.1")
        first = client.stream.pushes.get(timeout=WITHIN_S)
        client.stream.answer(first, resultCode=500)
        second = client.stream.pushes.get(timeout=WITHIN_S)
        assert second.body["requestId"] != first.body["requestId"]
        assert hosts(second.body["serviceInfo"]) == ["10.0.0.1:80"]
        client.stream.answer(second, "AnyTypeAtAll")
        other.register("again", "10.0.0.2")
        third = client.stream.pushes.get(timeout=WITHIN_S)
        assert hosts(third.body["serviceInfo"]) == ["10.0.0.2:80"]


def test_an_answer_to_another_clients_push_counts_for_nothing(served: Served, other: Raw) -> None:
    with Raw(served.address, answering=False).set_up() as client:
        client.subscribe("forged")
        other.register("forged", "10.0.0.1")
        push = client.stream.pushes.get(timeout=WITHIN_S)
        other.stream.answer(push)
        other.ask("HealthCheckRequest")
        held = served.ask(lambda: sorted(each.pushes.held for each in served.opened.nacos_grpc.connections))
        assert held == [0, 1]


def test_a_client_that_answers_nothing_is_sent_one_list_and_then_the_newest(
    served: Served, other: Raw
) -> None:
    with Raw(served.address, answering=False).set_up() as client:
        client.subscribe("storm")
        other.register("storm", "10.0.0.1")
        first = client.stream.pushes.get(timeout=WITHIN_S)
        for number in range(20):
            other.register("storm", f"10.0.1.{number}")
        assert client.stream.nothing_came()
        client.stream.answer(first)
        newest = client.stream.pushes.get(timeout=WITHIN_S)
        assert hosts(newest.body["serviceInfo"]) == ["10.0.1.19:80"]


# -------------------------------------------------------------------------------------------- persistent


def persistent(client: Raw, service: str, kind: str = "registerInstance", **instance: Any) -> dict[str, Any]:
    fields = {"ip": "10.0.0.1", "port": 80, "ephemeral": False, **instance}
    return client.ask(
        "PersistentInstanceRequest", serviceName=service, groupName="G", type=kind, instance=fields
    )


def test_a_persistent_instance_outlives_its_client(served: Served, other: Raw) -> None:
    with Raw(served.address).set_up() as client:
        answer = persistent(client, "lasting", metadata={"a": "b"})
        assert (answer["_type"], answer["type"], answer["success"]) == (
            "InstanceResponse",
            "registerInstance",
            True,
        )
        client.register("passing", "10.0.0.1")
    other.subscribe("passing")
    wait_until(lambda: listed(other, "passing") == [], WITHIN_S, "the client to be gone")
    (host,) = other.ask("ServiceQueryRequest", serviceName="lasting", groupName="G")["serviceInfo"]["hosts"]
    assert (host["ip"], host["ephemeral"], host["metadata"]) == ("10.0.0.1", False, {"a": "b"})
    assert persistent(other, "lasting", "deregisterInstance")["success"]
    assert persistent(other, "lasting", "deregisterInstance")["success"], "once more is fine"
    assert listed(other, "lasting") == []


def test_a_service_has_one_kind_of_instance(client: Raw) -> None:
    assert persistent(client, "kind-p")["success"]
    refused = client.register("kind-p", "10.0.0.2")
    assert (refused["_type"], refused["errorCode"]) == ("InstanceResponse", 400)
    assert client.register("kind-e", "10.0.0.2")["success"]
    refused = persistent(client, "kind-e")
    assert (refused["_type"], refused["errorCode"]) == ("InstanceResponse", 400)
    assert persistent(client, "kind-x", ephemeral=True)["errorCode"] == 400
    assert persistent(client, "kind-x", "modify")["errorCode"] == 400


# ------------------------------------------------------------------------------------------------- lists


def test_services_are_listed_in_pages(client: Raw) -> None:
    for number in range(5):
        instance = {"ip": "10.0.0.1", "port": 80}
        name = f"paged-{number}"
        client.ask(
            "InstanceRequest", serviceName=name, groupName="P", type="registerInstance", instance=instance
        )
    first = client.ask("ServiceListRequest", groupName="P", pageNo=1, pageSize=3)
    assert (first["_type"], first["count"]) == ("ServiceListResponse", 5)
    second = client.ask("ServiceListRequest", groupName="P", pageNo=2, pageSize=3)
    assert first["serviceNames"] + second["serviceNames"] == [f"paged-{number}" for number in range(5)]
    beyond = client.ask("ServiceListRequest", groupName="P", pageNo=9, pageSize=3)
    assert (beyond["count"], beyond["serviceNames"]) == (5, [])


def test_a_list_that_fails_still_has_its_fields(client: Raw) -> None:
    answer = client.ask("ServiceListRequest", namespace="a b", pageNo=1, pageSize=3)
    assert (answer["_type"], answer["errorCode"]) == ("ServiceListResponse", 400)
    assert (answer["count"], answer["serviceNames"]) == (0, [])


# ------------------------------------------------------------------------------------------------ errors

WRONG: dict[str, dict[str, Any]] = {
    "no service": {"serviceName": ""},
    "no instance": {"instance": None},
    "name": {"serviceName": "a b"},
    "group": {"groupName": "a/b"},
    "namespace": {"namespace": "a.b"},
    "no ip": {"instance": {"port": 80}},
    "ip": {"instance": {"ip": "a b", "port": 80}},
    "port": {"instance": {"ip": "1.1.1.1", "port": 65_536}},
    "negative port": {"instance": {"ip": "1.1.1.1", "port": -1}},
    "weight": {"instance": {"ip": "1.1.1.1", "port": 80, "weight": 10_001}},
    "cluster": {"instance": {"ip": "1.1.1.1", "port": 80, "clusterName": "a b"}},
    "metadata": {"instance": {"ip": "1.1.1.1", "port": 80, "metadata": {"a": "x" * 1_025}}},
    "persistent": {"instance": {"ip": "1.1.1.1", "port": 80, "ephemeral": False}},
    "type": {"type": "modifyInstance"},
    "no type": {"type": None},
}


@pytest.mark.parametrize("fields", WRONG.values(), ids=list(WRONG))
def test_a_wrong_parameter_is_400_in_the_responses_own_class(client: Raw, fields: dict[str, Any]) -> None:
    good = {
        "serviceName": "wrong",
        "groupName": "G",
        "type": "registerInstance",
        "instance": {"ip": "1.1.1.1", "port": 80},
    }
    answer = client.ask("InstanceRequest", **{**good, **fields})
    assert (answer["_type"], answer["resultCode"], answer["errorCode"]) == ("InstanceResponse", 500, 400)
    assert answer["success"] is False
    assert answer["message"]
    assert client.ask("InstanceRequest", **good)["success"]


def test_one_wrong_instance_refuses_its_whole_batch(client: Raw) -> None:
    instances = [{"ip": "1.1.1.1", "port": 80}, {"ip": "1.1.1.1", "port": -1}]
    fields = {"serviceName": "half", "groupName": "G", "type": "batchRegisterInstance"}
    assert client.ask("BatchInstanceRequest", instances=instances, **fields)["errorCode"] == 400
    assert listed(client, "half") == []


# ----------------------------------------------------------------------------------------- fuzzy watches


def watch(client: Raw, pattern: str, **fields: Any) -> dict[str, Any]:
    return client.ask(
        "NamingFuzzyWatchRequest",
        **{"groupKeyPattern": pattern, "watchType": "WATCH", "initializing": True, **fields},
    )


def test_a_pattern_is_told_what_is_there_in_batches_and_then_what_comes(client: Raw, other: Raw) -> None:
    instance = {"ip": "10.0.0.1", "port": 80}

    def register(service: str) -> None:
        other.ask(
            "InstanceRequest", serviceName=service, groupName="F", type="registerInstance", instance=instance
        )

    names = {f"public@@F@@fz-{number}" for number in range(45)}
    for name in names:
        register(name.rpartition("@@")[2])
    register("elsewhere")
    assert watch(client, "public>>F>>fz-*")["_type"] == "NamingFuzzyWatchResponse"
    batches = [client.stream.next("NamingFuzzyWatchSyncRequest") for _ in range(4)]
    assert [len(each["contexts"]) for each in batches] == [20, 20, 5, 0]
    assert [each["currentBatch"] for each in batches[:3]] == [1, 2, 3]
    assert {each["syncType"] for each in batches[:3]} == {"FUZZY_WATCH_INIT_NOTIFY"}
    assert batches[3]["syncType"] == "FINISH_FUZZY_WATCH_INIT_NOTIFY"
    told = [context for each in batches for context in each["contexts"]]
    assert {context["serviceKey"] for context in told} == names
    assert {context["changedType"] for context in told} == {"ADD_SERVICE"}
    register("fz-new")
    change = client.stream.next("NamingFuzzyWatchChangeNotifyRequest")
    assert (change["serviceKey"], change["changedType"]) == ("public@@F@@fz-new", "ADD_SERVICE")
    assert change["syncType"] == "FUZZY_WATCH_RESOURCE_CHANGED"


def test_a_pattern_watched_again_is_told_the_difference(client: Raw, other: Raw) -> None:
    instance = {"ip": "10.0.0.1", "port": 80}
    other.ask(
        "InstanceRequest", serviceName="df-1", groupName="F", type="registerInstance", instance=instance
    )
    watch(client, "public>>F>>df-*", initializing=False, receivedGroupKeys=["public@@F@@df-old"])
    batch = client.stream.next("NamingFuzzyWatchSyncRequest")
    assert batch["syncType"] == "FUZZY_WATCH_DIFF_SYNC_NOTIFY"
    assert batch["contexts"] == [
        {"serviceKey": "public@@F@@df-1", "changedType": "ADD_SERVICE"},
        {"serviceKey": "public@@F@@df-old", "changedType": "DELETE_SERVICE"},
    ]


def test_a_pattern_that_was_cancelled_is_quiet(client: Raw, other: Raw) -> None:
    watch(client, "public>>F>>cc-*")
    client.stream.next("NamingFuzzyWatchSyncRequest")
    assert watch(client, "public>>F>>cc-*", watchType="CANCEL_WATCH")["success"]
    watch(client, "public>>F>>cd-*")
    client.stream.next("NamingFuzzyWatchSyncRequest")
    instance = {"ip": "10.0.0.1", "port": 80}
    for name in ("cc-1", "cd-1"):
        other.ask(
            "InstanceRequest", serviceName=name, groupName="F", type="registerInstance", instance=instance
        )
    assert client.stream.next("NamingFuzzyWatchChangeNotifyRequest")["serviceKey"] == "public@@F@@cd-1"
    wait_until(client.stream.nothing_came, WITHIN_S, "nothing else to come")


@pytest.mark.parametrize("pattern", ["", "a", "public>>F", "a b>>F>>x", "public>>F>>a*b"])
def test_what_is_no_pattern_is_400(client: Raw, pattern: str) -> None:
    answer = watch(client, pattern)
    assert (answer["_type"], answer["errorCode"]) == ("NamingFuzzyWatchResponse", 400)


def test_too_many_patterns_are_refused_with_the_references_code(client: Raw) -> None:
    codes = [watch(client, f"public>>F>>many-{number}")["errorCode"] for number in range(21)]
    assert codes == [0] * 20 + [50_310]
