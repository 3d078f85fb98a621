"""The multi-version state: versions, tombstones, undo, compaction, loading; each against what etcd 3.4 does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.store.api import Event, KeyValue
from atoll.store.mvcc import State


def _put(state: State, key: bytes, value: bytes = b"", lease: int = 0) -> int:
    state.put(key, value, lease)
    state.seal()
    return state.revision


def _delete(state: State, *keys: bytes) -> int:
    state.delete(keys)
    state.seal()
    return state.revision


def test_revisions_start_at_one_and_versions_restart_after_a_delete() -> None:
    state = State()
    assert state.revision == 1
    assert _put(state, b"a", b"1") == 2
    assert _put(state, b"a", b"2") == 3
    assert state.get(b"a", 3) == KeyValue(b"a", b"2", 2, 3, 2)
    assert _delete(state, b"a") == 4
    assert state.get(b"a", 4) is None
    assert _put(state, b"a", b"3") == 5
    assert state.get(b"a", 5) == KeyValue(b"a", b"3", 5, 5, 1)
    assert state.get(b"a", 2) == KeyValue(b"a", b"1", 2, 2, 1)


def test_deleting_nothing_makes_no_revision() -> None:
    state = State()
    assert _delete(state, b"a") == 1
    assert list(state.events(0, 10)) == []


def test_events_carry_what_was_replaced() -> None:
    state = State()
    _put(state, b"a", b"1")
    _delete(state, b"a")
    _put(state, b"a", b"2")
    first = KeyValue(b"a", b"1", 2, 2, 1)
    assert list(state.events(2, 4)) == [
        (2, (Event(first),)),
        (3, (Event(KeyValue(b"a", b"", 0, 3), first),)),
        (4, (Event(KeyValue(b"a", b"2", 4, 4, 1)),)),
    ]
    assert list(state.events_of_key(b"a", 3, 4)) == list(state.events(3, 4))


def test_scan_reads_old_revisions_and_hides_the_reserved_part() -> None:
    state = State()
    _put(state, b"\0atoll/x")
    _put(state, b"a")
    _put(state, b"b")
    _delete(state, b"a")
    assert [kv.key for kv in state.scan(b"\0", b"\0", 4)] == [b"\0atoll/x", b"a", b"b"]
    assert [kv.key for kv in state.scan(b"\0", b"\0", 5, public=True)] == [b"b"]
    assert [kv.key for kv in state.scan(b"a", b"b", 3)] == [b"a"]
    assert state.scan(b"\0atoll/x", b"", 5, public=True) == []


def test_a_key_moves_between_leases() -> None:
    state = State()
    _put(state, b"a", lease=7)
    assert state.attached(7) == [b"a"]
    _put(state, b"a", lease=8)
    assert (state.attached(7), state.attached(8)) == ([], [b"a"])
    _put(state, b"a")
    assert state.attached(8) == []


def _picture(state: State) -> object:
    """Everything that a reader could ask for."""
    oldest = max(state.compact_revision, 1)
    reads = [state.scan(b"\0", b"\0", at) for at in range(oldest, state.revision + 1)]
    leases = [state.attached(lease) for lease in range(10)]
    return state.revision, reads, leases, list(state.events(0, 1 << 60)), state.size_bytes


def test_undo_takes_revisions_back_without_a_trace() -> None:
    state = State()
    _put(state, b"a", b"1", 7)
    _put(state, b"b", b"1")
    _delete(state, b"b")
    before = _picture(state)
    _put(state, b"a", b"2", 8)
    _put(state, b"b", b"2", 7)
    state.delete([b"a", b"b"])
    state.put(b"c", b"1", 8)
    state.seal()
    state.put(b"d", b"", 8)
    state.abandon()
    for _ in range(3):
        state.undo_revision()
    assert _picture(state) == before


def _history() -> State:
    """Revisions: 2 put a, 3 put b, 4 put a, 5 delete b, 6 put c, 7 delete a."""
    state = State()
    _put(state, b"a", b"1")
    _put(state, b"b", b"1", 7)
    _put(state, b"a", b"2")
    _delete(state, b"b")
    _put(state, b"c", b"1", 8)
    _delete(state, b"a")
    return state


@pytest.mark.parametrize("revision", range(1, 8))
def test_compaction_keeps_what_readers_and_watchers_from_there_on_see(revision: int) -> None:
    state, whole = _history(), _history()
    gone = state.compact(revision)
    for at in range(revision, 8):
        assert state.scan(b"\0", b"\0", at) == whole.scan(b"\0", b"\0", at)
    kept = list(state.events(0, 100))
    assert [at for at, _ in kept] == list(range(max(revision, 2), 8))
    assert [[event.kv for event in events] for _, events in kept] == [
        [event.kv for event in events] for at, events in whole.events(revision, 7)
    ]
    # whatever is neither readable nor in the log is gone, and nothing else
    versions = {(kv.key, kv.mod_revision) for _, events in whole.events(0, 100) for kv in [events[0].kv]}
    needed = {(kv.key, kv.mod_revision) for at in range(revision, 8) for kv in whole.scan(b"\0", b"\0", at)}
    needed |= {(event.kv.key, at) for at, events in whole.events(revision, 7) for event in events}
    assert {(kv.key, kv.mod_revision) for kv in gone} == versions - needed


@pytest.mark.parametrize("steps", [(3, 5), (4, 5, 6), (5, 7), (2, 3, 4, 5, 6, 7), (7,)])
def test_compacting_in_steps_ends_like_compacting_at_once(steps: tuple[int, ...]) -> None:
    stepwise, at_once = _history(), _history()
    gone = [kv for step in steps for kv in stepwise.compact(step)]
    expected = at_once.compact(steps[-1])
    assert _picture(stepwise) == _picture(at_once)
    assert sorted((kv.key, kv.mod_revision) for kv in gone) == sorted(
        (kv.key, kv.mod_revision) for kv in expected
    )


@pytest.mark.parametrize("compacted", [-1, 1, 2, 3, 4, 5, 6, 7])
@pytest.mark.parametrize("removed", [True, False], ids=["rows removed", "removal cut short"])
def test_loading_gives_back_the_same_state(compacted: int, removed: bool) -> None:
    state = _history()
    rows = [event.kv for _, events in state.events(0, 100) for event in events]
    gone = state.compact(compacted) if compacted >= 0 else []
    loaded = State()
    leftover = loaded.load(compacted, [kv for kv in rows if kv not in gone] if removed else rows)
    assert _picture(loaded) == _picture(state)
    assert sorted(kv.mod_revision for kv in leftover) == (
        [] if removed else sorted(g.mod_revision for g in gone)
    )


_CHANGES = st.lists(
    st.tuples(st.sampled_from(["put", "delete", "undo", "compact", "reload"]), st.integers(0, 5)), max_size=30
)
_NAMES = [b"\0", b"\0atoll/a", b"\0atoll/b", b"\0atoll0", b"a", b"b"]


@given(changes=_CHANGES, key=st.sampled_from(_NAMES), end=st.sampled_from([b"", b"\0", b"\0atoll/b", b"b"]))
def test_counting_is_scanning_whatever_happened(
    changes: list[tuple[str, int]], key: bytes, end: bytes
) -> None:
    state = State()
    for what, number in changes:
        name = _NAMES[number]
        if what == "put":
            _put(state, name)
        elif what == "delete":
            _delete(state, name)
        elif what == "undo" and state.revision > max(state.compact_revision, 1):
            state.undo_revision()
        elif what == "compact" and state.revision - number > state.compact_revision:
            state.compact(state.revision - number)
        elif what == "reload":
            state = _reloaded(state)
    for at in range(max(state.compact_revision, 1), state.revision + 1):
        for public in (False, True):
            found = state.scan(key, end, at, public)
            assert state.count(key, end, at, public) == len(found)
            assert state.scan(key, end, at, public, limit=2) == found[:2]


def _reloaded(state: State) -> State:
    older = state.scan(b"\0", b"\0", max(state.compact_revision, 1))
    rows = [kv for kv in older if kv.mod_revision < max(state.compact_revision, 2)]
    rows.sort(key=lambda kv: kv.mod_revision)
    rows += [event.kv for _, events in state.events(0, state.revision) for event in events]
    loaded = State()
    assert loaded.load(state.compact_revision, rows) == []
    return loaded
