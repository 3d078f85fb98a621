"""Watches of a real etcd through a network that breaks: nothing missed, nothing twice, compaction said."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from atoll.errors import Reason
from atoll.store import api, etcd_url
from atoll.store.api import Delete, Event, Operation, Put, Txn, Watch
from atoll.store.etcd import EtcdDriver
from atoll.testing.asking import Watching, ask
from atoll.testing.relay import Relay
from tests.peers.etcd import Cluster, etcd_cluster
from tests.soaking import SoakReport
from tests.waiting import wait_until

pytestmark = pytest.mark.peers

KEYS = [b"k/%02d" % number for number in range(40)]
START, END = b"k/", b"k0"
FRAGMENT_BYTES = 20_000  # etcd cuts a watch response that is larger than its largest request


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with etcd_cluster(tmp_path, options=["--max-request-bytes", str(FRAGMENT_BYTES)]) as cluster:
        yield cluster


@pytest.fixture
def direct(cluster: Cluster) -> Iterator[EtcdDriver]:
    driver = EtcdDriver(etcd_url.parse(cluster.url))
    yield driver
    driver.close()


@pytest.fixture
def relay(cluster: Cluster) -> Iterator[Relay]:
    host, _, port = cluster.endpoints[0].partition(":")
    with Relay(host, int(port)) as relay:
        yield relay


@pytest.fixture
def through(relay: Relay) -> Iterator[EtcdDriver]:
    driver = EtcdDriver(etcd_url.parse(f"etcd://{relay.address}"))
    yield driver
    driver.close()


def some_operations(rng: random.Random) -> tuple[Operation, ...]:
    """A transaction of several puts and deletions, sometimes too large for one watch response."""
    value = b"." * rng.choice([1, 100, 1_500])
    keys = rng.sample(KEYS, rng.randint(1, 10))
    return tuple(Delete(key) if rng.random() < 0.2 else Put(key, value) for key in keys)


@pytest.mark.soak("watch-resume", few=25, full=600, chunk=100)
def test_a_watch_that_is_cut_in_mid_stream_misses_and_repeats_nothing(
    direct: EtcdDriver, through: EtcdDriver, relay: Relay, rounds: int, seed: int, soak_report: SoakReport
) -> None:
    rng = random.Random(seed)
    whole = Watch(START, END, prev_kv=True)
    watches = [
        Watching(through, watch) for watch in (whole, Watch(KEYS[0]), Watch(START, END, no_delete=True))
    ]
    for watch in watches:
        watch.wait_created()
    first = ask(direct, Put(KEYS[0]), api.PutResult).revision
    for _ in range(rounds):
        resumed = watches[0].resumptions
        relay.cut_after(rng.randint(0, 20_000))
        for _ in range(rng.randint(1, 30)):
            ask(direct, Txn(success=some_operations(rng)), api.TxnResult)
        relay.cut()  # where too little was told for the cut above
        if rng.random() < 0.5:
            relay.cut_after(rng.randint(0, 100_000))  # while it catches up
        wait_until(lambda before=resumed: watches[0].resumptions > before, 30.0, "a resumption")  # type: ignore[misc]
    last = ask(direct, Txn(success=(Put(KEYS[0]), Put(KEYS[1]))), api.TxnResult).revision
    for watch in watches:
        watch.wait_revision(last)
    differences = sum(watch.events != _history(direct, watch.watch, first, last) for watch in watches) + sum(
        _splits(watch) for watch in watches
    )
    figures = {"resumptions": watches[0].resumptions, "events": len(watches[0].events)}
    soak_report.row("watch cut in mid-stream", rounds=rounds, violations=differences, figures=figures)
    assert differences == 0


def _history(direct: EtcdDriver, watch: Watch, first: int, last: int) -> list[Event]:
    """The same watch, told later, over a connection that holds."""
    start = Watch(watch.key, watch.end, first, watch.prev_kv, watch.no_put, watch.no_delete)
    later = Watching(direct, start)
    later.wait_revision(last)
    later.cancel()
    return later.events


def _splits(watch: Watching) -> int:
    """Revisions whose events came in more than one batch."""
    revisions = [{event.kv.mod_revision for event in batch.events} for batch in watch.batches]
    return sum(len(one & other) for one, other in zip(revisions, revisions[1:], strict=False))


def test_compaction_during_a_cut_is_said_and_the_watch_ends(
    direct: EtcdDriver, through: EtcdDriver, relay: Relay
) -> None:
    watch = Watching(through, Watch(START, END))
    other = Watching(through, Watch(b"quiet"))
    watch.wait_created()
    other.wait_created()
    seen = ask(direct, Put(KEYS[0]), api.PutResult).revision
    watch.wait_revision(seen)
    relay.refuse()
    relay.cut()
    for key in KEYS:
        newest = ask(direct, Put(key), api.PutResult).revision
    ask(direct, api.Compact(newest), api.CompactResult)
    relay.accept()
    error = watch.wait_error()
    assert (error.reason, error.facts["compact_revision"]) == (Reason.COMPACTED, newest)
    assert [event.kv.mod_revision for event in watch.events] == [seen]
    assert other.wait_error().reason is Reason.COMPACTED  # nothing proves that it missed nothing
    again = Watching(through, Watch(START, END, start_revision=newest + 1))
    again.wait_created()
    again.wait_revision(ask(direct, Put(KEYS[1]), api.PutResult).revision)


def test_compaction_behind_the_position_does_not_matter(
    direct: EtcdDriver, through: EtcdDriver, relay: Relay
) -> None:
    watch = Watching(through, Watch(START, END))
    watch.wait_created()
    seen = ask(direct, Put(KEYS[0]), api.PutResult).revision
    watch.wait_revision(seen)
    relay.refuse()
    relay.cut()
    missed = [ask(direct, Put(key), api.PutResult).revision for key in KEYS]
    ask(direct, api.Compact(seen), api.CompactResult)
    relay.accept()
    watch.wait_revision(missed[-1])
    assert [event.kv.mod_revision for event in watch.events] == [seen, *missed]
    assert watch.error is None
