"""Configuration in and out: archives in Nacos's layouts, copies between namespaces, a Nacos database.

Rule: what comes in is published like anything else, one item at a time, each change with its history and audit entry;
what is there already is treated by ``policy``: ``abort`` takes nothing if anything is there, ``skip`` leaves it,
``overwrite`` publishes over it. A malformed content is taken, because it was in force where it comes from, and told.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

import msgspec

from atoll.errors import AtollError, Code, Reason
from atoll.planes.registry.model.config_view import ConfigView
from atoll.planes.registry.policy import content_check, nacos_database
from atoll.planes.registry.policy.nacos_database import Found, Item
from atoll.resources import namespace
from atoll.resources.actor import Actor
from atoll.resources.config_item import ConfigItem, ConfigKey, config_key
from atoll.resources.config_views import Details, Imported, Published
from atoll.runtime import loop
from atoll.runtime.mysql_client import MysqlServer, read_tables
from atoll.wire.nacos import config_zip
from atoll.wire.nacos.config_zip import ZipItem

AT_ONCE = 32
POLICIES = ("abort", "skip", "overwrite")

Publish: TypeAlias = Callable[[Actor, ConfigKey, str, Details | None], Awaitable[Published]]


class ConfigTransfer:
    def __init__(self, view: ConfigView, publish: Publish) -> None:
        self._view = view
        self._publish = publish

    def pack(self, items: Sequence[ConfigItem], version: int = 2) -> bytes:
        """``items`` (of one namespace) as an archive. Raises INVALID / IMPORT_INVALID for none at all."""
        if not items:
            raise _wrong("selection", "no item matches, so there is nothing to pack")
        return config_zip.pack([_zip_item(each) for each in items], version)

    async def take_zip(
        self, actor: Actor, space: str, data: bytes, policy: str, may: Callable[[ConfigKey], None]
    ) -> Imported:
        """Publish what is in an archive into a namespace. ``may`` raises for an item that the caller must not write;
        then nothing is taken. Raises INVALID / IMPORT_INVALID, and what the store says.
        """
        unpacked = await loop.in_thread(config_zip.unpack, data)
        items, problems = [], []
        for each in unpacked.items:
            try:
                key = config_key(space, each.group, each.data_id)
            except AtollError as error:
                problems.append(f"{each.group}/{each.data_id}: {error.message}")
                continue
            may(key)
            details = Details(type=each.type, app_name=each.app_name, desc=each.desc, force=True)
            items.append(Item(key, each.content, details))
        taken = await self.take(actor, items, policy)
        return msgspec.structs.replace(
            taken, problems=(*problems, *taken.problems), unrecognized=unpacked.unrecognized
        )

    async def clone(
        self, actor: Actor, copies: Sequence[tuple[ConfigItem, ConfigKey]], policy: str
    ) -> Imported:
        """Publish each item under another key."""
        if not copies:
            raise _wrong("selection", "no item was chosen")
        items = [Item(key, item.content, _details(item)) for item, key in copies]
        return await self.take(actor, items, policy)

    async def read_database(self, server: MysqlServer) -> Found:
        """What a Nacos database holds. Raises what ``read_tables`` does, and INVALID for one that is none."""
        tables = await read_tables(server, nacos_database.QUERIES)
        if nacos_database.REQUIRED not in tables:
            raise _wrong("parse", f"{server} has no table {nacos_database.REQUIRED}: it is no Nacos database")
        return nacos_database.read(tables)

    async def take(self, actor: Actor, items: Sequence[Item], policy: str) -> Imported:
        """Publish ``items`` by ``policy``. Raises INVALID for another policy."""
        if policy not in POLICIES:
            raise AtollError(
                Code.INVALID,
                f"policy {policy[:40]!r}: expected {', '.join(POLICIES)}",
                reason=Reason.PARAMETER_INVALID,
                facts={"parameter": "policy"},
            )
        there = [each for each in items if self._is_there(each)]
        if policy == "abort" and there:
            rest = [each.key for each in items if not self._is_there(each)]
            return Imported(
                skipped=tuple(rest),
                failed=tuple(each.key for each in there),
                problems=tuple(f"{each.key} is there already" for each in there),
            )
        chosen = [each for each in items if policy == "overwrite" or not self._is_there(each)]
        outcomes: list[str] = []
        for start in range(0, len(chosen), AT_ONCE):
            outcomes += await loop.gather(
                *(self._take_one(actor, each) for each in chosen[start : start + AT_ONCE])
            )
        remarks = [_remark(each) for each in chosen]
        return Imported(
            published=tuple(each.key for each, why in zip(chosen, outcomes, strict=True) if not why),
            skipped=tuple(each.key for each in there) if policy == "skip" else (),
            failed=tuple(each.key for each, why in zip(chosen, outcomes, strict=True) if why),
            problems=tuple(why for why in [*outcomes, *remarks] if why),
        )

    async def _take_one(self, actor: Actor, item: Item) -> str:
        """Empty, or why it could not be published."""
        try:
            await self._publish(actor, item.key, item.content, item.details)
        except AtollError as error:
            if error.code in (Code.UNAVAILABLE, Code.UNKNOWN):
                raise
            return f"{item.key}: {error.message}"
        return ""

    def _is_there(self, item: Item) -> bool:
        entry = self._view.entry(item.key)
        return (entry.gray(item.details.gray_name) if item.details.gray else entry.item) is not None


def _remark(item: Item) -> str:
    """What is malformed in an item that was taken all the same."""
    if item.key.is_cipher or not item.details.type:
        return ""
    faults = content_check.faults(item.details.type, item.content)
    return f"{item.key} is not valid {item.details.type}: {faults[0].message}" if faults else ""


def _zip_item(item: ConfigItem) -> ZipItem:
    return ZipItem(item.key.group, item.key.data_id, item.content, item.app_name, item.type, item.desc)


def _details(item: ConfigItem) -> Details:
    return Details(
        type=item.type,
        tags=item.tags,
        app_name=item.app_name,
        desc=item.desc,
        use=item.use,
        effect=item.effect,
        schema=item.schema,
        encrypted_data_key=item.encrypted_data_key,
        force=True,
    )


def _wrong(problem: str, text: str) -> AtollError:
    return AtollError(Code.INVALID, text, reason=Reason.IMPORT_INVALID, facts={"problem": problem})


def copy_of(
    item: ConfigItem, target: str, group: str = "", data_id: str = ""
) -> tuple[ConfigItem, ConfigKey]:
    """``item`` with its key in the namespace ``target``; its own names where none are given. Raises INVALID."""
    key = config_key(namespace.canonical(target), group or item.key.group, data_id or item.key.data_id)
    return item, key
