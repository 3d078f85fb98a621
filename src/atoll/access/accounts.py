"""Changes of accounts, each a pure function from the accounts as they are to the accounts as they would be.

One rule: a function returns a new ``Accounts`` with ``revision`` one higher, or the very same object where nothing
changes, or raises ``AtollError``; it checks the request, not the one who asks (``access.checks`` did that before).
Rules and outcomes are etcd 3.4's; role ``root`` grants everything and needs no entry among the roles.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeVar

import msgspec

from atoll.errors import AtollError, Code, Reason
from atoll.resources.accounts import Accounts, Grant, Password, Permission, Role, User

T = TypeVar("T")

ROOT = "root"  # both the user without whom authentication cannot be on, and the role that may do anything
_BCRYPT = re.compile(r"\$2[abxy]\$\d\d\$[./A-Za-z0-9]{53}")


def add_user(accounts: Accounts, name: str, password: Password | None) -> Accounts:
    if not name:
        raise AtollError(Code.INVALID, "a user needs a name", reason=Reason.USER_EMPTY)
    if name in accounts.users:
        raise AtollError(Code.CONFLICT, f"user {name!r} exists already", reason=Reason.USER_EXISTS)
    return _with_user(accounts, User(name=name, password=password))


def delete_user(accounts: Accounts, name: str) -> Accounts:
    if accounts.enabled and name == ROOT:
        raise _management("user root cannot be deleted while authentication is on")
    user(accounts, name)
    return _next(accounts, users=_without(accounts.users, name))


def change_password(accounts: Accounts, name: str, password: Password) -> Accounts:
    return _with_user(accounts, msgspec.structs.replace(user(accounts, name), password=password, bcrypt=""))


def import_user(accounts: Accounts, name: str, bcrypt: str) -> Accounts:
    """An account that comes with a bcrypt hash of its password. Raises INVALID for what is no such hash."""
    if not _BCRYPT.fullmatch(bcrypt):
        raise AtollError(
            Code.INVALID, f"the password of user {name!r} is no bcrypt hash ($2a$...)", reason=Reason.CORRUPT
        )
    added = add_user(accounts, name, None)
    return _with_user(added, msgspec.structs.replace(user(added, name), bcrypt=bcrypt))


def grant_role(accounts: Accounts, name: str, role_name: str) -> Accounts:
    found = user(accounts, name)
    if role_name != ROOT:
        role(accounts, role_name)
    if role_name in found.roles:
        return accounts
    roles = tuple(sorted((*found.roles, role_name)))
    return _with_user(accounts, msgspec.structs.replace(found, roles=roles))


def revoke_role(accounts: Accounts, name: str, role_name: str) -> Accounts:
    if accounts.enabled and name == ROOT and role_name == ROOT:
        raise _management("user root cannot lose role root while authentication is on")
    found = user(accounts, name)
    if role_name not in found.roles:
        raise AtollError(
            Code.CONFLICT, f"user {name!r} does not have role {role_name!r}", reason=Reason.ROLE_NOT_GRANTED
        )
    return _with_user(accounts, _without_role(found, role_name))


def add_role(accounts: Accounts, name: str) -> Accounts:
    if not name:
        raise AtollError(Code.INVALID, "a role needs a name", reason=Reason.ROLE_EMPTY)
    if name in accounts.roles:
        raise AtollError(Code.CONFLICT, f"role {name!r} exists already", reason=Reason.ROLE_EXISTS)
    return _with_role(accounts, Role(name=name))


def delete_role(accounts: Accounts, name: str) -> Accounts:
    """Deletes the role and takes it from every user that has it."""
    if accounts.enabled and name == ROOT:
        raise _management("role root cannot be deleted while authentication is on")
    role(accounts, name)
    users = {
        key: _without_role(value, name) if name in value.roles else value
        for key, value in accounts.users.items()
    }
    return _next(accounts, users=users, roles=_without(accounts.roles, name))


def grant_permission(accounts: Accounts, name: str, permission: Permission) -> Accounts:
    """Adds ``permission``, or puts it in the place of the one with the same range."""
    found = role(accounts, name)
    permissions = [
        permission if _same_range(one, permission.key, permission.end) else one for one in found.permissions
    ]
    if permission not in permissions:
        permissions.append(permission)
    permissions.sort(key=lambda one: one.key)
    return _with_role(accounts, msgspec.structs.replace(found, permissions=tuple(permissions)))


def revoke_permission(accounts: Accounts, name: str, key: bytes, end: bytes) -> Accounts:
    found = role(accounts, name)
    left = tuple(one for one in found.permissions if not _same_range(one, key, end))
    if len(left) == len(found.permissions):
        raise AtollError(
            Code.CONFLICT,
            f"role {name!r} has no permission on that range",
            reason=Reason.PERMISSION_NOT_GRANTED,
        )
    return _with_role(accounts, msgspec.structs.replace(found, permissions=left))


def grant_resource(accounts: Accounts, name: str, grant: Grant) -> Accounts:
    """Adds ``grant`` to role ``name``, which must exist."""
    found = role(accounts, name)
    if grant in found.grants:
        return accounts
    return _with_role(accounts, msgspec.structs.replace(found, grants=tuple(sorted((*found.grants, grant)))))


def revoke_resource(accounts: Accounts, name: str, grant: Grant) -> Accounts:
    found = role(accounts, name)
    if grant not in found.grants:
        raise AtollError(
            Code.CONFLICT,
            f"role {name!r} has no permission {grant.action} on {grant.resource}",
            reason=Reason.PERMISSION_NOT_GRANTED,
        )
    left = tuple(one for one in found.grants if one != grant)
    return _with_role(accounts, msgspec.structs.replace(found, grants=left))


def enable(accounts: Accounts) -> Accounts:
    if accounts.enabled:
        return accounts
    root = accounts.users.get(ROOT)
    if root is None:
        raise AtollError(
            Code.CONFLICT, "authentication needs a user named root", reason=Reason.ROOT_USER_MISSING
        )
    if ROOT not in root.roles:
        raise AtollError(Code.CONFLICT, "user root needs role root first", reason=Reason.ROOT_ROLE_MISSING)
    return _next(accounts, enabled=True)


def ensure_enabled(accounts: Accounts, password: Password) -> Accounts:
    """Authentication on, whatever is there: a missing user root is made with ``password``, an existing one kept."""
    if ROOT not in accounts.users:
        accounts = add_user(accounts, ROOT, password)
    return enable(grant_role(accounts, ROOT, ROOT))


def disable(accounts: Accounts) -> Accounts:
    return _next(accounts, enabled=False) if accounts.enabled else accounts


def user(accounts: Accounts, name: str) -> User:
    found = accounts.users.get(name)
    if found is None:
        raise AtollError(Code.NOT_FOUND, f"there is no user {name!r}", reason=Reason.USER_NOT_FOUND)
    return found


def role(accounts: Accounts, name: str) -> Role:
    found = accounts.roles.get(name)
    if found is None:
        raise AtollError(Code.NOT_FOUND, f"there is no role {name!r}", reason=Reason.ROLE_NOT_FOUND)
    return found


def _same_range(permission: Permission, key: bytes, end: bytes) -> bool:
    return permission.key == key and permission.end == end


def _management(message: str) -> AtollError:
    return AtollError(Code.INVALID, message, reason=Reason.AUTH_MANAGEMENT)


def _without_role(found: User, role_name: str) -> User:
    roles = tuple(one for one in found.roles if one != role_name)
    return msgspec.structs.replace(found, roles=roles)


def _with_user(accounts: Accounts, changed: User) -> Accounts:
    return _next(accounts, users={**accounts.users, changed.name: changed})


def _with_role(accounts: Accounts, changed: Role) -> Accounts:
    return _next(accounts, roles={**accounts.roles, changed.name: changed})


def _without(table: Mapping[str, T], name: str) -> dict[str, T]:
    return {key: value for key, value in table.items() if key != name}


def _next(accounts: Accounts, **changes: object) -> Accounts:
    return msgspec.structs.replace(accounts, revision=accounts.revision + 1, **changes)
