"""The event log: what was recorded can be asked for, it is bounded in every way, and nobody ever waits for it."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from atoll.resources.events import Kind
from atoll.store.event_log import FORGET_EVERY_MS, Bounds, EventLog
from tests.unit.registry.naming_kit import VirtualClock
from tests.waiting import wait_until

LATER_S = float(2**33)
LISTS = "public:DEFAULT_GROUP:naming/orders"


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def log(tmp_path: Path, clock: VirtualClock) -> Iterator[EventLog]:
    log = EventLog(tmp_path / "events.db", clock)
    yield log
    log.close()


def test_events_come_back_by_subject_and_client_in_order(log: EventLog, clock: VirtualClock) -> None:
    for number in range(3):
        clock.boot_s += 1
        log.record(Kind.PUSHED, LISTS, "c1", f"d{number}", "")
        log.record(Kind.PUSHED, LISTS, "c2", "other", "")
    found = log.events(LISTS, "c1", LATER_S)
    assert [event.digest for event in found] == ["d0", "d1", "d2"]
    assert [event.digest for event in log.events(LISTS, "c1", found[1].at_s)] == ["d0", "d1"]
    assert [event.digest for event in log.events(LISTS, "c1", LATER_S, limit=1)] == ["d2"]
    assert log.events(LISTS, "c1", LATER_S, (Kind.ACKNOWLEDGED,)) == []
    assert sorted(log.clients_of(LISTS, "c", LATER_S)) == ["c1", "c2"]
    assert log.clients_of(LISTS, "2", LATER_S) == ["c2"]


def test_the_same_state_is_recorded_once(log: EventLog) -> None:
    for digest in ("a", "a", "b", "b", "a"):
        log.record_once(Kind.FETCHED, LISTS, "c1", digest)
    assert [event.digest for event in log.events(LISTS, "c1", LATER_S)] == ["a", "b", "a"]


def test_the_file_is_for_its_owner_only(log: EventLog, tmp_path: Path) -> None:
    log.flush()
    assert stat.S_IMODE((tmp_path / "events.db").stat().st_mode) == 0o600


def test_what_does_not_fit_is_dropped_counted_and_told(tmp_path: Path, clock: VirtualClock) -> None:
    log = EventLog(tmp_path / "events.db", clock, Bounds(queue_events_max=10))
    for number in range(2_000):
        log.record(Kind.PUSHED, LISTS, "c1", str(number), "")
    assert log.statistics().queued <= 10
    assert log.statistics().dropped > 0
    wait_until(
        lambda: (
            sum(int(event.detail) for event in log.events("", "", LATER_S, (Kind.DROPPED,)))
            == log.statistics().dropped
        ),
        20.0,
        "the gap is told",
    )
    log.close()


def test_the_oldest_go_when_they_are_too_old(log: EventLog, clock: VirtualClock) -> None:
    log.record(Kind.CHANGED, LISTS, "", "old", "")
    log.record_instance(LISTS, "10.0.0.1:80:DEFAULT", "{}")
    log.record_snapshot(clock.wall_s(), b"{}")
    log.flush()
    clock.boot_s += 8 * 86_400
    log.record(Kind.CHANGED, LISTS, "", "new", "")

    def only_new() -> bool:
        return [event.digest for event in log.events(LISTS, "", LATER_S)] == ["new"]

    wait_until(only_new, 20.0, "eight days later the first event is forgotten")
    wait_until(lambda: log.moves(0.0, LATER_S) == [], 20.0, "what moved with it")
    wait_until(lambda: log.snapshot(LATER_S) is None, 20.0, "and the snapshot of that time")


def test_the_file_stays_below_its_size(tmp_path: Path, clock: VirtualClock) -> None:
    bounds = Bounds(size_bytes_max=1_000_000)
    log = EventLog(tmp_path / "events.db", clock, bounds)
    for number in range(30_000):
        log.record(Kind.CHANGED, LISTS, "", f"{number:064}", "x" * 60)
        if number % 5_000 == 0:
            log.flush()
    log.flush()
    clock.boot_s += 2 * FORGET_EVERY_MS / 1000

    def below() -> bool:
        log.record(Kind.CHANGED, LISTS, "", "last", "")
        newest = log.events(LISTS, "", LATER_S, limit=1)
        count = len(log.events(LISTS, "", LATER_S, limit=40_000))
        return newest[0].digest == "last" and count < 10_000

    wait_until(below, 20.0, "the oldest are forgotten, the newest stay")
    log.close()


def test_it_goes_on_after_a_restart_and_says_that_there_was_one(tmp_path: Path, clock: VirtualClock) -> None:
    for name in ("first", "second"):
        log = EventLog(tmp_path / "events.db", clock)
        log.record(Kind.CHANGED, LISTS, "", name, "")
        log.close()
    log = EventLog(tmp_path / "events.db", clock)
    assert [event.digest for event in log.events(LISTS, "", LATER_S)] == ["first", "second"]
    assert len(log.events("", "", LATER_S, (Kind.STARTED,))) == 3
    log.close()


@pytest.mark.parametrize("content", [b"no database at all" * 100, b""], ids=["foreign", "empty"])
def test_a_file_that_cannot_be_read_is_put_aside(content: bytes, tmp_path: Path, clock: VirtualClock) -> None:
    path = tmp_path / "events.db"
    path.write_bytes(content)
    log = EventLog(path, clock)
    log.record(Kind.CHANGED, LISTS, "", "new", "")
    assert len(log.events(LISTS, "", LATER_S)) == 1
    log.close()
    assert (tmp_path / "events.db.unreadable").read_bytes() == content


def test_the_newest_snapshot_before_a_time_is_found(log: EventLog, clock: VirtualClock) -> None:
    start_s = clock.wall_s()
    assert log.snapshot(LATER_S) is None
    for number in range(3):
        log.record_snapshot(start_s + number, b"%d" % number)
    assert log.snapshot(start_s + 1.5) == (start_s + 1, b"1")
    assert log.first_snapshot_s() == start_s
