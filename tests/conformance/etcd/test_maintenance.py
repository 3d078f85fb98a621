"""Maintenance and Cluster on both servers, as far as two servers can be alike there."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from atoll.store.api import Range, RangeResult
from atoll.store.sqlite import open_sqlite
from atoll.wire.etcd import messages
from tests.conformance.etcd import ask
from tests.conformance.etcd.pair import Pair
from tests.conformance.etcd.side import Side

pytestmark = pytest.mark.peers

GET, ACTIVATE, DEACTIVATE = 0, 1, 2


def alarm(action: int, kind: int = 0) -> object:
    return messages.AlarmRequest(action=action, memberID=1, alarm=kind)


def test_an_alarm_refuses_what_needs_room_until_it_is_cleared(pair: Pair) -> None:
    def script(side: Side) -> None:
        side.call("KV.Put", ask.put(b"alarm", b"1"))
        side.call("Maintenance.Alarm", alarm(GET))
        side.call("Maintenance.Alarm", alarm(DEACTIVATE, 1))
        side.call("Maintenance.Alarm", alarm(ACTIVATE, 1))
        side.call("Maintenance.Alarm", alarm(ACTIVATE, 1))
        side.call("Maintenance.Alarm", alarm(GET))
        side.call("Maintenance.Alarm", alarm(GET, 2))
        side.call("KV.Put", ask.put(b"alarm", b"2"))
        side.call("KV.Txn", ask.txn(ask.put(b"alarm", b"2")))
        side.call("KV.Txn", ask.txn(otherwise=[ask.put(b"alarm", b"2")]))
        side.call("KV.Txn", ask.txn(ask.delete(b"alarm")))
        side.call("KV.DeleteRange", ask.delete(b"alarm"))
        side.call("KV.Range", ask.get(b"alarm"))
        side.call("Lease.LeaseGrant", ask.grant(60))
        assert len(side.call("Maintenance.Status").errors) == 1
        side.transcript.pop()  # names the member
        side.call("Maintenance.Alarm", alarm(DEACTIVATE, 1))
        side.call("Maintenance.Alarm", alarm(GET))
        side.call("KV.Put", ask.put(b"alarm", b"3"))

    pair.run(script)


def test_hashes_follow_the_contents(pair: Pair) -> None:
    def script(side: Side) -> None:
        first = side.call("KV.Put", ask.put(b"hash", b"1")).header.revision
        one = side.call("Maintenance.HashKV", messages.HashKVRequest(revision=first)).hash
        side.call("KV.Put", ask.put(b"hash", b"2"))
        again = side.call("Maintenance.HashKV", messages.HashKVRequest(revision=first)).hash
        other = side.call("Maintenance.HashKV").hash
        assert one == again != other
        side.call("Maintenance.HashKV", messages.HashKVRequest(revision=1 << 40))
        assert side.call("Maintenance.Hash").hash
        side.call("KV.Compact", ask.compact(first + 1))
        side.call("Maintenance.HashKV", messages.HashKVRequest(revision=first))
        side.call("Maintenance.HashKV")
        side.call("Maintenance.Defragment")

    pair.run(script)


def test_there_is_nobody_to_move_to(pair: Pair) -> None:
    def script(side: Side) -> None:
        side.call("Maintenance.MoveLeader")
        side.call("Maintenance.MoveLeader", messages.MoveLeaderRequest(targetID=1))

    pair.run(script)


def test_the_membership_is_fixed_and_says_what_to_do(pair: Pair) -> None:
    atoll, etcd = pair.sides()
    for method in ("MemberAdd", "MemberRemove", "MemberUpdate", "MemberPromote"):
        atoll.call(f"Cluster.{method}")
        _, status, text, _ = atoll.transcript[-1]
        assert status == "UNIMPLEMENTED" and "atoll store migrate" in text
    members = [[member.name for member in side.call("Cluster.MemberList").members] for side in (atoll, etcd)]
    assert members == [["atoll"], ["etcd1"]]
    atoll.close()
    etcd.close()


def test_a_snapshot_is_a_store_and_its_digest(pair: Pair, tmp_path: Path) -> None:
    atoll, etcd = pair.sides()
    atoll.call("KV.Put", ask.put(b"snapshot", b"x" * 1_000_000))
    for side in (atoll, etcd):
        chunks = list(side.stub("Maintenance.Snapshot")(messages.SnapshotRequest()))
        blobs = [chunk.blob for chunk in chunks]
        assert blobs[-1] == hashlib.sha256(b"".join(blobs[:-1])).digest(), side.name
        sizes = [sum(map(len, blobs[at + 1 : -1])) for at in range(len(blobs) - 1)]
        assert [chunk.remaining_bytes for chunk in chunks[:-1]] == sizes, side.name
        (tmp_path / side.name).write_bytes(b"".join(blobs[:-1]))
    store = open_sqlite(tmp_path / "atoll")
    answers: list[object] = []
    store.submit(Range(b"snapshot"), answers.append)
    store.close()
    [result] = answers
    assert isinstance(result, RangeResult) and result.kvs[0].value == b"x" * 1_000_000
    atoll.close()
    etcd.close()
