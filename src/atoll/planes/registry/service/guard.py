"""Who calls, and may they: the registry's one door to ``access``.

Rule: a frontend asks once per request, before anything is decided, and again before a push: permissions are those of now,
not those of the moment in which somebody subscribed. Without authentication every question is answered by one flag.

    principal = await accounts.identify(Credentials(token=..., address=...))  # or guard.principal_of(token)
    guard.require(principal, grants.config(namespace, group, data_id), "r")
    if guard.allows(principal, grants.service(namespace, group, name), "r"): ...push...

Nothing but credentials counts: no header, path or address makes a caller trusted.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable

import msgspec

from atoll.access.grants import Permissions, Resource, permissions_of
from atoll.access.login_tokens import Claims, SigningKey, read
from atoll.errors import AtollError, Code, Reason
from atoll.resources.accounts import Accounts
from atoll.runtime import rng
from atoll.runtime.clock import Clock

KEPT_TOKENS_MAX = 20_000  # tokens whose signature was checked; past it all are checked again
KEPT_USERS_MAX = 10_000
KEPT_ANSWERS_MAX = 1_000  # of one user


class Principal(msgspec.Struct, frozen=True):
    """Somebody. ``name`` empty: showed no credentials. ``operator``: showed the node's own token instead of a user's."""

    name: str = ""
    operator: bool = False


NOBODY = Principal()
OPERATOR = Principal(operator=True)


class Credentials(msgspec.Struct, frozen=True):
    """What a request carries: a token from wherever its protocol has it, or a user name and password."""

    token: str = ""
    username: str = ""
    password: str = ""
    address: str = ""

    def __repr__(self) -> str:
        return f"Credentials(username={self.username!r}, address={self.address!r})"


class Guard:
    """Lives on the event loop."""

    def __init__(self, clock: Clock, keys: Callable[[], tuple[SigningKey, ...]]) -> None:
        self._clock = clock
        self._keys = keys
        self._accounts = Accounts()
        self._tokens: dict[str, Claims] = {}
        self._users: dict[str, _Known] = {}
        self._passwords: dict[bytes, float] = {}
        self._pepper = rng.new_salt(32)

    @property
    def enabled(self) -> bool:
        return self._accounts.enabled

    def take(self, accounts: Accounts) -> None:
        """The accounts in force from now on: whatever was worked out from others is forgotten."""
        self._accounts = accounts
        self.forget()

    def forget(self) -> None:
        """Check every token anew, after a signing key was added or removed."""
        self._tokens.clear()
        self._users.clear()
        self._passwords.clear()

    # ------------------------------------------------------------------------------------------- who

    def principal_of(self, token: str) -> Principal:
        """Whom ``token`` stands for; nobody without one. Raises DENIED / INVALID_TOKEN where authentication is on."""
        if not token or not self._accounts.enabled:
            return NOBODY
        now_s = self._clock.wall_s()
        claims = self._tokens.get(token)
        if claims is None or claims.expires_s <= now_s:
            claims = read(token, self._keys(), self._accounts, now_s)
            if len(self._tokens) >= KEPT_TOKENS_MAX:
                self._tokens.clear()
            self._tokens[token] = claims
        return Principal(claims.user)

    def remembers(self, name: str, password: str) -> bool:
        """Whether this password was found right within the last minute, and nothing changed since."""
        until_s = self._passwords.get(self._digest(name, password))
        return until_s is not None and until_s > self._clock.now_s()

    def remember(self, name: str, password: str, for_s: float) -> None:
        if len(self._passwords) >= KEPT_USERS_MAX:
            self._passwords.clear()
        self._passwords[self._digest(name, password)] = self._clock.now_s() + for_s

    # ------------------------------------------------------------------------------------------- may they

    def allows(self, principal: Principal, resource: Resource, action: str) -> bool:
        """``action`` is ``r`` or ``w``."""
        if not self._accounts.enabled or principal.operator:
            return True
        return bool(principal.name) and self._known(principal.name).allows(resource, action)

    def require(self, principal: Principal, resource: Resource, action: str) -> None:
        """Raises DENIED: PERMISSION_DENIED for somebody known, INVALID_TOKEN for nobody."""
        if not self.allows(principal, resource, action):
            self.require_known(principal)
            text = f"authorization failed! user {principal.name!r} lacks {action} on {resource}"
            raise AtollError(Code.DENIED, text, reason=Reason.PERMISSION_DENIED)

    def require_known(self, principal: Principal) -> None:
        """Any account will do."""
        if self._accounts.enabled and not principal.name and not principal.operator:
            raise AtollError(Code.DENIED, "user not found!", reason=Reason.INVALID_TOKEN)

    def is_admin(self, principal: Principal) -> bool:
        if not self._accounts.enabled or principal.operator:
            return True
        return bool(principal.name) and self._known(principal.name).permissions.admin

    def require_admin(self, principal: Principal) -> None:
        """The role root, which Nacos calls ROLE_ADMIN."""
        self.require_known(principal)
        if not self.is_admin(principal):
            text = f"authorization failed! user {principal.name!r} does not have role ROLE_ADMIN"
            raise AtollError(Code.DENIED, text, reason=Reason.PERMISSION_DENIED)

    def require_own_or_admin(self, principal: Principal, name: str) -> None:
        """To change the password of user ``name``: that user, or an admin."""
        if not principal.name or principal.name != name:
            self.require_admin(principal)

    def _known(self, name: str) -> _Known:
        known = self._users.get(name)
        if known is None:
            if len(self._users) >= KEPT_USERS_MAX:
                self._users.clear()
            known = self._users[name] = _Known(permissions_of(self._accounts, name))
        return known

    def _digest(self, name: str, password: str) -> bytes:
        text = f"{len(name)}:{name}{password}".encode("utf-8", "surrogatepass")
        return hmac.new(self._pepper, text, hashlib.sha256).digest()


class _Known:
    """One user's permissions, and the newest answers that were drawn from them."""

    def __init__(self, permissions: Permissions) -> None:
        self.permissions = permissions
        self._answers: dict[tuple[Resource, str], bool] = {}

    def allows(self, resource: Resource, action: str) -> bool:
        if self.permissions.admin:
            return True
        question = (resource, action)
        answer = self._answers.get(question)
        if answer is None:
            if len(self._answers) >= KEPT_ANSWERS_MAX:
                self._answers.clear()
            answer = self._answers[question] = self.permissions.allows(resource, action)
        return answer
