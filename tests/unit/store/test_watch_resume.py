"""A watch over broken connections: what it is told, and where it goes on."""

from __future__ import annotations

from atoll.errors import AtollError, Code, Reason
from atoll.store.api import Event, KeyValue, WatchBatch
from atoll.store.watch_resume import PERMISSION_DENIED, Told, WatchAnswer, WatchResume


def events(*revisions: int) -> tuple[Event, ...]:
    return tuple(Event(KeyValue(b"k", b"v", 1, revision, 1)) for revision in revisions)


def created(revision: int) -> WatchAnswer:
    return WatchAnswer(revision, created=True)


def batch(*revisions: int, header: int = 99, fragment: bool = False) -> WatchAnswer:
    return WatchAnswer(header, events=events(*revisions), fragment=fragment)


def told_revisions(told: list[Told]) -> list[int]:
    batches = [one for one in told if isinstance(one, WatchBatch)]
    return [event.kv.mod_revision for one in batches for event in one.events]


def test_from_now_on_begins_after_the_revision_of_the_creation() -> None:
    watch = WatchResume(0)
    assert watch.hear(created(41)) == [WatchBatch(41)]
    assert watch.position == 42


def test_from_a_revision_begins_there_wherever_the_store_is() -> None:
    for store_revision in (3, 500):
        watch = WatchResume(10)
        assert watch.hear(created(store_revision)) == [WatchBatch(store_revision)]
        assert watch.position == 10


def test_a_batch_moves_the_position_by_its_events_not_by_its_header() -> None:
    watch = WatchResume(10)
    watch.hear(created(99))
    assert watch.hear(batch(10, 12, header=99)) == [WatchBatch(12, events(10, 12))]
    assert watch.position == 13


def test_after_a_lost_connection_the_first_batch_says_so_and_from_where() -> None:
    watch = WatchResume(0)
    watch.hear(created(5))
    watch.hear(batch(6, 7))
    watch.lost()
    assert watch.position == 8
    assert watch.hear(created(30)) == [WatchBatch(7, resumed=True)]
    assert watch.hear(batch(8)) == [WatchBatch(8, events(8))]


def test_a_connection_lost_before_the_creation_is_no_resumption() -> None:
    watch = WatchResume(0)
    watch.lost()
    assert watch.position == 0
    assert watch.hear(created(5)) == [WatchBatch(5)]


def test_a_connection_lost_twice_before_it_stood_again_loses_nothing() -> None:
    watch = WatchResume(0)
    watch.hear(created(5))
    watch.lost()
    watch.lost()
    assert watch.hear(created(9)) == [WatchBatch(5, resumed=True)]


def test_what_was_told_already_is_dropped() -> None:
    watch = WatchResume(0)
    watch.hear(created(5))
    watch.hear(batch(6, 7))
    assert watch.hear(batch(6, 7)) == []
    assert watch.hear(batch(7, 8)) == [WatchBatch(8, events(8))]


def test_fragments_are_told_as_one_batch_once_they_are_complete() -> None:
    watch = WatchResume(0)
    watch.hear(created(5))
    assert watch.hear(batch(6, 6, fragment=True)) == []
    assert watch.hear(batch(6, fragment=True)) == []
    assert watch.position == 6
    assert watch.hear(batch(6)) == [WatchBatch(6, events(6, 6, 6, 6))]
    assert watch.position == 7


def test_fragments_of_a_lost_connection_are_forgotten_and_come_again() -> None:
    watch = WatchResume(0)
    watch.hear(created(5))
    watch.hear(batch(6, 6, fragment=True))
    watch.lost()
    assert watch.position == 6
    told = watch.hear(created(6)) + watch.hear(batch(6, 6, fragment=True)) + watch.hear(batch(6))
    assert told_revisions(told) == [6, 6, 6]


def test_progress_moves_the_position_forward_and_never_back() -> None:
    watch = WatchResume(0)
    watch.hear(created(5))
    assert watch.hear(WatchAnswer(20)) == [WatchBatch(20)]
    assert watch.position == 21
    assert watch.hear(WatchAnswer(20)) == []
    future = WatchResume(100)
    future.hear(created(5))
    assert future.hear(WatchAnswer(20)) == []
    assert future.position == 100


def test_compaction_of_the_position_is_an_error_with_the_revision_and_the_end() -> None:
    watch = WatchResume(3)
    watch.hear(created(50))
    (told,) = watch.hear(WatchAnswer(50, canceled=True, compact_revision=40))
    assert isinstance(told, AtollError)
    assert (told.reason, told.facts["compact_revision"]) == (Reason.COMPACTED, 40)
    assert watch.ended
    assert watch.hear(batch(51)) == []


def test_a_refused_watch_says_who_refused_it() -> None:
    (denied,) = WatchResume(0).hear(
        WatchAnswer(5, created=True, canceled=True, cancel_reason=PERMISSION_DENIED)
    )
    assert isinstance(denied, AtollError)
    assert denied.code is Code.DENIED
    (refused,) = WatchResume(0).hear(
        WatchAnswer(5, canceled=True, cancel_reason="mvcc: watcher range is empty")
    )
    assert isinstance(refused, AtollError)
    assert "watcher range is empty" in str(refused)
