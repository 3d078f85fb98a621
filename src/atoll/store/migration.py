"""From one store to another, whatever their drivers: ``atoll store migrate FROM TO``.

Rule: the source is only read, and the target is not a store until the last transaction. The first transaction
puts a mark (``UNFINISHED_KEY``), the last one removes it together with writing the generation; whoever opens a
store looks for the mark (``require_finished``) and refuses it. Run again, an interrupted migration begins anew.

What is kept: accounts, keys, values, leases with their ids and granted times, and the order of creation among leased keys,
which decides elections. What is not: revisions, versions and history; the generation says so to every holder of
a fencing token, because a token is (generation, revision) and compares as a pair.

Doubt: what is written to the source after the migration has read it is not migrated; stop its writers first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from atoll.errors import AtollError, Code
from atoll.store import accounts
from atoll.store.api import (
    GENERATION_KEY,
    RESERVED_PREFIX,
    Compare,
    Delete,
    Driver,
    KeyValue,
    LeaseGrant,
    LeaseList,
    LeaseListResult,
    LeaseResult,
    LeaseRevoke,
    LeaseTimeToLive,
    Operation,
    Put,
    Range,
    RangeResult,
    Relation,
    Store,
    Target,
    Txn,
    TxnResult,
)
from atoll.store.blocking import ask

UNFINISHED_KEY = RESERVED_PREFIX + b"unfinished"
PAGE_KEYS = 500
BATCH_OPERATIONS_MAX = 100
BATCH_BYTES_MAX = 1_048_576
_OWN_KEYS = (UNFINISHED_KEY, GENERATION_KEY)
_ALL_BUT_OWN = (
    (b"\0", UNFINISHED_KEY),
    (UNFINISHED_KEY + b"\0", GENERATION_KEY),
    (GENERATION_KEY + b"\0", b"\0"),
)


class Migrated(msgspec.Struct, frozen=True):
    """What was migrated, and the target's generation since."""

    keys: int
    leases: int
    generation: int


def next_generation(source: int, target: int, wall_s: float) -> int:
    """Greater than both, and than that of any store restored or migrated before now whose clock was right."""
    return max(source + 1, target + 1, int(wall_s))


def generation_of(value: bytes) -> int:
    """The number in the value of ``GENERATION_KEY``; 0 where there is none."""
    return int(value) if value.isdigit() else 0


async def require_finished(store: Store) -> None:
    """Raises CONFLICT where an interrupted migration has left an unfinished store."""
    if (await store.range(Range(UNFINISHED_KEY, count_only=True))).count:
        raise unfinished("this store")


def unfinished(which: str) -> AtollError:
    text = f"a migration to {which} was interrupted, so it is not whole: run `atoll store migrate` again, or empty it"
    return AtollError(Code.CONFLICT, text)


def migrate(source: Driver, target: Driver, wall_s: float) -> Migrated:
    """Copy everything of ``source`` to ``target``, which must be empty. Blocks. Raises CONFLICT where it is not."""
    _refuse_unfinished(source)
    kept = accounts.kept(source)
    kvs = [kv for kv in _all(source) if kv.key != accounts.KEY]
    if kept is not None and not accounts.keep(target, kept):
        kvs.append(KeyValue(accounts.KEY, kept))
    generation = next_generation(_generation(source), _generation(target), wall_s)
    _begin(target)
    _put_all(target, [kv for kv in kvs if not kv.lease])
    leases = _move_leases(source, target)
    _put_leased(target, [kv for kv in kvs if kv.lease])
    _transact(target, (Put(GENERATION_KEY, b"%d" % generation), Delete(UNFINISHED_KEY)))
    return Migrated(len(kvs), leases, generation)


def _refuse_unfinished(source: Driver) -> None:
    if ask(source, Range(UNFINISHED_KEY, count_only=True), RangeResult).count:
        raise unfinished("the source")


def _all(source: Driver) -> Iterator[KeyValue]:
    """Every key as of one revision, in the order of creation."""
    start, revision = b"\0", 0
    kvs: list[KeyValue] = []
    while True:
        page = ask(source, Range(start, b"\0", revision=revision, limit=PAGE_KEYS), RangeResult)
        revision = revision or page.revision
        kvs += page.kvs
        if not page.more:
            break
        start = page.kvs[-1].key + b"\0"
    kvs.sort(key=lambda kv: (kv.create_revision, kv.key))
    return (kv for kv in kvs if kv.key not in _OWN_KEYS)


def _generation(driver: Driver) -> int:
    kvs = ask(driver, Range(GENERATION_KEY), RangeResult).kvs
    return generation_of(kvs[0].value) if kvs else 0


def _begin(target: Driver) -> None:
    """Mark the target as unfinished. It is empty, or what an interrupted migration left is removed."""
    if ask(target, Range(UNFINISHED_KEY, count_only=True), RangeResult).count:
        _clear(target)
        return
    empty = [Compare(key, Target.VERSION, Relation.EQUAL, 0, end) for key, end in _ALL_BUT_OWN]
    if not _transact(target, (Put(UNFINISHED_KEY, b"migration"),), empty).succeeded:
        text = "the target of the migration has keys already; name an empty store, or delete them first"
        raise AtollError(Code.CONFLICT, text)


def _clear(target: Driver) -> None:
    """Remove all but the mark and the generation."""
    _transact(target, [Delete(key, end) for key, end in _ALL_BUT_OWN])


def _move_leases(source: Driver, target: Driver) -> int:
    """Grant the source's leases, with their ids and full times, on the target."""
    there = set(ask(target, LeaseList(), LeaseListResult).leases)
    moved = 0
    for lease in ask(source, LeaseList(), LeaseListResult).leases:
        granted_ttl_s = ask(source, LeaseTimeToLive(lease), LeaseResult).granted_ttl_s
        if granted_ttl_s <= 0:
            continue  # it ended between the two questions
        if lease in there:
            ask(target, LeaseRevoke(lease), LeaseResult)
        ask(target, LeaseGrant(granted_ttl_s, lease), LeaseResult)
        moved += 1
    return moved


def _put_all(target: Driver, kvs: Iterable[KeyValue]) -> None:
    batch: list[Operation] = []
    batch_bytes = 0
    for kv in kvs:
        size_bytes = len(kv.key) + len(kv.value)
        if batch and (len(batch) == BATCH_OPERATIONS_MAX or batch_bytes + size_bytes > BATCH_BYTES_MAX):
            _transact(target, batch)
            batch, batch_bytes = [], 0
        batch.append(Put(kv.key, kv.value))
        batch_bytes += size_bytes
    if batch:
        _transact(target, batch)


def _put_leased(target: Driver, kvs: Iterable[KeyValue]) -> None:
    """One revision each, in the order of creation: the oldest candidate of an election stays the oldest.

    A key whose lease ended while the migration ran is gone from the source too, or will be.
    """
    alive = set(ask(target, LeaseList(), LeaseListResult).leases)
    for kv in kvs:
        if kv.lease in alive:
            _transact(target, (Put(kv.key, kv.value, kv.lease),))


def _transact(target: Driver, operations: Sequence[Operation], guards: Sequence[Compare] = ()) -> TxnResult:
    return ask(target, Txn(tuple(guards), tuple(operations)), TxnResult)
