"""May this user do that? The one place where a request on the store's data is allowed or refused.

One rule: a check returns None or raises ``AtollError`` DENIED; it looks at the whole request, both branches and
all nested transactions of a transaction included, before any of it is decided. Order and outcome of the checks
are etcd 3.4's, with three deliberate differences, each a hole in 3.4.23 that later releases closed or that lets
somebody without any account do harm: inside transactions ``prev_kv`` and the keys of a put's lease are checked
like outside, nested transactions are checked at all, and the keys of a lease are shown to readers of them only.

A name is what a token stood for; the empty name is somebody who showed no token.
The doubt: the keys of a lease are read before the put that joins them, so a key that joins in between is missed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from atoll.access.accounts import ROOT
from atoll.access.ranges import KeySet, interval
from atoll.errors import AtollError, Code, Reason
from atoll.resources.accounts import Accounts, Right


class Use(NamedTuple):
    """One use of the range ``[key, end)`` that a request asks for."""

    key: bytes
    end: bytes
    right: Right


class _Grants(NamedTuple):
    read: KeySet
    write: KeySet


class Authority:
    """The accounts in force, and what each user may do, worked out at first use. Replace it when they change."""

    def __init__(self, accounts: Accounts) -> None:
        self.accounts = accounts
        self.enabled = accounts.enabled
        self._grants: dict[str, _Grants] = {}

    def is_admin(self, name: str) -> bool:
        """True for role root, and for everybody while authentication is off."""
        if not self.enabled:
            return True
        found = self.accounts.users.get(name)
        return found is not None and ROOT in found.roles

    def require_known(self, name: str) -> None:
        """Somebody with an account, whatever their roles."""
        if self.enabled and not name:
            raise AtollError(
                Code.DENIED, "authentication is on: log in and send the token", reason=Reason.USER_EMPTY
            )

    def require_admin(self, name: str) -> None:
        self.require_known(name)
        if not self.is_admin(name):
            raise _denied(name)

    def require(self, name: str, uses: Iterable[Use]) -> None:
        """Every one of ``uses``, in order; the first that is not allowed is what the error is about."""
        if not self.enabled:
            return
        grants: _Grants | None = None
        for use in uses:
            if grants is None:
                self.require_known(name)
                if self.is_admin(name):
                    return
                grants = self._grants_of(name)
            if use.right != Right.WRITE and not grants.read.covers(use.key, use.end):
                raise _denied(name)
            if use.right != Right.READ and not grants.write.covers(use.key, use.end):
                raise _denied(name)

    def require_own_or_admin(self, name: str, user_name: str) -> None:
        """To look at user ``user_name``: that user, or an admin."""
        if name != user_name:
            self.require_admin(name)

    def require_role_or_admin(self, name: str, role_name: str) -> None:
        """To look at role ``role_name``: a user that has it, or an admin."""
        found = self.accounts.users.get(name)
        if found is None or role_name not in found.roles:
            self.require_admin(name)

    def _grants_of(self, name: str) -> _Grants:
        grants = self._grants.get(name)
        if grants is None:
            grants = self._grants[name] = _grants(self.accounts, name)
        return grants


def _grants(accounts: Accounts, name: str) -> _Grants:
    found = accounts.users.get(name)
    roles = [accounts.roles[role] for role in (found.roles if found else ()) if role in accounts.roles]
    permissions = [permission for role in roles for permission in role.permissions]

    def covered(*rights: Right) -> KeySet:
        return KeySet(interval(one.key, one.end) for one in permissions if one.right in rights)

    return _Grants(covered(Right.READ, Right.READWRITE), covered(Right.WRITE, Right.READWRITE))


def _denied(name: str) -> AtollError:
    return AtollError(
        Code.DENIED, f"user {name!r} lacks permission for this", reason=Reason.PERMISSION_DENIED
    )
