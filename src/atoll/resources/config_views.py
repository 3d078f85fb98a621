"""Configuration as it is answered: by the service to the frontends, and by Atoll's own API to its client.

Rule: shapes only; what they show is decided in ``planes/registry``.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from atoll.resources.config_item import ConfigItem, ConfigKey, GrayRule, HistoryEntry

_NONE: Mapping[str, int] = {}


class Details(msgspec.Struct, frozen=True):
    """How to publish. What is empty keeps its value, except ``type`` of a new item (text) and ``encrypted_data_key``.

    ``cas_md5``: only if the current md5 is this. ``create_only``: only if there is none. ``gray`` makes it a gray
    release, called ``gray_name`` (empty: ``beta``, or ``tag_TAG``). ``force``: though it does not parse as its type, or
    overwrites a cipher-* item in plain text. ``exact``: keep nothing, empty means empty.
    """

    type: str = ""
    tags: tuple[str, ...] | None = None
    app_name: str = ""
    desc: str = ""
    use: str = ""
    effect: str = ""
    schema: str | None = None
    encrypted_data_key: str = ""
    cas_md5: str = ""
    create_only: bool = False
    gray: GrayRule | None = None
    gray_name: str = ""
    force: bool = False
    exact: bool = False


class Published(msgspec.Struct, frozen=True):
    """``revision`` of the store at which it is true; ``changed`` False: it was the same already."""

    key: ConfigKey
    md5: str
    revision: int
    changed: bool = True
    history_id: int = 0


class Served(msgspec.Struct, frozen=True):
    """The version that a consumer gets. ``gray_name`` empty: the formal one. ``stale``: the store is away, this is the
    last that was known.
    """

    content: str
    md5: str
    type: str
    encrypted_data_key: str
    modified_s: float
    revision: int
    gray_name: str = ""
    gray_kind: str = ""
    gray_expr: str = ""
    stale: bool = False


class Changed(msgspec.Struct, frozen=True):
    """What a listener is told: its version of ``key`` is another one now. ``md5`` empty: there is none any more."""

    key: ConfigKey
    md5: str
    gray_name: str = ""
    revision: int = 0


class Fault(msgspec.Struct, frozen=True):
    """Where a content is malformed. ``line`` and ``column`` count from 1, in characters; 0: nowhere in particular."""

    message: str
    line: int = 0
    column: int = 0
    path: str = ""  # of the value that a schema does not allow, as ``/a/0/b``


class KeyChange(msgspec.Struct, frozen=True):
    """One key inside a content. ``before`` None: it is new; ``after`` None: it is gone."""

    path: str
    before: str | None
    after: str | None


class ListenerView(msgspec.Struct, frozen=True):
    """Who listens. ``md5``: what it last had; ``gray_name``: the version it is served."""

    node: str
    client: str
    address: str
    app: str
    md5: str
    gray_name: str = ""
    labels: Mapping[str, str] = {}
    tag: str = ""


class Reach(msgspec.Struct, frozen=True):
    """A listener, and whether the publish in question would change what it is served."""

    listener: ListenerView
    changes: bool


class Preview(msgspec.Struct, frozen=True):
    """What a publish would do. ``unasked``: nodes that did not answer, whose listeners are missing here."""

    md5_before: str
    md5_after: str
    faults: tuple[Fault, ...]
    refusal: str  # why it would be refused, empty if it would not
    changes: tuple[KeyChange, ...]
    changes_more: int  # beyond those shown
    reaches: tuple[Reach, ...]
    unasked: tuple[str, ...] = ()


class Search(msgspec.Struct, frozen=True):
    """Empty fields match everything. ``blur``: ``*`` stands for any text in group, data id and app name, else exact."""

    namespace: str = ""
    group: str = ""
    data_id: str = ""
    app_name: str = ""
    tags: tuple[str, ...] = ()  # all of them
    types: tuple[str, ...] = ()  # one of them
    content: str = ""  # contained in it, never searched in cipher-* items
    blur: bool = False
    all_namespaces: bool = False


class Items(msgspec.Struct, frozen=True):
    """One page; ``page`` counts from 1."""

    total: int
    page: int
    page_size: int
    items: tuple[ConfigItem, ...]

    @property
    def pages(self) -> int:
        return -(-self.total // self.page_size)


class HistoryPage(msgspec.Struct, frozen=True):
    """One page, newest first; ``page`` counts from 1."""

    total: int
    page: int
    page_size: int
    entries: tuple[HistoryEntry, ...]

    @property
    def pages(self) -> int:
        return -(-self.total // self.page_size)


class Usage(msgspec.Struct, frozen=True):
    """A quota and how much of it is used; limits of 0 are none."""

    scope: str
    name: str
    items: int
    items_max: int
    content_bytes_max: int
    created_s: float = 0.0
    modified_s: float = 0.0


class Imported(msgspec.Struct, frozen=True):
    """What an import or a clone did. ``skipped`` were there already; ``unrecognized`` are entries that are no item."""

    published: tuple[ConfigKey, ...] = ()
    skipped: tuple[ConfigKey, ...] = ()
    failed: tuple[ConfigKey, ...] = ()
    problems: tuple[str, ...] = ()
    unrecognized: tuple[str, ...] = ()
