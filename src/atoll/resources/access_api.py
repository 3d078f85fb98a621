"""Users, roles, rights and the audit log as Atoll's own API takes and gives them. Never stored.

Rule: a password goes in, in a body, and never comes out, but for the one that is drawn for the first administrator.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from atoll.resources.audit import Numbered

AUDIT_PAGE_MAX = 1_000


class LoginOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    user: str
    password: str


class Session(msgspec.Struct, frozen=True):
    """``token`` goes into ``Authorization: Bearer``, for ``ttl_s`` seconds."""

    user: str
    token: str
    ttl_s: int
    administrator: bool


class FirstOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Make the first administrator. ``password`` empty: one is drawn and told this once."""

    password: str = ""


class FirstAdministrator(msgspec.Struct, frozen=True):
    """``password`` empty: it is the one that was given."""

    user: str
    password: str = ""


class UserOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Make a user, or change its password."""

    user: str
    password: str


class UserNamed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    user: str


class UserShown(msgspec.Struct, frozen=True):
    name: str
    roles: tuple[str, ...]


class RoleOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Give ``user`` a role, which is made where there is none."""

    role: str
    user: str


class RoleRemoval(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Take ``role`` from ``user``; empty: from everybody, with all its rights."""

    role: str
    user: str = ""


class Right(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a role may do. ``resource``: ``NAMESPACE:GROUP:config/DATA_ID`` or ``...:naming/SERVICE``, ``*`` for any text
    in a part. ``action``: ``r``, ``w`` or ``rw``.
    """

    role: str
    resource: str
    action: str


class RoleShown(msgspec.Struct, frozen=True):
    name: str
    users: tuple[str, ...]
    rights: tuple[Right, ...]


class AuditAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``*`` in ``subject`` and ``action`` stands for any text; empty: any. Unix times, 0: no bound. ``before``: where
    the page before this one ended.
    """

    user: str = ""
    action: str = ""
    subject: str = ""
    since_s: float = 0.0
    until_s: float = 0.0
    count: Annotated[int, msgspec.Meta(ge=1, le=AUDIT_PAGE_MAX)] = 100
    before: Annotated[int, msgspec.Meta(ge=0, lt=2**53)] = 0


class AuditPage(msgspec.Struct, frozen=True):
    """Newest first; ``before`` asks for the next page, 0 at the end."""

    entries: tuple[Numbered, ...]
    before: int


class AnchorAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An end of the chain that was noted elsewhere: ``entries`` and ``link``; empty: none."""

    entries: Annotated[int, msgspec.Meta(ge=0, lt=2**53)] = 0
    link: str = ""
