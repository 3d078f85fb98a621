"""Configuration items: read, published, removed; and their beta releases.

Rule: reading is a look into the view, and says so when that is old; writing is a decision of ``service.configs``. The
version of a consumer is chosen by what it is (address, tag), never by what it may see: that was asked before.

Source: Nacos 2.4.3, ``ConfigController`` of v1 and v2; 3.1, ``ConfigControllerV3``, ``ConfigOpenApiController``.
"""

from __future__ import annotations

import datetime
import email.utils
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from atoll.access.grants import WRITE, config
from atoll.errors import AtollError, Code, Reason
from atoll.planes.registry.frontends.nacos_http import answer, shapes
from atoll.planes.registry.frontends.nacos_http.answer import Bare, Fields, Rest
from atoll.planes.registry.frontends.nacos_http.application import Operation
from atoll.planes.registry.frontends.nacos_http.call import Call
from atoll.planes.registry.frontends.nacos_http.doors import Doors
from atoll.planes.registry.frontends.nacos_http.listening import consumer_of
from atoll.planes.registry.service.configs import Configs
from atoll.planes.registry.service.journal import Journal
from atoll.planes.registry.service.recorder import config_subject
from atoll.resources.config_item import ConfigItem, ConfigKey, GrayRelease, GrayRule
from atoll.resources.config_views import Details, Served
from atoll.wire.nacos import parameters

BETA = "beta"
TAG_PREFIX = "tag_"
_CONTENT_TYPES: Mapping[str, bytes] = {
    "json": b"application/json;charset=UTF-8",
    "xml": b"application/xml;charset=UTF-8",
    "html": b"text/html;charset=UTF-8",
    "htm": b"text/html;charset=UTF-8",
}
_PLAIN = b"text/plain;charset=UTF-8"


class Items:
    def __init__(self, configs: Configs, journal: Journal, doors: Doors) -> None:
        self._journal = journal
        self._configs = configs
        self._doors = doors

    def operations(self) -> dict[str, Operation]:
        return {
            "config.get": self.get,
            "config.query.v3": self.query_v3,
            "config.publish": self.publish,
            "config.remove": self.remove,
            "config.remove.ids": self.remove_ids,
            "config.detail": self.detail,
            "config.detail.v3": self.detail_v3,
            "config.beta": self.beta,
            "config.beta.v3": self.beta_v3,
            "config.beta.stop": self.beta_stop,
            "config.catalog": self.catalog,
        }

    # ------------------------------------------------------------------------------------------- reading

    def get(self, call: Call) -> Bare:
        served = self._served(call)
        fields = _fields(served)
        if call.is_result:
            done = answer.success(call.entry, served.content)
            return done._replace(fields=fields)
        return Bare(served.content.encode(), _CONTENT_TYPES.get(served.type, _PLAIN), fields=fields)

    def _served(self, call: Call) -> Served:
        key, tag = call.config_key(), call.text("tag")
        if tag:
            served = self._configs.gray(key, TAG_PREFIX + tag)
        else:
            served = self._configs.query(key, consumer_of(call))
        if served is None:
            raise _missing()
        self._journal.fetched(f"http-{call.peer[0]}", config_subject(key), served.md5)
        return served

    def query_v3(self, call: Call) -> Bare:
        served = self._served(call)
        body = {
            "resultCode": 200,
            "errorCode": 0,
            "message": None,
            "requestId": None,
            "content": served.content,
            "encryptedDataKey": served.encrypted_data_key,
            "contentType": served.type,
            "md5": served.md5,
            "lastModified": shapes.milliseconds(served.modified_s),
            "tag": served.gray_expr if served.gray_kind == "tag" else None,
            "beta": served.gray_kind == "beta",
            "success": True,
        }
        return answer.success(call.entry, body)

    def detail(self, call: Call) -> Any:
        """An empty body where there is none, as the reference answers."""
        found = self._configs.item(call.config_key())
        return Bare(b"") if found is None else shown(found)

    def detail_v3(self, call: Call) -> Any:
        found = self._configs.item(call.config_key())
        if found is None:
            raise _missing()
        return shown_v3(found)

    def catalog(self, call: Call) -> Any:
        found = self._configs.item(call.config_key())
        if found is None:
            raise _missing()
        return {
            "createTime": shapes.milliseconds(found.created_s),
            "modifyTime": shapes.milliseconds(found.modified_s),
            "createUser": found.created_by,
            "createIp": found.created_from,
            "desc": found.desc,
            "use": found.use,
            "effect": found.effect,
            "schema": found.schema,
            "configTags": ",".join(found.tags),
        }

    # ------------------------------------------------------------------------------------------- writing

    async def publish(self, call: Call) -> bool:
        details = _details(call)
        await self._configs.publish(call.actor, call.config_key(), call.required("content"), details)
        return True

    async def remove(self, call: Call) -> bool:
        tag = call.text("tag")
        gray = TAG_PREFIX + tag if tag else call.text("grayName")
        await self._configs.remove(call.actor, call.config_key(), gray)
        return True

    async def remove_ids(self, call: Call) -> bool:
        """Every item is asked for before the first is removed."""
        keys = self.keys_of(call, WRITE)
        if not keys:
            raise parameters.missing("ids")
        for key in keys:
            await self._configs.remove(call.actor, key)
        return True

    def keys_of(self, call: Call, action: str) -> list[ConfigKey]:
        """The items whose ids the call lists; those that are gone are left out. Raises DENIED for any of them."""
        keys: list[ConfigKey] = []
        for number in parameters.ids(call.text("ids")):
            found = self._configs.item_by_id(number)
            if found is not None:
                key = found.key
                self._doors.require(call, config(key.namespace, key.group, key.data_id), action)
                keys.append(key)
        return keys

    # ---------------------------------------------------------------------------------------------- beta

    def beta(self, call: Call) -> Rest:
        release = self._beta(call)
        if release is None:
            return Rest(data=None, message="query beta ok")
        what = {**shown(release), "betaIps": release.rule.expr, "grayName": release.name}
        return Rest(data=what, message="query beta ok")

    def beta_v3(self, call: Call) -> Any:
        release = self._beta(call)
        if release is None:
            raise _missing()
        rule = {
            "type": release.rule.kind,
            "version": release.rule.version,
            "expr": release.rule.expr,
            "priority": release.rule.priority,
        }
        encoded = answer.json(rule).body.decode()
        return {**shown_v3(release), "grayName": release.name, "grayRule": encoded}

    def _beta(self, call: Call) -> GrayRelease | None:
        found = [each for each in self._configs.grays(call.config_key()) if each.name == BETA]
        return found[0] if found else None

    async def beta_stop(self, call: Call) -> Any:
        await self._configs.remove(call.actor, call.config_key(), BETA)
        return True if call.is_result else Rest(data=True, message="stop beta ok")


def _details(call: Call) -> Details:
    tags = call.first("configTags", "config_tags")
    gray, gray_name = _gray(call)
    return Details(
        type=call.text("type"),
        tags=tuple(tag.strip() for tag in tags.split(",") if tag.strip()) if tags else None,
        app_name=parameters.check(parameters.APP, call.text("appName")),
        desc=call.text("desc"),
        use=call.text("use"),
        effect=call.text("effect"),
        schema=call.text("schema") or None,
        encrypted_data_key=call.text("encryptedDataKey"),
        cas_md5=call.header(b"casmd5") or call.text("casMd5"),
        gray=gray,
        gray_name=gray_name,
    )


def _gray(call: Call) -> tuple[GrayRule | None, str]:
    """The gray release that a publish asks for: by addresses, by a tag, or by a rule of its own."""
    addresses = call.header(b"betaips") or call.text("betaIps")
    if addresses:
        return GrayRule("beta", addresses, 2**31 - 1), BETA
    tag = call.text("tag")
    if tag:
        return GrayRule("tag", tag, 2**31 - 2), TAG_PREFIX + tag
    name, rule = call.text("grayName"), call.text("grayRuleExp")
    if not rule:
        return None, ""
    kind = call.text("grayType") or (
        BETA if name == BETA else "tag" if name.startswith(TAG_PREFIX) else "label"
    )
    version = call.text("grayVersion") or "1.0.0"
    return GrayRule(kind, rule, call.integer("grayPriority", 0), version), name


def _fields(served: Served) -> Fields:
    modified = email.utils.format_datetime(
        datetime.datetime.fromtimestamp(served.modified_s, datetime.UTC), usegmt=True
    )
    fields: Fields = [
        (b"content-md5", served.md5.encode()),
        (b"config-type", served.type.encode()),
        (b"last-modified", modified.encode()),
        (b"pragma", b"no-cache"),
        (b"cache-control", b"no-cache,no-store"),
    ]
    if served.encrypted_data_key:
        fields.append((b"encrypted-data-key", _field(served.encrypted_data_key)))
    if served.gray_kind == "beta":
        fields.append((b"isbeta", b"true"))
    if served.gray_kind == "tag":
        fields.append((b"vipserver-tag", _field(served.gray_expr)))
    return fields


def _field(text: str) -> bytes:
    """What somebody published, as the value of a field: no line break may reach it."""
    return quote(text, safe="!#$&'*+/=?^`|~,:;@-_.()[]{}<> ").encode()


def _missing() -> AtollError:
    return AtollError(Code.NOT_FOUND, "config data not exist", reason=Reason.CONFIG_NOT_FOUND)


def tenant_text(key: ConfigKey) -> str:
    """As 1.x and 2.x write the default namespace of configuration."""
    return "" if key.namespace == parameters.DEFAULT_NAMESPACE else key.namespace


def listed(item: ConfigItem | GrayRelease) -> dict[str, Any]:
    """An item in a list of v1 and v2."""
    return {
        "id": str(item.id),
        "dataId": item.key.data_id,
        "group": item.key.group,
        "content": item.content,
        "md5": item.md5,
        "encryptedDataKey": item.encrypted_data_key,
        "tenant": tenant_text(item.key),
        "appName": item.app_name,
        "type": item.type,
    }


def shown(item: ConfigItem | GrayRelease) -> dict[str, Any]:
    """All of an item, for v1."""
    what = {
        **listed(item),
        "createTime": shapes.milliseconds(item.created_s),
        "modifyTime": shapes.milliseconds(item.modified_s),
    }
    if isinstance(item, ConfigItem):
        what |= {
            "createUser": item.created_by,
            "createIp": item.created_from,
            "desc": item.desc,
            "use": item.use,
            "effect": item.effect,
            "schema": item.schema,
            "configTags": ",".join(item.tags),
        }
    return what


def listed_v3(item: ConfigItem | GrayRelease) -> dict[str, Any]:
    return {
        "id": str(item.id),
        "namespaceId": item.key.namespace,
        "groupName": item.key.group,
        "dataId": item.key.data_id,
        "md5": item.md5,
        "type": item.type,
        "appName": item.app_name,
        "createTime": shapes.milliseconds(item.created_s),
        "modifyTime": shapes.milliseconds(item.modified_s),
    }


def shown_v3(item: ConfigItem | GrayRelease) -> dict[str, Any]:
    what = {**listed_v3(item), "content": item.content, "encryptedDataKey": item.encrypted_data_key}
    if isinstance(item, ConfigItem):
        what |= {
            "desc": item.desc,
            "createUser": item.created_by,
            "createIp": item.created_from,
            "configTags": ",".join(item.tags),
        }
    return what
