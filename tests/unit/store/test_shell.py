"""The asyncio shell over the memory driver."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from atoll.errors import AtollError, Code, Reason
from atoll.runtime import loop
from atoll.store.api import Compare, Put, Range, Relation, Target, Watch, WatchBatch
from atoll.store.memory import open_memory
from atoll.store.shell import StoreShell


def _with_store(scenario: Callable[[StoreShell], Awaitable[None]], backlog_events_max: int = 100_000) -> None:
    async def main() -> None:
        store = StoreShell(open_memory(), backlog_events_max=backlog_events_max)
        try:
            async with loop.bounded(20.0, "the scenario"):
                await scenario(store)
        finally:
            await store.close()

    loop.run(main())


def test_requests_and_their_errors() -> None:
    async def scenario(store: StoreShell) -> None:
        lease = await store.lease_grant(30)
        await store.put(Put(b"a", b"1", lease=lease.lease))
        assert (await store.range(Range(b"a"))).kvs[0].value == b"1"
        assert (await store.lease_time_to_live(lease.lease, keys=True)).keys == (b"a",)
        assert (await store.lease_keep_alive(lease.lease)).ttl_s == 30
        assert (await store.lease_list()).leases == (lease.lease,)
        assert (await store.lease_revoke(lease.lease)).revision == 3
        assert (await store.compact(3)).revision == 3
        assert (await store.status()).compact_revision == 3
        with pytest.raises(AtollError) as caught:
            await store.put(Put(b""))
        assert caught.value.reason is Reason.EMPTY_KEY

    _with_store(scenario)


def test_commit_raises_conflict_when_a_guard_failed() -> None:
    async def scenario(store: StoreShell) -> None:
        absent = Compare(b"a", Target.CREATE, Relation.EQUAL, 0)
        assert (await store.commit([absent], [Put(b"a")])).revision == 2
        with pytest.raises(AtollError) as caught:
            await store.commit([absent], [Put(b"a", b"again")])
        assert caught.value.code is Code.CONFLICT
        assert (await store.range(Range(b"a"))).kvs[0].value == b""

    _with_store(scenario)


def test_a_slow_consumer_loses_nothing_and_its_backlog_is_bounded() -> None:
    async def scenario(store: StoreShell) -> None:
        batches = store.watch(Watch(b"k", b"l"))
        assert await anext(batches) == WatchBatch(1)
        for number in range(500):
            await store.put(Put(b"k%d" % number))
        seen: list[int] = []
        while len(seen) < 500:
            seen += [event.kv.mod_revision for event in (await anext(batches)).events]
        assert seen == list(range(2, 502))
        await store.put(Put(b"k"))
        assert (await anext(batches)).revision == 502
        await batches.aclose()

    _with_store(scenario, backlog_events_max=50)


def test_a_consumer_slower_than_compaction_is_told_so() -> None:
    async def scenario(store: StoreShell) -> None:
        batches = store.watch(Watch(b"k", b"l"))
        await anext(batches)
        for number in range(100):
            await store.put(Put(b"k%d" % number))
        await store.compact(101)
        with pytest.raises(AtollError) as caught:
            while True:
                await anext(batches)
        assert caught.value.reason is Reason.COMPACTED
        await batches.aclose()

    _with_store(scenario, backlog_events_max=10)


def test_a_watch_ends_with_the_store() -> None:
    async def scenario(store: StoreShell) -> None:
        batches = store.watch(Watch(b"k"))
        await anext(batches)
        await store.close()
        with pytest.raises(AtollError) as caught:
            await anext(batches)
        assert caught.value.reason is Reason.CLOSED

    _with_store(scenario)
