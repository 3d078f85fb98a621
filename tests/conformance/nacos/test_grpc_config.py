"""Configuration over gRPC, said by hand: what the protocol promises beyond what an SDK shows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import pytest

from atoll.errors import AtollError
from tests.conformance.nacos.raw import Raw
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


def md5(content: str) -> str:
    return hashlib.md5(content.encode(), usedforsecurity=False).hexdigest()


def test_an_item_is_answered_with_what_clients_read(client: Raw) -> None:
    addition = {"type": "json", "encryptedDataKey": "key", "appName": "app", "config_tags": "", "desc": ""}
    assert client.publish("item", '{"ä": 1}', additionMap=addition)["_type"] == "ConfigPublishResponse"
    answer = client.query("item")
    modified = answer.pop("lastModified")
    assert modified == pytest.approx(served_ms(client), abs=60_000)
    assert answer == {
        "_type": "ConfigQueryResponse",
        "resultCode": 200,
        "errorCode": 0,
        "success": True,
        "content": '{"ä": 1}',
        "encryptedDataKey": "key",
        "contentType": "json",
        "md5": md5('{"ä": 1}'),
        "beta": False,
    }


def served_ms(client: Raw) -> int:
    """The server's time by what it stamps on something new."""
    client.publish("now", md5(str(client)))
    return int(client.query("now")["lastModified"])


def test_what_is_not_there_is_300(client: Raw) -> None:
    answer = client.query("never")
    assert (answer["_type"], answer["resultCode"], answer["errorCode"]) == ("ConfigQueryResponse", 500, 300)
    assert answer["message"] == "config data not exist"


@pytest.mark.parametrize("kind", ["", "no-such-type"])
def test_a_type_that_is_none_is_text(client: Raw, kind: str) -> None:
    client.publish(f"kind-{kind}", "x", additionMap={"type": kind})
    assert client.query(f"kind-{kind}")["contentType"] == "text"


def test_compare_and_set(client: Raw) -> None:
    client.publish("cas", "1")
    refused = client.publish("cas", "2", casMd5=md5("other"))
    assert (refused["_type"], refused["errorCode"]) == ("ConfigPublishResponse", 500)
    assert refused["message"].startswith("Cas publish fail, server md5 may have changed.")
    assert client.query("cas")["content"] == "1"
    assert client.publish("cas", "2", casMd5=md5("1"))["success"]
    assert client.query("cas")["content"] == "2"


def test_to_remove_what_is_not_there_is_fine(client: Raw) -> None:
    client.publish("removed", "1")
    for _ in range(2):
        answer = client.ask("ConfigRemoveRequest", dataId="removed", group="G")
        assert (answer["_type"], answer["success"]) == ("ConfigRemoveResponse", True)
    assert client.query("removed")["errorCode"] == 300


def test_spellings_of_the_default_namespace_are_one(client: Raw) -> None:
    client.publish("space", "1", tenant="")
    assert {client.query("space", tenant=text)["content"] for text in ("", "public", None, "null")} == {"1"}
    assert client.query("space", tenant="another")["errorCode"] == 300


def test_a_release_for_a_tag_is_seen_by_those_who_send_it(client: Raw) -> None:
    client.publish("tagged", "for all")
    assert client.publish("tagged", "for v2", additionMap={"tag": "v2"})["success"]
    assert client.query("tagged")["content"] == "for all"
    asked = {"dataId": "tagged", "group": "G"}
    by_header = client.ask_with({"Vipserver-Tag": "v2"}, "ConfigQueryRequest", asked)
    assert (by_header["content"], by_header["tag"]) == ("for v2", "v2")
    assert client.query("tagged", tag="v2")["content"] == "for v2"
    assert client.query("tagged", tag="v3")["errorCode"] == 300
    assert "tag" not in client.query("tagged")
    client.ask("ConfigRemoveRequest", dataId="tagged", group="G", tag="v2")
    assert client.query("tagged", tag="v2")["errorCode"] == 300
    assert client.query("tagged")["content"] == "for all"


def test_a_release_for_addresses_is_seen_by_those_at_them(client: Raw) -> None:
    client.publish("beta", "for all")
    client.publish("beta", "for others", additionMap={"betaIps": "10.9.9.9"})
    assert client.query("beta")["content"] == "for all"
    client.publish("beta", "for you", additionMap={"betaIps": "10.9.9.9,127.0.0.1"})
    answer = client.query("beta")
    assert (answer["content"], answer["beta"]) == ("for you", True)


# ----------------------------------------------------------------------------------------------- listening


@pytest.mark.parametrize("spelling", ["", "public"])
def test_a_listener_is_told_in_its_own_spelling(client: Raw, other: Raw, spelling: str) -> None:
    data_id = f"heard-{spelling}"
    assert client.listen(data_id, "", spelling) == []
    other.publish(data_id, "1")
    push = client.stream.next("ConfigChangeNotifyRequest")
    assert (push["dataId"], push["group"], push.get("tenant")) == (data_id, "G", spelling)
    assert "content" not in push
    ref = {"dataId": data_id, "group": "G", "tenant": spelling}
    assert client.listen(data_id, "", spelling) == [ref]
    assert client.listen(data_id, md5("1"), spelling) == []


def test_a_listener_that_is_behind_hears_of_it_at_once(client: Raw) -> None:
    client.publish("behind", "1")
    assert client.listen("behind", md5("0")) != []
    assert client.listen("behind", "") != []
    assert client.listen("nowhere", md5("0")) != []
    assert client.listen("nowhere", "") == []
    assert client.stream.nothing_came()


def test_who_listens_no_longer_is_not_told(client: Raw, other: Raw) -> None:
    client.listen("silent", "")
    client.listen("told", "")
    assert client.listen("silent", "", listen=False) == []
    other.publish("silent", "1")
    other.publish("told", "1")
    assert client.stream.next("ConfigChangeNotifyRequest")["dataId"] == "told"


def test_a_release_for_others_is_no_news(client: Raw, other: Raw) -> None:
    client.publish("news", "for all")
    client.listen("news", md5("for all"))
    other.publish("news", "for others", additionMap={"betaIps": "10.9.9.9"})
    other.publish("news", "for all, again")
    client.stream.next("ConfigChangeNotifyRequest")
    assert client.listen("news", md5("for all, again")) == []
    assert client.stream.nothing_came()


def test_a_removal_is_told(client: Raw, other: Raw) -> None:
    client.publish("leaving", "1")
    client.listen("leaving", md5("1"))
    other.ask("ConfigRemoveRequest", dataId="leaving", group="G")
    client.stream.next("ConfigChangeNotifyRequest")
    assert client.listen("leaving", md5("1")) != []


def test_a_notice_is_repeated_until_it_is_answered_by_whatever_type(served: Served, other: Raw) -> None:
    with Raw(served.address, answering=False).set_up() as client:
        client.listen("repeat", "")
        other.publish("repeat", "1")
        first = client.stream.pushes.get(timeout=WITHIN_S)
        served.clock.moved_s += 3.1
        wait_until(lambda: _waits_to_repeat(served), WITHIN_S, "the missing answer to be noticed")
        served.clock.moved_s += 2.1
        second = client.stream.pushes.get(timeout=WITHIN_S)
        assert (second.body["dataId"], second.type) == ("repeat", "ConfigChangeNotifyRequest")
        assert second.body["requestId"] != first.body["requestId"]
        client.stream.answer(second, "NotifySubscriberResponse")
        wait_until(lambda: not _held(served), WITHIN_S, "the answer to count")


def _held(served: Served) -> int:
    return served.ask(lambda: sum(each.pushes.held for each in served.opened.nacos_grpc.connections))


def _waits_to_repeat(served: Served) -> bool:
    counts = dict(served.ask(served.opened.nacos_grpc.pushed))
    return _held(served) == 1 and counts["ConfigChangeNotifyRequest", "sent"] >= 1


def test_a_client_that_answers_nothing_is_told_once_of_each_item(served: Served, other: Raw) -> None:
    with Raw(served.address, answering=False).set_up() as client:
        for number in range(5):
            client.listen(f"flood-{number}", "")
        for round_number in range(20):
            for number in range(5):
                other.publish(f"flood-{number}", str(round_number))
        firsts = [client.stream.pushes.get(timeout=WITHIN_S) for _ in range(5)]
        assert client.stream.nothing_came()
        assert _held(served) <= 10
        for push in firsts:
            client.stream.answer(push)
        again = {client.stream.pushes.get(timeout=WITHIN_S).body["dataId"] for _ in range(5)}
        assert again == {f"flood-{number}" for number in range(5)}


def test_a_batch_of_listens(client: Raw, other: Raw) -> None:
    contexts = [{"dataId": f"many-{at}", "group": "G", "tenant": "", "md5": ""} for at in range(3_000)]
    answer = client.ask(
        "ConfigBatchListenRequest", listen=True, dataId="", group="", configListenContexts=contexts
    )
    assert (answer["_type"], answer["changedConfigs"]) == ("ConfigChangeBatchListenResponse", [])
    other.publish("many-2999", "1")
    assert client.stream.next("ConfigChangeNotifyRequest")["dataId"] == "many-2999"
    assert client.ask("ConfigBatchListenRequest", listen=True)["changedConfigs"] == []


def test_a_client_is_asked_for_its_caches(served: Served) -> None:
    with Raw(served.address, answering=False).set_up() as client:
        connected = served.opened.registry.connected
        own = client.ask("ServerCheckRequest")["connectionId"]
        assert own in served.ask(lambda: [each.id for each in connected.clients()])
        asking = served.begin(connected.ask_metrics(own, [("cacheData", "d+G")], WITHIN_S))
        push = client.stream.pushes.get(timeout=WITHIN_S)
        assert push.type == "ClientConfigMetricRequest"
        assert push.body["metricsKeys"] == [{"type": "cacheData", "key": "d+G"}]
        client.stream.answer(push, "ClientConfigMetricResponse", metrics={"listenConfigSize": 3})
        assert asking.result(WITHIN_S) == {"listenConfigSize": 3}
        with pytest.raises(AtollError, match="no client"):
            served.do(connected.ask_metrics("nobody", []))


# ------------------------------------------------------------------------------------------------ errors

WRONG: dict[str, dict[str, Any]] = {
    "no data id": {"dataId": ""},
    "data id": {"dataId": "a b"},
    "long data id": {"dataId": "a" * 257},
    "group": {"group": "a/b"},
    "namespace": {"tenant": "a.b"},
}


@pytest.mark.parametrize("fields", WRONG.values(), ids=list(WRONG))
@pytest.mark.parametrize("name", ["ConfigQueryRequest", "ConfigPublishRequest", "ConfigRemoveRequest"])
def test_a_wrong_parameter_is_400(client: Raw, name: str, fields: dict[str, Any]) -> None:
    answer = client.ask(name, **{"dataId": "wrong", "group": "G", "tenant": "", "content": "1", **fields})
    assert (answer["resultCode"], answer["errorCode"]) == (500, 400), answer
    assert answer["_type"] == name.replace("Request", "Response")


@pytest.mark.parametrize("content", ["", "  \n", None])
def test_a_blank_content_is_400(client: Raw, content: str | None) -> None:
    answer = client.ask("ConfigPublishRequest", dataId="blank", group="G", content=content)
    assert answer["errorCode"] == 400, answer


# ----------------------------------------------------------------------------------- fuzzy watches, locks


def test_a_pattern_over_items(client: Raw, other: Raw) -> None:
    other.publish("fz.1", "1")
    asked = {"groupKeyPattern": "public>>G>>fz*", "watchType": "WATCH", "initializing": True}
    answer = client.ask("ConfigFuzzyWatchRequest", receivedGroupKeys=["fz.old+G+public"], **asked)
    assert (answer["_type"], answer["success"]) == ("ConfigFuzzyWatchResponse", True)
    batch = client.stream.next("ConfigFuzzyWatchSyncRequest")
    assert batch["contexts"] == [
        {"groupKey": "fz.1+G+public", "changedType": "ADD_CONFIG"},
        {"groupKey": "fz.old+G+public", "changedType": "DELETE_CONFIG"},
    ]
    assert client.stream.next("ConfigFuzzyWatchSyncRequest")["syncType"] == "FINISH_FUZZY_WATCH_INIT_NOTIFY"
    other.publish("fz.2", "1")
    change = client.stream.next("ConfigFuzzyWatchChangeNotifyRequest")
    assert (change["groupKey"], change["changeType"]) == ("fz.2+G+public", "ADD_CONFIG")
    other.publish("fz.2", "2")
    other.ask("ConfigRemoveRequest", dataId="fz.2", group="G")
    change = client.stream.next("ConfigFuzzyWatchChangeNotifyRequest")
    assert (change["groupKey"], change["changeType"]) == ("fz.2+G+public", "DELETE_CONFIG")
    client.ask("ConfigFuzzyWatchRequest", **{**asked, "watchType": "CANCEL_WATCH"})
    other.publish("fz.3", "1")
    client.listen("fz.end", "")
    other.publish("fz.end", "1")
    client.stream.next("ConfigChangeNotifyRequest")


@pytest.mark.parametrize("pattern", ["", "a", "public>>>>", "a b>>G>>x"])
def test_what_is_no_pattern_of_items_is_400(client: Raw, pattern: str) -> None:
    answer = client.ask("ConfigFuzzyWatchRequest", groupKeyPattern=pattern, watchType="WATCH")
    assert (answer["_type"], answer["errorCode"]) == ("ConfigFuzzyWatchResponse", 400)


def test_too_many_patterns_of_items_are_refused_with_the_references_code(client: Raw) -> None:
    asked = {"watchType": "WATCH", "initializing": False}
    codes = [
        client.ask("ConfigFuzzyWatchRequest", groupKeyPattern=f"public>>G>>m-{number}", **asked)["errorCode"]
        for number in range(21)
    ]
    assert codes == [0] * 20 + [50_310]


def lock(client: Raw, operation: str, key: str, **fields: Any) -> dict[str, Any]:
    instance = {"key": key, "expiredTime": 60_000, "lockType": "NACOS_LOCK", "params": {}, **fields}
    return client.ask("LockOperationRequest", lockInstance=instance, lockOperationEnum=operation)


def test_a_lock_is_held_by_one_until_it_is_given_back(client: Raw, other: Raw) -> None:
    assert lock(client, "ACQUIRE", "mutex")["_type"] == "LockOperationResponse"
    assert lock(other, "ACQUIRE", "mutex")["result"] is False
    assert lock(other, "ACQUIRE", "another")["result"] is True
    assert lock(client, "RELEASE", "mutex")["result"] is True
    assert lock(client, "RELEASE", "mutex")["result"] is False
    assert lock(other, "ACQUIRE", "mutex")["result"] is True


def test_a_lock_ends_with_its_time(client: Raw, other: Raw) -> None:
    assert lock(client, "ACQUIRE", "short", expiredTime=1)["result"] is True
    wait_until(lambda: lock(other, "ACQUIRE", "short")["result"], WITHIN_S, "the lock's time to end")


@pytest.mark.parametrize(
    ("operation", "fields"), [("EXPIRE", {}), ("ACQUIRE", {"lockType": "OTHER"}), ("ACQUIRE", {"key": ""})]
)
def test_what_is_no_lock_is_400(client: Raw, operation: str, fields: dict[str, Any]) -> None:
    answer = lock(client, operation, **{"key": "wrong", **fields})
    assert (answer["_type"], answer["errorCode"]) == ("LockOperationResponse", 400)
