"""The conformance kit of the store: what every driver must do, whatever is behind it.

    for check in CHECKS:
        check(Kit(driver, name=check.__name__))

Rule: a check uses keys and leases of its own and compares revisions with each other, never with fixed numbers,
so that it runs on a store that is in use, and on a real etcd as well as on the embedded drivers. It fails by
``AssertionError`` with what was expected and what came. Whoever writes a driver runs it against this kit.
"""

from __future__ import annotations

import functools
import queue
import zlib
from collections.abc import Callable
from typing import TypeVar

from atoll.errors import AtollError, Code, Reason
from atoll.store.api import (
    Compact,
    CompactResult,
    Compare,
    Delete,
    DeleteResult,
    Driver,
    Event,
    KeyValue,
    LeaseGrant,
    LeaseKeepAlive,
    LeaseList,
    LeaseListResult,
    LeaseResult,
    LeaseRevoke,
    LeaseTimeToLive,
    Operation,
    Outcome,
    Put,
    PutResult,
    Range,
    RangeResult,
    Relation,
    Request,
    SortOrder,
    SortTarget,
    StatusRequest,
    StatusResult,
    Target,
    Txn,
    TxnResult,
    Watch,
    prefix_end,
)
from atoll.testing.asking import ANSWER_WITHIN_S, Watching, ask, outcome

R = TypeVar("R")
SHORT_TIMEOUT_S = 1e-6


class Kit:
    """A driver under test and a part of the key space for one check."""

    def __init__(self, driver: Driver, name: str, run: str = "") -> None:
        self.driver = driver
        self.prefix = f"check/{run}/{name}/".encode()

    def key(self, name: str) -> bytes:
        return self.prefix + name.encode()

    def all(self, revision: int = 0, limit: int = 0) -> Range:
        return Range(self.prefix, prefix_end(self.prefix), revision, limit)

    def lease_id(self, number: int) -> int:
        return zlib.crc32(self.prefix) * 16 + number + 1

    def ask(self, request: Request, kind: type[R]) -> R:
        return ask(self.driver, request, kind)

    def put(self, name: str, value: bytes = b"", lease: int = 0) -> int:
        return self.ask(Put(self.key(name), value, lease), PutResult).revision

    def txn(self, guards: tuple[Compare, ...], *operations: Operation) -> TxnResult:
        return self.ask(Txn(guards, operations), TxnResult)

    def kvs(self) -> tuple[KeyValue, ...]:
        return self.ask(self.all(), RangeResult).kvs

    def refused(self, request: Request, code: Code, reason: Reason) -> None:
        answer = outcome(self.driver, request)
        if not isinstance(answer, AtollError) or (answer.code, answer.reason) != (code, reason):
            raise AssertionError(f"{request}: expected {code.name} {reason.name}, got {answer!r}")

    def watch(self, **options: int | bool) -> Watching:
        watching = Watching(self.driver, Watch(self.prefix, prefix_end(self.prefix), **options))  # type: ignore[arg-type]
        watching.wait_created()
        return watching


def equal(actual: object, expected: object, what: str) -> None:
    if actual != expected:
        raise AssertionError(f"{what}: expected {expected!r}, got {actual!r}")


# ------------------------------------------------------------------------------------------------ keys


def versions_and_revisions(kit: Kit) -> None:
    first, second = kit.put("k", b"1"), kit.put("k", b"2")
    equal(second, first + 1, "a put makes one revision")
    equal(kit.kvs(), (KeyValue(kit.key("k"), b"2", first, second, 2),), "the second version")
    deleted = kit.ask(Delete(kit.key("k"), prev_kv=True), DeleteResult)
    equal((deleted.deleted, deleted.revision), (1, second + 1), "a deletion")
    equal(deleted.prevs, (KeyValue(kit.key("k"), b"2", first, second, 2),), "what was deleted")
    again = kit.ask(Delete(kit.key("k")), DeleteResult)
    equal((again.deleted, again.revision), (0, second + 1), "deleting nothing makes no revision")
    third = kit.put("k", b"3")
    equal(kit.kvs(), (KeyValue(kit.key("k"), b"3", third, third, 1),), "versions start again")
    past = kit.ask(kit.all(revision=first), RangeResult)
    equal((past.revision, [kv.value for kv in past.kvs]), (third, [b"1"]), "a read in the past")


def ranges_limits_and_orders(kit: Kit) -> None:
    for name, value in (("a", b"3"), ("b", b"2"), ("c", b"1")):
        kit.put(name, value)
    limited = kit.ask(kit.all(limit=2), RangeResult)
    equal((len(limited.kvs), limited.count, limited.more), (2, 3, True), "limit, count and more")
    counted = kit.ask(Range(kit.prefix, prefix_end(kit.prefix), count_only=True), RangeResult)
    equal((counted.kvs, counted.count), ((), 3), "count_only")
    bare = kit.ask(Range(kit.key("a"), keys_only=True), RangeResult)
    equal([kv.value for kv in bare.kvs], [b""], "keys_only")
    by_value = Range(
        kit.prefix,
        prefix_end(kit.prefix),
        limit=1,
        sort_order=SortOrder.ASCEND,
        sort_target=SortTarget.VALUE,
    )
    equal([kv.key for kv in kit.ask(by_value, RangeResult).kvs], [kit.key("c")], "sorted before the limit")
    from_b = kit.ask(Range(kit.key("b"), kit.key("c")), RangeResult)
    equal([kv.key for kv in from_b.kvs], [kit.key("b")], "the end is exclusive")
    newest = limited.revision
    kit.refused(kit.all(revision=newest + 100_000), Code.INVALID, Reason.FUTURE_REVISION)


def requests_that_are_wrong(kit: Kit) -> None:
    key = kit.key("k")
    for request, reason in (
        (Put(b""), Reason.EMPTY_KEY),
        (Range(b""), Reason.EMPTY_KEY),
        (Delete(b""), Reason.EMPTY_KEY),
        (Put(key, b"x", ignore_value=True), Reason.VALUE_PROVIDED),
        (Put(key, lease=1, ignore_lease=True), Reason.LEASE_PROVIDED),
        (Put(key, ignore_value=True), Reason.KEY_NOT_FOUND),
        (Txn(success=(Put(key), Put(key))), Reason.DUPLICATE_KEY),
        (Txn(success=(Put(key), Txn(failure=(Put(key),)))), Reason.DUPLICATE_KEY),
        (Txn(success=(Put(key), Delete(kit.prefix, prefix_end(kit.prefix)))), Reason.DUPLICATE_KEY),
        (Txn(success=tuple(Put(key + b"%d" % i) for i in range(129))), Reason.TOO_MANY_OPS),
        (Put(key, b"x" * 1_600_000), Reason.REQUEST_TOO_LARGE),
    ):
        kit.refused(request, Code.INVALID, reason)
    kit.refused(Put(key, lease=kit.lease_id(0)), Code.NOT_FOUND, Reason.LEASE_NOT_FOUND)
    equal(kit.kvs(), (), "nothing was written")


# -------------------------------------------------------------------------------------------- guards


def absent(key: bytes, end: bytes = b"") -> Compare:
    return Compare(key, Target.CREATE, Relation.EQUAL, 0, end)


def guards_on_one_key(kit: Kit) -> None:
    key = kit.key("k")
    made = kit.txn((absent(key),), Put(key, b"1"))
    equal(made.succeeded, True, "the first to create")
    equal(kit.txn((absent(key),), Put(key, b"2")).succeeded, False, "the second to create")
    unchanged = Compare(key, Target.MOD, Relation.EQUAL, made.revision)
    equal(kit.txn((unchanged,), Put(key, b"3")).succeeded, True, "unchanged since it was read")
    equal(kit.txn((unchanged,), Put(key, b"4")).succeeded, False, "changed since it was read")
    equal(kit.kvs()[0].value, b"3", "what the failed guards left")
    valued = Compare(kit.key("absent"), Target.VALUE, Relation.NOT_EQUAL, b"x")
    equal(kit.txn((valued,)).succeeded, False, "a value compare on an absent key is false")


def guards_see_phantoms(kit: Kit) -> None:
    """A guard on a range that holds ``newest revision`` notices insertions; deletions need the keys' own guards."""
    kit.put("a")
    read = kit.ask(kit.all(), RangeResult)
    newest = Compare(kit.prefix, Target.MOD, Relation.LESS, read.revision + 1, prefix_end(kit.prefix))
    each = tuple(Compare(kv.key, Target.MOD, Relation.EQUAL, kv.mod_revision) for kv in read.kvs)
    equal(kit.txn((newest, *each), Put(kit.key("result"))).succeeded, True, "nothing came between")
    kit.ask(Delete(kit.key("result")), DeleteResult)
    kit.put("phantom")
    equal(kit.txn((newest, *each), Put(kit.key("x"))).succeeded, False, "an insertion in the range")
    kit.ask(Delete(kit.key("phantom")), DeleteResult)
    equal(kit.txn((newest, *each), Put(kit.key("x"))).succeeded, True, "the insertion is gone again")
    kit.ask(Delete(kit.key("x")), DeleteResult)
    kit.ask(Delete(kit.key("a")), DeleteResult)
    equal(kit.txn((newest, *each), Put(kit.key("x"))).succeeded, False, "a deletion in the range")
    equal(kit.kvs(), (), "nothing was written under a failed guard")


def a_range_guard_holds_for_every_key(kit: Kit) -> None:
    every = prefix_end(kit.prefix)
    equal(kit.txn((absent(kit.prefix, every),)).succeeded, True, "an empty range compares as zeros")
    valued = Compare(kit.prefix, Target.VALUE, Relation.NOT_EQUAL, b"x", every)
    equal(kit.txn((valued,)).succeeded, False, "a value compare on an empty range is false")
    kit.put("a", b"1")
    kit.put("b", b"2")
    ones = Compare(kit.prefix, Target.VALUE, Relation.EQUAL, b"1", every)
    equal(kit.txn((ones,)).succeeded, False, "one of two differs")
    kit.put("b", b"1")
    equal(kit.txn((ones,)).succeeded, True, "both agree")


def transactions_are_one_revision(kit: Kit) -> None:
    a, b = kit.key("a"), kit.key("b")
    before = kit.put("a", b"old")
    inner = Txn((absent(b),), (Put(kit.key("then")),), (Put(kit.key("else")),))
    result = kit.txn((), Put(b, b"1"), Range(b), inner, Delete(a), Range(a))
    equal(result.revision, before + 1, "all of it is one revision")
    read, nested, gone = result.results[1], result.results[2], result.results[4]
    equal(
        [kv.value for kv in read.kvs] if isinstance(read, RangeResult) else read,
        [b"1"],
        "an own write is seen",
    )
    equal(gone.count if isinstance(gone, RangeResult) else gone, 0, "an own deletion is seen")
    chosen = nested.succeeded if isinstance(nested, TxnResult) else nested
    equal(chosen, True, "nested compares look at the state before the transaction")
    equal({kv.mod_revision for kv in kit.kvs()}, {result.revision}, "every key has that revision")
    reading = kit.txn((), Range(a), Range(b))
    equal(reading.revision, result.revision, "a transaction that only reads makes no revision")


# -------------------------------------------------------------------------------------------- watches


def watches_deliver_everything_once_and_in_order(kit: Kit) -> None:
    start = kit.put("k", b"0")
    past, live = kit.watch(start_revision=start), kit.watch()
    revisions = [start, *(kit.put("k", b"%d" % number) for number in range(1, 40))]
    for watching, expected in ((past, revisions), (live, revisions[1:])):
        events = watching.wait_events(len(expected))
        equal([event.kv.mod_revision for event in events], expected, "the revisions delivered")
    equal(past.batches[0].events, (), "the first batch says that the watch was created")
    for watching in (past, live):
        watching.cancel()


def all_events_of_a_revision_are_in_one_batch(kit: Kit) -> None:
    watching = kit.watch()
    for _ in range(5):
        kit.txn((), *(Put(kit.key(f"{number:03}")) for number in range(100)))
    watching.wait_events(500)
    per_batch = [{event.kv.mod_revision for event in batch.events} for batch in watching.batches]
    seen = [revision for revisions in per_batch for revision in sorted(revisions)]
    equal(len(seen), len(set(seen)), "no revision in two batches")
    equal(len(seen), 5, "five revisions")
    watching.cancel()


def watch_filters_and_what_was_before(kit: Kit) -> None:
    puts, deletes = kit.watch(no_delete=True, prev_kv=True), kit.watch(no_put=True)
    first, second = kit.put("k", b"1"), kit.put("k", b"2")
    gone = kit.ask(Delete(kit.key("k")), DeleteResult).revision
    old = KeyValue(kit.key("k"), b"1", first, first, 1)
    new = KeyValue(kit.key("k"), b"2", first, second, 2)
    equal(puts.wait_events(2), [Event(old), Event(new, old)], "puts with what was before")
    equal(deletes.wait_events(1), [Event(KeyValue(kit.key("k"), b"", 0, gone))], "deletions alone")
    for watching in (puts, deletes):
        watching.cancel()


def a_watch_of_the_future_waits(kit: Kit) -> None:
    now = kit.put("k")
    watching = kit.watch(start_revision=now + 3)
    revisions = [kit.put("k") for _ in range(4)]
    events = watching.wait_events(2)
    equal([event.kv.mod_revision for event in events], revisions[2:], "from the start revision on")
    watching.cancel()


def a_cancelled_watch_is_silent(kit: Kit) -> None:
    cancelled, other = kit.watch(), kit.watch()
    kit.put("k")
    cancelled.wait_events(1)
    cancelled.cancel()
    kit.put("k")
    other.wait_events(2)
    equal(len(cancelled.events), 1, "events after the cancellation")
    other.cancel()


# --------------------------------------------------------------------------------------------- leases


def leases_are_objects(kit: Kit) -> None:
    lease = kit.lease_id(0)
    granted = kit.ask(LeaseGrant(500, lease), LeaseResult)
    equal((granted.lease, granted.ttl_s), (lease, 500), "a lease with a chosen id")
    kit.refused(LeaseGrant(500, lease), Code.CONFLICT, Reason.LEASE_EXISTS)
    kit.refused(LeaseGrant(9_000_000_001), Code.INVALID, Reason.LEASE_TTL_TOO_LARGE)
    equal(lease in kit.ask(LeaseList(), LeaseListResult).leases, True, "listed")
    equal(kit.ask(LeaseKeepAlive(lease), LeaseResult).ttl_s, 500, "renewed to the full time")
    chosen = kit.ask(LeaseGrant(500), LeaseResult)
    equal(chosen.lease > 0, True, "the store chooses an id")
    kit.ask(LeaseRevoke(chosen.lease), LeaseResult)
    kit.ask(LeaseRevoke(lease), LeaseResult)
    kit.refused(LeaseRevoke(lease), Code.NOT_FOUND, Reason.LEASE_NOT_FOUND)
    equal(kit.ask(LeaseTimeToLive(lease), LeaseResult).ttl_s, -1, "time to live of no lease")


def a_revoked_lease_takes_its_keys_in_one_revision(kit: Kit) -> None:
    lease, other = kit.lease_id(0), kit.lease_id(1)
    for each in (lease, other):
        kit.ask(LeaseGrant(500, each), LeaseResult)
    for name in ("a", "b", "moved", "detached"):
        kit.put(name, b"", lease)
    kit.put("moved", b"", other)
    kit.put("detached")
    kept = kit.ask(Put(kit.key("b"), b"2", ignore_lease=True), PutResult).revision
    keys = kit.ask(LeaseTimeToLive(lease, keys=True), LeaseResult).keys
    equal(sorted(keys), [kit.key("a"), kit.key("b")], "the keys of the lease")
    watching = kit.watch()
    kit.ask(LeaseRevoke(lease), LeaseResult)
    events = watching.wait_events(2)
    equal({event.kv.mod_revision for event in events}, {kept + 1}, "one revision")
    equal([kv.key for kv in kit.kvs()], [kit.key("detached"), kit.key("moved")], "what is left")
    kit.ask(LeaseRevoke(other), LeaseResult)
    watching.cancel()


def a_lease_ends_by_itself(kit: Kit) -> None:
    lease = kit.lease_id(0)
    ttl_s = kit.ask(LeaseGrant(1, lease), LeaseResult).ttl_s
    kit.put("k", b"", lease)
    watching = kit.watch()
    events = watching.wait_events(1)
    equal([event.is_delete for event in events], [True], f"a deletion after {ttl_s} s")
    equal(kit.ask(LeaseKeepAlive(lease), LeaseResult).ttl_s <= 0, True, "a dead lease is not renewed")
    watching.cancel()


# ------------------------------------------------------------------------------------------ compaction


def compaction_forgets_the_past_only(kit: Kit) -> None:
    first = kit.put("k", b"1")
    live = kit.watch()
    second = kit.put("k", b"2")
    newest = kit.put("other")
    kit.ask(Compact(second, physical=True), CompactResult)
    kit.refused(Compact(second), Code.INVALID, Reason.COMPACTED)
    kit.refused(Compact(newest + 100_000), Code.INVALID, Reason.FUTURE_REVISION)
    kit.refused(kit.all(revision=first), Code.INVALID, Reason.COMPACTED)
    at = kit.ask(kit.all(revision=second), RangeResult)
    equal([kv.value for kv in at.kvs], [b"2"], "a read at the compaction revision")
    late = kit.watch(start_revision=first)
    equal(late.wait_error().reason, Reason.COMPACTED, "a watch that would miss something")
    equal(late.wait_error().facts.get("compact_revision"), second, "and what it is told")
    kit.put("k", b"3")
    equal([event.kv.value for event in live.wait_events(3)], [b"2", b"", b"3"], "a live watch goes on")
    live.cancel()


def a_deletion_at_the_compaction_revision_is_still_seen(kit: Kit) -> None:
    kit.put("k")
    gone = kit.ask(Delete(kit.key("k")), DeleteResult).revision
    kit.put("other")
    kit.ask(Compact(gone), CompactResult)
    watching = kit.watch(start_revision=gone)
    events = watching.wait_events(2)
    equal([event.kv.mod_revision for event in events], [gone, gone + 1], "from the compaction revision on")
    watching.cancel()


# --------------------------------------------------------------------------------------------- outcomes


def unavailable_means_not_applied(kit: Kit) -> None:
    """With almost no time left a write succeeds, is UNKNOWN, or certainly did not happen; never anything else."""
    answers: queue.Queue[tuple[int, Outcome]] = queue.Queue()
    for number in range(50):
        heard_by = functools.partial(_note, answers, number)
        kit.driver.submit(Put(kit.key(f"{number:03}")), heard_by, SHORT_TIMEOUT_S)
    heard = dict(answers.get(timeout=ANSWER_WITHIN_S) for _ in range(50))
    kit.put("last")  # whatever was accepted before it is decided before it
    applied = {kv.key for kv in kit.kvs()}
    for number, answer in heard.items():
        there = kit.key(f"{number:03}") in applied
        if isinstance(answer, PutResult):
            equal(there, True, "an acknowledged write")
        elif isinstance(answer, AtollError) and answer.code is Code.UNAVAILABLE:
            equal(there, False, "a write that certainly was not applied")
        elif not (isinstance(answer, AtollError) and answer.code is Code.UNKNOWN):
            raise AssertionError(f"a write in a hurry ended with {answer!r}")
    equal(len(heard), 50, "every write is answered")


def _note(answers: queue.Queue[tuple[int, Outcome]], number: int, answer: Outcome) -> None:
    answers.put((number, answer))


def status_tells_the_revision(kit: Kit) -> None:
    revision = kit.put("k")
    status = kit.ask(StatusRequest(), StatusResult)
    equal(status.revision >= revision, True, "the revision of the status")
    equal(status.size_bytes > 0, True, "the size of the status")


CHECKS: tuple[Callable[[Kit], None], ...] = (
    versions_and_revisions,
    ranges_limits_and_orders,
    requests_that_are_wrong,
    guards_on_one_key,
    guards_see_phantoms,
    a_range_guard_holds_for_every_key,
    transactions_are_one_revision,
    watches_deliver_everything_once_and_in_order,
    all_events_of_a_revision_are_in_one_batch,
    watch_filters_and_what_was_before,
    a_watch_of_the_future_waits,
    a_cancelled_watch_is_silent,
    leases_are_objects,
    a_revoked_lease_takes_its_keys_in_one_revision,
    a_lease_ends_by_itself,
    compaction_forgets_the_past_only,
    unavailable_means_not_applied,
    status_tells_the_revision,
)

EMBEDDED_CHECKS = (*CHECKS, a_deletion_at_the_compaction_revision_is_still_seen)
"""What a real etcd 3.4 does not always do: it forgets that deletion once its compaction has come by."""


def check_store(driver: Driver, run: str = "") -> None:
    """Run every check of ``CHECKS``. ``run`` makes the keys of this run different from those of another one."""
    for check in CHECKS:
        check(Kit(driver, check.__name__, run))
