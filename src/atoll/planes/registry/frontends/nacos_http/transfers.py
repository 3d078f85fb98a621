"""Export, import and copies of configuration over Nacos's HTTP API.

Rule: every item that goes out is asked for by its own name, and so is every one that comes in: an archive is no way
around a permission.

Source: Nacos 2.4.3, ``ConfigController``; 3.1 of v3. Its ``policy`` in capitals is ours in small letters.
"""

from __future__ import annotations

import datetime
from typing import Any

import msgspec

from atoll.access.grants import config
from atoll.errors import AtollError, Code, Reason
from atoll.planes.registry.frontends.nacos_http.answer import Bare
from atoll.planes.registry.frontends.nacos_http.application import Operation
from atoll.planes.registry.frontends.nacos_http.call import Call
from atoll.planes.registry.frontends.nacos_http.doors import Doors
from atoll.planes.registry.policy.config_search import find
from atoll.planes.registry.service.config_transfer import copy_of
from atoll.planes.registry.service.configs import Configs
from atoll.resources.config_item import ConfigItem, ConfigKey
from atoll.resources.config_views import Imported, Search
from atoll.runtime.clock import Clock
from atoll.wire.nacos import parameters

READ, WRITE = "r", "w"


class Transfers:
    def __init__(self, configs: Configs, doors: Doors, clock: Clock) -> None:
        self._configs = configs
        self._doors = doors
        self._clock = clock

    def operations(self) -> dict[str, Operation]:
        return {
            "config.export": self.export,
            "config.export.v1": self.export_v1,
            "config.import": self.take,
            "config.clone": self.clone,
        }

    # ------------------------------------------------------------------------------------------- out

    def export(self, call: Call) -> Bare:
        return self._export(call, 2)

    def export_v1(self, call: Call) -> Bare:
        return self._export(call, 1)

    def _export(self, call: Call, version: int) -> Bare:
        moment = datetime.datetime.fromtimestamp(self._clock.wall_s(), datetime.UTC)
        name = f"nacos_config_export_{moment:%Y%m%d%H%M%S}.zip"
        packed = self._configs.transfer.pack(self._chosen(call), version)
        fields = [(b"content-disposition", b"attachment;filename=" + name.encode())]
        return Bare(packed, b"application/octet-stream", fields=fields)

    def _chosen(self, call: Call) -> list[ConfigItem]:
        """By their ids, or by a search."""
        ids = parameters.ids(call.text("ids")) if call.text("ids") else []
        if ids:
            named = [self._configs.item_by_id(number) for number in ids]
            found = [each for each in named if each is not None]
        else:
            search = Search(
                namespace=call.namespace,
                group=call.first("groupName", "group"),
                data_id=call.text("dataId"),
                app_name=call.text("appName"),
                blur=True,
            )
            found = find(self._configs.view.items(), search)
        for item in found:
            self._require(call, item.key, READ)
        return found

    # ------------------------------------------------------------------------------------------- in

    async def take(self, call: Call) -> Any:
        upload = call.files.get("file")
        if upload is None:
            raise _wrong("empty", "the form has no file in its field 'file'")

        def may(key: ConfigKey) -> None:
            self._require(call, key, WRITE)

        done = await self._configs.transfer.take_zip(
            call.actor, call.namespace, upload.content, _policy(call), may
        )
        return _shown(done)

    async def clone(self, call: Call) -> Any:
        copies = []
        target = call.first("targetNamespaceId", "namespaceId", "tenant")
        for each in _wanted(call.body):
            item = self._configs.item_by_id(each.number)
            if item is not None:
                group, data_id = each.group or each.target_group, each.data_id or each.target_data_id
                copies.append(copy_of(item, target, group or "", data_id or ""))
        for item, key in copies:
            self._require(call, item.key, READ)
            self._require(call, key, WRITE)
        return _shown(await self._configs.transfer.clone(call.actor, copies, _policy(call)))

    def _require(self, call: Call, key: ConfigKey, action: str) -> None:
        self._doors.require(call, config(key.namespace, key.group, key.data_id), action)


class _Copy(msgspec.Struct, frozen=True, rename="camel"):
    """One line of a clone's body, in the names of v1 and of v3."""

    cfg_id: int | str = 0
    config_id: int | str = 0
    data_id: str | None = None
    group: str | None = None
    target_data_id: str | None = None
    target_group: str | None = msgspec.field(default=None, name="targetGroupName")

    @property
    def number(self) -> int:
        return parameters.integer("cfgId", str(self.cfg_id or self.config_id))


def _wanted(body: bytes) -> list[_Copy]:
    try:
        return msgspec.json.decode(body, type=list[_Copy])
    except msgspec.MsgspecError as error:
        raise _wrong("selection", f"the body is no list of items to copy: {error}") from error


def _policy(call: Call) -> str:
    return (call.text("policy") or "ABORT").lower()


def _shown(done: Imported) -> dict[str, Any]:
    shown: dict[str, Any] = {"succCount": len(done.published), "skipCount": len(done.skipped)}
    for name, keys in (("skipData", done.skipped), ("failData", done.failed)):
        if keys:
            shown[name] = [{"dataId": each.data_id, "group": each.group} for each in keys]
    if done.unrecognized:
        shown["unrecognizedCount"] = len(done.unrecognized)
        shown["unrecognizedData"] = [{"itemName": each} for each in done.unrecognized]
    return shown


def _wrong(problem: str, text: str) -> AtollError:
    return AtollError(Code.INVALID, text, reason=Reason.IMPORT_INVALID, facts={"problem": problem})
