"""Watch streams on both servers (trap 4): created first, revisions, ids, filters, fragments, progress, ends."""

from __future__ import annotations

from typing import Any

import pytest

from atoll.wire.etcd import messages
from tests.conformance.etcd import ask
from tests.conformance.etcd.pair import Pair
from tests.conformance.etcd.side import Side

pytestmark = pytest.mark.peers


def write_some(side: Side, prefix: bytes) -> int:
    """Puts, an overwrite and a deletion; returns the first revision."""
    first = side.call("KV.Put", ask.put(prefix + b"a", b"1")).header.revision
    side.call("KV.Put", ask.put(prefix + b"a", b"2"))
    side.call(
        "KV.Txn", ask.txn(ask.put(prefix + b"b", b"3"), ask.put(prefix + b"a", b"4"), ask.put(b"other"))
    )
    side.call("KV.DeleteRange", ask.delete(prefix + b"a"))
    return int(first)


def test_4_created_comes_first_with_the_current_revision(pair: Pair) -> None:
    def script(side: Side) -> None:
        first = write_some(side, b"w1/")
        watch = side.watch()
        watch.create(b"w1/", range_end=b"w10", start_revision=first)
        watch.control()
        watch.events(5)
        watch.create(b"w1/a")
        watch.control()
        side.call("KV.Put", ask.put(b"w1/a", b"5"))
        watch.events(2)
        watch.close()

    pair.run(script)


def test_4_start_revisions_are_inclusive_and_those_in_the_future_wait(pair: Pair) -> None:
    def script(side: Side) -> None:
        first = write_some(side, b"w2/")
        watch = side.watch()
        for start in (first + 1, first + 3):
            watch.create(b"w2/a", start_revision=start)
            watch.control()
            watch.events(3 if start == first + 1 else 1)
        watch.create(b"w2/c", start_revision=first + 6)
        watch.control()
        for value in (b"too early", b"too early", b"in time"):
            side.call("KV.Put", ask.put(b"w2/c", value))
        watch.events(1)
        watch.close()

    pair.run(script)


def test_4_ids_may_be_given_but_not_twice(pair: Pair) -> None:
    def script(side: Side) -> None:
        watch = side.watch()
        for watch_id in (5, 5, 2, -1, -7, -7, 0, 0, 0, 0):
            watch.create(b"w3/%d" % watch_id, watch_id=watch_id)
            watch.control()
        watch.cancel(99)
        watch.cancel(5)
        watch.control()
        watch.cancel(5)
        watch.create(b"w3/again", watch_id=5)
        watch.control()
        side.call("KV.Put", ask.put(b"w3/again"))
        watch.events(1)
        watch.close()

    pair.run(script)


def test_4_empty_ranges_and_empty_keys(pair: Pair) -> None:
    def script(side: Side) -> None:
        watch = side.watch()
        for key, end in ((b"z", b"a"), (b"z", b"z"), (b"", b""), (b"", b"\0"), (b"w", b"\0"), (b"\0", b"\0")):
            watch.create(key, range_end=end)
            watch.control()
        watch.send(messages.WatchRequest())
        side.call("KV.Put", ask.put(b"w4"))
        watch.events(3)
        side.call("KV.Put", ask.put(b"\0"))
        watch.events(3)
        watch.close()

    pair.run(script)


@pytest.mark.parametrize("filters", [[], [0], [1], [0, 1], [0, 0, 7]])
def test_4_filters_and_prev_kv(pair: Pair, filters: list[int]) -> None:
    puts, deletes = 0 not in filters, 1 not in filters

    def script(side: Side) -> None:
        first = write_some(side, b"w5/")
        watch = side.watch()
        for prev_kv in (False, True):
            watch.create(b"w5/", range_end=b"w50", filters=filters, prev_kv=prev_kv, start_revision=first)
            watch.control()
            watch.events(puts * 4 + deletes * 1)
        side.call("KV.Put", ask.put(b"w5/z", b"z"))
        side.call("KV.DeleteRange", ask.delete(b"w5/", b"w50"))
        watch.events(2 * (puts * 1 + deletes * 2))
        watch.create(b"unrelated")
        watch.control()  # and nothing was left of the filtered ones
        watch.close()
        side.call("KV.DeleteRange", ask.delete(b"w5/", b"w50"))

    pair.run(script)


def test_4_a_revision_comes_in_one_response(pair: Pair) -> None:
    def script(side: Side) -> None:
        watch = side.watch()
        watch.create(b"w6/", range_end=b"w60")
        watch.control()
        puts = [ask.put(b"w6/%03d" % number, b"x" * 1000) for number in range(100)]
        side.call("KV.Txn", ask.txn(*puts))
        response = watch.answer()
        assert len(response.events) == 100 and not response.fragment
        side.note(side.plain(response))
        watch.close()

    pair.run(script)


def test_4_fragments_are_asked_for(pair: Pair) -> None:
    big = b"x" * 700_000

    def script(side: Side) -> None:
        side.call("KV.Txn", ask.txn(ask.put(b"w7/a", big), ask.put(b"w7/b", big)))
        whole, pieces = side.watch(), side.watch()
        whole.create(b"w7/", range_end=b"w70", prev_kv=True)
        pieces.create(b"w7/", range_end=b"w70", prev_kv=True, fragment=True)
        whole.control()
        pieces.control()
        side.call("KV.Txn", ask.txn(ask.put(b"w7/a", big), ask.put(b"w7/b", big)))
        response = whole.answer()
        assert len(response.events) == 2 and not response.fragment
        first, second = pieces.answer(), pieces.answer()
        assert [first.fragment, second.fragment] == [True, False]
        assert [len(first.events), len(second.events)] == [1, 1]
        side.note(side.plain(first.events[0]), side.plain(second.events[0]), first.watch_id, second.watch_id)
        whole.close()
        pieces.close()
        side.call("KV.DeleteRange", ask.delete(b"w7/", b"w70"))

    pair.run(script)


def test_4_progress_is_of_no_watch_when_asked_for(pair: Pair) -> None:
    def script(side: Side) -> None:
        watch = side.watch()
        watch.ask_progress()
        watch.control()
        watch.create(b"w8/", range_end=b"w80")
        watch.control()
        side.call("KV.Put", ask.put(b"w8/a"))
        watch.events(1)
        watch.ask_progress()
        [progress] = watch.control()
        assert progress.watch_id == -1 and not progress.events
        watch.close()

    pair.run(script)


def test_4_a_compacted_start_ends_with_the_compact_revision(fresh: Pair) -> None:
    def script(side: Side) -> None:
        first = write_some(side, b"w9/")
        watch = side.watch()
        watch.create(b"w9/", range_end=b"w90", start_revision=-3)
        watch.control(2)
        side.call("KV.Compact", ask.compact(first + 1))
        for start in (first, first + 1, 1):
            watch.create(b"w9/a", start_revision=start, watch_id=30 + start)
            if start == first + 1:
                watch.control()
                watch.events(3)
            else:
                watch.control(2)
        watch.create(b"w9/a", watch_id=30 + first)  # the id stays taken
        watch.control()
        side.call("KV.Put", ask.put(b"w9/a"))
        watch.events(1)
        watch.close()

    fresh.run(script)


def test_4_a_deletion_at_the_compaction_revision_is_still_seen_here(fresh: Pair) -> None:
    """etcd 3.4.23 forgets it; 3.5.13 and later keep it, as Atoll does."""

    def events_from(side: Side) -> list[Any]:
        write_some(side, b"k/")
        revision = side.call("KV.Range", ask.get(b"x")).header.revision
        side.call("KV.Compact", ask.compact(revision, physical=True))
        watch = side.watch()
        watch.create(b"k/a", start_revision=revision)
        assert watch.answer().created
        side.call("KV.Put", ask.put(b"k/a", b"again"))
        found: list[Any] = []
        while not found or found[-1].kv.value != b"again":
            found += watch.answer().events
        watch.close()
        return [event.type for event in found]

    atoll, etcd = fresh.sides()
    put, deletion = messages.Event.PUT, messages.Event.DELETE
    assert events_from(etcd) == [put]
    assert events_from(atoll) == [deletion, put]
    atoll.close()
    etcd.close()


def test_a_half_closed_stream_still_gets_its_events(pair: Pair) -> None:
    def script(side: Side) -> None:
        watch = side.watch()
        watch.create(b"w10")
        watch.control()
        watch.half_close()
        side.call("KV.Put", ask.put(b"w10"))
        watch.events(1)
        watch.close()

    pair.run(script)


def test_many_watches_of_one_stream_get_the_same(pair: Pair) -> None:
    def script(side: Side) -> None:
        watch = side.watch()
        for _ in range(50):
            watch.create(b"w11")
            watch.control()
        side.call("KV.Put", ask.put(b"w11", b"1"))
        side.call("KV.DeleteRange", ask.delete(b"w11"))
        watch.events(100)
        watch.close()

    pair.run(script)
