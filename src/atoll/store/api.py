"""The nouns of the store and the two interfaces to it: ``Driver`` (completion style) and ``Store`` (asyncio).

One rule: a request is an immutable value, and its outcome is delivered exactly once, as a result or as an
``AtollError``. A write whose outcome is not known is ``Code.UNKNOWN``, never a quiet retry.

The data model is etcd v3's with 3.4 semantics (API reference of etcd 3.4, ``rpc.proto`` and ``kv.proto``):
one revision counter that starts at 1 (the first write is 2), ranges over byte keys, compare-and-set
transactions of any shape, leases, watches from a revision, compaction.

Why two interfaces: a lease must be kept alive, and its loss noticed, although the event loop is blocked, so
drivers are callable from any thread and answer by calling back. ``Store`` is the thin asyncio shell over any
driver (``store/shell.py``); ``testing.World`` drives machines over a simulated driver with no thread at all.
"""

from __future__ import annotations

import enum
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Protocol, TypeAlias

import msgspec

from atoll.errors import AtollError
from atoll.resources.keys import RESERVED_PREFIX as RESERVED_PREFIX

# ---------------------------------------------------------------------------------------------- values


class KeyValue(msgspec.Struct, frozen=True, gc=False):
    """One key at one revision. A deletion's event carries ``version == 0`` and an empty value."""

    key: bytes
    value: bytes = b""
    create_revision: int = 0
    mod_revision: int = 0
    version: int = 0
    lease: int = 0


class Target(enum.IntEnum):
    """What a compare looks at. Numbers are etcd's ``Compare.CompareTarget``."""

    VERSION = 0
    CREATE = 1
    MOD = 2
    VALUE = 3
    LEASE = 4


class Relation(enum.IntEnum):
    """How a compare compares. Numbers are etcd's ``Compare.CompareResult``."""

    EQUAL = 0
    GREATER = 1
    LESS = 2
    NOT_EQUAL = 3


class SortTarget(enum.IntEnum):
    """Numbers are etcd's ``RangeRequest.SortTarget``."""

    KEY = 0
    VERSION = 1
    CREATE = 2
    MOD = 3
    VALUE = 4


class SortOrder(enum.IntEnum):
    """Numbers are etcd's ``RangeRequest.SortOrder``."""

    NONE = 0
    ASCEND = 1
    DESCEND = 2


# -------------------------------------------------------------------------------------------- requests


class Range(msgspec.Struct, frozen=True, gc=False):
    """Read keys in ``[key, end)``; ``end`` empty: that key alone; ``end == b"\\0"``: all keys >= ``key``.

    ``revision`` 0 means the newest; ``limit`` 0 means no limit. ``serializable`` allows a stale answer.
    """

    key: bytes
    end: bytes = b""
    revision: int = 0
    limit: int = 0
    sort_order: SortOrder = SortOrder.NONE
    sort_target: SortTarget = SortTarget.KEY
    serializable: bool = False
    keys_only: bool = False
    count_only: bool = False
    min_mod_revision: int = 0
    max_mod_revision: int = 0
    min_create_revision: int = 0
    max_create_revision: int = 0


class Put(msgspec.Struct, frozen=True, gc=False):
    """Write one key. ``lease`` 0 detaches; ``ignore_*`` keep what is there and need an existing key."""

    key: bytes
    value: bytes = b""
    lease: int = 0
    prev_kv: bool = False
    ignore_value: bool = False
    ignore_lease: bool = False


class Delete(msgspec.Struct, frozen=True, gc=False):
    """Delete the keys in ``[key, end)`` (the same rule for ``end`` as ``Range``)."""

    key: bytes
    end: bytes = b""
    prev_kv: bool = False


class Compare(msgspec.Struct, frozen=True, gc=False):
    """One guard. ``value`` is bytes for ``Target.VALUE`` and an int otherwise.

    With ``end`` set, every key in the range must satisfy it. An absent key compares as all zeros; a VALUE
    compare on an absent key is false.
    """

    key: bytes
    target: Target
    relation: Relation
    value: int | bytes
    end: bytes = b""


class Txn(msgspec.Struct, frozen=True):
    """If all ``compares`` hold apply ``success``, otherwise ``failure``, in one revision at most."""

    compares: tuple[Compare, ...] = ()
    success: tuple[Operation, ...] = ()
    failure: tuple[Operation, ...] = ()


Operation: TypeAlias = Range | Put | Delete | Txn


class LeaseGrant(msgspec.Struct, frozen=True):
    """``lease`` 0: the store chooses an id. ``ttl_s`` below the store's minimum is raised silently, as in etcd."""

    ttl_s: int
    lease: int = 0


class LeaseRevoke(msgspec.Struct, frozen=True):
    lease: int


class LeaseKeepAlive(msgspec.Struct, frozen=True):
    """Renew once. The answer's ``ttl_s`` is 0 (or less) when the lease is dead; that is not an error."""

    lease: int


class LeaseTimeToLive(msgspec.Struct, frozen=True):
    lease: int
    keys: bool = False


class LeaseList(msgspec.Struct, frozen=True):
    pass


class Compact(msgspec.Struct, frozen=True):
    """Forget history at and below ``revision`` except what is current there."""

    revision: int
    physical: bool = False


class StatusRequest(msgspec.Struct, frozen=True):
    pass


Request: TypeAlias = (
    Range
    | Put
    | Delete
    | Txn
    | LeaseGrant
    | LeaseRevoke
    | LeaseKeepAlive
    | LeaseTimeToLive
    | LeaseList
    | Compact
    | StatusRequest
)

# --------------------------------------------------------------------------------------------- results
# Every result carries ``revision``: the store's revision when the request was decided (etcd's header). In the
# results nested in a ``TxnResult`` it is what etcd's nested headers have: the newest revision that the operation
# saw or made, and 0 in a nested ``TxnResult``.


class RangeResult(msgspec.Struct, frozen=True):
    """``count`` ignores ``limit``; ``more`` says that ``limit`` cut the list."""

    revision: int
    kvs: tuple[KeyValue, ...] = ()
    more: bool = False
    count: int = 0


class PutResult(msgspec.Struct, frozen=True):
    revision: int
    prev: KeyValue | None = None


class DeleteResult(msgspec.Struct, frozen=True):
    revision: int
    deleted: int = 0
    prevs: tuple[KeyValue, ...] = ()


class TxnResult(msgspec.Struct, frozen=True):
    revision: int
    succeeded: bool
    results: tuple[OperationResult, ...] = ()


OperationResult: TypeAlias = RangeResult | PutResult | DeleteResult | TxnResult


class LeaseResult(msgspec.Struct, frozen=True):
    """Answer to grant, revoke, keep-alive and time-to-live; times in seconds, ``ttl_s`` -1: no such lease."""

    revision: int
    lease: int
    ttl_s: int = 0  # remaining (keep-alive: the renewed) time
    granted_ttl_s: int = 0  # of grant and time-to-live
    keys: tuple[bytes, ...] = ()


class LeaseListResult(msgspec.Struct, frozen=True):
    revision: int
    leases: tuple[int, ...] = ()


class CompactResult(msgspec.Struct, frozen=True):
    revision: int


class NoteResult(msgspec.Struct, frozen=True):
    """Answer to an embedded store's ``put_note``, which makes no revision."""

    revision: int


class StatusResult(msgspec.Struct, frozen=True):
    """``generation`` grows with every restore and migrate; 0 where the store never was restored."""

    revision: int
    compact_revision: int = 0
    generation: int = 0
    size_bytes: int = 0
    size_in_use_bytes: int = 0
    leader: int = 0
    raft_term: int = 0
    version: str = ""
    alarms: tuple[str, ...] = ()


Result: TypeAlias = (
    OperationResult | LeaseResult | LeaseListResult | CompactResult | NoteResult | StatusResult
)

# --------------------------------------------------------------------------------------------- watches


class Event(msgspec.Struct, frozen=True):
    """A put, or (``kv.version == 0``) a deletion, at ``kv.mod_revision``. ``prev`` only where asked for."""

    kv: KeyValue
    prev: KeyValue | None = None

    @property
    def is_delete(self) -> bool:
        return self.kv.version == 0


class Watch(msgspec.Struct, frozen=True):
    """Follow ``[key, end)`` from ``start_revision`` on (inclusive; 0: from now on)."""

    key: bytes
    end: bytes = b""
    start_revision: int = 0
    prev_kv: bool = False
    no_put: bool = False
    no_delete: bool = False


class WatchBatch(msgspec.Struct, frozen=True):
    """What a watch delivers: all of a revision's events are in one batch, revisions ascend, none is missed
    or repeated. ``events`` empty: progress, everything up to ``revision`` has been delivered. The first
    batch of a watch is always empty, with the revision at which the watch was created: what a watch from the past
    has to tell of revisions up to that one comes after it;
    ``resumed`` marks the first batch after the driver lost its connection and found it again.
    """

    revision: int
    events: tuple[Event, ...] = ()
    resumed: bool = False


# ------------------------------------------------------------------------------------------ interfaces

Outcome: TypeAlias = Result | AtollError
Done: TypeAlias = Callable[[Outcome], None]
WatchSink: TypeAlias = Callable[[WatchBatch | AtollError], bool | None]
"""May return False to say that it wants no more: a driver that is reading history for it need not go on. Whoever
began the watch still calls its ``Cancel``."""
Cancel: TypeAlias = Callable[[], None]


class Driver(Protocol):
    """A store as its drivers offer it. Every method may be called from any thread and returns at once."""

    def submit(self, request: Request, done: Done, timeout_s: float | None = None) -> None:
        """Start ``request``. ``done`` is called exactly once, from any thread (perhaps before ``submit``
        returns), and must neither block nor raise. ``timeout_s``: after so long ``done`` gets an error:
        UNAVAILABLE if the request certainly was not applied, UNKNOWN if it may have been.
        """

    def watch(self, watch: Watch, sink: WatchSink) -> Cancel:
        """Start a watch. ``sink`` is called in order, never concurrently, under the rules of ``done``. After
        an ``AtollError`` (COMPACTED: facts ``compact_revision``; DENIED; CLOSED) it is not called again.
        Loss of a connection is no error: the driver resumes without gap or repeat.
        """

    def close(self) -> None:
        """Give up all that is under way (``done`` gets CLOSED) and release everything. Idempotent."""


class Store(Protocol):
    """A store as planes use it (asyncio). All methods raise ``AtollError``."""

    async def range(self, request: Range) -> RangeResult: ...

    async def txn(self, request: Txn) -> TxnResult: ...

    async def put(self, request: Put) -> PutResult: ...

    async def delete(self, request: Delete) -> DeleteResult: ...

    async def commit(self, guards: Sequence[Compare], operations: Sequence[Operation]) -> TxnResult:
        """All of ``operations`` under all of ``guards``; raises CONFLICT when a guard failed."""

    def watch(self, watch: Watch) -> AsyncGenerator[WatchBatch, None]:
        """Batches under the rules of ``WatchBatch``. Close it (``contextlib.aclosing``) to give the watch up."""

    async def lease_grant(self, ttl_s: int, lease: int = 0) -> LeaseResult: ...

    async def lease_revoke(self, lease: int) -> LeaseResult: ...

    async def lease_keep_alive(self, lease: int) -> LeaseResult: ...

    async def lease_time_to_live(self, lease: int, keys: bool = False) -> LeaseResult: ...

    async def lease_list(self) -> LeaseListResult: ...

    async def compact(self, revision: int, physical: bool = False) -> CompactResult: ...

    async def status(self) -> StatusResult: ...

    async def close(self) -> None: ...


class Limits(msgspec.Struct, frozen=True):
    """The reference's limits; each is a setting of the embedded store."""

    txn_operations_max: int = 128
    request_bytes_max: int = 1_572_864  # 1.5 MiB
    lease_ttl_s_min: int = 2  # ceil(1.5 x election timeout of 1 s), as in etcd's default
    lease_ttl_s_max: int = 9_000_000_000
    quota_bytes: int = 2_147_483_648
    watch_backlog_events_max: int = 100_000


GENERATION_KEY = b"atoll/generation"
"""Decimal text, written by restore and migrate only; absent means 0. Guards of terms compare it."""


def prefix_end(prefix: bytes) -> bytes:
    """The ``end`` that makes ``[prefix, end)`` all keys that begin with ``prefix``."""
    stripped = prefix.rstrip(b"\xff")
    return stripped[:-1] + bytes([stripped[-1] + 1]) if stripped else b"\0"
