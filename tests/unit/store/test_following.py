"""A view kept up with the store: nothing counts as seen before it was applied, and a gap is read over whole."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Any

from atoll.errors import AtollError, Code
from atoll.store.api import Event, KeyValue, Put, Range, RangeResult, Watch, WatchBatch
from atoll.store.following import Following, with_deletions
from atoll.store.memory import open_memory
from atoll.store.shell import StoreShell

PREFIX = b"things/"


def held(key: bytes, revision: int) -> KeyValue:
    return KeyValue(PREFIX + key, b"v", revision, revision, 1)


class Told:
    """A store whose watches say what a test says, and what it holds when it is read."""

    def __init__(self, revision: int, *held: KeyValue) -> None:
        self.holds = RangeResult(revision, held)
        self.watches: list[Watch] = []
        self._batches: asyncio.Queue[WatchBatch | AtollError] = asyncio.Queue()

    def tell(self, *batches: WatchBatch | AtollError) -> None:
        for batch in batches:
            self._batches.put_nowait(batch)

    async def range(self, request: Range) -> RangeResult:
        return self.holds

    async def watch(self, watch: Watch) -> AsyncGenerator[WatchBatch, None]:
        self.watches.append(watch)
        while True:
            batch = await self._batches.get()
            if isinstance(batch, AtollError):
                raise batch
            yield batch


class View:
    def __init__(self) -> None:
        self.applied: list[tuple[list[bytes], int, bool]] = []

    def take(self, kvs: Sequence[KeyValue], revision: int, whole: bool) -> None:
        self.applied.append(([kv.key for kv in kvs], revision, whole))


def following(store: Any, scenario: Callable[[Following, View], Awaitable[None]]) -> None:
    async def run() -> None:
        view = View()
        made = Following(store, PREFIX, view.take, "test")
        await made.load()
        keeping = asyncio.ensure_future(made.follow())
        try:
            await scenario(made, view)
        finally:
            keeping.cancel()

    asyncio.run(run())


def test_a_write_from_before_the_watch_counts_only_when_it_was_applied() -> None:
    """The store was read at 3, written at 5, and then the watch was made."""
    store = Told(3, held(b"a", 2))

    async def scenario(made: Following, view: View) -> None:
        store.tell(WatchBatch(5))
        assert not await made.at(5, within_s=0.05)
        store.tell(WatchBatch(5, (Event(held(b"b", 5)),)))
        assert await made.at(5)
        assert view.applied == [([PREFIX + b"a"], 3, True), ([PREFIX + b"b"], 5, False)]
        store.tell(WatchBatch(9))
        assert await made.at(9)

    following(store, scenario)


def test_after_a_gap_everything_is_read_again() -> None:
    store = Told(3, held(b"a", 2))

    async def scenario(made: Following, view: View) -> None:
        store.tell(WatchBatch(3), AtollError(Code.UNAVAILABLE, "compacted"))
        store.holds = RangeResult(8, (held(b"c", 8),))
        assert await made.at(8, within_s=5.0)
        assert view.applied[-1] == ([PREFIX + b"c"], 8, True)
        store.tell(WatchBatch(8))
        async with asyncio.timeout(5):
            while len(store.watches) < 2:
                await asyncio.sleep(0)
        assert [watch.start_revision for watch in store.watches] == [4, 9]

    following(store, scenario)


def test_own_writes_are_read_on_a_real_store() -> None:
    async def run() -> None:
        store, view = StoreShell(open_memory()), View()
        made = Following(store, PREFIX, view.take, "test")
        keeping = asyncio.ensure_future(made.follow())  # it reads first what was not loaded
        for number in range(50):
            put = await store.put(Put(PREFIX + b"%d" % number))
            assert await made.at(put.revision)
            assert PREFIX + b"%d" % number in [key for keys, *_ in view.applied for key in keys]
        keeping.cancel()
        await store.close()

    asyncio.run(run())


def test_what_is_not_in_a_whole_reading_is_gone() -> None:
    found = with_deletions([PREFIX + b"a", PREFIX + b"b"], [held(b"b", 4)], 7)
    assert [(kv.key, kv.version, kv.mod_revision) for kv in found] == [
        (PREFIX + b"a", 0, 7),
        (PREFIX + b"b", 1, 4),
    ]
