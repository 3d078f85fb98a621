"""Accounts: who may use the store's data, as one frozen value with a byte encoding.

One rule: a value here is never changed in place; whoever decides a change builds a new ``Accounts``
(``access.accounts``). Encoded as JSON with a format number. Fields that this release does not know are kept and
written back, so that an older node does not strip what a newer one wrote; a newer *format* is refused instead.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any

import msgspec

from atoll.errors import AtollError, Code, Reason

FORMAT = 1

_NOTHING: Mapping[str, Any] = {}


class Right(enum.IntEnum):
    """Numbers are etcd's ``Permission.Type``."""

    READ = 0
    WRITE = 1
    READWRITE = 2


class Permission(msgspec.Struct, frozen=True):
    """A right on the keys in ``[key, end)``; ``end`` empty: that key alone; ``b"\\0"``: all keys >= ``key``.

    ``right`` is a number of ``Right``; any other number is kept and grants nothing.
    """

    key: bytes = b""
    end: bytes = b""
    right: int = Right.READ


class Password(msgspec.Struct, frozen=True):
    """A salted scrypt hash (RFC 7914) with its cost parameters, so that they can be raised later."""

    hash: bytes
    salt: bytes
    cost: int  # N: a power of two
    block_size: int  # r
    parallelism: int  # p


class Grant(msgspec.Struct, frozen=True, order=True):
    """A right on services and configurations: a pattern and ``r``, ``w`` or ``rw`` (``access.grants``)."""

    resource: str
    action: str


class Role(msgspec.Struct, frozen=True):
    """``permissions`` are on the store's keys, ``grants`` on what the registry keeps."""

    name: str
    permissions: tuple[Permission, ...] = ()  # sorted by key
    grants: tuple[Grant, ...] = ()  # sorted
    unknown: Mapping[str, Any] = _NOTHING


class User(msgspec.Struct, frozen=True):
    """``password`` None: the account exists but nobody can log in to it by password, unless ``bcrypt`` is a hash
    that was imported from elsewhere (modular crypt format, ``$2a$``): it is replaced at the first login.
    """

    name: str
    roles: tuple[str, ...] = ()  # sorted
    password: Password | None = None
    bcrypt: str = ""
    unknown: Mapping[str, Any] = _NOTHING


class Accounts(msgspec.Struct, frozen=True):
    """All accounts of a store. ``revision`` counts changes of accounts; it is not the store's revision."""

    enabled: bool = False
    revision: int = 1
    users: Mapping[str, User] = _NOTHING
    roles: Mapping[str, Role] = _NOTHING
    unknown: Mapping[str, Any] = _NOTHING


def encode(accounts: Accounts) -> bytes:
    document = {
        **accounts.unknown,
        "format": FORMAT,
        "enabled": accounts.enabled,
        "revision": accounts.revision,
        "users": [_document(user) for _, user in sorted(accounts.users.items())],
        "roles": [_document(role) for _, role in sorted(accounts.roles.items())],
    }
    return msgspec.json.encode(document)


def decode(data: bytes) -> Accounts:
    """Raises ``AtollError`` CORRUPT or NEWER_FORMAT (both INVALID)."""
    try:
        document = msgspec.json.decode(data, type=dict[str, Any])
        found = document.pop("format", None)
        if isinstance(found, int) and found > FORMAT:
            raise AtollError(
                Code.INVALID,
                f"accounts are in format {found}; this release reads up to {FORMAT}: use a newer release",
                reason=Reason.NEWER_FORMAT,
            )
        users = [_value(entry, User) for entry in document.pop("users")]
        roles = [_value(entry, Role) for entry in document.pop("roles")]
        accounts: Accounts = _value(document, Accounts)
    except (msgspec.MsgspecError, KeyError, TypeError, AttributeError) as error:
        raise AtollError(Code.INVALID, f"accounts cannot be read: {error}", reason=Reason.CORRUPT) from error
    return msgspec.structs.replace(
        accounts, users={user.name: user for user in users}, roles={role.name: role for role in roles}
    )


def _document(value: User | Role) -> dict[str, Any]:
    known = {name: getattr(value, name) for name in value.__struct_fields__ if name != "unknown"}
    return {**value.unknown, **known}


def _value(document: dict[str, Any], kind: Any) -> Any:
    """``document`` as a ``kind``, whatever has no field there collected in ``unknown``."""
    known = {name: value for name, value in document.items() if name in kind.__struct_fields__}
    unknown = {name: value for name, value in document.items() if name not in known}
    return msgspec.structs.replace(msgspec.convert(known, kind), unknown=unknown)
