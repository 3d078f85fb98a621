"""A Nacos 2.x database as configuration, namespaces and accounts.

Rule: rows in, values out; a row that cannot be taken is told with its reason and does not stop the others. Both schemas
of gray releases are read: ``config_info_gray`` (2.5 and later) and ``config_info_beta`` / ``config_info_tag`` before it.

Source: Nacos's MySQL schema, as in its distribution.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec

from atoll.errors import AtollError
from atoll.planes.registry.model import gray
from atoll.planes.registry.model.config_decisions import kind_of
from atoll.resources import namespace
from atoll.resources.config_item import TAGS_MAX, TEXT_CHARS_MAX, ConfigKey, GrayRule, config_key
from atoll.resources.config_views import Details
from atoll.resources.namespace import PUBLIC, Namespace

Row: TypeAlias = Mapping[str, Any]
Tables: TypeAlias = Mapping[str, Sequence[Row]]

QUERIES: Mapping[str, str] = {
    "tenant_info": "SELECT * FROM tenant_info",
    "config_info": "SELECT * FROM config_info ORDER BY id",
    "config_tags_relation": "SELECT * FROM config_tags_relation",
    "config_info_beta": "SELECT * FROM config_info_beta ORDER BY id",
    "config_info_tag": "SELECT * FROM config_info_tag ORDER BY id",
    "config_info_gray": "SELECT * FROM config_info_gray ORDER BY id",
    "users": "SELECT * FROM users",
    "roles": "SELECT * FROM roles",
    "permissions": "SELECT * FROM permissions",
}
"""What is asked of each table that the database has. ``*``: versions differ in columns; what is not known is not read."""

REQUIRED = "config_info"


class Item(msgspec.Struct, frozen=True):
    """One version to publish; gray where ``details.gray`` is set."""

    key: ConfigKey
    content: str
    details: Details


class Found(msgspec.Struct, frozen=True):
    """``users`` with their bcrypt hashes; ``roles`` as (user, role); ``permissions`` as (role, resource, action)."""

    items: tuple[Item, ...]
    namespaces: tuple[Namespace, ...]
    users: tuple[tuple[str, str], ...]
    roles: tuple[tuple[str, str], ...]
    permissions: tuple[tuple[str, str, str], ...]
    left_out: tuple[str, ...]


def read(tables: Tables) -> Found:
    """All of a database."""
    left_out: list[str] = []
    tags = _tags(tables.get("config_tags_relation", ()))
    formal = _each(tables.get("config_info", ()), lambda row: _formal(row, tags), left_out)
    grays = _grays(tables, left_out)
    spaces = _each(tables.get("tenant_info", ()), _namespace, left_out)
    return Found(
        items=(*formal, *grays),
        namespaces=tuple(each for each in spaces if each.id != PUBLIC),
        users=tuple(
            (_text(row, "username"), _text(row, "password") if row.get("enabled", True) else "")
            for row in tables.get("users", ())
        ),
        roles=tuple((_text(row, "username"), _text(row, "role")) for row in tables.get("roles", ())),
        permissions=tuple(
            (_text(row, "role"), _text(row, "resource"), _text(row, "action"))
            for row in tables.get("permissions", ())
        ),
        left_out=tuple(left_out),
    )


def _each(rows: Iterable[Row], make: Any, left_out: list[str]) -> list[Any]:
    found = []
    for row in rows:
        try:
            found.append(make(row))
        except AtollError as error:
            left_out.append(f"{_text(row, 'tenant_id')}/{_text(row, 'data_id')}: {error.message}")
    return found


def _formal(row: Row, tags: Mapping[int, tuple[str, ...]]) -> Item:
    details = Details(
        type=kind_of(_text(row, "type")),
        tags=tags.get(int(row["id"]), ()),
        app_name=_cut(row, "app_name", "app_name"),
        desc=_cut(row, "c_desc", "desc"),
        use=_cut(row, "c_use", "use"),
        effect=_cut(row, "effect", "effect"),
        schema=_text(row, "c_schema"),
        encrypted_data_key=_text(row, "encrypted_data_key"),
        force=True,
    )
    return Item(_key(row), _text(row, "content"), details)


def _grays(tables: Tables, left_out: list[str]) -> list[Item]:
    """From the new table where it has rows: an upgraded Nacos keeps the old ones beside it."""
    new = tables.get("config_info_gray", ())
    if new:
        return _each(new, _gray, left_out)
    beta = _each(tables.get("config_info_beta", ()), _beta, left_out)
    return beta + _each(tables.get("config_info_tag", ()), _tag, left_out)


def _gray(row: Row) -> Item:
    try:
        said = msgspec.json.decode(_text(row, "gray_rule").encode(), type=dict[str, Any])
    except msgspec.MsgspecError:
        said = {}
    rule = GrayRule(
        str(said.get("type", "")),
        str(said.get("expr", "")),
        int(said.get("priority", 0)),
        str(said.get("version", "1.0.0")),
    )
    return _gray_item(row, rule, _text(row, "gray_name"))


def _beta(row: Row) -> Item:
    return _gray_item(row, gray.beta(_text(row, "beta_ips")), gray.BETA)


def _tag(row: Row) -> Item:
    rule = gray.tag(_text(row, "tag_id"))
    return _gray_item(row, rule, gray.default_name(rule))


def _gray_item(row: Row, rule: GrayRule, name: str) -> Item:
    details = Details(
        app_name=_cut(row, "app_name", "app_name"),
        encrypted_data_key=_text(row, "encrypted_data_key"),
        gray=gray.require_rule(rule, name),
        gray_name=name,
        force=True,
    )
    return Item(_key(row), _text(row, "content"), details)


def _namespace(row: Row) -> Namespace:
    name = namespace.require_id(namespace.canonical(_text(row, "tenant_id")))
    return Namespace(
        id=name,
        name=_text(row, "tenant_name")[: namespace.NAME_CHARS_MAX],
        description=_text(row, "tenant_desc")[: namespace.DESCRIPTION_CHARS_MAX],
    )


def _tags(rows: Iterable[Row]) -> dict[int, tuple[str, ...]]:
    found: dict[int, tuple[str, ...]] = {}
    for row in rows:
        mine = found.get(int(row["id"]), ())
        found[int(row["id"])] = (*mine, _text(row, "tag_name"))[:TAGS_MAX]
    return found


def _key(row: Row) -> ConfigKey:
    return config_key(_text(row, "tenant_id"), _text(row, "group_id"), _text(row, "data_id"))


def _cut(row: Row, column: str, field: str) -> str:
    return _text(row, column)[: TEXT_CHARS_MAX[field]]


def _text(row: Row, column: str) -> str:
    value = row.get(column)
    return "" if value is None else str(value)
