"""Configuration: what it is called, what it holds, who gets a version of its own, and what it was before.

Rule: written by the registry plane alone. ``content`` is text; one that is too large for a request of the store is kept
in chunks (``chunks_id``, ``chunks``) and put together again before anybody sees the value, so that a reader never finds
an empty ``content`` by accident. ``md5`` is over the UTF-8 bytes of the content, as Nacos clients compute it.

Names and limits: Nacos's parameter rules (2.3 and later); its ``tenant`` is the namespace here.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

import msgspec

from atoll.errors import AtollError, Code, Reason
from atoll.resources import namespace
from atoll.resources.records import Record

DATA_ID_CHARS_MAX = 256
GROUP_CHARS_MAX = 128
CONTENT_BYTES_MAX = 10 * 1024 * 1024
TAGS_MAX = 5
TAG_CHARS_MAX = 64
GRAY_TAG_CHARS_MAX = 16
SCHEMA_BYTES_MAX = 32_768
TEXT_CHARS_MAX: Mapping[str, int] = {"desc": 128, "use": 32, "effect": 32, "type": 32, "app_name": 128}

DEFAULT_GROUP = "DEFAULT_GROUP"
CIPHER_PREFIX = "cipher-"

TYPES = ("text", "json", "xml", "yaml", "html", "properties", "toml")
"""What a client may name; anything else is served as ``text``."""

_NAME = re.compile(r"[a-zA-Z0-9_:.-]+")


class ConfigKey(msgspec.Struct, frozen=True, order=True):
    """Canonical: ``namespace`` is never empty."""

    namespace: str
    group: str
    data_id: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.group}/{self.data_id}"

    @property
    def is_cipher(self) -> bool:
        """Encrypted by the client (Nacos's encryption plugin): its content is nobody's business here."""
        return self.data_id.startswith(CIPHER_PREFIX)


class GrayRule(msgspec.Struct, frozen=True):
    """Who gets a gray release. ``kind``: ``beta`` (``expr`` is a comma list of addresses), ``tag`` (one tag), ``label``
    (``a=1|2&b!=3``) or ``percent`` (``PERCENT:SALT``, of a staged release). The higher ``priority`` is asked first.
    """

    kind: str
    expr: str
    priority: int = 0
    version: str = "1.0.0"


class Versioned(Record, frozen=True, kw_only=True):
    """What the formal version and every gray one have alike. Times are Unix time; ``user``, ``address``: of the change."""

    key: ConfigKey
    id: int  # unique in a cluster and below 2**53
    content: str = ""
    chunks_id: str = ""
    chunks: int = 0
    md5: str = ""
    size_bytes: int = 0
    type: str = "text"
    encrypted_data_key: str = ""
    app_name: str = ""
    created_s: float = 0.0
    modified_s: float = 0.0
    user: str = ""
    address: str = ""
    history_id: int = 0  # of the entry that its last change made


class ConfigItem(Versioned, frozen=True, kw_only=True):
    """The formal version. ``schema``: a JSON Schema that its content must satisfy, empty for none."""

    tags: tuple[str, ...] = ()
    desc: str = ""
    use: str = ""
    effect: str = ""
    schema: str = ""
    created_by: str = ""
    created_from: str = ""


class GrayRelease(Versioned, frozen=True, kw_only=True):
    """A version for some. ``name``: ``beta``, ``tag_TAG``, ``staged`` or one that an operator chose."""

    name: str
    rule: GrayRule


class HistoryEntry(Versioned, frozen=True, kw_only=True):
    """What a change replaced (``op`` U and D), or what it began with (I). ``id`` is the entry's, ``item_id`` the item's."""

    item_id: int
    op: str
    gray_name: str = ""  # empty: the formal version
    rule: GrayRule | None = None
    md5_after: str = ""  # of what replaced it
    tags: tuple[str, ...] = ()
    desc: str = ""
    use: str = ""
    effect: str = ""
    schema: str = ""

    @property
    def publish_type(self) -> str:
        return "gray" if self.gray_name else "formal"


class Capacity(Record, frozen=True, kw_only=True):
    """Limits of one namespace, or of one group in all namespaces; 0 is the node's default."""

    scope: str  # "namespace" or "group"
    name: str
    items_max: int = 0
    content_bytes_max: int = 0
    created_s: float = 0.0
    modified_s: float = 0.0


def md5_of(content: str) -> str:
    return hashlib.md5(content.encode(), usedforsecurity=False).hexdigest()


def config_key(space: str | None, group: str, data_id: str) -> ConfigKey:
    """The canonical key. Raises INVALID / PARAMETER_MISSING or PARAMETER_INVALID."""
    _require_name(group, "group", GROUP_CHARS_MAX)
    _require_name(data_id, "dataId", DATA_ID_CHARS_MAX)
    return ConfigKey(namespace.require_id(namespace.canonical(space)), group, data_id)


def _require_name(text: str, parameter: str, chars_max: int) -> None:
    if not text:
        raise AtollError(
            Code.INVALID,
            f"{parameter} is missing",
            reason=Reason.PARAMETER_MISSING,
            facts={"parameter": parameter},
        )
    if len(text) > chars_max or not _NAME.fullmatch(text):
        raise AtollError(
            Code.INVALID,
            f"{parameter} {text[:80]!r}: must be 1 to {chars_max} letters, digits, '-', '_', ':' or '.'",
            reason=Reason.PARAMETER_INVALID,
            facts={"parameter": parameter},
        )
