"""The one table of accounts: durable before it counts, audited in the same write, and one for all nodes of a cluster."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path

import pytest

from atoll.access import accounts as changes
from atoll.errors import AtollError, Code, Reason
from atoll.resources.accounts import Accounts
from atoll.resources.actor import Actor
from atoll.runtime import loop
from atoll.runtime.clock import BootClock
from atoll.runtime.logs import Log
from atoll.runtime.rng import seeded_rng
from atoll.runtime.tasks import Tasks
from atoll.store import accounts, api, migration
from atoll.store.accounts import ATTEMPTS_MAX, KEY, AccountsTable, Deed
from atoll.store.api import Put, Range, Watch, WatchBatch, prefix_end
from atoll.store.audit import NEW, AuditLog, AuditWriter
from atoll.store.memory import open_memory
from atoll.store.shell import StoreShell
from atoll.store.sqlite import open_sqlite

DEED = Deed(Actor("boss", via="test"), "user.create", "somebody")


def add(name: str) -> Callable[[Accounts], Accounts]:
    return lambda table: changes.add_user(table, name, None)


def writer(node: str = "n1") -> AuditWriter:
    return AuditWriter(BootClock(), seeded_rng(len(node)), node)


def on_cluster(work: Callable[[StoreShell, AccountsTable, AccountsTable], Awaitable[None]]) -> None:
    """Two nodes' tables over one store that is reached as a cluster is."""

    async def main() -> None:
        store = StoreShell(open_memory())
        tables = [
            await accounts.open_cluster(store.driver, store, AuditWriter(BootClock(), seeded_rng(n), f"n{n}"))
            for n in (1, 2)
        ]
        tasks = Tasks(Log("test"), lambda name, error: None)
        for table in tables:
            tasks.start("accounts", table.run())
        await work(store, *tables)
        await tasks.stop(5.0)
        await store.close()

    loop.run(main())


async def until_there(table: AccountsTable, name: str) -> None:
    there = loop.Event()

    def look(now: Accounts) -> None:
        if name in now.users:
            there.set()

    table.follow(look)
    assert await loop.wait_event(there, 20.0)


def test_what_one_node_changes_counts_on_the_other() -> None:
    async def work(store: StoreShell, one: AccountsTable, other: AccountsTable) -> None:
        await one.change(add("ann"), DEED)
        await until_there(other, "ann")
        await other.change(add("bob"), DEED)
        await until_there(one, "bob")
        third = await accounts.open_cluster(store.driver, store)
        assert sorted(third.accounts.users) == ["ann", "bob"]

    on_cluster(work)


def test_changes_of_two_nodes_at_once_are_both_made() -> None:
    async def work(store: StoreShell, one: AccountsTable, other: AccountsTable) -> None:
        names = [f"user-{number}" for number in range(ATTEMPTS_MAX)]
        both = [
            table.change(add(f"{name}-{node}"), DEED)
            for name in names
            for node, table in ((1, one), (2, other))
        ]
        await loop.gather(*both)
        third = await accounts.open_cluster(store.driver, store)
        assert len(third.accounts.users) == 2 * len(names)
        entries, _ = await AuditLog(store).newest(lambda entry: True, 1_000)
        assert len(entries) == 2 * len(names)

    on_cluster(work)


def test_the_later_of_two_that_make_the_same_user_is_told() -> None:
    async def work(store: StoreShell, one: AccountsTable, other: AccountsTable) -> None:
        async def made(table: AccountsTable) -> bool:
            try:
                await table.change(add("ann"), DEED)
            except AtollError as error:
                assert error.reason is Reason.USER_EXISTS
                return False
            return True

        assert sorted(await loop.gather(made(one), made(other))) == [False, True]

    on_cluster(work)


class Losing(StoreShell):
    """Its first watch ends at once: what it was to begin with has been compacted."""

    watches = 0

    async def watch(self, watch: Watch) -> AsyncGenerator[WatchBatch, None]:
        self.watches += 1
        if self.watches == 1:
            raise AtollError(Code.INVALID, "compacted", reason=Reason.COMPACTED)
        async for batch in super().watch(watch):
            yield batch


def test_a_watch_that_ended_does_not_leave_old_rights_in_force() -> None:
    async def work(store: StoreShell, one: AccountsTable, other: AccountsTable) -> None:
        losing = Losing(store.driver)
        third = await accounts.open_cluster(store.driver, losing)
        await one.change(add("ann"), DEED)
        tasks = Tasks(Log("test"), lambda name, error: None)
        tasks.start("accounts", third.run())
        await until_there(third, "ann")
        await one.change(add("bob"), DEED)
        await until_there(third, "bob")
        assert losing.watches == 2
        await tasks.stop(5.0)

    on_cluster(work)


def test_what_another_node_wrote_and_cannot_be_read_changes_nothing() -> None:
    async def work(store: StoreShell, one: AccountsTable, other: AccountsTable) -> None:
        await one.change(add("ann"), DEED)
        await until_there(other, "ann")
        await store.put(Put(KEY, b"not accounts"))
        with pytest.raises(AtollError) as caught:
            await one.change(add("bob"), DEED)
        assert caught.value.reason is Reason.CORRUPT
        assert sorted(other.accounts.users) == ["ann"]

    on_cluster(work)


def test_an_embedded_table_keeps_its_change_and_its_entry_over_a_restart(tmp_path: Path) -> None:
    async def first() -> None:
        driver = open_sqlite(tmp_path / "store.db")
        table = accounts.open_embedded(driver, writer())
        await table.change(add("ann"), DEED)
        driver.close()

    async def second() -> None:
        driver = open_sqlite(tmp_path / "store.db")
        store = StoreShell(driver)
        assert sorted(accounts.open_embedded(driver).accounts.users) == ["ann"]
        entries, _ = await AuditLog(store).newest(lambda entry: True, 10)
        assert [one.entry.action for one in entries] == ["user.create"]
        await store.close()

    loop.run(first())
    loop.run(second())


def test_a_change_that_is_refused_leaves_neither_accounts_nor_entry() -> None:
    async def main() -> None:
        driver = open_memory()
        store, table = StoreShell(driver), accounts.open_embedded(driver, writer())
        driver.engine.close()
        with pytest.raises(AtollError) as caught:
            await table.change(add("ann"), DEED)
        assert caught.value.code is Code.UNAVAILABLE
        assert table.accounts.users == {}
        await store.close()

    loop.run(main())


def test_without_an_audit_log_changing_accounts_makes_no_revision() -> None:
    """As in etcd."""

    async def main() -> None:
        driver = open_memory()
        store = StoreShell(driver)
        before = (await store.status()).revision
        await accounts.open_embedded(driver).change(add("ann"), DEED)
        assert (await store.status()).revision == before
        assert (await store.range(Range(NEW, prefix_end(NEW)))).count == 0
        await accounts.open_embedded(driver, writer()).change(add("bob"), DEED)
        assert (await store.status()).revision == before + 1
        await store.close()

    loop.run(main())


def test_accounts_move_with_the_store() -> None:
    async def main() -> None:
        here, there = open_memory(), open_memory()
        table = accounts.open_embedded(here)
        await table.change(add("ann"), DEED)
        await loop.in_thread(migration.migrate, here, there, 100.0)
        assert sorted(accounts.open_embedded(there).accounts.users) == ["ann"]
        cluster, back = Cluster(open_memory()), open_memory()
        await loop.in_thread(migration.migrate, there, cluster, 200.0)
        moved = await accounts.open_cluster(cluster, StoreShell(cluster))
        assert sorted(moved.accounts.users) == ["ann"]
        await loop.in_thread(migration.migrate, cluster, back, 300.0)
        assert sorted(accounts.open_embedded(back).accounts.users) == ["ann"]
        for driver in (here, there, cluster, back):
            driver.close()

    loop.run(main())


class Cluster:
    """A store in memory that is reached like a cluster: by requests alone."""

    def __init__(self, driver: api.Driver) -> None:
        self.submit = driver.submit
        self.watch = driver.watch
        self.close = driver.close
