"""``Store``, the asyncio shell over any driver.

Rule: nothing is decided here. A driver answers from any thread; the answers cross to the event loop through a
mailbox, one crossing for all that arrived together (one group commit, one wake-up).

A consumer of a watch that is slower than the events loses none: past ``backlog_events_max`` the shell gives the
driver's watch up, lets the consumer drain what it has, and watches again from the revision after the last one.
Only when that revision was compacted meanwhile does the consumer get COMPACTED.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import TypeVar

from atoll.errors import AtollError, Code
from atoll.runtime import loop
from atoll.runtime.mailbox import Mailbox
from atoll.store.api import (
    Cancel,
    Compact,
    CompactResult,
    Compare,
    Delete,
    DeleteResult,
    Driver,
    LeaseGrant,
    LeaseKeepAlive,
    LeaseList,
    LeaseListResult,
    LeaseResult,
    LeaseRevoke,
    LeaseTimeToLive,
    Limits,
    Operation,
    Outcome,
    Put,
    PutResult,
    Range,
    RangeResult,
    Request,
    StatusRequest,
    StatusResult,
    Txn,
    TxnResult,
    Watch,
    WatchBatch,
)

R = TypeVar("R")


class StoreShell:
    """A ``Store``. Make it on the event loop that uses it; it owns ``driver``."""

    def __init__(
        self,
        driver: Driver,
        timeout_s: float | None = None,
        backlog_events_max: int = Limits().watch_backlog_events_max,
    ) -> None:
        self.driver = driver
        self._timeout_s = timeout_s
        self._backlog_events_max = backlog_events_max
        self._mailbox = Mailbox()

    async def range(self, request: Range) -> RangeResult:
        return await self._ask(request, RangeResult)

    async def txn(self, request: Txn) -> TxnResult:
        return await self._ask(request, TxnResult)

    async def put(self, request: Put) -> PutResult:
        return await self._ask(request, PutResult)

    async def delete(self, request: Delete) -> DeleteResult:
        return await self._ask(request, DeleteResult)

    async def commit(self, guards: Sequence[Compare], operations: Sequence[Operation]) -> TxnResult:
        result = await self.txn(Txn(tuple(guards), tuple(operations)))
        if not result.succeeded:
            keys = ", ".join(sorted({repr(guard.key) for guard in guards}))
            text = f"what was read of {keys} has changed since; read again and decide again"
            raise AtollError(Code.CONFLICT, text, facts={"revision": result.revision})
        return result

    async def watch(self, watch: Watch) -> AsyncGenerator[WatchBatch, None]:
        following = _Following(self.driver, watch, self._mailbox, self._backlog_events_max)
        try:
            while True:
                yield await following.next()
        finally:
            following.cancel()

    async def lease_grant(self, ttl_s: int, lease: int = 0) -> LeaseResult:
        return await self._ask(LeaseGrant(ttl_s, lease), LeaseResult)

    async def lease_revoke(self, lease: int) -> LeaseResult:
        return await self._ask(LeaseRevoke(lease), LeaseResult)

    async def lease_keep_alive(self, lease: int) -> LeaseResult:
        return await self._ask(LeaseKeepAlive(lease), LeaseResult)

    async def lease_time_to_live(self, lease: int, keys: bool = False) -> LeaseResult:
        return await self._ask(LeaseTimeToLive(lease, keys), LeaseResult)

    async def lease_list(self) -> LeaseListResult:
        return await self._ask(LeaseList(), LeaseListResult)

    async def compact(self, revision: int, physical: bool = False) -> CompactResult:
        return await self._ask(Compact(revision, physical), CompactResult)

    async def status(self) -> StatusResult:
        return await self._ask(StatusRequest(), StatusResult)

    async def close(self) -> None:
        await loop.in_thread(self.driver.close)

    async def _ask(self, request: Request, kind: type[R]) -> R:
        future: loop.Future[Outcome] = loop.new_future()
        mailbox = self._mailbox

        def done(outcome: Outcome) -> None:
            mailbox.post(_resolve, future, outcome)

        self.driver.submit(request, done, self._timeout_s)
        outcome = await future
        if isinstance(outcome, kind):
            return outcome
        if isinstance(outcome, AtollError):
            raise outcome
        raise TypeError(f"the driver answered {type(request).__name__} with {type(outcome).__name__}")


def _resolve(future: loop.Future[Outcome], outcome: Outcome) -> None:
    if not future.done():  # its caller may have been cancelled meanwhile
        future.set_result(outcome)


class _Following:
    """One watch on the event loop's side: a queue that is bounded by watching again later."""

    def __init__(self, driver: Driver, watch: Watch, mailbox: Mailbox, backlog_events_max: int) -> None:
        self._driver = driver
        self._watch = watch
        self._mailbox = mailbox
        self._backlog_events_max = backlog_events_max
        self._queue: loop.Queue[WatchBatch | AtollError] = loop.Queue()
        self._backlog_events = 0
        self._created = False
        self._next_revision = watch.start_revision
        self._round = 0  # batches of earlier driver watches still under way are ignored
        self._starting = False
        self._cancel: Cancel | None = None
        self._start()

    async def next(self) -> WatchBatch:
        """The next batch. Raises what ended the watch."""
        if self._cancel is None and self._queue.empty():
            self._start()
        item = await self._queue.get()
        if isinstance(item, AtollError):
            self._queue.put_nowait(item)  # whoever asks again hears the same
            raise item
        self._backlog_events -= len(item.events)
        return item

    def cancel(self) -> None:
        self._round += 1
        if self._cancel is not None:
            self._cancel()
            self._cancel = None

    def _start(self) -> None:
        self._round += 1
        self._starting = True
        current, watch = self._round, self._watch
        again = Watch(watch.key, watch.end, self._next_revision, watch.prev_kv, watch.no_put, watch.no_delete)

        def sink(item: WatchBatch | AtollError) -> None:
            self._mailbox.post(self._take, current, item)

        cancel = self._driver.watch(again, sink)
        if self._round == current:
            self._cancel = cancel
        else:  # the backlog was full before the driver returned
            cancel()

    def _take(self, current: int, item: WatchBatch | AtollError) -> None:
        if current != self._round:
            return
        if isinstance(item, AtollError):
            self._queue.put_nowait(item)
        elif self._starting:
            self._take_first(item)
        else:
            if item.events:
                self._next_revision = item.revision + 1
            self._backlog_events += len(item.events)
            self._queue.put_nowait(item)
            if self._backlog_events > self._backlog_events_max:
                self.cancel()

    def _take_first(self, item: WatchBatch) -> None:
        """The batch that says that the watch was created: the consumer gets only the first of them."""
        self._starting = False
        if not self._next_revision:
            self._next_revision = item.revision + 1
        if not self._created:
            self._created = True
            self._queue.put_nowait(item)
