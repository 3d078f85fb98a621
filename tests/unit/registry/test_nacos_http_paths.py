"""Every path of the catalog that is said to work is asked once with good parameters, and answers in its envelope.

Rule: the list comes from the catalog; an entry that no question of here reaches, or that answers badly, fails. The
reference page is made from the same catalog, so that it claims nothing that is not tried here.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

import pytest

from atoll.errors import AtollError
from atoll.resources.actor import Actor
from atoll.resources.config_item import ConfigKey, GrayRule
from atoll.resources.config_views import Details
from atoll.resources.instance import Instance
from atoll.resources.namespace import Namespace
from atoll.resources.registry_client import Client
from atoll.resources.service import Cluster, HealthChecker, Service, ServiceKey
from atoll.runtime.http1 import Application
from atoll.wire.nacos.catalog import ENTRIES
from atoll.wire.nacos.catalog.entry import Entry, Envelope, Status
from tests.unit.registry import rest_kit
from tests.unit.registry.rest_kit import Kit

BOSS = Actor("root", via="test")
KEY = ConfigKey("dev", "G", "d.yaml")
SERVICE = ServiceKey("dev", "G", "s")
KEPT = ServiceKey("dev", "G", "kept")
SPACE = {"tenant": "dev", "namespaceId": "dev"}
ITEM = {**SPACE, "dataId": "d.yaml", "group": "G", "groupName": "G"}
NAMED = {**SPACE, "serviceName": "s", "groupName": "G"}
ADDRESS = {**NAMED, "ip": "10.0.0.1", "port": "80"}
PERMISSION = {"role": "r", "resource": "dev:*:*", "action": "rw"}

FIELDS: Mapping[str, Mapping[str, str]] = {
    "auth.login": {"username": "ann", "password": "p"},
    "auth.first": {"password": "p"},
    "users.update": {"username": "ann", "newPassword": "p"},
    "users.delete": {"username": "gone"},
    "roles.create": {"role": "r", "username": "ann"},
    "roles.delete": {"role": "r", "username": "ann"},
    "permissions.create": PERMISSION,
    "permissions.delete": PERMISSION,
    "permissions.exists": PERMISSION,
    "namespaces.get": SPACE,
    "namespaces.update": {**SPACE, "namespace": "dev", "namespaceName": "n", "namespaceShowName": "n"},
    "namespaces.delete": {"namespaceId": "gone"},
    "instance.statuses": {"key": "dev##G@@s"},
    "instance.metadata.put": {**NAMED, "metadata": '{"a":"b"}'},
    "instance.metadata.delete": {**NAMED, "metadata": '{"a":""}'},
    "instance.beat": {
        **NAMED,
        "beat": '{"ip":"10.0.0.1","port":80,"serviceName":"G@@s","cluster":"DEFAULT"}',
    },
    "health.set": {
        **SPACE,
        "serviceName": "kept",
        "groupName": "G",
        "ip": "10.0.0.9",
        "port": "90",
        "healthy": "false",
    },
    "service.update": {**NAMED, "serviceName": "kept", "protectThreshold": "0.5"},
    "service.delete": {**NAMED, "serviceName": "empty"},
    "cluster.update": {**NAMED, "serviceName": "kept", "clusterName": "c9", "checkPort": "80"},
    "switches.put": {"entry": "pushEnabled", "value": "true"},
    "cmdb.label": {"entry": "10.0.0.1", "label": "zone"},
    "config.listen": {"Listening-Configs": "d.yaml\x02G\x02stale\x02dev\x01"},
    "config.listeners.ip": {**SPACE, "ip": "10.0.0.1"},
    "config.listeners.ip.v3": {**SPACE, "ip": "10.0.0.1"},
    "config.metrics": {"ip": "10.0.0.1"},
    "capacity.get": {"tenant": "dev", "namespaceId": "dev"},
    "capacity.set": {"tenant": "dev", "namespaceId": "dev", "quota": "1000"},
    "config.publish": {**ITEM, "content": "a: 1", "type": "yaml"},
    "loader.reload": {"connectionId": "c"},
    "naming.metrics": {},
    "service.get": {**NAMED, "serviceName": "kept"},
    "service.detail": {**NAMED, "serviceName": "kept"},
}
BY_KIND: tuple[tuple[tuple[str, ...], Mapping[str, str]], ...] = (
    (("config.", "history."), ITEM),
    (("instance.", "service.", "catalog.", "clients."), ADDRESS),
    (("prometheus.", "cluster.", "users.", "roles.", "permissions."), {}),
)


class Connection:
    """A frontend with one long connection."""

    def clients(self) -> Sequence[Client]:
        return [Client("c", address="10.0.0.1")]

    def send_away(self, client_id: str, server: str) -> bool:
        return client_id == "c"

    async def ask_metrics(
        self, client_id: str, keys: Sequence[tuple[str, str]], within_s: float
    ) -> Mapping[str, Any] | None:
        return None


class Answer:
    def __init__(self, sent: list[Any]) -> None:
        self.status: int = sent[0]["status"]
        self.fields = dict(sent[0]["headers"])
        self.body = b"".join(each.get("body", b"") for each in sent[1:])

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")

    @property
    def json(self) -> Any:
        return json.loads(self.body)


async def ask(
    app: Application,
    line: str,
    fields: Mapping[str, str],
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
) -> Answer:
    """One request, ``VERB /path``, as the HTTP server would hand it on."""
    verb, path = line.split(" ", 1)
    parts = iter([{"type": "http.request", "body": body, "more_body": False}])
    given = {"host": "127.0.0.1:8848", "content-length": str(len(body)), **(headers or {})}
    scope = {
        "type": "http",
        "method": verb,
        "path": path,
        "raw_path": path.encode(),
        "query_string": urlencode(fields).encode(),
        "headers": [(name.encode(), value.encode()) for name, value in given.items()],
        "client": ("127.0.0.1", 50_000),
    }
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return next(parts, {"type": "http.disconnect"})

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return Answer(sent)


async def furnish(kit: Kit) -> None:
    """Put there what the questions ask for; again before each of them."""
    registry = kit.opened.registry
    for name in ("ann", "gone"):
        if not registry.accounts.users(name):
            await registry.accounts.create_user(BOSS, name, "p")
    await registry.accounts.add_role(BOSS, "r", "ann")
    for space in ("dev", "gone"):
        if not registry.namespaces.exists(space):
            await registry.namespaces.create(BOSS, Namespace(id=space, name=space))
    for content in ("a: 0", "a: 1"):
        await registry.configs.publish(BOSS, KEY, content)
    await registry.configs.publish(
        BOSS, KEY, "a: 2", Details(gray=GrayRule("beta", "10.0.0.1"), gray_name="beta")
    )
    naming = registry.naming
    naming.client_opened(Client("c", address="10.0.0.1", port=4000))
    naming.register_beating(SERVICE, Instance("10.0.0.1", 80))
    for key in (ServiceKey("dev", "G", "empty"), KEPT):
        await _there(kit, key)
    await naming.update_cluster(BOSS, KEPT, Cluster("DEFAULT", HealthChecker("NONE")))
    await naming.register_persistent(BOSS, KEPT, Instance("10.0.0.9", 90, ephemeral=False))


async def _there(kit: Kit, key: ServiceKey) -> None:
    try:
        await kit.opened.registry.naming.create_service(BOSS, Service(key=key))
    except AtollError as error:
        assert error.reason.value == "service_exists", error


def archive() -> tuple[dict[str, str], bytes]:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as made:
        made.writestr("G/new.json", "{}")
        made.writestr(
            ".metadata.yml", "metadata:\n- {appName: '', dataId: new.json, desc: '', group: G, type: json}\n"
        )
    head = b'--B\r\nContent-Disposition: form-data; name="file"; filename="a.zip"\r\n\r\n'
    return {"content-type": "multipart/form-data; boundary=B"}, head + file.getvalue() + b"\r\n--B--\r\n"


async def question(kit: Kit, entry: Entry, number: int) -> tuple[dict[str, str], dict[str, str], bytes]:
    """Parameters, headers and body that ``entry`` is asked with."""
    registry, operation = kit.opened.registry, entry.operation
    shared = next((fields for kinds, fields in BY_KIND if operation.startswith(kinds)), {})
    fields = dict(FIELDS.get(operation, shared))
    headers: dict[str, str] = {}
    body = b""
    item = registry.configs.item(KEY)
    assert item is not None
    if operation.startswith("history.detail"):
        fields["nid"] = str((await registry.configs.history.page(KEY)).entries[0].id)
    elif operation.startswith("history.previous"):
        entries = (await registry.configs.history.page(KEY)).entries
        fields["id"] = str(entries[0].item_id)
    elif operation == "config.remove.ids":
        fields["ids"] = str(item.id)
    elif operation == "config.import":
        fields |= {**SPACE, "policy": "OVERWRITE"}
        headers, body = archive()
    elif operation == "config.clone":
        fields = {"tenant": "dev", "namespaceId": "dev", "targetNamespaceId": "dev", "policy": "OVERWRITE"}
        named = {"cfgId": str(item.id), "configId": str(item.id), "dataId": "copy", "targetDataId": "copy"}
        headers, body = {"content-type": "application/json"}, json.dumps([named]).encode()
    elif operation == "users.create":
        fields = {"username": f"u{number}", "password": "p"}
    elif operation == "namespaces.create":
        name = f"space{number}"
        fields = {"customNamespaceId": name, "namespaceId": name, "namespaceName": name}
    elif operation == "service.create":
        fields = {**SPACE, "serviceName": f"made{number}", "groupName": "G"}
    elif operation.startswith("clients."):
        fields |= {"clientId": "c"}
        fields.pop("ip"), fields.pop("port")
    if entry.when:
        name, _, value = entry.when.partition("=")
        fields[name] = value or "blur"
    return fields, headers, body


ASKED = [entry for entry in ENTRIES if entry.status is not Status.ABSENT]


def test_every_path_answers_in_its_envelope() -> None:
    async def work(kit: Kit) -> None:
        app = kit.opened.nacos_http.application
        kit.opened.registry.connected.attach(Connection())
        wrong = []
        for number, entry in enumerate(ASKED):
            await furnish(kit)
            fields, headers, body = await question(kit, entry, number)
            path = re.sub(r"\{(\w+)\}", lambda part: {"key": "dev%23%23G@@s"}.get(part[1], "dev"), entry.path)
            answer = await ask(app, f"{entry.verb} /nacos{path}", fields, headers, body)
            good = (200, 409) if entry.operation == "auth.first" else (200,)
            if answer.status not in good or not enveloped(entry, answer):
                wrong.append((entry.title, answer.status, answer.text[:160]))
        assert wrong == []

    rest_kit.run(work)


BARE = frozenset(
    (
        "auth.login",
        "auth.first",
        "config.search",
        "instance.beat",
        "instance.statuses",
        "config.export",
        "config.export.v1",
        "config.get",
    )
)


def enveloped(entry: Entry, answer: Answer) -> bool:
    if entry.operation in BARE or entry.envelope is Envelope.TEXT:
        return True
    found = answer.json
    return set(found) == {"code", "message", "data"} and found["code"] == (
        0 if entry.envelope is Envelope.RESULT else 200
    )


@pytest.mark.parametrize(
    "entry", [each for each in ENTRIES if each.status is Status.ABSENT], ids=lambda e: e.title
)
def test_what_is_absent_says_why_in_its_envelope(entry: Entry) -> None:
    async def work(kit: Kit) -> None:
        answer = await ask(kit.opened.nacos_http.application, f"{entry.verb} {entry.path}", {})
        assert answer.status == 501
        said: Any = answer.text if entry.envelope is Envelope.TEXT else answer.json
        if entry.envelope is Envelope.RESULT:
            assert (said["code"], said["data"]) == (40001, entry.note)
        elif entry.envelope is Envelope.REST:
            assert (said["code"], said["message"]) == (501, entry.note)
        else:
            assert said == entry.note

    rest_kit.run(work)
