"""Events in bytes: shared between watchers, cut between revisions, in fragments where asked for."""

from __future__ import annotations

from collections.abc import Sequence

from atoll.planes.coordination.frontends.etcd.encoder import (
    BATCHES_KEPT_MAX,
    FRAGMENT_BYTES_MAX,
    PART_BYTES_TARGET,
    Encoder,
    Part,
)
from atoll.store.api import Event, KeyValue, WatchBatch
from atoll.wire.etcd import messages


def put(revision: int, size_bytes: int = 1, prev_bytes: int = 0) -> Event:
    kv = KeyValue(b"k%d" % revision, b"v" * size_bytes, revision, revision, 1)
    prev = KeyValue(kv.key, b"p" * prev_bytes, 1, 1, 1) if prev_bytes else None
    return Event(kv, prev)


def batch(*events: Event) -> WatchBatch:
    return WatchBatch(events[-1].kv.mod_revision, events)


def revisions(body: bytes) -> list[int]:
    return [event.kv.mod_revision for event in messages.WatchResponse.FromString(body).events]


def test_one_batch_is_encoded_once() -> None:
    encoder = Encoder()
    given = batch(put(2), put(3))
    first, second = encoder.parts(given), encoder.parts(given)
    assert first is second and first[0].body() is second[0].body()
    assert encoder.parts(batch(put(2), put(3))) is not first  # equal is not the same


def test_only_so_many_batches_are_kept() -> None:
    encoder = Encoder()
    given = [batch(put(revision)) for revision in range(2, 2 + BATCHES_KEPT_MAX + 1)]
    parts = [encoder.parts(one) for one in given]
    assert encoder.parts(given[-1]) is parts[-1]
    assert encoder.parts(given[0]) is not parts[0]


def test_parts_end_between_revisions() -> None:
    third = PART_BYTES_TARGET // 3
    events = [
        put(2, third),
        put(2, third),
        put(2, third),
        put(2, third),
        put(3, third),
        put(4, third),
        put(5, third),
    ]
    parts: Sequence[Part] = Encoder().parts(batch(*events))
    assert [revisions(part.body()) for part in parts] == [[2, 2, 2, 2], [3, 4], [5]]
    assert [part.revision for part in parts] == [2, 4, 5]


def test_fragments_split_a_revision_and_never_an_event() -> None:
    half = FRAGMENT_BYTES_MAX // 2
    [part] = Encoder().parts(batch(put(2, half), put(2, 10, half), put(2, 2 * half), put(2)))
    fragments = part.fragments()
    assert [len(revisions(body)) for body in fragments] == [1, 1, 1, 1]
    assert b"".join(fragments) == part.body()
    [small] = Encoder().parts(batch(put(2, 10), put(2, 10)))
    assert small.fragments() == (small.body(),)
