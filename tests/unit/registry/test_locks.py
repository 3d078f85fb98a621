"""Locks for clients, on a store in memory."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from atoll.errors import AtollError
from atoll.planes.registry.service.locks import NAME_BYTES_MAX, Locks
from atoll.runtime import loop
from atoll.store.memory import open_memory
from atoll.store.shell import StoreShell


def run(scenario: Callable[[Locks, StoreShell], Awaitable[None]]) -> None:
    async def within() -> None:
        driver = open_memory()
        try:
            store = StoreShell(driver)
            await scenario(Locks(store), store)
        finally:
            driver.close()

    loop.run(within())


def test_one_holder_at_a_time() -> None:
    async def scenario(locks: Locks, store: StoreShell) -> None:
        assert await locks.acquire("a", "10.0.0.1", 60.0)
        assert not await locks.acquire("a", "10.0.0.1", 60.0), "not even the same once more"
        assert not await locks.acquire("a", "10.0.0.2", 60.0)
        assert await locks.acquire("b", "10.0.0.2", 60.0)
        assert len((await store.lease_list()).leases) == 2, "what was not got leaves no lease"

    run(scenario)


def test_only_the_holder_gives_it_back() -> None:
    async def scenario(locks: Locks, store: StoreShell) -> None:
        await locks.acquire("a", "10.0.0.1", 60.0)
        assert not await locks.release("a", "10.0.0.2")
        assert not await locks.acquire("a", "10.0.0.2", 60.0)
        assert await locks.release("a", "10.0.0.1")
        assert not await locks.release("a", "10.0.0.1")
        assert await locks.acquire("a", "10.0.0.2", 60.0)

    run(scenario)


def test_a_name_has_a_limit() -> None:
    async def scenario(locks: Locks, store: StoreShell) -> None:
        assert await locks.acquire("x" * NAME_BYTES_MAX, "10.0.0.1", 60.0)
        with pytest.raises(AtollError, match="1025 bytes"):
            await locks.acquire("x" * (NAME_BYTES_MAX + 1), "10.0.0.1", 60.0)

    run(scenario)
