"""Nacos's HTTP API by hand: failures in each envelope, spellings, held listeners, limits, pushes by UDP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest

from atoll.errors import AtollError, Code
from atoll.planes.registry.frontends.nacos_http import answer, open_http
from atoll.planes.registry.policy.control import Rule
from atoll.planes.registry.settings import HttpCompatibility
from atoll.resources.config_item import ConfigKey
from atoll.resources.service import ServiceKey
from atoll.runtime.net import Address
from atoll.wire.nacos.catalog.entry import CONFIG_W, Entry, Envelope
from tests.unit.registry import rest_kit
from tests.unit.registry.rest_kit import Kit
from tests.unit.registry.test_nacos_http_paths import BOSS, Answer, ask

WITHIN_S = 20.0
FORM = {"content-type": "application/x-www-form-urlencoded; charset=GBK"}
ITEM = {"dataId": "d", "group": "G"}

# a request, and what it is answered: status, and text or code and data
FAILURES: Mapping[str, tuple[str, Mapping[str, str], int, Any]] = {
    "v1 item that is not there": ("GET /nacos/v1/cs/configs", ITEM, 404, "config data not exist"),
    "v2 item that is not there": ("GET /nacos/v2/cs/config", ITEM, 404, [20004, "config data not exist"]),
    "v3 item that is not there": (
        "GET /nacos/v3/client/cs/config",
        {"dataId": "d", "groupName": "G"},
        404,
        [20004, "config data not exist"],
    ),
    "v1 without a group": ("GET /nacos/v1/cs/configs", {"dataId": "d"}, 400, "Param 'group' is required."),
    "v2 without a group": (
        "GET /nacos/v2/cs/config",
        {"dataId": "d"},
        400,
        [10000, "Param 'group' is required."],
    ),
    "v1 without a service": (
        "GET /nacos/v1/ns/instance/list",
        {},
        400,
        "Param 'serviceName' is required.",
    ),
    "v2 bad data id": (
        "GET /nacos/v2/cs/config",
        {"dataId": "a/b", "group": "G"},
        400,
        [20002, "Param 'dataId' is illegal, illegal characters should not appear in the param."],
    ),
    "v2 too heavy": (
        "POST /nacos/v2/ns/instance",
        {"serviceName": "s", "ip": "1.1.1.1", "port": "80", "weight": "10001"},
        400,
        [21001, "instance format invalid: The weights range from 0.0 to 10000.0"],
    ),
    "v1 port too high": (
        "POST /nacos/v1/ns/instance",
        {"serviceName": "s", "ip": "1.1.1.1", "port": "65536"},
        400,
        "Param 'port' is illegal, the value should be between 0 and 65535.",
    ),
    "v1 instance of a service without any": (
        "GET /nacos/v1/ns/instance",
        {"serviceName": "s", "ip": "1.1.1.1", "port": "80"},
        404,
        "no ips found for cluster DEFAULT in service DEFAULT_GROUP@@s",
    ),
    "v1 blank content": (
        "POST /nacos/v1/cs/configs",
        {**ITEM, "content": ""},
        400,
        "Param 'content' is required.",
    ),
    "v1 no listening list": (
        "POST /nacos/v1/cs/configs/listener",
        {"Listening-Configs": "d\x02G\x01"},
        400,
        "invalid probeModify: a line has dataId, group, md5 and perhaps tenant",
    ),
    "v1 unknown naming path": ("GET /nacos/v1/ns/x", {}, 501, "no such api:GET:/nacos/v1/ns/x"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_is_told_in_the_envelope_of_its_path(name: str) -> None:
    line, fields, status, wanted = FAILURES[name]

    async def work(kit: Kit) -> None:
        found = await ask(kit.opened.nacos_http.application, line, fields)
        said = found.text if isinstance(wanted, str) else [found.json["code"], found.json["data"]]
        assert (found.status, said) == (status, wanted)

    rest_kit.run(work)


@pytest.mark.parametrize(
    "path",
    [
        "/nacos/v1//cs/configs",
        "//nacos/v1/cs/configs",
        "/nacos/v1/cs/configs/",
        "/nacos/v1/cs/./configs",
        "/nacos/v1/cs/%63onfigs",
        "/nacos/v1/cs/configs;x=y",
        "/nacos/V1/cs/configs",
        "/nacos/nacos/v1/cs/configs",
    ],
)
def test_a_path_has_one_spelling(path: str) -> None:
    async def work(kit: Kit) -> None:
        await kit.opened.registry.configs.publish(BOSS, ConfigKey("public", "G", "d"), "here")
        app = kit.opened.nacos_http.application
        assert (await ask(app, "GET /nacos/v1/cs/configs", ITEM)).text == "here"
        assert (await ask(app, f"GET {path}", ITEM)).status == 404

    rest_kit.run(work)


def test_a_known_path_with_another_verb_is_405() -> None:
    async def work(kit: Kit) -> None:
        found = await ask(kit.opened.nacos_http.application, "PATCH /nacos/v1/cs/configs", ITEM)
        assert (found.status, found.json["error"]) == (405, "Method Not Allowed")

    rest_kit.run(work)


def test_a_form_counts_with_the_query_and_is_utf_8_whatever_it_says() -> None:
    async def work(kit: Kit) -> None:
        app = kit.opened.nacos_http.application
        body = b"content=%E4%BD%A0%2B+1&group=other"
        assert (await ask(app, "POST /nacos/v1/cs/configs", ITEM, FORM, body)).text == "true"
        found = await ask(app, "GET /nacos/v1/cs/configs", ITEM)
        assert (found.text, found.fields[b"config-type"]) == ("你+ 1", b"text")

    rest_kit.run(work)


def test_compare_and_set_over_http() -> None:
    async def work(kit: Kit) -> None:
        app = kit.opened.nacos_http.application
        await ask(app, "POST /nacos/v1/cs/configs", {**ITEM, "content": "1"})
        wrong = await ask(app, "POST /nacos/v1/cs/configs", {**ITEM, "content": "2"}, {"casmd5": "0" * 32})
        right = {"casmd5": "c4ca4238a0b923820dcc509a6f75849b"}
        assert wrong.status == 500
        assert (await ask(app, "POST /nacos/v1/cs/configs", {**ITEM, "content": "2"}, right)).text == "true"

    rest_kit.run(work)


def listening(md5: str = "") -> dict[str, str]:
    return {"Listening-Configs": f"d\x02G\x02{md5}\x01"}


def test_a_held_listener_is_woken_by_a_change_and_forgotten_after_it() -> None:
    async def work(kit: Kit) -> None:
        configs = kit.opened.registry.configs
        held = asyncio.ensure_future(hold(kit))
        async with asyncio.timeout(WITHIN_S):
            while not configs.listeners.count:
                await asyncio.sleep(0)
            await configs.publish(BOSS, ConfigKey("public", "G", "d"), "new")
            assert (await held).text == "d%02G%01\n"
        assert configs.listeners.count == 0

    rest_kit.run(work)


def test_a_listener_that_leaves_is_forgotten() -> None:
    async def work(kit: Kit) -> None:
        configs = kit.opened.registry.configs
        left = asyncio.Event()
        held = asyncio.ensure_future(hold(kit, left))
        async with asyncio.timeout(WITHIN_S):
            while not configs.listeners.count:
                await asyncio.sleep(0)
            left.set()
            await held
        assert configs.listeners.count == 0

    rest_kit.run(work)


async def hold(kit: Kit, left: asyncio.Event | None = None) -> Answer:
    """A held listener of item d, which stays until ``left``."""
    headers = [(b"host", b"127.0.0.1:8848"), (b"long-pulling-timeout", b"30000"), (b"content-length", b"40")]
    body = b"Listening-Configs=d%02G%02%01"
    parts = iter([{"type": "http.request", "body": body, "more_body": False}])
    gone = left or asyncio.Event()
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        part = next(parts, None)
        if part is None:
            await gone.wait()
        return part or {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    path = "/nacos/v1/cs/configs/listener"
    scope = {"type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b""}
    await kit.opened.nacos_http.application(
        {**scope, "headers": headers, "client": ("127.0.0.1", 50_000)}, receive, send
    )
    return Answer(sent)


def test_who_does_not_wait_is_answered_at_once() -> None:
    async def work(kit: Kit) -> None:
        app = kit.opened.nacos_http.application
        await kit.opened.registry.configs.publish(BOSS, ConfigKey("public", "G", "d"), "new")
        line = "POST /nacos/v1/cs/configs/listener"
        now = {"long-pulling-timeout": "30000", "long-pulling-timeout-no-hangup": "true"}
        assert (await ask(app, line, listening(), now)).text == "d%02G%01\n"
        short = await ask(app, line, listening())
        assert short.fields[b"probe-modify-response"] == b"d:G;"
        same = listening("22af645d1859cb5ca6da0c484f1f37ea")
        assert (await ask(app, line, same, now)).text == ""

    rest_kit.run(work)


def test_more_than_a_limit_is_503_in_each_envelope() -> None:
    async def work(kit: Kit) -> None:
        app = kit.opened.nacos_http.application
        kit.opened.registry.control.set_rule("ConfigQuery", Rule(0, 3600.0))
        first = await ask(app, "GET /nacos/v1/cs/configs", ITEM)
        second = await ask(app, "GET /nacos/v2/cs/config", ITEM)
        assert (first.status, second.status, second.json["code"]) == (503, 503, 503)

    rest_kit.run(work)


def test_older_versions_can_be_switched_off_for_tools_and_consoles() -> None:
    async def work(kit: Kit) -> None:
        off = HttpCompatibility(admin=False, console=False)
        app = open_http(kit.opened.registry, Address("127.0.0.1", 8848), off).application
        closed = await ask(app, "GET /nacos/v1/ns/catalog/services", {})
        assert (closed.status, closed.json["code"]) == (410, 40001)
        assert (await ask(app, "GET /nacos/v1/console/namespaces", {})).status == 410
        assert (await ask(app, "GET /nacos/v1/ns/service/list", {})).status == 200
        assert (await ask(app, "GET /nacos/v3/admin/core/namespace/list", {})).status == 200

    rest_kit.run(work)


def test_what_is_read_while_the_store_is_away_says_so_and_ephemeral_instances_register() -> None:
    async def work(kit: Kit) -> None:
        app, registry = kit.opened.nacos_http.application, kit.opened.registry
        await registry.configs.publish(BOSS, ConfigKey("public", "G", "d"), "kept")
        fresh = await ask(app, "GET /nacos/v1/cs/configs", ITEM)
        registry.naming.stale = True
        registered = {"serviceName": "s", "ip": "1.1.1.1", "port": "80"}
        assert (await ask(app, "POST /nacos/v1/ns/instance", registered)).text == "ok"
        item = await ask(app, "GET /nacos/v1/cs/configs", ITEM)
        hosts = await ask(app, "GET /nacos/v2/ns/instance/list", {"serviceName": "s"})
        assert b"atoll-stale" not in fresh.fields
        assert (item.text, item.fields[b"atoll-stale"]) == ("kept", b"true")
        assert (len(hosts.json["data"]["hosts"]), hosts.fields[b"atoll-stale"]) == (1, b"true")

    rest_kit.run(work)


def test_an_operator_closes_naming_by_a_switch_and_opens_it_again() -> None:
    async def work(kit: Kit) -> None:
        app = kit.opened.nacos_http.application
        switch, listed = "PUT /nacos/v1/ns/operator/switches", "GET /nacos/v1/ns/instance/list"
        registered = {"serviceName": "s", "ip": "1.1.1.1", "port": "80"}
        seen = []
        for status in ("DOWN", "READ_ONLY", "WRITE_ONLY", "UP"):
            await ask(app, switch, {"entry": "overriddenServerStatus", "value": status})
            read = await ask(app, listed, {"serviceName": "s"})
            written = await ask(app, "POST /nacos/v1/ns/instance", registered)
            seen.append((status, read.status, written.status))
        assert seen == [
            ("DOWN", 503, 503),
            ("READ_ONLY", 200, 503),
            ("WRITE_ONLY", 503, 200),
            ("UP", 200, 200),
        ]

    rest_kit.run(work)


def test_an_operator_limits_a_path_by_a_switch() -> None:
    async def work(kit: Kit) -> None:
        app = kit.opened.nacos_http.application
        switch, listed = "PUT /nacos/v1/ns/operator/switches", "GET /nacos/v1/ns/instance/list"
        await ask(app, switch, {"entry": "limitedUrlMap", "value": "/nacos/v1/ns/instance:404"})
        assert (await ask(app, listed, {"serviceName": "s"})).status == 404
        assert (await ask(app, "GET /nacos/v1/ns/service/list", {})).status == 200
        await ask(app, switch, {"entry": "limitedUrlMap", "value": "/nacos/v9:404"})
        assert (await ask(app, listed, {"serviceName": "s"})).status == 200

    rest_kit.run(work)


UNAVAILABLE = AtollError(Code.UNAVAILABLE, "the store is away", retry_after_s=2.0)


@pytest.mark.parametrize("envelope", Envelope)
def test_a_write_without_the_store_is_503_in_each_envelope(envelope: Envelope) -> None:
    entry = Entry("POST", "/v2/x", "x", envelope, CONFIG_W)
    found = answer.failure(entry, UNAVAILABLE, "/nacos/v2/x", 0.0)
    said = found.body.decode() if envelope is Envelope.TEXT else json.loads(found.body)
    expected = {
        Envelope.TEXT: "the store is away",
        Envelope.REST: {"code": 503, "message": "the store is away", "data": None},
        Envelope.RESULT: {"code": 30000, "message": "server error", "data": "the store is away"},
    }
    assert (found.status, said, found.fields) == (503, expected[envelope], [(b"retry-after", b"2")])


class Ear(asyncio.DatagramProtocol):
    """A client's UDP socket."""

    def __init__(self) -> None:
        self.heard: asyncio.Queue[tuple[bytes, Any]] = asyncio.Queue()

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.heard.put_nowait((data, addr))


def test_a_poll_with_a_port_is_pushed_to_and_its_acknowledgement_counts() -> None:
    async def work(kit: Kit) -> None:
        app, naming = kit.opened.nacos_http.application, kit.opened.registry.naming
        transport, ear = await asyncio.get_running_loop().create_datagram_endpoint(
            Ear, local_addr=("127.0.0.1", 0)
        )
        port = transport.get_extra_info("sockname")[1]
        agent = {"user-agent": "Nacos-Java-Client:v1.0.0"}
        poll = {"serviceName": "s", "udpPort": str(port), "clientIP": "10.9.9.9"}
        first = await ask(app, "GET /nacos/v1/ns/instance/list", poll, agent)
        assert first.json["cacheMillis"] == 10_000
        await ask(app, "POST /nacos/v1/ns/instance", {"serviceName": "s", "ip": "1.1.1.1", "port": "80"})
        async with asyncio.timeout(WITHIN_S):
            datagram, server = await ear.heard.get()
            pushed = json.loads(datagram)
            assert [each["ip"] for each in json.loads(pushed["data"])["hosts"]] == ["1.1.1.1"]
            acknowledgement = {"type": "push-ack", "lastRefTime": str(pushed["lastRefTime"]), "data": ""}
            transport.sendto(json.dumps(acknowledgement).encode(), server)
            key = ServiceKey("public", "DEFAULT_GROUP", "s")
            while not naming.pushes.of_service(key)[0].acknowledged_s:
                await asyncio.sleep(0)
        transport.close()

    rest_kit.run(work)


def test_an_agent_that_does_not_listen_is_not_pushed_to() -> None:
    async def work(kit: Kit) -> None:
        app = kit.opened.nacos_http.application
        poll = {"serviceName": "s", "udpPort": "9"}
        found = await ask(app, "GET /nacos/v1/ns/instance/list", poll, {"user-agent": "curl/8"})
        assert found.json["cacheMillis"] == 3_000
        assert kit.opened.nacos_http.udp.subscribers == 0

    rest_kit.run(work)
