"""Parameters of an HTTP request: the query and the form merged, as servlets merge them; and multipart files.

Rule: UTF-8 always, whatever the content type says (old clients send ``charset=GBK`` with UTF-8 in it); of two values
of one name the first counts, and the query comes before the form. Every count is bounded.

Sources: the URL standard (application/x-www-form-urlencoded parsing), RFC 7578 (multipart/form-data).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from atoll.wire.nacos import parameters

FIELDS_MAX = 1_000
PARTS_MAX = 16
PART_HEAD_BYTES_MAX = 4_096

_BOUNDARY = re.compile(rb'boundary="?([^";,\s]{1,70})"?', re.IGNORECASE)
_NAME = re.compile(rb'[; ]name="([^"]*)"', re.IGNORECASE)
_FILE_NAME = re.compile(rb'[; ]filename="([^"]*)"', re.IGNORECASE)


class Upload(NamedTuple):
    file_name: str
    content: bytes


def merge(into: dict[str, str], encoded: bytes) -> None:
    """Add the fields of one urlencoded text; names that are there already keep their value."""
    if not encoded:
        return
    pairs = encoded.split(b"&", FIELDS_MAX)
    if len(pairs) > FIELDS_MAX:
        raise parameters.invalid("form", f"a request has at most {FIELDS_MAX} fields")
    for pair in pairs:
        name, _, value = pair.partition(b"=")
        if name:
            into.setdefault(_text(name), _text(value))


def _text(encoded: bytes) -> str:
    try:
        if b"%" in encoded or b"+" in encoded:
            return unquote_to_bytes(encoded.replace(b"+", b" ")).decode()
        return encoded.decode()
    except UnicodeDecodeError as error:
        raise parameters.invalid("form", "a parameter is not UTF-8; send percent-encoded UTF-8") from error


def is_form(content_type: bytes) -> bool:
    """Old clients send a form with no content type at all."""
    kind = content_type.partition(b";")[0].strip().lower()
    return kind in (b"", b"application/x-www-form-urlencoded")


def multipart(content_type: bytes, body: bytes, into: dict[str, str]) -> dict[str, Upload]:
    """The files of a multipart body, by field; its plain fields are merged into ``into``."""
    found = _BOUNDARY.search(content_type)
    if found is None:
        raise parameters.invalid("content-type", "multipart/form-data needs a boundary")
    files: dict[str, Upload] = {}
    for head, content in _parts(body, b"--" + found.group(1)):
        name = _NAME.search(head)
        if name is None:
            raise parameters.invalid("form", "a part of the multipart body has no name")
        file_name = _FILE_NAME.search(head)
        if file_name is not None:
            files[_plain(name.group(1))] = Upload(_plain(file_name.group(1)), content)
        else:
            into.setdefault(_plain(name.group(1)), _plain(content))
    return files


def _parts(body: bytes, delimiter: bytes) -> Iterator[tuple[bytes, bytes]]:
    pieces = (b"\r\n" + body).split(b"\r\n" + delimiter, PARTS_MAX + 2)
    if len(pieces) < 2 or not pieces[-1].startswith(b"--"):
        raise parameters.invalid("form", f"the multipart body has no end, or more than {PARTS_MAX} parts")
    for piece in pieces[1:-1]:
        head, end, content = piece.lstrip(b" \t").removeprefix(b"\r\n").partition(b"\r\n\r\n")
        if not end or len(head) > PART_HEAD_BYTES_MAX:
            raise parameters.invalid("form", "a part of the multipart body has no head")
        yield head, content


def _plain(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise parameters.invalid("form", "a field of the multipart body is not UTF-8") from error
