"""The engine over a journal that fails on purpose: what is seen when, and what is taken back."""

from __future__ import annotations

import random
from typing import TypeVar

import pytest

from atoll.errors import AtollError, Code, Reason
from atoll.store import engine
from atoll.store.api import (
    Compact,
    CompactResult,
    Compare,
    Delete,
    Event,
    KeyValue,
    LeaseGrant,
    LeaseKeepAlive,
    LeaseList,
    LeaseListResult,
    LeaseResult,
    LeaseRevoke,
    LeaseTimeToLive,
    Limits,
    NoteResult,
    Outcome,
    Put,
    PutResult,
    Range,
    RangeResult,
    Relation,
    Request,
    StatusRequest,
    StatusResult,
    Target,
    Txn,
    TxnResult,
    Watch,
    WatchBatch,
)
from atoll.store.engine import Engine, Retention
from atoll.store.watch import CATCH_UP_REVISIONS_MAX
from atoll.testing.journal import FakeDisk, FakeJournal

R = TypeVar("R")
EVERYTHING = Watch(b"\0", b"\0")


class HandClock:
    """Moves when told to."""

    def __init__(self) -> None:
        self.time_s = 100.0

    def now_s(self) -> float:
        return self.time_s

    def wall_s(self) -> float:
        return self.time_s


class Bench:
    """An engine, its journal and its clock."""

    def __init__(
        self,
        disk: FakeDisk | None = None,
        commits_at_once: bool = True,
        limits: Limits | None = None,
        retention: Retention | None = None,
    ) -> None:
        self.journal = FakeJournal(disk or FakeDisk(), commits_at_once)
        self.clock = HandClock()
        self.engine = Engine(self.journal, self.clock, random.Random(1), limits, retention)

    def start(self, request: Request, timeout_s: float | None = None) -> list[Outcome]:
        """The list fills when the answer comes."""
        outcomes: list[Outcome] = []
        self.engine.submit(request, outcomes.append, timeout_s)
        return outcomes

    def ask(self, request: Request, kind: type[R]) -> R:
        [outcome] = self.start(request)
        assert isinstance(outcome, kind), outcome
        return outcome

    def error(self, request: Request) -> AtollError:
        return self.ask(request, AtollError)

    def watch(self, watch: Watch) -> list[WatchBatch | AtollError]:
        batches: list[WatchBatch | AtollError] = []
        self.engine.watch(watch, batches.append)
        return batches

    def value(self, key: bytes) -> bytes | None:
        kvs = self.ask(Range(key), RangeResult).kvs
        return kvs[0].value if kvs else None


def _is(error: Outcome | WatchBatch, code: Code, reason: Reason) -> bool:
    return isinstance(error, AtollError) and (error.code, error.reason) == (code, reason)


# ------------------------------------------------------------------------------------------- durability


def test_nobody_sees_a_write_before_it_is_durable() -> None:
    bench = Bench(commits_at_once=False)
    batches = bench.watch(EVERYTHING)
    put = bench.start(Put(b"a", b"1"))
    assert put == []
    assert bench.value(b"a") is None
    assert batches == [WatchBatch(1)]
    bench.journal.commit()
    assert put == [PutResult(2)]
    assert bench.value(b"a") == b"1"
    assert batches[1:] == [WatchBatch(2, (Event(KeyValue(b"a", b"1", 2, 2, 1)),))]


def test_a_refusal_that_rests_on_an_undurable_write_waits_for_it() -> None:
    bench = Bench(commits_at_once=False)
    absent = Compare(b"a", Target.VERSION, Relation.EQUAL, 0)
    bench.start(Put(b"a"))
    second = bench.start(Txn((absent,), (Put(b"a", b"mine"),)))
    assert second == []
    bench.journal.commit()
    assert second == [TxnResult(2, False)]


def test_answers_come_in_order_and_only_for_what_is_durable() -> None:
    bench = Bench(commits_at_once=False)
    puts = [bench.start(Put(b"%d" % i)) for i in range(5)]
    bench.journal.commit(writes_max=2)
    assert [len(put) for put in puts] == [1, 1, 0, 0, 0]
    bench.journal.commit()
    assert [put[0] for put in puts] == [PutResult(i + 2) for i in range(5)]


def test_a_full_disk_takes_everything_pending_back_and_reads_go_on() -> None:
    bench = Bench(commits_at_once=False)
    bench.start(Put(b"a", b"old"))
    grant = bench.start(LeaseGrant(10, 7))
    bench.journal.commit()
    assert grant == [LeaseResult(2, 7, 10, 10)]
    pending = [
        bench.start(Put(b"a", b"new", lease=7)),
        bench.start(LeaseGrant(10, 8)),
        bench.start(LeaseRevoke(7)),
        bench.start(Compact(2)),
    ]
    bench.journal.disk_full = True
    bench.journal.commit()
    assert all(_is(outcome, Code.EXHAUSTED, Reason.NO_SPACE) for [outcome] in pending)
    assert bench.value(b"a") == b"old"
    bench.journal.disk_full = False
    bench.journal.commits_at_once = True
    assert bench.ask(LeaseList(), LeaseListResult).leases == (7,)
    assert bench.ask(LeaseTimeToLive(7, keys=True), LeaseResult).keys == ()
    assert _is(bench.error(Put(b"a", b"new")), Code.EXHAUSTED, Reason.NO_SPACE)
    assert bench.ask(Range(b"a"), RangeResult).revision == 2
    assert bench.ask(StatusRequest(), StatusResult).alarms == ("NOSPACE",)
    assert bench.engine.disarm("NOSPACE")
    assert bench.ask(Put(b"a", b"new"), PutResult).revision == 3
    assert bench.ask(Compact(2), CompactResult).revision == 3


def test_after_a_failed_fsync_the_engine_stops_and_reopening_decides() -> None:
    for kept in (0, 1, 2):
        bench = Bench(commits_at_once=False)
        stops: list[AtollError] = []
        bench.engine.on_stop(stops.append)
        batches = bench.watch(EVERYTHING)
        pending = [bench.start(Put(b"a", b"1")), bench.start(Put(b"b", b"2"))]
        bench.journal.fail_sync(writes_kept=kept)
        assert [outcome.code for [outcome] in pending if isinstance(outcome, AtollError)] == [
            Code.UNKNOWN
        ] * 2
        assert len(stops) == 1
        assert _is(bench.error(Range(b"a")), Code.UNAVAILABLE, Reason.CLOSED)
        assert _is(batches[-1], Code.UNAVAILABLE, Reason.CLOSED)
        reopened = Bench(bench.journal.disk)
        assert [reopened.value(b"a"), reopened.value(b"b")] == [[None, None], [b"1", None], [b"1", b"2"]][
            kept
        ]


def test_a_crash_loses_what_was_not_durable_and_nothing_else() -> None:
    bench = Bench(commits_at_once=False)
    bench.start(LeaseGrant(10, 7))
    bench.start(Put(b"a", b"1", lease=7))
    bench.journal.commit()
    bench.start(Put(b"a", b"2"))
    bench.journal.crash()
    bench.clock.time_s += 9
    reopened = Bench(bench.journal.disk)
    assert reopened.value(b"a") == b"1"
    assert reopened.ask(LeaseTimeToLive(7, keys=True), LeaseResult) == LeaseResult(2, 7, 10, 10, (b"a",))


def test_a_write_that_takes_too_long_is_unknown() -> None:
    bench = Bench(commits_at_once=False)
    put = bench.start(Put(b"a"), timeout_s=2.0)
    bench.clock.time_s += 1.9
    bench.engine.poll()
    assert put == []
    bench.clock.time_s += 0.2
    bench.engine.poll()
    assert _is(put[0], Code.UNKNOWN, Reason.TIMEOUT)
    bench.journal.commit()
    assert len(put) == 1
    assert bench.value(b"a") == b""


def test_close_makes_pending_writes_durable_then_refuses() -> None:
    bench = Bench(commits_at_once=False)
    put = bench.start(Put(b"a"))
    batches = bench.watch(EVERYTHING)
    bench.engine.close()
    bench.engine.close()
    assert put == [PutResult(2)]
    assert _is(batches[-1], Code.UNAVAILABLE, Reason.CLOSED)
    assert _is(bench.error(Put(b"a")), Code.UNAVAILABLE, Reason.CLOSED)
    assert _is(bench.watch(EVERYTHING)[0], Code.UNAVAILABLE, Reason.CLOSED)


# ----------------------------------------------------------------------------------------------- leases


def test_a_lease_ends_once_in_one_revision() -> None:
    bench = Bench()
    bench.ask(LeaseGrant(10, 7), LeaseResult)
    for key in (b"b", b"a"):
        bench.ask(Put(key, lease=7), PutResult)
    batches = bench.watch(EVERYTHING)
    bench.clock.time_s += 9.99
    bench.engine.poll()
    assert len(batches) == 1
    bench.clock.time_s += 0.02
    bench.engine.poll()
    bench.engine.poll()
    tombstones = Event(KeyValue(b"a", b"", 0, 4)), Event(KeyValue(b"b", b"", 0, 4))
    assert batches[1:] == [WatchBatch(4, tombstones)]
    assert bench.ask(LeaseTimeToLive(7), LeaseResult).ttl_s == -1
    assert bench.ask(LeaseKeepAlive(7), LeaseResult).ttl_s == 0
    assert _is(bench.error(Put(b"c", lease=7)), Code.NOT_FOUND, Reason.LEASE_NOT_FOUND)


def test_keep_alive_gives_the_full_time_again() -> None:
    bench = Bench()
    bench.ask(LeaseGrant(10, 7), LeaseResult)
    for _ in range(3):
        bench.clock.time_s += 6
        bench.engine.poll()
        assert bench.ask(LeaseKeepAlive(7), LeaseResult).ttl_s == 10
    bench.clock.time_s += 6
    assert bench.ask(LeaseTimeToLive(7), LeaseResult).ttl_s == 4
    bench.clock.time_s += 4
    assert bench.ask(LeaseKeepAlive(7), LeaseResult).ttl_s == 0  # due, although nobody has polled yet


def test_a_lease_that_cannot_end_on_a_full_disk_ends_later() -> None:
    bench = Bench()
    bench.ask(LeaseGrant(10, 7), LeaseResult)
    bench.ask(Put(b"a", lease=7), PutResult)
    bench.journal.disk_full = True
    bench.clock.time_s += 11
    bench.engine.poll()
    assert bench.value(b"a") == b""
    bench.journal.disk_full = False
    bench.clock.time_s += 1.1
    bench.engine.poll()
    assert bench.value(b"a") is None


def test_grants_are_checked() -> None:
    bench = Bench()
    assert bench.ask(LeaseGrant(1), LeaseResult).ttl_s == 2
    assert bench.ask(LeaseGrant(0, 5), LeaseResult) == LeaseResult(1, 5, 2, 2)
    assert _is(bench.error(LeaseGrant(9_000_000_001)), Code.INVALID, Reason.LEASE_TTL_TOO_LARGE)
    assert _is(bench.error(LeaseGrant(10, 5)), Code.CONFLICT, Reason.LEASE_EXISTS)
    assert _is(bench.error(LeaseRevoke(6)), Code.NOT_FOUND, Reason.LEASE_NOT_FOUND)


# ----------------------------------------------------------------------------------------------- limits


def test_the_quota_raises_the_alarm_until_there_is_room_again() -> None:
    bench = Bench(limits=Limits(quota_bytes=100))
    bench.ask(Put(b"a", b"x" * 60), PutResult)
    assert _is(bench.error(Put(b"b", b"x" * 60)), Code.EXHAUSTED, Reason.NO_SPACE)
    assert _is(bench.error(Txn((), (), (Put(b"b", b"x"),))), Code.EXHAUSTED, Reason.NO_SPACE)
    assert _is(bench.error(LeaseGrant(10)), Code.EXHAUSTED, Reason.NO_SPACE)
    revision = bench.ask(Txn((), (Delete(b"a"),)), TxnResult).revision
    bench.ask(Compact(revision), CompactResult)
    assert bench.engine.disarm("NOSPACE")
    bench.ask(Put(b"b", b"x" * 60), PutResult)


def test_old_history_is_compacted_by_age_and_by_number() -> None:
    bench = Bench(retention=Retention(history_s=60, history_revisions_max=10))
    for _ in range(9):
        bench.ask(Put(b"a"), PutResult)
        bench.clock.time_s += 5
        bench.engine.poll()
    assert bench.ask(StatusRequest(), StatusResult).compact_revision == 0
    for _ in range(6):
        bench.clock.time_s += 5
        bench.engine.poll()
    by_age = bench.ask(StatusRequest(), StatusResult)
    assert 0 < by_age.compact_revision < by_age.revision
    for _ in range(20):
        bench.ask(Put(b"a"), PutResult)
    bench.engine.poll()
    by_number = bench.ask(StatusRequest(), StatusResult)
    assert by_number.compact_revision == by_number.revision - 5


def test_much_old_history_is_compacted_in_steps_so_that_nobody_waits_long() -> None:
    bench = Bench(retention=Retention(history_s=0, history_revisions_max=2 * engine.COMPACT_STEP_REVISIONS))
    for _ in range(3 * engine.COMPACT_STEP_REVISIONS):
        bench.ask(Put(b"a"), PutResult)
    reached = []
    for _ in range(3):
        bench.engine.poll()
        reached.append(bench.ask(StatusRequest(), StatusResult).compact_revision)
    first = 1 + engine.COMPACT_STEP_REVISIONS
    assert reached == [first, first + engine.COMPACT_STEP_REVISIONS, reached[1]]


# ---------------------------------------------------------------------------------------------- watches


@pytest.mark.parametrize("key", [b"\0", b"k"], ids=["range", "one key"])
def test_a_watch_from_the_past_gets_everything_once_and_goes_on_live(key: bytes) -> None:
    bench = Bench()
    for number in range(10):
        bench.ask(Put(b"k", b"%d" % number), PutResult)
    batches = bench.watch(Watch(key, b"\0" if key == b"\0" else b"", start_revision=5))
    bench.ask(Put(b"k", b"10"), PutResult)
    assert batches[0] == WatchBatch(11)
    events = [event for batch in batches if isinstance(batch, WatchBatch) for event in batch.events]
    assert [event.kv.mod_revision for event in events] == list(range(5, 13))


def test_a_watch_from_the_future_waits() -> None:
    bench = Bench()
    batches = bench.watch(Watch(b"k", start_revision=4))
    for _ in range(4):
        bench.ask(Put(b"k"), PutResult)
    revisions = [batch.revision for batch in batches if isinstance(batch, WatchBatch)]
    assert revisions == [1, 4, 5]


def test_filters_prev_and_cancel() -> None:
    bench = Bench()
    puts: list[WatchBatch | AtollError] = []
    cancel = bench.engine.watch(Watch(b"k", prev_kv=True, no_delete=True), puts.append)
    deletes = bench.watch(Watch(b"k", no_put=True))
    bench.ask(Put(b"k", b"1"), PutResult)
    bench.ask(Put(b"k", b"2"), PutResult)
    bench.start(Delete(b"k"))
    cancel()
    bench.ask(Put(b"k", b"3"), PutResult)
    first, second = KeyValue(b"k", b"1", 2, 2, 1), KeyValue(b"k", b"2", 2, 3, 2)
    assert puts[1:] == [WatchBatch(2, (Event(first),)), WatchBatch(3, (Event(second, first),))]
    assert deletes[1:] == [WatchBatch(4, (Event(KeyValue(b"k", b"", 0, 4)),))]


def test_compaction_ends_watches_that_would_miss_something_and_only_those() -> None:
    bench = Bench()
    for _ in range(3):
        bench.ask(Put(b"k"), PutResult)
    bench.start(Delete(b"k"))
    live = bench.watch(Watch(b"k"))
    bench.ask(Compact(5), CompactResult)
    late = bench.watch(Watch(b"k", start_revision=4))
    assert isinstance(late[-1], AtollError)
    assert late[-1].facts["compact_revision"] == 5
    assert bench.watch(Watch(b"k", start_revision=5))[1:] == [
        WatchBatch(5, (Event(KeyValue(b"k", b"", 0, 5)),))
    ]
    bench.ask(Put(b"k"), PutResult)
    assert [batch.revision for batch in live if isinstance(batch, WatchBatch)] == [5, 6]


def test_history_is_read_no_further_than_the_sink_wants() -> None:
    bench = Bench()
    for i in range(CATCH_UP_REVISIONS_MAX + 2):
        bench.ask(Put(b"%d" % i), PutResult)
    given: list[WatchBatch | AtollError] = []

    def sink(item: WatchBatch | AtollError) -> bool:
        given.append(item)
        return len(given) < 2

    cancel = bench.engine.watch(Watch(b"\0", b"\0", start_revision=1), sink)
    bench.ask(Put(b"later"), PutResult)
    assert [isinstance(item, WatchBatch) and bool(item.events) for item in given] == [False, True]
    cancel()


def test_a_mark_comes_after_the_events_up_to_it() -> None:
    bench = Bench(commits_at_once=False)
    order: list[object] = []
    bench.engine.watch(EVERYTHING, lambda item: order.append(item))

    def wrote(_: Outcome) -> None:  # called while the events of revision 2 are still on their way
        bench.engine.mark(order.append)

    bench.engine.submit(Put(b"a"), wrote)
    bench.journal.commit()
    first, event, marked = order
    assert isinstance(event, WatchBatch) and event.events
    assert marked == 2


def test_a_note_is_durable_and_makes_no_revision() -> None:
    disk = FakeDisk()
    bench = Bench(disk, commits_at_once=False)
    outcomes: list[Outcome] = []
    bench.engine.put_note("name", b"value", outcomes.append)
    assert bench.engine.note("name") is None
    bench.journal.commit()
    assert outcomes == [NoteResult(1)]
    assert bench.engine.note("name") == b"value"
    bench.journal.crash()
    assert Bench(disk).engine.note("name") == b"value"


def test_a_note_that_is_lost_leaves_the_old_one() -> None:
    bench = Bench()
    outcomes: list[Outcome] = []
    bench.engine.put_note("name", b"old", outcomes.append)
    bench.journal.disk_full = True
    bench.engine.put_note("name", b"new", outcomes.append)
    assert _is(outcomes[1], Code.EXHAUSTED, Reason.NO_SPACE)
    assert bench.engine.note("name") == b"old"
    bench.engine.close()
    bench.engine.put_note("name", b"newer", outcomes.append)
    assert _is(outcomes[2], Code.UNAVAILABLE, Reason.CLOSED)


def test_a_callback_may_write() -> None:
    bench = Bench()
    seen: list[int] = []

    def sink(batch: WatchBatch | AtollError) -> None:
        assert isinstance(batch, WatchBatch)
        seen.append(batch.revision)
        if batch.events and batch.revision < 5:
            bench.start(Put(b"a"))

    bench.engine.watch(Watch(b"a"), sink)
    bench.start(Put(b"a"))
    assert seen == [1, 2, 3, 4, 5]


def test_outsiders_see_no_reserved_keys_and_cannot_end_atolls_leases() -> None:
    bench = Bench()
    public = bench.engine.public_driver()
    bench.ask(LeaseGrant(10, 7), LeaseResult)
    seen: list[WatchBatch | AtollError] = []
    public.watch(EVERYTHING, seen.append)
    bench.ask(Put(b"\0atoll/x", b"1", lease=7), PutResult)
    bench.ask(Put(b"y", b"1"), PutResult)
    assert seen[1:] == [WatchBatch(3, (Event(KeyValue(b"y", b"1", 3, 3, 1)),))]
    outcomes: list[Outcome] = []
    for request in (Range(b"\0", b"\0"), LeaseTimeToLive(7, keys=True), LeaseRevoke(7), Delete(b"\0", b"\0")):
        public.submit(request, outcomes.append)
    listed, lived, revoked, _ = outcomes
    assert isinstance(listed, RangeResult)
    assert [kv.key for kv in listed.kvs] == [b"y"]
    assert isinstance(lived, LeaseResult)
    assert lived.keys == ()
    assert _is(revoked, Code.DENIED, Reason.PERMISSION_DENIED)
    assert bench.value(b"\0atoll/x") == b"1"
