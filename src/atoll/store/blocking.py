"""``StoreShell`` for code that blocks its own thread: the same methods over any driver, without an event loop.

Rule: nothing is decided here. A call waits on the calling thread; any number of threads may call at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from atoll.errors import AtollError, Code, Reason
from atoll.runtime import blocking
from atoll.store.api import (
    Compare,
    Delete,
    DeleteResult,
    Driver,
    LeaseGrant,
    LeaseResult,
    LeaseRevoke,
    Operation,
    Outcome,
    Put,
    PutResult,
    Range,
    RangeResult,
    Request,
    Txn,
    TxnResult,
    Watch,
    WatchBatch,
)

R = TypeVar("R")


def ask(driver: Driver, request: Request, kind: type[R], timeout_s: float | None = None) -> R:
    """The result of ``request``. Raises its ``AtollError``."""
    answer: blocking.Queue[Outcome] = blocking.Queue()
    driver.submit(request, answer.put_nowait, timeout_s)
    outcome = answer.get()
    if isinstance(outcome, AtollError):
        raise outcome
    if isinstance(outcome, kind):
        return outcome
    raise TypeError(f"the driver answered {type(request).__name__} with {type(outcome).__name__}")


class BlockingStore:
    """Owns ``driver``. ``timeout_s`` bounds every call; None leaves it to the driver."""

    def __init__(self, driver: Driver, timeout_s: float | None = None) -> None:
        self.driver = driver
        self._timeout_s = timeout_s

    def range(self, request: Range) -> RangeResult:
        return self._ask(request, RangeResult)

    def txn(self, request: Txn) -> TxnResult:
        return self._ask(request, TxnResult)

    def put(self, request: Put) -> PutResult:
        return self._ask(request, PutResult)

    def delete(self, request: Delete) -> DeleteResult:
        return self._ask(request, DeleteResult)

    def commit(self, guards: Sequence[Compare], operations: Sequence[Operation]) -> TxnResult:
        result = self.txn(Txn(tuple(guards), tuple(operations)))
        if not result.succeeded:
            keys = ", ".join(sorted({repr(guard.key) for guard in guards}))
            text = f"what was read of {keys} has changed since; read again and decide again"
            raise AtollError(Code.CONFLICT, text, facts={"revision": result.revision})
        return result

    def watch(self, watch: Watch) -> BlockingWatch:
        return BlockingWatch(self.driver, watch)

    def lease_grant(self, ttl_s: int, lease: int = 0) -> LeaseResult:
        return self._ask(LeaseGrant(ttl_s, lease), LeaseResult)

    def lease_revoke(self, lease: int) -> LeaseResult:
        return self._ask(LeaseRevoke(lease), LeaseResult)

    def close(self) -> None:
        self.driver.close()

    def _ask(self, request: Request, kind: type[R]) -> R:
        return ask(self.driver, request, kind, self._timeout_s)


class BlockingWatch:
    """The batches of one watch; an iterator, to be closed."""

    def __init__(self, driver: Driver, watch: Watch) -> None:
        self._batches: blocking.Queue[WatchBatch | AtollError] = blocking.Queue()
        self._cancel = driver.watch(watch, self._batches.put_nowait)
        self._closed = False

    def __iter__(self) -> BlockingWatch:
        return self

    def __next__(self) -> WatchBatch:
        if self._closed:
            raise StopIteration
        return self.next_item()

    def next_item(self) -> WatchBatch:
        item = self._batches.get()
        if isinstance(item, AtollError):
            raise item
        return item

    def next_within(self, within_s: float) -> WatchBatch | None:
        """The next batch, or None when none came in ``within_s`` seconds."""
        item = self._batches.get_within(within_s)
        if isinstance(item, AtollError):
            raise item
        return item

    def close(self) -> None:
        """Give the watch up. Idempotent; another thread that waits in it is woken and gets CLOSED."""
        if not self._closed:
            self._closed = True
            self._cancel()
            self._batches.put_nowait(
                AtollError(Code.UNAVAILABLE, "the watch is closed", reason=Reason.CLOSED)
            )
