"""What a user may do with services and configurations: resources, the patterns that name many, and their check.

One rule: a pattern is taken apart before it is compared, part by part, so that no name can be spelled so that it
reaches into another part (a group named ``a:config/b`` is a group, never a data id). ``*`` stands for any text
within its part; nothing else is special.

The written forms are Nacos's: ``NAMESPACE:GROUP:config/DATA_ID``, ``NAMESPACE:GROUP:naming/SERVICE``, ``*`` for any
part, an empty namespace for ``public``, and ``console/users`` and its like. Role ``root`` of the accounts is Nacos's
``ROLE_ADMIN``: it may do everything and needs no grant.

The doubt: a pattern that ends early (``NS:*``) grants all of the namespace, as Nacos's own matching does.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from atoll.access.accounts import ROOT
from atoll.errors import AtollError, Code, Reason
from atoll.resources.accounts import Accounts, Grant

READ = "r"
WRITE = "w"
ACTIONS = ("r", "w", "rw")
CONFIG = "config"
NAMING = "naming"
CONSOLE = "console"
DEFAULT_NAMESPACE = "public"
RESOURCE_CHARS_MAX = 1_024

ADMINS_ONLY = frozenset({"users", "roles", "permissions"})
"""Console resources that would let their holder grant itself anything: no grant opens them, only the role."""

_DEFAULT_SPELLINGS = ("", "null", DEFAULT_NAMESPACE)


class Resource(msgspec.Struct, frozen=True):
    """One thing that is asked for. ``kind`` is ``config``, ``naming`` or ``console`` (which has no namespace)."""

    kind: str
    namespace: str = ""
    group: str = ""
    name: str = ""

    def __str__(self) -> str:
        if self.kind == CONSOLE:
            return f"{CONSOLE}/{self.name}"
        return f"{self.namespace}:{self.group}:{self.kind}/{self.name}"


def config(namespace: str, group: str, data_id: str) -> Resource:
    return Resource(CONFIG, namespace_of(namespace), group, data_id)


def service(namespace: str, group: str, name: str) -> Resource:
    return Resource(NAMING, namespace_of(namespace), group, name)


def console(name: str) -> Resource:
    """``namespaces``, ``users``, ``roles``, ``permissions``, ``operations`` ..."""
    return Resource(CONSOLE, name=name)


def namespace_of(spelled: str) -> str:
    """The one spelling of a namespace that permissions are compared in."""
    return DEFAULT_NAMESPACE if spelled in _DEFAULT_SPELLINGS else spelled


def parse_pattern(text: str) -> Resource:
    """The pattern ``text`` taken apart; each part may hold ``*``. Raises INVALID."""
    if not text or len(text) > RESOURCE_CHARS_MAX:
        raise _wrong(text)
    if text == "*":
        return Resource("*", "*", "*", "*")
    if text.startswith(f"{CONSOLE}/") and ":" not in text:
        return console(text.removeprefix(f"{CONSOLE}/"))
    namespace, colon, rest = text.partition(":")
    if not colon or not rest:
        raise _wrong(text)
    if rest == "*":
        return Resource("*", namespace_of(namespace), "*", "*")
    head, slash, name = rest.partition("/")
    group, colon, kind = head.rpartition(":")
    if not slash:
        name = "*"
        if kind != "*":
            raise _wrong(text)
    if not colon or not group or not name or kind not in (CONFIG, NAMING, "*"):
        raise _wrong(text)
    return Resource(kind, namespace_of(namespace), group, name)


def check_grant(resource: str, action: str) -> None:
    """Raises INVALID for what cannot be granted."""
    parse_pattern(resource)
    if action not in ACTIONS:
        raise AtollError(
            Code.INVALID,
            f"action {action!r} is none; expected one of {', '.join(ACTIONS)}",
            reason=Reason.PARAMETER_INVALID,
            facts={"parameter": "action"},
        )


class Permissions:
    """What one user may do, made for asking often. ``admin``: everything."""

    def __init__(self, grants: Iterable[Grant], admin: bool = False) -> None:
        self.admin = admin
        self._read, self._write = _Patterns(), _Patterns()
        for grant in grants:
            if READ in grant.action:
                self._read.add(grant.resource)
            if WRITE in grant.action:
                self._write.add(grant.resource)

    def allows(self, resource: Resource, action: str) -> bool:
        if self.admin:
            return True
        if resource.kind == CONSOLE and resource.name in ADMINS_ONLY:
            return False
        return (action == READ and self._read.match(resource)) or (
            action == WRITE and self._write.match(resource)
        )


def permissions_of(accounts: Accounts, name: str) -> Permissions:
    """What user ``name`` may do; nothing for a name without an account."""
    user = accounts.users.get(name)
    if user is None:
        return Permissions(())
    roles = [accounts.roles[role] for role in user.roles if role in accounts.roles]
    return Permissions((grant for role in roles for grant in role.grants), ROOT in user.roles)


class _Patterns:
    def __init__(self) -> None:
        self._console: list[Glob] = []
        self._others: list[tuple[str, Glob, Glob, Glob]] = []

    def add(self, text: str) -> None:
        pattern = parse_pattern(text)
        if pattern.kind == CONSOLE:
            self._console.append(Glob(pattern.name))
        else:
            parts = Glob(pattern.namespace), Glob(pattern.group), Glob(pattern.name)
            self._others.append((pattern.kind, *parts))

    def match(self, resource: Resource) -> bool:
        if resource.kind == CONSOLE:
            return any(pattern.matches(resource.name) for pattern in self._console)
        return any(
            kind in ("*", resource.kind)
            and namespace.matches(resource.namespace)
            and group.matches(resource.group)
            and name.matches(resource.name)
            for kind, namespace, group, name in self._others
        )


class Glob:
    """A text in which ``*`` stands for any text. Linear: each piece is looked for once, leftmost first."""

    def __init__(self, text: str) -> None:
        self._first, *rest = text.split("*")
        self._exact = not rest
        self._middle, self._last = [piece for piece in rest[:-1] if piece], rest[-1] if rest else ""

    def matches(self, text: str) -> bool:
        if self._exact:
            return text == self._first
        at, end = len(self._first), len(text) - len(self._last)
        if at > end or not text.startswith(self._first) or not text.endswith(self._last):
            return False
        for piece in self._middle:
            found = text.find(piece, at, end)
            if found < 0:
                return False
            at = found + len(piece)
        return True


def _wrong(text: str) -> AtollError:
    return AtollError(
        Code.INVALID,
        f"resource {text[:80]!r} is none; expected NAMESPACE:GROUP:config/DATA_ID, NAMESPACE:GROUP:naming/SERVICE, "
        f"* in place of any part, or console/NAME, in at most {RESOURCE_CHARS_MAX} characters",
        reason=Reason.PARAMETER_INVALID,
        facts={"parameter": "resource"},
    )
