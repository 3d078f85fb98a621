"""Every HTTP route of the plane while authentication is on: none answers without credentials but those listed here, and
nothing about a request leads around the question. Routes come from the tables that the server itself routes by.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlencode

import pytest

from atoll.planes.registry.frontends.nacos_http.application import NacosHttp
from atoll.planes.registry.service.accounts import Permission
from atoll.planes.registry.service.guard import Credentials
from atoll.resources.actor import Actor
from atoll.resources.config_item import ConfigKey
from atoll.resources.instance import Instance
from atoll.resources.registry_client import Client
from atoll.resources.service import ServiceKey
from atoll.runtime.http1 import Application
from atoll.runtime.http_api import Endpoint
from atoll.wire.nacos.catalog import ENTRIES
from atoll.wire.nacos.catalog.entry import Entry
from tests.unit.registry import rest_kit
from tests.unit.registry.rest_kit import Kit

OPEN = {
    "login": ["POST /v1/auth/login", "POST /v1/auth/users/login", "POST /v3/auth/user/login"],
    "first administrator": ["POST /v1/auth/users/admin", "POST /v3/auth/user/admin"],
    "health": [
        "GET /actuator/health",
        "GET /v1/console/health/liveness",
        "GET /v1/console/health/readiness",
        "GET /v1/core/cluster/health",
        "GET /v1/cs/health",
        "GET /v1/ns/health/server",
        "GET /v1/ns/operator/metrics",
        "GET /v1/ns/ops/metrics",
        "GET /v2/console/health/liveness",
        "GET /v2/console/health/readiness",
        "GET /v2/core/cluster/node/self/health",
        "GET /v3/admin/core/cluster/node/self/health",
        "GET /v3/admin/core/state",
        "GET /v3/admin/core/state/liveness",
        "GET /v3/admin/core/state/readiness",
        "GET /v3/console/health/liveness",
        "GET /v3/console/health/readiness",
    ],
    "what a login page shows": [
        "GET /v1/console/server/announcement",
        "GET /v1/console/server/guide",
        "GET /v1/console/server/state",
        "GET /v3/console/server/announcement",
        "GET /v3/console/server/guide",
        "GET /v3/console/server/state",
    ],
    "where the servers are": ["GET /nacos/serverlist", "GET /serverlist", "GET /v1/as/nodes"],
}
"""Everything that answers without credentials, and why. A route that is open and not here fails the test."""

OPEN_OF_API = ["POST /v1/login", "POST /v1/login/first"]

GUARDED = [entry for entry in ENTRIES if entry.permit.on != "open"]
SECRET_TEXT, SECRET_ADDRESS = "nobody may read this", "10.77.66.55"
FIELDS = {
    "dataId": "d", "group": "G", "groupName": "G", "tenant": "dev", "namespaceId": "dev", "namespace": "dev",
    "content": "c", "serviceName": "s", "ip": SECRET_ADDRESS, "port": "80", "username": "ann", "role": "r",
    "password": "p", "newPassword": "p", "resource": "*:*:*", "action": "rw", "pageNo": "1", "pageSize": "100",
    "search": "blur", "healthy": "true", "namespaceName": "n", "customNamespaceId": "dev", "clientId": "c", "nid": "1",
    "id": "1", "ids": "1", "checkPort": "80", "clusterName": "DEFAULT", "useInstancePort4Check": "true",
    "healthChecker": '{"type":"TCP"}', "entry": "x", "value": "1", "debug": "false",
    "Listening-Configs": "d\x02G\x02\x02dev\x01", "show": "all", "all": "true",
}  # fmt: skip


def filled(entry: Entry) -> tuple[str, dict[str, str]]:
    """A path and parameters that reach ``entry``."""
    fields = dict(FIELDS)
    if entry.when:
        name, _, value = entry.when.partition("=")
        fields[name] = value or "true"
    return re.sub(r"\{\w+\}", "dev", entry.path), fields


async def ask(
    app: Application,
    verb: str,
    path: str,
    fields: Mapping[str, str],
    headers: Mapping[str, str] | None = None,
) -> tuple[int, str]:
    """One request as the HTTP server would hand it on, without a server: its status and body."""
    sent: list[Any] = []
    parts: Iterator[dict[str, Any]] = iter([{"type": "http.request", "body": b"", "more_body": False}])
    given = {"host": "127.0.0.1:8848", **(headers or {})}
    scope = {
        "type": "http",
        "method": verb,
        "path": path,
        "raw_path": path.encode(),
        "query_string": urlencode(fields).encode(),
        "headers": [(name.encode(), value.encode()) for name, value in given.items()],
        "client": ("127.0.0.1", 50_000),
    }

    async def receive() -> dict[str, Any]:
        return next(parts, {"type": "http.disconnect"})

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent[0]["status"], b"".join(each.get("body", b"") for each in sent[1:]).decode("utf-8", "replace")


async def furnished(kit: Kit) -> NacosHttp:
    """Authentication on, a configuration and an instance that are secret, and two users with little to say."""
    await kit.require_login()
    registry, boss = kit.opened.registry, Actor("root", via="test")
    for name, resource in (("nobody", "prod:*:*"), ("reader", "dev:*:*")):
        await registry.accounts.create_user(boss, name, f"{name}'s")
        await registry.accounts.add_role(boss, f"{name}s", name)
        await registry.accounts.add_permission(boss, Permission(f"{name}s", resource, "r"))
    await registry.configs.publish(boss, ConfigKey("dev", "G", "d"), SECRET_TEXT)
    registry.naming.client_opened(Client("c", address=SECRET_ADDRESS))
    registry.naming.register("c", ServiceKey("dev", "G", "s"), [Instance(SECRET_ADDRESS, 80)])
    return kit.opened.nacos_http.application


async def token_of(kit: Kit, name: str) -> str:
    credentials = Credentials(username=name, password=f"{name}'s", address="127.0.0.1")
    return (await kit.opened.registry.accounts.login(credentials)).token


def test_what_answers_without_credentials_is_listed() -> None:
    listed = sorted(route for routes in OPEN.values() for route in routes)
    is_open = {f"{entry.verb} {entry.path}" for entry in ENTRIES if entry.permit.on == "open"}
    assert sorted(is_open) == listed


BYPASSES: Mapping[str, Mapping[str, str]] = {
    "nothing": {},
    "the agent of a server": {"user-agent": "Nacos-Server"},
    "server identity": {"serveridentity": "security", "nacos-server": "true"},
    "a forged token": {"accesstoken": "eyJhbGciOiJub25lIn0.eyJzdWIiOiJyb290In0."},
    "a forged bearer": {"authorization": "Bearer root"},
    "basic": {"authorization": "Basic cm9vdDpyb290"},
    "somebody else's address": {"x-forwarded-for": "127.0.0.1", "x-real-ip": "127.0.0.1", "forwarded": "for=localhost"},
    "another path": {"x-original-url": "/v1/auth/login", "x-rewrite-url": "/v1/auth/login"},
    "another verb": {"x-http-method-override": "GET"},
}  # fmt: skip


@pytest.mark.parametrize("headers", BYPASSES.values(), ids=BYPASSES)
def test_no_route_answers_without_credentials(headers: Mapping[str, str]) -> None:
    async def work(kit: Kit) -> None:
        app, wrong = await furnished(kit), []
        for entry in GUARDED:
            path, fields = filled(entry)
            del fields["username"], fields["password"]  # which would be credentials
            for prefix in ("/nacos", ""):
                status, body = await ask(app, entry.verb, prefix + path, fields, headers)
                if status not in (401, 403) and not closed(status, body):
                    wrong.append((entry.title, status, body[:100]))
        assert wrong == []

    rest_kit.run(work)


def closed(status: int, body: str) -> bool:
    """Turned off by a setting, before anybody is asked for anything."""
    return status == 410 and "disabled" in body


def test_a_wrong_name_and_password_are_no_credentials() -> None:
    """Five of them, and then not even that is looked at: the attempts are limited."""

    async def work(kit: Kit) -> None:
        app, seen = await furnished(kit), set()
        for entry in GUARDED[:10]:
            path, fields = filled(entry)
            status, body = await ask(
                app, entry.verb, path, {**fields, "username": "root", "password": "nacos"}
            )
            seen.add(status)
            assert SECRET_TEXT not in body
        assert seen <= {403, 429, 503}
        assert len(seen) == 2

    rest_kit.run(work)


def spellings(path: str) -> Iterator[str]:
    """The same path to a careless reader."""
    yield from (path + "/", "/" + path, path + ";x=1", path + "%20", path + "/.", path + "/%2e", path + "%00")
    yield path.replace("/v", "/V", 1)
    yield path[:-1] + f"%{ord(path[-1]):02x}"
    yield "/v1/auth/login/.." + path
    yield "/nacos/nacos" + path
    yield "/nacos//" + path[1:]
    yield path.replace("/", "//", 2)


def test_no_spelling_of_a_path_leads_around_the_question() -> None:
    async def work(kit: Kit) -> None:
        app, wrong = await furnished(kit), []
        for entry in GUARDED:
            path, fields = filled(entry)
            del fields["username"], fields["password"]
            for spelled in spellings(path):
                status, body = await ask(app, entry.verb, spelled, fields)
                if status < 400 or SECRET_TEXT in body:
                    wrong.append((entry.verb, spelled, status))
            for verb in {"HEAD", "OPTIONS", "TRACE", "PATCH", "get"} - {entry.verb}:
                status, body = await ask(app, verb, path, fields)
                if status < 400 or SECRET_TEXT in body:
                    wrong.append((verb, path, status))
        assert wrong == []

    rest_kit.run(work)


def test_root_is_denied_nothing_so_that_the_tests_above_can_fail() -> None:
    async def work(kit: Kit) -> None:
        app, denied = await furnished(kit), []
        token = await token_of(kit, "root")
        for entry in GUARDED:
            if entry.operation == "config.listen" or not app.serves(entry.operation):
                continue  # would be held until something changes; or there is nothing to be let in to
            path, fields = filled(entry)
            if (await ask(app, entry.verb, path, fields, {"authorization": f"Bearer {token}"}))[0] in (
                401,
                403,
            ):
                denied.append(entry.title)
        assert denied == []

    rest_kit.run(work)


def test_who_may_do_nothing_here_sees_nothing() -> None:
    async def work(kit: Kit) -> None:
        app, wrong = await furnished(kit), []
        token = await token_of(kit, "nobody")
        for entry in GUARDED:
            path, fields = filled(entry)
            status, body = await ask(app, entry.verb, path, fields, {"accesstoken": token})
            shown = SECRET_TEXT in body or f'"{SECRET_ADDRESS}' in body
            if shown or (status < 400 and entry.permit.on != "each"):
                wrong.append((entry.title, status, body[:100]))
        assert wrong == []
        registry = kit.opened.registry
        item = registry.configs.item(ConfigKey("dev", "G", "d"))
        assert item is not None
        assert item.content == SECRET_TEXT
        assert registry.accounts.users() == ["nobody", "reader", "root"]
        assert len(registry.accounts.permissions()) == 2

    rest_kit.run(work)


def test_who_may_read_may_not_write() -> None:
    async def work(kit: Kit) -> None:
        app, wrong = await furnished(kit), []
        token = await token_of(kit, "reader")
        for entry in GUARDED:
            if entry.permit.on not in ("config", "naming") or entry.operation == "config.listen":
                continue
            if not app.serves(entry.operation) and entry.permit.action == "r":
                continue
            path, fields = filled(entry)
            status, body = await ask(app, entry.verb, path, {**fields, "accessToken": token})
            if not closed(status, body) and (status == 403) is not (entry.permit.action == "w"):
                wrong.append((entry.title, entry.permit.action, status, body[:100]))
        assert wrong == []

    rest_kit.run(work)


@pytest.mark.parametrize(
    "headers",
    [{"origin": "http://evil.example"}, {"origin": "null"}, {"host": "evil.example:8848"}],
    ids=["origin", "null origin", "rebound name"],
)
def test_pages_of_others_are_refused_whatever_they_carry(headers: Mapping[str, str]) -> None:
    async def work(kit: Kit) -> None:
        app, wrong = await furnished(kit), []
        token = await token_of(kit, "root")
        for entry in ENTRIES:
            path, fields = filled(entry)
            status, _ = await ask(app, entry.verb, path, {**fields, "accessToken": token}, headers)
            if status != 403:
                wrong.append((entry.title, status))
        assert wrong == []

    rest_kit.run(work)


# ----------------------------------------------------------------------------------------- Atoll's own API


def test_the_own_api_asks_for_a_token_on_every_endpoint() -> None:
    async def work(kit: Kit) -> None:
        await furnished(kit)
        wrong = []
        host = {"host": str(rest_kit.ADDRESS)}
        endpoints: list[Endpoint] = list(kit.opened.endpoints)
        assert sorted(f"{each.method} {each.path}" for each in endpoints if each.open_to_all) == OPEN_OF_API
        for each in endpoints:
            if each.open_to_all:
                continue
            for headers in ({}, {"authorization": "Bearer forged"}, {"user-agent": "Nacos-Server"}):
                for path in (each.path, each.path + "/", "/" + each.path):
                    status, _ = await ask(kit.app, each.method, path, {}, {**host, **headers})
                    if status != 401 and path == each.path or status < 400:
                        wrong.append((each.method, path, status))
            status, _ = await ask(
                kit.app, each.method, each.path, {}, {**host, "origin": "http://evil.example"}
            )
            if status != 403:
                wrong.append((each.method, each.path, status))
        assert wrong == []

    rest_kit.run(work)


# ------------------------------------------------------------------------------------------------ secrets


def test_no_secret_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    secrets: list[str] = []

    async def work(kit: Kit) -> None:
        app = await furnished(kit)
        registry = kit.opened.registry
        made = await registry.accounts.create_first_administrator(Actor("root"), "", True)
        token = await token_of(kit, "reader")
        secrets.extend([made.password, token, "reader's", "wrong-password"])
        await ask(app, "POST", "/v1/auth/login", {"username": "reader", "password": "wrong-password"})
        await ask(app, "POST", "/v1/auth/login", {"username": "reader", "password": "reader's"})
        await ask(app, "GET", "/v1/cs/configs", {**FIELDS, "accessToken": token})
        await ask(app, "GET", "/v1/cs/configs", FIELDS, {"authorization": f"Bearer {token}x"})

    with caplog.at_level(logging.DEBUG):
        rest_kit.run(work)
    lines = [f"{record.getMessage()} {record.__dict__}" for record in caplog.records]
    assert [line for line in lines for secret in secrets if secret in line] == []
