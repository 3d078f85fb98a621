"""Configuration as Atoll's own API takes and gives it. Never stored.

Rule: as in ``naming_api``: questions are query fields, orders are bodies, and neither takes a field that it does not
have. What the service answers anyway (``config_views``) is not wrapped again.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from atoll.resources.config_item import DEFAULT_GROUP, ConfigKey, GrayRule
from atoll.resources.config_views import Details, Imported, ListenerView
from atoll.resources.naming_api import Page, PageSize
from atoll.resources.rollout import Decision, Plan

Id = Annotated[int, msgspec.Meta(ge=0, lt=2**53)]


class ConfigsAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Empty fields match everything; ``*`` stands for any text in ``group``, ``data_id`` and ``app``. ``tags``: all of
    them, ``types``: one of them, with commas between. ``content``: contained in it.
    """

    namespace: str = ""
    group: str = ""
    data_id: str = ""
    app: str = ""
    tags: str = ""
    types: str = ""
    content: str = ""
    all_namespaces: bool = False
    page: Page = 1
    page_size: PageSize = 100


class ConfigAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One configuration as an editor sees it."""

    data_id: str
    group: str = DEFAULT_GROUP
    namespace: str = ""


class ServedAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a consumer would be given. ``labels``: ``a=1`` with commas between them."""

    data_id: str
    group: str = DEFAULT_GROUP
    namespace: str = ""
    address: str = ""
    tag: str = ""
    app: str = ""
    labels: str = ""


class ConfigRemoval(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``gray_name``: only this gray release."""

    data_id: str
    group: str = DEFAULT_GROUP
    namespace: str = ""
    gray_name: str = ""


class HistoryAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    data_id: str
    group: str = DEFAULT_GROUP
    namespace: str = ""
    page: Page = 1
    page_size: PageSize = 50


class EntryAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    data_id: str
    id: Id
    group: str = DEFAULT_GROUP
    namespace: str = ""


class PublishOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Publish, or preview a publish. ``details.force`` takes a content that is malformed."""

    data_id: str
    content: str
    group: str = DEFAULT_GROUP
    namespace: str = ""
    details: Details = Details()


class RollbackOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Publish what an entry of the history holds. ``cas_md5``: only if that is the md5 of now."""

    data_id: str
    id: Id
    group: str = DEFAULT_GROUP
    namespace: str = ""
    cas_md5: str = ""


class RolloutOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Publish to a growing share of the consumers, as ``plan`` says."""

    data_id: str
    content: str
    plan: Plan
    group: str = DEFAULT_GROUP
    namespace: str = ""
    details: Details = Details()


class RolloutMove(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``move``: ``advance`` (the next step now), ``promote`` (to everybody), ``pause``, ``resume`` or ``abort``."""

    data_id: str
    move: str
    group: str = DEFAULT_GROUP
    namespace: str = ""
    why: str = ""


class CloneOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Copy configurations of a namespace to another. ``data_ids`` empty: all of ``group``; that empty: all.
    ``policy`` for what is there already: ``abort``, ``skip`` or ``overwrite``.
    """

    source: str
    target: str
    group: str = ""
    data_ids: tuple[str, ...] = ()
    policy: str = "abort"


class ExportAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which configurations go into the archive; empty fields match everything."""

    namespace: str = ""
    group: str = ""
    data_id: str = ""
    app: str = ""


class ImportAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    namespace: str = ""
    policy: str = "abort"


class MysqlOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Take over a Nacos database. ``accounts``: its users, roles and permissions too."""

    host: str
    user: str
    password: str = ""
    port: int = 3306
    database: str = "nacos"
    policy: str = "abort"
    accounts: bool = False


class Removed(msgspec.Struct, frozen=True):
    """``removed`` False: there was none, which is no error."""

    removed: bool


class ConfigSummary(msgspec.Struct, frozen=True):
    """One line of a list."""

    key: ConfigKey
    id: int
    md5: str
    type: str
    size_bytes: int
    modified_s: float
    user: str = ""
    app: str = ""
    desc: str = ""
    tags: tuple[str, ...] = ()


class ConfigPage(msgspec.Struct, frozen=True):
    total: int
    page: int
    page_size: int
    configs: tuple[ConfigSummary, ...]


class GrayShown(msgspec.Struct, frozen=True):
    """A gray release, with its content."""

    name: str
    rule: GrayRule
    content: str
    md5: str
    type: str
    modified_s: float
    user: str = ""


class ConfigShown(msgspec.Struct, frozen=True):
    """One configuration with everything an editor sees. ``there`` False: it has gray releases alone, or none."""

    key: ConfigKey
    there: bool
    id: int = 0
    content: str = ""
    md5: str = ""
    type: str = "text"
    encrypted_data_key: str = ""
    app: str = ""
    desc: str = ""
    use: str = ""
    effect: str = ""
    schema: str = ""
    tags: tuple[str, ...] = ()
    created_s: float = 0.0
    modified_s: float = 0.0
    created_by: str = ""
    user: str = ""
    address: str = ""
    grays: tuple[GrayShown, ...] = ()


class EntryShown(msgspec.Struct, frozen=True):
    """What a change replaced. ``op``: I (first published), U (replaced) or D (removed)."""

    id: int
    op: str
    md5: str
    md5_after: str
    at_s: float
    user: str
    address: str
    gray_name: str = ""
    type: str = "text"
    content: str | None = None  # None: left out of a list


class HistoryShown(msgspec.Struct, frozen=True):
    """Newest first."""

    key: ConfigKey
    total: int
    page: int
    page_size: int
    entries: tuple[EntryShown, ...]


class RolloutShown(msgspec.Struct, frozen=True):
    """A staged release: how far it is, and every decision about it."""

    key: ConfigKey
    id: int
    state: str
    percent: float
    step: int
    plan: Plan
    md5: str
    started_s: float
    step_since_s: float
    ended_s: float
    user: str
    decisions: tuple[Decision, ...]


class Listening(msgspec.Struct, frozen=True):
    """Who listens to a configuration. ``unasked``: nodes that did not answer, whose listeners are missing here."""

    key: ConfigKey
    listeners: tuple[ListenerView, ...]
    unasked: tuple[str, ...] = ()


class MysqlTaken(msgspec.Struct, frozen=True):
    """What was taken over of a Nacos database. ``left_out``: what could not be, each with its reason."""

    configs: Imported
    namespaces: tuple[str, ...] = ()
    users: int = 0
    roles: int = 0
    rights: int = 0
    left_out: tuple[str, ...] = ()
