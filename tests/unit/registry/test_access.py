"""Users, roles, permissions, tokens: Nacos's views of the one table of accounts, and the guard before everything."""

from __future__ import annotations

import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import bcrypt
import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.access import accounts as changes
from atoll.access import grants
from atoll.access.grants import Glob, Permissions, config, console, parse_pattern, service
from atoll.access.throttle import PAIR_FAILURES_MAX, WINDOW_S, Throttle
from atoll.errors import AtollError, Code, Reason
from atoll.planes.registry.service import access
from atoll.planes.registry.service.access import Access
from atoll.planes.registry.service.accounts import Permission, RoleOf
from atoll.planes.registry.service.audit import Asked
from atoll.planes.registry.service.guard import NOBODY, OPERATOR, Credentials, Principal
from atoll.planes.registry.service.signing_keys import KEY
from atoll.resources.accounts import Grant
from atoll.resources.actor import Actor
from atoll.runtime import loop
from atoll.runtime.logs import Log
from atoll.runtime.rng import seeded_rng
from atoll.runtime.tasks import Tasks
from atoll.store import accounts
from atoll.store.accounts import AccountsTable, Deed
from atoll.store.api import Range
from atoll.store.audit import AuditWriter
from atoll.store.memory import open_memory
from atoll.store.shell import StoreShell
from tests.unit.registry.naming_kit import VirtualClock

BOSS = Actor("boss", "127.0.0.1", "test", "n1")
ORDERS = config("dev", "G", "orders.yaml")


@dataclass
class Kit:
    clock: VirtualClock
    store: StoreShell
    table: AccountsTable
    access: Access

    async def user(self, name: str, resource: str = "", action: str = "r") -> Principal:
        await self.access.accounts.create_user(BOSS, name, f"{name}'s")
        if resource:
            await self.access.accounts.add_role(BOSS, f"role-{name}", name)
            await self.access.accounts.add_permission(BOSS, Permission(f"role-{name}", resource, action))
        return Principal(name)

    async def login(self, name: str, password: str = "") -> str:
        credentials = Credentials(username=name, password=password or f"{name}'s", address="10.0.0.1")
        return (await self.access.accounts.login(credentials)).token


def with_access(work: Callable[[Kit], Awaitable[None]], enabled: bool = True) -> None:
    failures: list[BaseException] = []

    async def main() -> None:
        clock, driver = VirtualClock(), open_memory()
        store, writer = StoreShell(driver), AuditWriter(clock, seeded_rng(1), "n1")
        table = accounts.open_embedded(driver, writer)
        if enabled:
            await table.ensure_enabled("root's", Deed(BOSS, "auth.enable", "root"))
        tasks = Tasks(Log("test"), lambda name, error: failures.append(error))
        with tempfile.TemporaryDirectory() as folder:
            ground = access.Ground(store, table, writer, clock, tasks, Path(folder))
            opened = await access.open_access(ground, access.Options())
            try:
                await work(Kit(clock, store, table, opened))
            finally:
                await tasks.stop(1.0)
                await opened.close(1.0)
                await store.close()

    loop.run(main())
    assert not failures


async def refused(reason: Reason, work: Awaitable[object]) -> AtollError:
    with pytest.raises(AtollError) as caught:
        await work
    assert caught.value.reason is reason
    return caught.value


# ---------------------------------------------------------------------------------------------- grants


@pytest.mark.parametrize(
    ("pattern", "resource", "granted"),
    [
        ("dev:G:config/orders.yaml", ORDERS, True),
        ("dev:G:config/*", ORDERS, True),
        ("dev:*:*", ORDERS, True),
        ("dev:*", ORDERS, True),
        ("*:*:*", ORDERS, True),
        ("*", ORDERS, True),
        ("dev:G:*/orders*", ORDERS, True),
        ("d*:G:config/*.yaml", ORDERS, True),
        ("dev:G:config/orders", ORDERS, False),
        ("dev:G:config/orders-yaml", ORDERS, False),
        ("dev:G:naming/*", ORDERS, False),
        ("prod:*:*", ORDERS, False),
        ("dev:g:config/*", ORDERS, False),
        (":*:*", config("", "G", "x"), True),
        ("public:*:*", config("", "G", "x"), True),
        ("null:*:*", service("public", "G", "x"), True),
        (":*:*", ORDERS, False),
        ("*:*:*", console("namespaces"), False),
        ("console/namespaces", console("namespaces"), True),
        ("console/*", console("namespaces"), True),
        ("console/*", console("users"), False),
        ("dev:a:config/b", config("dev", "a:config/b", "x"), False),
        ("dev:a:config/*", config("dev", "a:config", "x"), False),
        ("dev:a:b:config/*", config("dev", "a:b", "x"), True),
        ("dev:G:naming/a/b:c", service("dev", "G", "a/b:c"), True),
    ],
)
def test_a_pattern_grants_what_it_names(pattern: str, resource: grants.Resource, granted: bool) -> None:
    permissions = Permissions([Grant(pattern, "r")])
    assert permissions.allows(resource, "r") is granted
    assert not permissions.allows(resource, "w")
    assert Permissions([Grant(pattern, "rw")]).allows(resource, "w") is granted


@pytest.mark.parametrize(
    "text", ["", "dev", "dev:", "dev:G", "dev:G:config", "dev:G:mail/x", "dev::config/x", "x" * 2000]
)
def test_what_is_no_resource_cannot_be_granted(text: str) -> None:
    with pytest.raises(AtollError) as caught:
        parse_pattern(text)
    assert caught.value.facts == {"parameter": "resource"}


TEXT = st.text("ab*", max_size=8)


@given(TEXT, st.text("ab", max_size=8))
def test_a_glob_matches_as_a_dumb_matcher_does(pattern: str, text: str) -> None:
    def dumb(rest: str, left: str) -> bool:
        if not rest:
            return not left
        if rest[0] == "*":
            return any(dumb(rest[1:], left[at:]) for at in range(len(left) + 1))
        return bool(left) and left[0] == rest[0] and dumb(rest[1:], left[1:])

    assert Glob(pattern).matches(text) == dumb(pattern, text)


NAME = st.text("ab.:-_", min_size=1, max_size=6)


@given(NAME, NAME, NAME, NAME)
def test_a_resource_grants_itself_and_no_other(group: str, name: str, group2: str, name2: str) -> None:
    one, other = config("dev", group, name), config("dev", group2, name2)
    permissions = Permissions([Grant(str(one), "r")])
    assert permissions.allows(one, "r")
    assert permissions.allows(other, "r") == (one == other)


# --------------------------------------------------------------------------------------------- the guard


def test_nobody_gets_in_while_authentication_is_on() -> None:
    async def work(kit: Kit) -> None:
        guard = kit.access.guard
        with pytest.raises(AtollError) as caught:
            guard.require(NOBODY, ORDERS, "r")
        assert caught.value.reason is Reason.INVALID_TOKEN
        guard.require(OPERATOR, ORDERS, "w")
        with pytest.raises(AtollError):
            guard.require_admin(NOBODY)

    with_access(work)


def test_everybody_gets_in_while_it_is_off() -> None:
    async def work(kit: Kit) -> None:
        kit.access.guard.require(NOBODY, ORDERS, "w")
        kit.access.guard.require_admin(kit.access.guard.principal_of("whatever"))

    with_access(work, enabled=False)


def test_a_permission_counts_from_the_moment_it_is_given_to_the_moment_it_is_taken() -> None:
    async def work(kit: Kit) -> None:
        guard, users = kit.access.guard, kit.access.accounts
        ann = await kit.user("ann", "dev:G:config/orders.yaml")
        assert guard.allows(ann, ORDERS, "r")
        assert not guard.allows(ann, ORDERS, "w")
        with pytest.raises(AtollError) as caught:
            guard.require(ann, ORDERS, "w")
        assert caught.value.reason is Reason.PERMISSION_DENIED
        await users.delete_permission(BOSS, Permission("role-ann", "dev:G:config/orders.yaml", "r"))
        assert not guard.allows(ann, ORDERS, "r")
        await users.add_role(BOSS, "ROLE_ADMIN", "ann")
        assert guard.allows(ann, ORDERS, "w")
        assert guard.is_admin(ann)
        await users.delete_role(BOSS, "ROLE_ADMIN", "ann")
        assert not guard.is_admin(ann)

    with_access(work)


def test_a_password_is_changed_by_its_user_or_an_administrator() -> None:
    async def work(kit: Kit) -> None:
        ann = await kit.user("ann")
        kit.access.guard.require_own_or_admin(ann, "ann")
        kit.access.guard.require_own_or_admin(Principal("root"), "ann")
        with pytest.raises(AtollError):
            kit.access.guard.require_own_or_admin(ann, "root")
        with pytest.raises(AtollError):
            kit.access.guard.require_own_or_admin(NOBODY, "")

    with_access(work)


# ---------------------------------------------------------------------------------------------- tokens


def test_a_token_stands_for_its_user_until_it_expires() -> None:
    async def work(kit: Kit) -> None:
        await kit.user("ann")
        token = await kit.login("ann")
        assert kit.access.guard.principal_of(token) == Principal("ann")
        kit.clock.boot_s += 17_999
        assert kit.access.guard.principal_of(token) == Principal("ann")
        kit.clock.boot_s += 2
        with pytest.raises(AtollError) as caught:
            kit.access.guard.principal_of(token)
        assert caught.value.message == "token expired!"

    with_access(work)


def test_a_token_ends_with_the_password_the_user_and_the_key() -> None:
    async def work(kit: Kit) -> None:
        guard, users = kit.access.guard, kit.access.accounts
        for name in ("ann", "bob", "cat", "dan"):
            await kit.user(name)
        tokens = {name: await kit.login(name) for name in ("ann", "bob", "cat")}
        await users.change_password(BOSS, "ann", "another")
        await users.delete_user(BOSS, "bob")
        for name in ("ann", "bob"):
            with pytest.raises(AtollError):
                guard.principal_of(tokens[name])
        await users.rotate_keys(BOSS)
        assert guard.principal_of(tokens["cat"]) == Principal("cat")
        assert guard.principal_of(await kit.login("dan")) == Principal("dan")
        await users.rotate_keys(BOSS, at_once=True)
        with pytest.raises(AtollError):
            guard.principal_of(tokens["cat"])

    with_access(work)


def test_forged_tokens_are_refused() -> None:
    async def work(kit: Kit) -> None:
        await kit.user("ann")
        token = await kit.login("ann")
        payload = jwt.decode(token, options={"verify_signature": False})
        head, body, signature = token.split(".")
        forged = [
            "", "x", "a.b.c", token[:-2], f"{head}.{body}.", f"{head}.{body}.{signature[::-1]}", "x" * 10_000,
            jwt.encode(payload, "", algorithm="none"),
            jwt.encode({**payload, "sub": "root"}, "SecretKey012345678901234567890123456789", algorithm="HS256"),
        ]  # fmt: skip
        for each in forged[1:]:
            with pytest.raises(AtollError) as caught:
                kit.access.guard.principal_of(each)
            assert caught.value.reason is Reason.INVALID_TOKEN
        assert kit.access.guard.principal_of(forged[0]) == NOBODY

    with_access(work)


def test_the_signing_key_is_random_and_the_same_for_every_node() -> None:
    async def work(kit: Kit) -> None:
        await kit.user("ann")
        token = await kit.login("ann")
        tasks = Tasks(Log("test"), lambda name, error: None)
        writer = AuditWriter(kit.clock, seeded_rng(2), "n2")
        with tempfile.TemporaryDirectory() as folder:
            ground = access.Ground(kit.store, kit.table, writer, kit.clock, tasks, Path(folder))
            other = await access.open_access(ground, access.Options())
            assert other.guard.principal_of(token) == Principal("ann")
            await tasks.stop(1.0)
            await other.close(1.0)
        keys.append((await kit.store.range(Range(KEY))).kvs[0].value)

    keys: list[bytes] = []
    with_access(work)
    with_access(work)
    assert keys[0] != keys[1]


# ------------------------------------------------------------------------------------------- logging in


def test_wrong_passwords_are_throttled_and_the_right_one_is_then_refused_too() -> None:
    async def work(kit: Kit) -> None:
        await kit.user("ann")
        for _ in range(PAIR_FAILURES_MAX):
            await refused(Reason.INVALID_CREDENTIALS, kit.login("ann", "wrong"))
        error = await refused(Reason.RATE_LIMITED, kit.login("ann"))
        assert error.code is Code.EXHAUSTED
        assert error.retry_after_s is not None
        kit.clock.boot_s += WINDOW_S + 1
        assert await kit.login("ann")

    with_access(work)


def test_who_never_existed_and_who_has_another_password_cannot_be_told_apart() -> None:
    async def work(kit: Kit) -> None:
        await kit.user("ann")
        wrong = await refused(Reason.INVALID_CREDENTIALS, kit.login("ann", "wrong"))
        nobody = await refused(Reason.INVALID_CREDENTIALS, kit.login("nobody", "wrong"))
        assert wrong.message == nobody.message

    with_access(work)


def test_one_user_from_many_addresses_and_one_address_for_many_users_are_throttled() -> None:
    for by_user in (True, False):
        throttle = Throttle()
        with pytest.raises(AtollError):
            for number in range(1_000):
                pair = ("ann", f"10.0.0.{number}") if by_user else (f"u{number}", "10.0.0.1")
                throttle.check(*pair, 0.0)
                throttle.failed(*pair, 0.0)
        throttle.check("ann" if by_user else "u1", "10.9.9.9" if by_user else "10.0.0.1", WINDOW_S + 1)


def test_a_password_on_any_call_says_who_calls() -> None:
    async def work(kit: Kit) -> None:
        await kit.user("ann")
        identify = kit.access.accounts.identify
        assert await identify(Credentials(username="ann", password="ann's")) == Principal("ann")
        await refused(Reason.INVALID_CREDENTIALS, identify(Credentials(username="ann", password="no")))
        await kit.access.accounts.change_password(BOSS, "ann", "new")
        await refused(Reason.INVALID_CREDENTIALS, identify(Credentials(username="ann", password="ann's")))
        assert await identify(Credentials()) == NOBODY

    with_access(work)


def test_credentials_do_not_show_secrets() -> None:
    shown = repr(Credentials("a-token", "ann", "a-password", "10.0.0.1"))
    assert "a-token" not in shown
    assert "a-password" not in shown


# ------------------------------------------------------------------------------- the first administrator


def test_the_first_administrator_is_made_once_and_from_this_machine() -> None:
    async def work(kit: Kit) -> None:
        users = kit.access.accounts
        await refused(Reason.PERMISSION_DENIED, users.create_first_administrator(BOSS, "x", False))
        made = await users.create_first_administrator(BOSS, "", True)
        assert made.user == "nacos"
        assert len(made.password) >= 16
        token = await kit.login("nacos", made.password)
        assert kit.access.guard.is_admin(kit.access.guard.principal_of(token))
        again = await refused(Reason.USER_EXISTS, users.create_first_administrator(BOSS, "mine", True))
        assert again.code is Code.CONFLICT
        await refused(Reason.USER_EXISTS, users.create_user(BOSS, "nacos", "mine"))

    with_access(work)


def test_two_that_want_to_be_first_are_not_both() -> None:
    async def work(kit: Kit) -> None:
        async def one(password: str) -> str:
            try:
                await kit.access.accounts.create_first_administrator(BOSS, password, True)
            except AtollError as error:
                return error.reason.value
            return "made"

        assert sorted(await loop.gather(one("a"), one("b"))) == ["made", "user_exists"]

    with_access(work)


# ------------------------------------------------------------------------------------------ one table


def test_nacos_views_show_what_the_one_table_has() -> None:
    async def work(kit: Kit) -> None:
        users = kit.access.accounts
        await kit.user("ann", "dev:*:*", "rw")
        assert users.users() == ["ann", "root"]
        assert users.users("a*", blur=True) == ["ann"]
        assert users.roles() == [RoleOf("ROLE_ADMIN", "root"), RoleOf("role-ann", "ann")]
        assert users.permissions() == [Permission("role-ann", "dev:*:*", "rw")]
        assert kit.table.accounts.roles["role-ann"].grants == (Grant("dev:*:*", "rw"),)
        await users.delete_role(BOSS, "role-ann")
        assert users.roles() == [RoleOf("ROLE_ADMIN", "root")]
        await refused(
            Reason.ROLE_NOT_FOUND, users.add_permission(BOSS, Permission("no-role", "dev:*:*", "r"))
        )
        await refused(Reason.USER_NOT_FOUND, users.add_role(BOSS, "some", "nobody"))

    with_access(work)


def test_an_imported_bcrypt_hash_lets_its_user_in_and_is_replaced() -> None:
    async def work(kit: Kit) -> None:
        old = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()
        admin, role = RoleOf("ROLE_ADMIN", "chief"), RoleOf("dev", "ann")
        right = Permission("dev", "dev:*:*", "rw")
        done = await kit.access.accounts.take_over(
            BOSS,
            [("ann", old), ("chief", old), ("broken", "plain")],
            [role, admin, RoleOf("x", "nobody")],
            [right],
        )
        assert (done.users, done.roles, done.permissions, len(done.left_out)) == (2, 2, 1, 2)
        await refused(Reason.INVALID_CREDENTIALS, kit.login("ann", "wrong"))
        token = await kit.login("ann", "secret")
        assert kit.access.guard.principal_of(token) == Principal("ann")
        user = changes.user(kit.table.accounts, "ann")
        assert user.bcrypt == ""
        assert user.password is not None
        assert await kit.login("ann", "secret")
        assert kit.access.guard.is_admin(Principal("chief"))
        assert kit.access.guard.allows(Principal("ann"), ORDERS, "w")

    with_access(work)


def test_every_change_of_accounts_is_in_the_audit_log_with_its_hashes() -> None:
    async def work(kit: Kit) -> None:
        await kit.user("ann", "dev:*:*")
        page = await kit.access.audit.search(Asked())
        found = [(one.entry.action, one.entry.subject) for one in page.entries]
        assert found[:3] == [
            ("permission.add", "role-ann r dev:*:*"),
            ("role.grant", "role-ann ann"),
            ("user.create", "ann"),
        ]
        entries = [one.entry for one in page.entries[:3]]
        assert entries[0].before == entries[1].after
        assert {entry.user for entry in entries} == {"boss"}

    with_access(work)
