"""Migration between the embedded store and a real etcd, both ways, and what an interrupted one leaves there."""

from __future__ import annotations

from pathlib import Path

import pytest

from atoll.errors import AtollError, Code
from atoll.runtime import loop
from atoll.store import etcd_url, migration
from atoll.store.api import (
    GENERATION_KEY,
    LeaseGrant,
    LeaseResult,
    LeaseTimeToLive,
    Put,
    PutResult,
    Range,
    RangeResult,
)
from atoll.store.etcd import EtcdDriver
from atoll.store.memory import open_memory
from atoll.store.shell import StoreShell
from atoll.store.sqlite import open_sqlite
from atoll.testing.asking import ask
from tests.peers.etcd import etcd_cluster

pytestmark = pytest.mark.peers
ALL = Range(b"\0", b"\0")


def test_from_a_file_to_etcd_and_back(tmp_path: Path) -> None:
    here, back = open_sqlite(tmp_path / "here.db"), open_memory()
    ask(here, LeaseGrant(500, 7), LeaseResult)
    ask(here, Put(b"election/7", b"", 7), PutResult)
    for number in range(700):
        ask(here, Put(b"%03d" % number, b"x" * number), PutResult)
    with etcd_cluster(tmp_path) as cluster:
        there = EtcdDriver(etcd_url.parse(cluster.url))
        assert migration.migrate(here, there, wall_s=100) == migration.Migrated(701, 1, 100)
        assert ask(there, LeaseTimeToLive(7, keys=True), LeaseResult).keys == (b"election/7",)
        with pytest.raises(AtollError) as caught:
            migration.migrate(here, there, wall_s=100)
        assert caught.value.code is Code.CONFLICT
        assert migration.migrate(there, back, wall_s=100).generation == 101
        there.close()
    original = {kv.key: (kv.value, kv.lease) for kv in ask(here, ALL, RangeResult).kvs}
    moved = {kv.key: (kv.value, kv.lease) for kv in ask(back, ALL, RangeResult).kvs}
    assert moved == {**original, GENERATION_KEY: (b"101", 0)}
    here.close()
    back.close()


def test_an_unfinished_cluster_is_refused(tmp_path: Path) -> None:
    async def main(url: str) -> None:
        driver = EtcdDriver(etcd_url.parse(url))
        store = StoreShell(driver)
        await migration.require_finished(store)
        await store.put(Put(migration.UNFINISHED_KEY))
        with pytest.raises(AtollError) as caught:
            await migration.require_finished(store)
        assert caught.value.code is Code.CONFLICT
        await store.close()

    with etcd_cluster(tmp_path) as cluster:
        loop.run(main(cluster.url))
