"""Archives and copies over Nacos's HTTP API and the registry's own: what goes out comes in, with permission only."""

from __future__ import annotations

import json

import pytest

from atoll.client.configs import Configs
from atoll.errors import AtollError, Code
from atoll.planes.registry.service.accounts import Permission
from atoll.resources.actor import Actor
from atoll.resources.config_api import CloneOrder, ExportAsked, ImportAsked, MysqlOrder, PublishOrder
from atoll.resources.config_item import ConfigKey
from tests.unit.registry import rest_kit
from tests.unit.registry.rest_kit import Kit
from tests.unit.registry.test_nacos_http_paths import ask

BOSS = Actor("boss")
BOUNDARY = "a-boundary"
MULTIPART = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}


def form(archive: bytes) -> bytes:
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="x.zip"\r\n\r\n'
    return head.encode() + archive + f"\r\n--{BOUNDARY}--\r\n".encode()


@pytest.mark.parametrize("flag", ["export", "exportV2"])
def test_what_nacos_clients_export_they_can_import(flag: str) -> None:
    async def work(kit: Kit) -> None:
        app = kit.opened.nacos_http.application
        for number in range(3):
            item = {"dataId": f"d{number}.yaml", "group": "G", "content": f"a: {number}", "type": "yaml"}
            await ask(app, "POST /nacos/v1/cs/configs", item)
        packed = await ask(app, "GET /nacos/v1/cs/configs", {flag: "true", "group": "G"})
        assert packed.status == 200
        assert b"nacos_config_export_" in packed.fields[b"content-disposition"]
        target = {"import": "true", "namespace": "blue", "policy": "SKIP"}
        taken = await ask(app, "POST /nacos/v1/cs/configs", target, MULTIPART, form(packed.body))
        assert json.loads(taken.text)["data"] == {"succCount": 3, "skipCount": 0}
        again = await ask(app, "POST /nacos/v1/cs/configs", target, MULTIPART, form(packed.body))
        assert json.loads(again.text)["data"]["skipCount"] == 3
        read = {"dataId": "d1.yaml", "group": "G", "tenant": "blue"}
        assert (await ask(app, "GET /nacos/v1/cs/configs", read)).text == "a: 1"
        broken = await ask(app, "POST /nacos/v1/cs/configs", target, MULTIPART, form(b"no zip"))
        assert json.loads(broken.text)["code"] == 100004

    rest_kit.run(work)


def test_a_copy_by_id_over_nacos_http() -> None:
    async def work(kit: Kit) -> None:
        app = kit.opened.nacos_http.application
        await ask(app, "POST /nacos/v1/cs/configs", {"dataId": "d", "group": "G", "content": "x"})
        item = kit.opened.registry.configs.item(ConfigKey("public", "G", "d"))
        assert item is not None
        body = json.dumps([{"cfgId": item.id, "dataId": "e", "group": ""}]).encode()
        target = {"clone": "true", "tenant": "blue", "policy": "ABORT"}
        head = {"content-type": "application/json"}
        done = await ask(app, "POST /nacos/v1/cs/configs", target, head, body)
        assert json.loads(done.text)["data"]["succCount"] == 1
        read = {"dataId": "e", "group": "G", "tenant": "blue"}
        assert (await ask(app, "GET /nacos/v1/cs/configs", read)).text == "x"

    rest_kit.run(work)


def test_archives_and_copies_over_the_own_api_ask_for_each_item() -> None:
    async def work(kit: Kit) -> None:
        everything = Configs(kit.client)
        for group in ("open", "closed"):
            await everything.publish(PublishOrder("d", "x", group))
        archive = await everything.export(ExportAsked())
        accounts = kit.opened.registry.accounts
        await kit.require_login()
        await accounts.create_user(BOSS, "ann", "ann's password")
        await accounts.add_role(BOSS, "readers", "ann")
        await accounts.add_permission(BOSS, Permission("readers", "public:open:*", "rw"))
        login = await kit.of("").post("/v1/login", {"user": "ann", "password": "ann's password"}, dict)
        ann = Configs(kit.of(login["token"]))
        assert await ann.export(ExportAsked(group="open"))
        for refused in (
            ann.export(ExportAsked()),
            ann.take_archive(archive, ImportAsked(policy="overwrite")),
            ann.clone(CloneOrder("", "", "closed", policy="overwrite")),
            ann.clone(CloneOrder("", "blue", "open")),
            ann.take_mysql(MysqlOrder("127.0.0.1", "root")),
        ):
            with pytest.raises(AtollError) as denied:
                await refused
            assert denied.value.code is Code.DENIED
        assert kit.opened.registry.configs.view.namespaces() == ["public"]
        done = await everything.take_archive(archive, ImportAsked("blue"))
        assert len(done.published) == 2

    rest_kit.run(work)
