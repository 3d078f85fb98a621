"""Nacos's export archives: a zip with one entry an item, and one with what the entries' names do not say.

Rule: reading trusts nothing: entries, their sizes unpacked, and the whole are bounded before anything is unpacked, and a
name is only ever taken apart, never a path on a disk. Writing gives the same bytes for the same items.

Layouts: ``GROUP/dataId``; version 2 (Nacos 2.x: ``exportV2``) with ``.metadata.yml``, version 1 with ``.meta.yml``, lines
``GROUP.data~Id.app=NAME`` in which ``~`` stands for ``.``.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import yaml

from atoll.errors import AtollError, Code, Reason

METADATA_V2 = ".metadata.yml"
METADATA_V1 = ".meta.yml"
ARCHIVE_BYTES_MAX = 64 * 1024 * 1024
UNPACKED_BYTES_MAX = 256 * 1024 * 1024
ENTRY_BYTES_MAX = 10 * 1024 * 1024
ENTRIES_MAX = 10_000

_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip can say: when it was packed is nobody's business


class ZipItem(msgspec.Struct, frozen=True):
    group: str
    data_id: str
    content: str
    app_name: str = ""
    type: str = ""
    desc: str = ""


class Unpacked(msgspec.Struct, frozen=True):
    """``unrecognized``: names of entries that are no item."""

    items: tuple[ZipItem, ...]
    unrecognized: tuple[str, ...] = ()


def pack(items: Sequence[ZipItem], version: int = 2) -> bytes:
    """An archive of ``items`` in layout ``version`` (1 or 2)."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for item in items:
            _write(archive, f"{item.group}/{item.data_id}", item.content)
        if version == 2:
            _write(archive, METADATA_V2, _metadata_v2(items))
        elif any(item.app_name for item in items):
            _write(archive, METADATA_V1, _metadata_v1(items))
    return out.getvalue()


def unpack(data: bytes) -> Unpacked:
    """The items of an archive in either layout. Raises INVALID / IMPORT_INVALID; facts ``problem``: ``parse``,
    ``empty``, ``too_large`` or ``metadata``.
    """
    if not data:
        raise _wrong("empty", "it is empty")
    if len(data) > ARCHIVE_BYTES_MAX:
        raise _wrong("too_large", f"it has {len(data)} bytes; at most {ARCHIVE_BYTES_MAX} are taken")
    texts = _texts(data)
    raw_v2, raw_v1 = texts.pop(METADATA_V2, None), texts.pop(METADATA_V1, None)
    unrecognized = [name for name in texts if name.count("/") != 1]
    named = {
        (group, data_id): content
        for name, content in texts.items()
        if name.count("/") == 1
        for group, _, data_id in (name.partition("/"),)
    }
    if raw_v2 is not None:
        found, unknown = _items_v2(named, raw_v2)
        unrecognized += unknown
    else:
        apps = _apps_v1(raw_v1 or "")
        found = [
            ZipItem(group, data_id, content, apps.get((group, data_id), ""), _type_of(data_id))
            for (group, data_id), content in named.items()
        ]
    if not found:
        raise _wrong("empty", "there is no item in it")
    return Unpacked(tuple(found), tuple(unrecognized))


def _texts(data: bytes) -> dict[str, str]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            infos = [info for info in archive.infolist() if not info.is_dir()]
            _require_bounds(infos)
            return {info.filename: _read(archive, info) for info in infos}
    except (zipfile.BadZipFile, zlib.error, EOFError, UnicodeDecodeError, RuntimeError, OSError) as error:
        raise _wrong("parse", f"it cannot be read: {error}") from error


def _require_bounds(infos: Sequence[zipfile.ZipInfo]) -> None:
    if len(infos) > ENTRIES_MAX + 2:
        raise _wrong("too_large", f"it has {len(infos)} entries; at most {ENTRIES_MAX} are taken")
    if sum(info.file_size for info in infos) > UNPACKED_BYTES_MAX:
        raise _wrong("too_large", f"it unpacks to more than {UNPACKED_BYTES_MAX} bytes")


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> str:
    """The size that an entry says is not believed: no more is unpacked than is allowed."""
    with archive.open(info) as entry:
        raw = entry.read(ENTRY_BYTES_MAX + 1)
    if len(raw) > ENTRY_BYTES_MAX:
        raise _wrong("too_large", f"{info.filename} has more than {ENTRY_BYTES_MAX} bytes")
    return raw.decode()


def _items_v2(named: Mapping[tuple[str, str], str], raw: str) -> tuple[list[ZipItem], list[str]]:
    """In the order of the metadata; entries that it does not name are not taken, as in Nacos."""
    try:
        document = yaml.safe_load(raw)
        listed = [
            (str(each["group"]), str(each["dataId"]), each) for each in (document or {}).get("metadata") or []
        ]
    except (yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise _wrong("metadata", f"{METADATA_V2} is not what it should be: {error}") from error
    missing = [f"{group}/{data_id}" for group, data_id, _ in listed if (group, data_id) not in named]
    if missing:
        raise _wrong("metadata", f"{METADATA_V2} names {missing[0]}, which is not in the archive")
    found = [
        ZipItem(
            group,
            data_id,
            named[group, data_id],
            *(_text(each, part) for part in ("appName", "type", "desc")),
        )
        for group, data_id, each in listed
    ]
    known = {(group, data_id) for group, data_id, _ in listed}
    return found, [f"{group}/{data_id}" for group, data_id in named if (group, data_id) not in known]


def _text(entry: Mapping[str, Any], name: str) -> str:
    value = entry.get(name)
    return "" if value is None else str(value)


def _apps_v1(raw: str) -> dict[tuple[str, str], str]:
    apps = {}
    for line in raw.splitlines():
        name, _, app = line.partition("=")
        group, _, rest = name.strip().partition(".")
        data_id, _, field = rest.rpartition(".")
        if field == "app" and app:
            apps[group, data_id.replace("~", ".")] = app.strip()
    return apps


def _metadata_v1(items: Sequence[ZipItem]) -> str:
    named = [item for item in items if item.app_name]
    return "".join(f"{each.group}.{each.data_id.replace('.', '~')}.app={each.app_name}\n" for each in named)


def _metadata_v2(items: Sequence[ZipItem]) -> str:
    listed = [
        {
            "group": item.group,
            "dataId": item.data_id,
            "appName": item.app_name,
            "type": item.type,
            "desc": item.desc,
        }
        for item in items
    ]
    return str(yaml.safe_dump({"metadata": listed}, allow_unicode=True, sort_keys=False))


def _type_of(data_id: str) -> str:
    """Version 1 does not say; the ending of the name is what there is."""
    ending = data_id.rpartition(".")[2].lower()
    return {"yml": "yaml", "htm": "html"}.get(ending, ending)


def _write(archive: zipfile.ZipFile, name: str, content: str) -> None:
    info = zipfile.ZipInfo(name, _DATE)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = 0o644 << 16
    archive.writestr(info, content.encode())


def _wrong(problem: str, text: str) -> AtollError:
    return AtollError(
        Code.INVALID,
        f"the archive cannot be taken in: {text}",
        reason=Reason.IMPORT_INVALID,
        facts={"problem": problem},
    )
