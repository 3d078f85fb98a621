"""Accounts, permissions, passwords and tokens: every rule once, by example."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from atoll.access import accounts as changes
from atoll.access import passwords
from atoll.access.checks import Authority, Use
from atoll.access.tokens import Tokens
from atoll.errors import AtollError, Code, Reason
from atoll.resources import accounts as nouns
from atoll.resources.accounts import Accounts, Permission, Right

SECRET = passwords.hashed("secret", b"0123456789abcdef")


def with_root() -> Accounts:
    """Root, and alice who reads [b, d) and c2, writes [d, f) and may do both at x."""
    accounts = changes.add_user(Accounts(), "root", SECRET)
    accounts = changes.grant_role(accounts, "root", "root")
    accounts = changes.add_user(accounts, "alice", SECRET)
    accounts = changes.add_role(accounts, "r1")
    for permission in (
        Permission(b"b", b"d", Right.READ),
        Permission(b"d", b"f", Right.WRITE),
        Permission(b"x", b"", Right.READWRITE),
        Permission(b"z", b"b", Right.READ),  # backwards: grants nothing
        Permission(b"9", b"", 9),  # no right that this release knows: grants nothing
    ):
        accounts = changes.grant_permission(accounts, "r1", permission)
    return changes.grant_role(accounts, "alice", "r1")


def refused(reason: Reason, change: Callable[[], object]) -> None:
    with pytest.raises(AtollError) as caught:
        change()
    assert caught.value.reason is reason


REFUSALS: list[tuple[str, Reason, Callable[[Accounts], object]]] = [
    ("user without a name", Reason.USER_EMPTY, lambda a: changes.add_user(a, "", SECRET)),
    ("user twice", Reason.USER_EXISTS, lambda a: changes.add_user(a, "alice", SECRET)),
    ("delete no user", Reason.USER_NOT_FOUND, lambda a: changes.delete_user(a, "nobody")),
    ("password of no user", Reason.USER_NOT_FOUND, lambda a: changes.change_password(a, "nobody", SECRET)),
    ("role to no user", Reason.USER_NOT_FOUND, lambda a: changes.grant_role(a, "nobody", "none")),
    ("no role to a user", Reason.ROLE_NOT_FOUND, lambda a: changes.grant_role(a, "alice", "none")),
    ("revoke what is not had", Reason.ROLE_NOT_GRANTED, lambda a: changes.revoke_role(a, "alice", "root")),
    ("role without a name", Reason.ROLE_EMPTY, lambda a: changes.add_role(a, "")),
    ("role twice", Reason.ROLE_EXISTS, lambda a: changes.add_role(a, "r1")),
    ("delete no role", Reason.ROLE_NOT_FOUND, lambda a: changes.delete_role(a, "none")),
    (
        "permission to no role",
        Reason.ROLE_NOT_FOUND,
        lambda a: changes.grant_permission(a, "none", Permission(b"a")),
    ),
    (
        "revoke no permission",
        Reason.PERMISSION_NOT_GRANTED,
        lambda a: changes.revoke_permission(a, "r1", b"b", b"c"),
    ),
]


@pytest.mark.parametrize(
    ("reason", "change"), [row[1:] for row in REFUSALS], ids=[row[0] for row in REFUSALS]
)
def test_a_wrong_change_is_refused_with_its_reason(
    reason: Reason, change: Callable[[Accounts], object]
) -> None:
    accounts = with_root()
    refused(reason, lambda: change(accounts))


@pytest.mark.parametrize(
    "change",
    [
        lambda a: changes.delete_user(a, "root"),
        lambda a: changes.revoke_role(a, "root", "root"),
        lambda a: changes.delete_role(a, "root"),
    ],
    ids=["delete root", "revoke root's role", "delete role root"],
)
def test_root_cannot_be_lost_while_authentication_is_on(change: Callable[[Accounts], Accounts]) -> None:
    accounts = changes.add_role(with_root(), "root")
    refused(Reason.AUTH_MANAGEMENT, lambda: change(changes.enable(accounts)))
    assert change(accounts).revision == accounts.revision + 1


def test_authentication_needs_root_with_its_role() -> None:
    refused(Reason.ROOT_USER_MISSING, lambda: changes.enable(Accounts()))
    no_role = changes.add_user(Accounts(), "root", SECRET)
    refused(Reason.ROOT_ROLE_MISSING, lambda: changes.enable(no_role))
    on = changes.enable(changes.grant_role(no_role, "root", "root"))
    assert on.enabled and changes.enable(on) is on
    off = changes.disable(on)
    assert not off.enabled and changes.disable(off) is off


def test_deleting_a_role_takes_it_from_its_users() -> None:
    accounts = changes.delete_role(with_root(), "r1")
    assert accounts.users["alice"].roles == () and "r1" not in accounts.roles


def test_a_permission_on_the_same_range_is_replaced() -> None:
    accounts = changes.grant_permission(with_root(), "r1", Permission(b"x", b"", Right.READ))
    assert [one.right for one in accounts.roles["r1"].permissions if one.key == b"x"] == [Right.READ]
    assert changes.revoke_permission(accounts, "r1", b"x", b"").roles["r1"].permissions == tuple(
        one for one in accounts.roles["r1"].permissions if one.key != b"x"
    )


ALLOWED = {
    "read a key": Use(b"b", b"", Right.READ),
    "read all of a range": Use(b"b", b"d", Right.READ),
    "read nothing": Use(b"b", b"b", Right.READ),
    "write across": Use(b"d", b"e9", Right.WRITE),
    "read and write": Use(b"x", b"", Right.READWRITE),
    "a range of one key": Use(b"x", b"x\0", Right.READ),
}
DENIED = {
    "read past the end": Use(b"b", b"d\0", Right.READ),
    "read from before": Use(b"a", b"c", Right.READ),
    "write what is read": Use(b"b", b"", Right.WRITE),
    "read what is written": Use(b"d", b"", Right.READ),
    "read and write what is written": Use(b"d", b"", Right.READWRITE),
    "backwards": Use(b"d", b"b", Right.READ),
    "to the end of all": Use(b"x", b"\0", Right.READ),
    "a backwards permission": Use(b"z", b"", Right.READ),
    "an unknown right": Use(b"9", b"", Right.READ),
}


@pytest.mark.parametrize("use", ALLOWED.values(), ids=ALLOWED)
def test_allowed(use: Use) -> None:
    Authority(changes.enable(with_root())).require("alice", [use])


@pytest.mark.parametrize("use", DENIED.values(), ids=DENIED)
def test_denied(use: Use) -> None:
    on = Authority(changes.enable(with_root()))
    refused(Reason.PERMISSION_DENIED, lambda: on.require("alice", [ALLOWED["read a key"], use]))
    refused(Reason.USER_EMPTY, lambda: on.require("", [use]))
    refused(Reason.PERMISSION_DENIED, lambda: on.require("gone", [use]))
    on.require("root", [use])
    Authority(with_root()).require("", [use])  # authentication is off


def test_accounts_are_for_admins_and_for_their_own_eyes() -> None:
    on = Authority(changes.enable(with_root()))
    on.require_own_or_admin("alice", "alice")
    on.require_role_or_admin("alice", "r1")
    on.require_admin("root")
    refused(Reason.PERMISSION_DENIED, lambda: on.require_own_or_admin("alice", "root"))
    refused(Reason.PERMISSION_DENIED, lambda: on.require_role_or_admin("alice", "root"))
    refused(Reason.PERMISSION_DENIED, lambda: on.require_admin("alice"))
    refused(Reason.USER_EMPTY, lambda: on.require_admin(""))


def test_logging_in() -> None:
    on = changes.enable(changes.add_user(with_root(), "robot", None))
    passwords.verify(on, "alice", "secret")
    refused(Reason.INVALID_CREDENTIALS, lambda: passwords.verify(on, "alice", "Secret"))
    refused(Reason.INVALID_CREDENTIALS, lambda: passwords.verify(on, "nobody", ""))
    refused(Reason.USER_WITHOUT_PASSWORD, lambda: passwords.verify(on, "robot", ""))
    refused(Reason.AUTH_NOT_ENABLED, lambda: passwords.verify(with_root(), "alice", "secret"))


def test_a_token_lives_from_its_last_use() -> None:
    tokens = Tokens(ttl_s=10)
    tokens.add("t", "alice", now_s=0)
    assert tokens.user_of("t", now_s=9) == "alice"
    assert tokens.user_of("t", now_s=18) == "alice"
    refused(Reason.INVALID_TOKEN, lambda: tokens.user_of("t", now_s=28))
    refused(Reason.INVALID_TOKEN, lambda: tokens.user_of("guess", now_s=0))


def test_tokens_are_bounded_and_end_with_their_user() -> None:
    tokens = Tokens(ttl_s=10, tokens_max=2)
    tokens.add("1", "alice", now_s=0)
    tokens.add("2", "bob", now_s=1)
    tokens.user_of("1", now_s=2)
    tokens.add("3", "alice", now_s=3)  # "2" was unused for longest
    refused(Reason.INVALID_TOKEN, lambda: tokens.user_of("2", now_s=3))
    tokens.forget_user("alice")
    assert len(tokens) == 0
    tokens.add("4", "alice", now_s=3)
    tokens.add("5", "alice", now_s=20)  # "4" has expired
    assert len(tokens) == 1


def test_accounts_survive_encoding_with_fields_of_a_newer_release() -> None:
    accounts = changes.enable(with_root())
    assert nouns.decode(nouns.encode(accounts)) == accounts
    document = msgspec.json.decode(nouns.encode(accounts))
    document["audit"] = True
    document["users"][0]["note"] = "x"
    document["roles"][0]["owner"] = ["y"]
    kept = nouns.decode(msgspec.json.encode(document))
    changed = changes.add_role(kept, "another")
    again = msgspec.json.decode(nouns.encode(changed))
    assert again["audit"] is True and again["users"][0]["note"] == "x"
    assert [role.get("owner") for role in again["roles"]] == [None, ["y"]]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"not json", Reason.CORRUPT),
        (b"{}", Reason.CORRUPT),
        (b'{"format":1,"users":[{"name":3}],"roles":[]}', Reason.CORRUPT),
        (b'{"format":1,"users":[3],"roles":[]}', Reason.CORRUPT),
        (b'{"format":2}', Reason.NEWER_FORMAT),
    ],
)
def test_accounts_that_cannot_be_read_say_so(data: bytes, reason: Reason) -> None:
    with pytest.raises(AtollError) as caught:
        nouns.decode(data)
    assert (caught.value.code, caught.value.reason) == (Code.INVALID, reason)
