"""What a change of configuration writes: from a view and a command to operations under guards.

Rule: each function reads the view alone and returns every guard for what it read; nothing here waits, draws a number or
knows the time but from its arguments. Raises ``AtollError`` where the change must not be.

A change of an item writes the item, its history entry and nothing else: one revision, so that a reader of the store
never finds one without the other. The history entry of an update or a removal holds what was before, that of a
creation what it began with (as Nacos's ``his_config_info`` does).
"""

from __future__ import annotations

import hashlib
from typing import TypeVar

import msgspec

from atoll.errors import AtollError, Code, Reason
from atoll.planes.registry.model import config_keys as keys
from atoll.planes.registry.model import gray
from atoll.planes.registry.model.config_limits import ConfigLimits
from atoll.planes.registry.model.config_view import ConfigView
from atoll.resources.actor import Actor
from atoll.resources.config_item import (
    TAG_CHARS_MAX,
    TAGS_MAX,
    TEXT_CHARS_MAX,
    TYPES,
    ConfigItem,
    ConfigKey,
    GrayRelease,
    HistoryEntry,
    Versioned,
    md5_of,
)
from atoll.resources.config_views import Details
from atoll.resources.records import NOTHING, encode
from atoll.store.api import Compare, Delete, Operation, Put, Relation, Target


class Stamp(msgspec.Struct, frozen=True):
    """When, by whom, and two fresh ids: one for an item or gray release that is new, one for the history entry."""

    now_s: float
    actor: Actor
    id: int
    history_id: int


class Content(msgspec.Struct, frozen=True):
    """A content on its way in. ``chunks_id`` and ``chunks``: where it lies already, if it is a large one."""

    text: str
    chunks_id: str = ""
    chunks: int = 0

    @property
    def stored_text(self) -> str:
        return "" if self.chunks else self.text


class Decided(msgspec.Struct, frozen=True):
    """``operations`` empty: nothing has to change. ``before``, ``after``: hashes for the audit log, empty: absent."""

    guards: tuple[Compare, ...] = ()
    operations: tuple[Operation, ...] = ()
    action: str = ""
    before: str = ""
    after: str = ""
    md5: str = ""
    history_id: int = 0


V = TypeVar("V", ConfigItem, GrayRelease)


def publish(view: ConfigView, key: ConfigKey, content: Content, details: Details, stamp: Stamp) -> Decided:
    """Make ``content`` the formal version of ``key``, or (``details.gray``) a version for some."""
    _require_texts(details)
    if details.gray is not None:
        return _publish_gray(view, key, content, details, stamp)
    current = view.item(key)
    _require_expected(key, current, details)
    _require_cipher(key, current, details)
    after = _item(current, key, content, details, stamp)
    if current is not None and _same(current, after):
        return Decided(md5=current.md5)
    entry = _history(current or after, "U" if current else "I", after.md5, stamp)
    after = msgspec.structs.replace(after, history_id=entry.id)
    return Decided(
        guards=(unchanged(keys.item(key), current), unused(entry)),
        operations=(Put(keys.item(key), _stored(after, content)), _put_history(entry)),
        action="update" if current else "create",
        before=digest(current),
        after=digest(after),
        md5=after.md5,
        history_id=entry.id,
    )


def remove(view: ConfigView, key: ConfigKey, stamp: Stamp) -> Decided:
    """Remove the formal version; its gray releases stay, as they do in Nacos."""
    current = view.item(key)
    if current is None:
        return Decided()
    entry = _history(current, "D", "", stamp)
    return Decided(
        guards=(unchanged(keys.item(key), current), unused(entry)),
        operations=(Delete(keys.item(key)), _put_history(entry)),
        action="delete",
        before=digest(current),
        history_id=entry.id,
    )


def remove_gray(view: ConfigView, key: ConfigKey, name: str, stamp: Stamp) -> Decided:
    current = view.entry(key).gray(name)
    if current is None:
        return Decided()
    removed = removal(keys.gray(key, name), current, stamp)
    return msgspec.structs.replace(removed, action="delete-gray", before=digest(current))


def removal(place: bytes, current: GrayRelease, stamp: Stamp) -> Decided:
    """Take ``current`` away from ``place`` and keep it in the history."""
    entry = _history(current, "D", "", stamp)
    return Decided(
        guards=(unchanged(place, current), unused(entry)),
        operations=(Delete(place), _put_history(entry)),
        history_id=entry.id,
    )


def room(view: ConfigView, key: ConfigKey, limits: ConfigLimits, size_bytes: int) -> Decided:
    """Whether there is room for an item of ``size_bytes`` under ``key``: more guards and operations for its publish.

    Raises EXHAUSTED / CONTENT_TOO_LARGE or CAPACITY_REACHED. Where a quota holds, adding an item bumps a key that every
    other addition guards, so that two of them together cannot pass it.
    """
    scopes = (
        ("namespace", key.namespace, limits.namespace_items_max),
        ("group", key.group, limits.group_items_max),
        ("cluster", "", limits.items_max),
    )
    guards: list[Compare] = []
    operations: list[Operation] = []
    for scope, name, default_max in scopes:
        own = view.capacity(scope, name)
        bytes_max = min(
            limits.content_bytes_max, (own.content_bytes_max if own else 0) or limits.content_bytes_max
        )
        if size_bytes > bytes_max:
            raise _too_large(key, size_bytes, bytes_max)
        items_max = (own.items_max if own else 0) or default_max
        if not items_max or view.item(key) is not None:
            continue
        count = view.total() if scope == "cluster" else view.count(scope, name)
        if count >= items_max:
            raise _full(scope, name, items_max)
        place = keys.count(scope, name)
        guards.append(Compare(place, Target.MOD, Relation.EQUAL, view.count_revision(place)))
        operations.append(Put(place, b"1"))
    return Decided(tuple(guards), tuple(operations))


def also(decided: Decided, extra: Decided) -> Decided:
    """``decided`` and what ``room``, or another condition, adds to it. What changes nothing needs neither."""
    if not decided.operations:
        return decided
    return msgspec.structs.replace(
        decided,
        action=extra.action or decided.action,
        guards=(*decided.guards, *extra.guards),
        operations=(*decided.operations, *extra.operations),
    )


def unchanged(place: bytes, known: Versioned | None) -> Compare:
    """The guard that ``place`` is what the view holds of it."""
    return Compare(place, Target.MOD, Relation.EQUAL, known.revision if known is not None else 0)


def unused(entry: HistoryEntry) -> Compare:
    """The guard that no other node drew the same id for an entry of this item: it would be written over."""
    place = keys.history(entry.key, entry.id)
    return Compare(place, Target.CREATE, Relation.EQUAL, 0, end=place + b"\xff")


def digest(version: Versioned | None) -> str:
    """SHA-256 of all that a version says, for the audit log: the same wherever it lies."""
    if version is None:
        return ""
    plain = msgspec.structs.replace(version, chunks_id="", chunks=0, unknown=NOTHING, revision=0)
    return hashlib.sha256(encode(plain)).hexdigest()


# ---------------------------------------------------------------------------------------------- requirements


def _require_texts(details: Details) -> None:
    for name, chars_max in TEXT_CHARS_MAX.items():
        text = getattr(details, name)
        if len(text) > chars_max:
            raise _wrong(name, f"has {len(text)} characters; at most {chars_max} are allowed")
    tags = details.tags or ()
    if len(tags) > TAGS_MAX or any(not 1 <= len(each) <= TAG_CHARS_MAX for each in tags):
        raise _wrong("config_tags", f"at most {TAGS_MAX} tags of 1 to {TAG_CHARS_MAX} characters are allowed")


def _require_expected(key: ConfigKey, current: Versioned | None, details: Details) -> None:
    """Compare-and-set: by md5, never by a time."""
    found = current.md5 if current is not None else ""
    if details.cas_md5 and details.cas_md5 != found:
        raise AtollError(
            Code.CONFLICT,
            f"{key} has changed: its md5 is {found or 'none'}, expected {details.cas_md5}; read it again",
            reason=Reason.CONFIG_CHANGED,
            facts={"md5": found},
        )
    if details.create_only and current is not None:
        raise AtollError(
            Code.CONFLICT,
            f"{key} exists already; publish without create_only to change it",
            reason=Reason.CONFIG_EXISTS,
            facts={"md5": found},
        )


def _require_cipher(key: ConfigKey, current: Versioned | None, details: Details) -> None:
    """An encrypted content must not be replaced by plain text because somebody edited it without the plugin."""
    if not key.is_cipher or details.force or current is None:
        return
    if current.encrypted_data_key and not details.encrypted_data_key:
        raise AtollError(
            Code.CONFLICT,
            f"{key} is encrypted, and this content comes without an encrypted data key: publish it by a client with "
            "the encryption plugin, or force it",
            reason=Reason.CONTENT_INVALID,
        )


# ------------------------------------------------------------------------------------------------ building


def _publish_gray(
    view: ConfigView, key: ConfigKey, content: Content, details: Details, stamp: Stamp
) -> Decided:
    entry = view.entry(key)
    if details.gray is None:
        return Decided()
    name = details.gray_name or gray.default_name(details.gray)
    rule = gray.require_rule(details.gray, name)
    current = entry.gray(name)
    _require_expected(key, current, details)
    _require_cipher(key, current or entry.item, details)
    after = msgspec.structs.replace(
        current or GrayRelease(key=key, id=stamp.id, name=name, rule=rule, created_s=stamp.now_s),
        rule=rule,
        **_version_fields(current or entry.item, content, details, stamp),
    )
    if current is not None and _same(current, after):
        return Decided(md5=current.md5)
    history = _history(current or after, "U" if current else "I", after.md5, stamp)
    after = msgspec.structs.replace(after, history_id=history.id)
    return Decided(
        guards=(unchanged(keys.gray(key, name), current), unused(history)),
        operations=(Put(keys.gray(key, name), _stored(after, content)), _put_history(history)),
        action="update-gray" if current else "create-gray",
        before=digest(current),
        after=digest(after),
        md5=after.md5,
        history_id=history.id,
    )


def require_gray_room(view: ConfigView, key: ConfigKey, name: str, releases_max: int) -> None:
    """Raises EXHAUSTED / GRAY_TOO_MANY."""
    entry = view.entry(key)
    if entry.gray(name) is None and len(entry.grays) >= releases_max:
        raise AtollError(
            Code.EXHAUSTED,
            f"{key} has {len(entry.grays)} gray releases; at most {releases_max}: remove one first",
            reason=Reason.GRAY_TOO_MANY,
        )


def _item(
    current: ConfigItem | None, key: ConfigKey, content: Content, details: Details, stamp: Stamp
) -> ConfigItem:
    started = current or ConfigItem(
        key=key,
        id=stamp.id,
        created_s=stamp.now_s,
        created_by=stamp.actor.user,
        created_from=stamp.actor.address,
    )
    return msgspec.structs.replace(
        started,
        tags=started.tags if details.tags is None else details.tags,
        desc=details.desc if details.exact else details.desc or started.desc,
        use=details.use if details.exact else details.use or started.use,
        effect=details.effect if details.exact else details.effect or started.effect,
        schema=started.schema if details.schema is None else details.schema,
        **_version_fields(current, content, details, stamp),
    )


def _version_fields(
    current: Versioned | None, content: Content, details: Details, stamp: Stamp
) -> dict[str, object]:
    return {
        "content": content.text,
        "chunks_id": content.chunks_id,
        "chunks": content.chunks,
        "md5": md5_of(content.text),
        "size_bytes": len(content.text.encode()),
        "type": kind_of(details.type) if details.type or current is None else current.type,
        "encrypted_data_key": details.encrypted_data_key,
        "app_name": details.app_name
        or (current.app_name if current is not None and not details.exact else ""),
        "modified_s": stamp.now_s,
        "user": stamp.actor.user,
        "address": stamp.actor.address,
    }


def kind_of(text: str) -> str:
    """A type as it is stored: what is none is ``text``, as in Nacos."""
    lower = text.lower()
    return lower if lower in TYPES else "text"


def _same(one: V, other: V) -> bool:
    """Alike in all that a reader or an editor sees; who wrote it when, and where it lies, is not part of that."""
    blank = {"modified_s": 0.0, "user": "", "address": "", "chunks_id": "", "chunks": 0, "history_id": 0}
    return msgspec.structs.replace(one, **blank) == msgspec.structs.replace(other, **blank)


def _history(version: Versioned, op: str, md5_after: str, stamp: Stamp) -> HistoryEntry:
    """``user``, ``address`` and ``modified_s`` are those of the change that made this entry."""
    shared = {name: getattr(version, name) for name in Versioned.__struct_fields__}
    kept = ("tags", "desc", "use", "effect", "schema", "rule")
    shared |= {name: getattr(version, name) for name in kept if hasattr(version, name)}
    shared |= {
        "id": max(stamp.history_id, version.history_id + 1),  # in order, though clocks differ
        "modified_s": stamp.now_s,
        "user": stamp.actor.user,
        "address": stamp.actor.address,
        "unknown": NOTHING,
        "revision": 0,
    }
    return HistoryEntry(
        **shared,
        item_id=version.id,
        op=op,
        gray_name=version.name if isinstance(version, GrayRelease) else "",
        md5_after=md5_after,
    )


def _put_history(entry: HistoryEntry) -> Put:
    place = keys.history(entry.key, entry.id, entry.chunks_id)
    stored = msgspec.structs.replace(entry, content="") if entry.chunks else entry
    return Put(place, encode(stored))


def _stored(version: Versioned, content: Content) -> bytes:
    return encode(msgspec.structs.replace(version, content=content.stored_text))


def _wrong(parameter: str, problem: str) -> AtollError:
    return AtollError(
        Code.INVALID,
        f"{parameter} {problem}",
        reason=Reason.PARAMETER_INVALID,
        facts={"parameter": parameter},
    )


def _too_large(key: ConfigKey, size_bytes: int, bytes_max: int) -> AtollError:
    return AtollError(
        Code.EXHAUSTED,
        f"{key}: a content of {size_bytes} bytes; at most {bytes_max} are allowed",
        reason=Reason.CONTENT_TOO_LARGE,
        facts={"size_bytes_max": bytes_max},
    )


def _full(scope: str, name: str, items_max: int) -> AtollError:
    where = f"{scope} {name!r}" if name else "the cluster"
    return AtollError(
        Code.EXHAUSTED,
        f"{where} holds {items_max} items, which is its quota: remove some or raise it",
        reason=Reason.CAPACITY_REACHED,
        facts={"scope": scope},
    )
