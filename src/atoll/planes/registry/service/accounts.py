"""Users, roles and permissions as Nacos knows them: views of the one table of accounts, and logging in.

Rule: nothing is kept here; every change goes through ``store.accounts`` with its audit entry, whichever protocol asked for
it, so that an etcd user and a Nacos user of one name are one account. Who may call what was asked before (``guard``).

Nacos's ``ROLE_ADMIN`` is the table's role ``root``. A Nacos role is there once somebody has it; here it may also be there
without anybody. Hashing a password takes 50 ms and happens on another thread, bounded in number.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from atoll.access import accounts as changes
from atoll.access import grants, login_tokens, passwords
from atoll.access.grants import Glob
from atoll.access.throttle import Throttle
from atoll.errors import AtollError, Code, Reason
from atoll.planes.registry.service.guard import Credentials, Guard, Principal
from atoll.planes.registry.service.signing_keys import SigningKeys
from atoll.resources.accounts import Accounts as Table
from atoll.resources.accounts import Grant, Password
from atoll.resources.actor import Actor
from atoll.runtime import loop, rng
from atoll.runtime.clock import Clock
from atoll.store.accounts import AccountsTable, Change, Deed

ADMIN_ROLE = "ROLE_ADMIN"
ADMIN_NAME = "nacos"
TOKEN_TTL_S = 18_000.0
PASSWORD_REMEMBERED_S = 60.0
PASSWORD_CHARS_MAX = 1_024
NAME_CHARS_MAX = 512
HASHING_MAX = 64  # passwords being checked at a time; each takes 50 ms and 16 MiB of a thread
DRAWN_PASSWORD_BYTES = 12


class Login(msgspec.Struct, frozen=True):
    """What a user gets for the right password. ``ttl_s``: seconds that the token lives."""

    token: str
    ttl_s: int
    admin: bool
    user: str


class NewAdministrator(msgspec.Struct, frozen=True):
    """``password`` is told this once."""

    user: str
    password: str


class RoleOf(msgspec.Struct, frozen=True, order=True):
    role: str
    user: str


class Permission(msgspec.Struct, frozen=True, order=True):
    role: str
    resource: str
    action: str


class Imported(msgspec.Struct, frozen=True):
    """How much was taken over, and what was left out, each with its reason."""

    users: int
    roles: int
    permissions: int
    left_out: tuple[str, ...] = ()


class Accounts:
    """Lives on the event loop."""

    def __init__(
        self, table: AccountsTable, guard: Guard, keys: SigningKeys, clock: Clock, ttl_s: float = TOKEN_TTL_S
    ) -> None:
        self._table = table
        self._guard = guard
        self._keys = keys
        self._clock = clock
        self._ttl_s = ttl_s
        self._throttle = Throttle()
        self._hashing = 0

    # ---------------------------------------------------------------------------------------- logging in

    async def identify(self, credentials: Credentials) -> Principal:
        """Who calls. A token counts before a password. Raises DENIED, and EXHAUSTED after too many wrong passwords."""
        if credentials.token or not credentials.username or not self._guard.enabled:
            return self._guard.principal_of(credentials.token)
        name, password = credentials.username, credentials.password
        if not self._guard.remembers(name, password):
            await self._check(credentials)
            self._guard.remember(name, password, PASSWORD_REMEMBERED_S)
        return Principal(name)

    async def login(self, credentials: Credentials) -> Login:
        """A token for the right password, whether authentication is on or not. Raises as ``identify`` does."""
        await self._check(credentials)
        return self._issue(credentials.username)

    def refresh(self, principal: Principal) -> Login:
        """A new token for somebody who has one that is still good."""
        if not principal.name:
            raise AtollError(Code.DENIED, "only a user's token can be renewed", reason=Reason.INVALID_TOKEN)
        return self._issue(principal.name)

    async def rotate_keys(self, actor: Actor, at_once: bool = False) -> None:
        """Sign tokens with a fresh key; ``at_once`` ends those that are out."""
        await self._keys.rotate(actor, at_once)

    def _issue(self, name: str) -> Login:
        user = changes.user(self._table.accounts, name)
        expires_s = self._clock.wall_s() + self._ttl_s
        token = login_tokens.issue(self._keys.keys[0], user, expires_s)
        return Login(token, int(self._ttl_s), changes.ROOT in user.roles, name)

    async def _check(self, credentials: Credentials) -> None:
        """Raises DENIED for wrong credentials. Accounts that changed meanwhile are asked again."""
        name, address = credentials.username, credentials.address
        self._throttle.check(name, address, self._clock.now_s())
        if len(credentials.password) > PASSWORD_CHARS_MAX:
            raise AtollError(Code.DENIED, "wrong user name or password", reason=Reason.INVALID_CREDENTIALS)
        if self._hashing >= HASHING_MAX:
            text = f"{HASHING_MAX} passwords are being checked; try again"
            raise AtollError(
                Code.EXHAUSTED, text, reason=Reason.RATE_LIMITED, retry_after_s=1.0, facts={"point": "login"}
            )
        self._hashing += 1
        try:
            while True:
                accounts = self._table.accounts
                await loop.in_thread(passwords.check, accounts, name, credentials.password)
                if accounts is self._table.accounts:
                    break
        except AtollError:
            self._throttle.failed(name, address, self._clock.now_s())
            raise
        finally:
            self._hashing -= 1
        self._throttle.succeeded(name, address)
        if accounts.users[name].bcrypt:
            await self._rehash(name, credentials)

    async def _rehash(self, name: str, credentials: Credentials) -> None:
        """Put an own hash in the place of an imported one. What the store refuses is tried at the next login."""
        imported = self._table.accounts.users[name].bcrypt
        password = await _hashed(credentials.password)

        def change(accounts: Table) -> Table:
            user = accounts.users.get(name)
            same = user is not None and user.bcrypt == imported
            return changes.change_password(accounts, name, password) if same else accounts

        deed = Deed(Actor(user=name, address=credentials.address, via="login"), "user.rehash", name)
        try:
            await self._table.change(change, deed)
        except AtollError as error:
            if error.code is not Code.UNAVAILABLE:
                raise

    # ------------------------------------------------------------------------------- the first administrator

    def has_administrator(self) -> bool:
        """Whether anybody but the node's own root is an administrator."""
        users = self._table.accounts.users.values()
        return any(changes.ROOT in user.roles for user in users if user.name != changes.ROOT)

    async def create_first_administrator(
        self, actor: Actor, password: str, from_loopback: bool
    ) -> NewAdministrator:
        """User ``nacos`` with the given password, or one that is drawn. Once: CONFLICT afterwards. Only from this machine:
        over a network, whoever came first would own the registry.
        """
        if self.has_administrator():
            raise _administrator_there()
        if not from_loopback:
            text = "the first administrator is made from the node's own machine, or by user root"
            raise AtollError(Code.DENIED, text, reason=Reason.PERMISSION_DENIED)
        given = password or rng.new_token(DRAWN_PASSWORD_BYTES)
        hashed = await _hashed(given)

        def change(accounts: Table) -> Table:
            if self.has_administrator():
                raise _administrator_there()
            if ADMIN_NAME in accounts.users:
                accounts = changes.change_password(accounts, ADMIN_NAME, hashed)
            else:
                accounts = changes.add_user(accounts, ADMIN_NAME, hashed)
            return changes.grant_role(accounts, ADMIN_NAME, changes.ROOT)

        await self._table.change(change, Deed(actor, "user.first-administrator", ADMIN_NAME))
        return NewAdministrator(ADMIN_NAME, given)

    # ------------------------------------------------------------------------------------------------ users

    def users(self, name: str = "", blur: bool = False) -> list[str]:
        """Names in order; ``name`` empty: all; ``blur``: ``*`` in it stands for any text."""
        return [found for found in sorted(self._table.accounts.users) if _fits(found, name, blur)]

    def roles_of(self, name: str) -> list[str]:
        """Raises NOT_FOUND."""
        return [_nacos_role(role) for role in changes.user(self._table.accounts, name).roles]

    async def create_user(self, actor: Actor, name: str, password: str) -> None:
        """Raises CONFLICT for one that is there; ``nacos`` is made by ``create_first_administrator`` only."""
        _check_name("username", name)
        if name == ADMIN_NAME:
            text = f"user {ADMIN_NAME!r} is made as the first administrator only"
            raise AtollError(Code.CONFLICT, text, reason=Reason.USER_EXISTS)
        if name in self._table.accounts.users:
            changes.add_user(
                self._table.accounts, name, None
            )  # says that it is there, before 50 ms of hashing
        hashed = await _hashed(password)
        await self._change(actor, "user.create", name, lambda table: changes.add_user(table, name, hashed))

    async def change_password(self, actor: Actor, name: str, password: str) -> None:
        """Ends the user's tokens. Raises NOT_FOUND."""
        changes.user(self._table.accounts, name)
        hashed = await _hashed(password)
        await self._change(
            actor, "user.password", name, lambda table: changes.change_password(table, name, hashed)
        )

    async def delete_user(self, actor: Actor, name: str) -> None:
        """Ends the user's tokens. Raises NOT_FOUND."""
        await self._change(actor, "user.delete", name, lambda table: changes.delete_user(table, name))

    # ------------------------------------------------------------------------------------------------ roles

    def roles(self, user: str = "", role: str = "", blur: bool = False) -> list[RoleOf]:
        """Who has which role, by role; arguments as in ``users``."""
        found = [
            RoleOf(_nacos_role(each), name)
            for name, account in self._table.accounts.users.items()
            for each in account.roles
        ]
        return sorted(one for one in found if _fits(one.user, user, blur) and _fits(one.role, role, blur))

    def role_names(self) -> list[str]:
        """Every role, also those that nobody has."""
        accounts = self._table.accounts
        return sorted({*map(_nacos_role, accounts.roles), *(one.role for one in self.roles())})

    async def add_role(self, actor: Actor, role: str, user: str) -> None:
        """Give ``user`` a role, which is made where there is none. Raises NOT_FOUND for no such user."""
        _check_name("role", role)
        name = _table_role(role)

        def change(table: Table) -> Table:
            changes.user(table, user)
            if name != changes.ROOT and name not in table.roles:
                table = changes.add_role(table, name)
            return changes.grant_role(table, user, name)

        await self._change(actor, "role.grant", f"{role} {user}", change)

    async def delete_role(self, actor: Actor, role: str, user: str = "") -> None:
        """Take a role from ``user``, or from everybody, with all its permissions. What is not there is gone already."""
        name = _table_role(role)

        def change(table: Table) -> Table:
            if user:
                found = table.users.get(user)
                has = found is not None and name in found.roles
                return changes.revoke_role(table, user, name) if has else table
            return changes.delete_role(table, name) if name in table.roles else _without_anybody(table, name)

        await self._change(actor, "role.revoke" if user else "role.delete", f"{role} {user}".strip(), change)

    # ------------------------------------------------------------------------------------------ permissions

    def permissions(self, role: str = "", blur: bool = False) -> list[Permission]:
        """What roles may do with services and configurations; arguments as in ``users``."""
        found = [
            Permission(name, grant.resource, grant.action)
            for name, each in self._table.accounts.roles.items()
            for grant in each.grants
        ]
        return sorted(one for one in found if _fits(one.role, role, blur))

    async def add_permission(self, actor: Actor, permission: Permission) -> None:
        """Raises INVALID for a resource or an action that is none, NOT_FOUND for no such role."""
        grants.check_grant(permission.resource, permission.action)
        if permission.role == ADMIN_ROLE:
            raise AtollError(
                Code.INVALID, f"{ADMIN_ROLE} may do everything already", reason=Reason.PARAMETER_INVALID
            )
        grant = Grant(permission.resource, permission.action)
        await self._change(
            actor,
            "permission.add",
            _subject(permission),
            lambda table: changes.grant_resource(table, permission.role, grant),
        )

    async def delete_permission(self, actor: Actor, permission: Permission) -> None:
        """What is not there is gone already."""
        grant = Grant(permission.resource, permission.action)

        def change(table: Table) -> Table:
            role = table.roles.get(permission.role)
            has = role is not None and grant in role.grants
            return changes.revoke_resource(table, permission.role, grant) if has else table

        await self._change(actor, "permission.delete", _subject(permission), change)

    # ----------------------------------------------------------------------------------------------- import

    async def take_over(
        self,
        actor: Actor,
        users: Sequence[tuple[str, str]],
        roles: Sequence[RoleOf],
        permissions: Sequence[Permission],
    ) -> Imported:
        """All of a Nacos database's accounts in one change: ``users`` are names with bcrypt hashes (empty: the account
        cannot log in). What is there already stays as it is.
        """
        taken = _TakeOver()

        def change(table: Table) -> Table:
            taken.reset()
            return taken.change(table, users, roles, permissions)

        await self._change(actor, "accounts.import", "accounts", change)
        users_taken, roles_taken, permissions_taken = taken.counts
        return Imported(users_taken, roles_taken, permissions_taken, tuple(taken.left_out))

    async def _change(self, actor: Actor, action: str, subject: str, change: Change) -> None:
        await self._table.change(change, Deed(actor, action, subject))


class _TakeOver:
    """The change of an import, and what it counted."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.counts = [0, 0, 0]  # users, roles, permissions
        self.left_out: list[str] = []

    def change(
        self,
        table: Table,
        users: Iterable[tuple[str, str]],
        roles: Iterable[RoleOf],
        permissions: Iterable[Permission],
    ) -> Table:
        for name, bcrypt in users:
            table = self._try(table, 0, f"user {name}", _import_user(name, bcrypt))
        for each in roles:
            table = self._try(table, 1, f"role {each.role} of {each.user}", _import_role(each))
        for one in permissions:
            table = self._try(table, 2, f"permission {_subject(one)}", _import_permission(one))
        return table

    def _try(self, table: Table, kind: int, what: str, change: Change) -> Table:
        try:
            after = change(table)
        except AtollError as error:
            self.left_out.append(f"{what}: {error.message}")
            return table
        self.counts[kind] += after is not table
        return after


def _import_user(name: str, bcrypt: str) -> Change:
    def change(table: Table) -> Table:
        return changes.import_user(table, name, bcrypt) if bcrypt else changes.add_user(table, name, None)

    return change


def _import_role(one: RoleOf) -> Change:
    def change(table: Table) -> Table:
        changes.user(table, one.user)
        name = _table_role(one.role)
        if name != changes.ROOT and name not in table.roles:
            table = changes.add_role(table, name)
        return changes.grant_role(table, one.user, name)

    return change


def _import_permission(one: Permission) -> Change:
    def change(table: Table) -> Table:
        grants.check_grant(one.resource, one.action)
        if one.role == ADMIN_ROLE:
            return table
        if one.role not in table.roles:
            table = changes.add_role(table, one.role)
        return changes.grant_resource(table, one.role, Grant(one.resource, one.action))

    return change


def _without_anybody(table: Table, role: str) -> Table:
    """Role root without an entry among the roles: taken from everybody but root."""
    for name, user in table.users.items():
        if role in user.roles and name != changes.ROOT:
            table = changes.revoke_role(table, name, role)
    return table


def _table_role(role: str) -> str:
    return changes.ROOT if role == ADMIN_ROLE else role


def _nacos_role(role: str) -> str:
    return ADMIN_ROLE if role == changes.ROOT else role


def _fits(text: str, wanted: str, blur: bool) -> bool:
    return not wanted or (Glob(wanted).matches(text) if blur else text == wanted)


def _subject(permission: Permission) -> str:
    return f"{permission.role} {permission.action} {permission.resource}"


def _check_name(parameter: str, name: str) -> None:
    if not name or len(name) > NAME_CHARS_MAX or not name.isprintable():
        raise AtollError(
            Code.INVALID,
            f"{parameter} must have 1 to {NAME_CHARS_MAX} printable characters",
            reason=Reason.PARAMETER_INVALID,
            facts={"parameter": parameter},
        )


def _administrator_there() -> AtollError:
    return AtollError(Code.CONFLICT, "have admin user cannot use it", reason=Reason.USER_EXISTS)


async def _hashed(password: str) -> Password:
    if not 1 <= len(password) <= PASSWORD_CHARS_MAX:
        raise AtollError(
            Code.INVALID,
            f"a password has 1 to {PASSWORD_CHARS_MAX} characters",
            reason=Reason.PARAMETER_INVALID,
            facts={"parameter": "password"},
        )
    return await loop.in_thread(passwords.hashed, password, rng.new_salt(passwords.SALT_BYTES))
