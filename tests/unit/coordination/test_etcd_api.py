"""What the etcd API promises beyond being like etcd: what is hidden, what slow clients get, what outlives a restart."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from atoll.planes.coordination.frontends.etcd import Settings
from atoll.runtime.clock import BootClock
from atoll.runtime.rng import system_rng
from atoll.store.api import (
    RESERVED_PREFIX,
    Compact,
    Delete,
    LeaseGrant,
    Outcome,
    Put,
    Range,
    RangeResult,
    Request,
    prefix_end,
)
from atoll.store.embedded import Embedded
from atoll.store.engine import Engine
from atoll.store.memory import open_memory
from atoll.store.sqlite import open_sqlite
from atoll.testing.journal import FakeDisk, FakeJournal
from atoll.wire.etcd import messages as m
from tests.conformance.etcd import ask
from tests.conformance.etcd.served import HandClock, Served
from tests.conformance.etcd.side import Side
from tests.waiting import wait_until

SECRET = RESERVED_PREFIX + b"secret"
BIG = 20_000
MANY = 1_000


@pytest.fixture
def served() -> Iterator[Served]:
    with Served(open_memory(), Settings(progress_interval_s=0.1)) as served:
        yield served


@pytest.fixture
def side(served: Served) -> Iterator[Side]:
    side = Side("atoll", served.address)
    yield side
    side.close()


def inside(served: Served, request: Request) -> Outcome:
    """As a node itself asks its store, past the API."""
    answers: queue.Queue[Outcome] = queue.Queue()
    served.store.submit(request, answers.put)
    return answers.get(timeout=20)


def status(side: Side) -> str:
    return str(side.transcript[-1][1])


# ----------------------------------------------------------------------------------- the reserved prefix


def test_the_reserved_prefix_cannot_be_seen(served: Served, side: Side) -> None:
    inside(served, LeaseGrant(60, 5))
    watch = side.watch()
    watch.create(b"\0", range_end=b"\0")
    watch.control()
    inside(served, Put(SECRET, b"1", lease=5))
    side.call("KV.Put", ask.put(b"public", b"1", lease=5))
    assert [event.kv.key for event in watch.events(1)] == [b"public"]
    watch.close()
    assert side.call("KV.Range", ask.get(b"\0", b"\0")).count == 1
    assert side.call("KV.Range", ask.get(SECRET)).count == 0
    assert side.call("KV.Range", ask.get(RESERVED_PREFIX, prefix_end(RESERVED_PREFIX))).count == 0
    exists = ask.compare(SECRET, "VERSION", "GREATER", version=0)
    assert not side.call("KV.Txn", ask.txn(when=exists)).succeeded
    assert side.call("Lease.LeaseTimeToLive", ask.time_to_live(5)).keys == [b"public"]
    past = side.watch()
    past.create(SECRET, start_revision=1)
    past.create(b"public", start_revision=1)
    past.control(2)
    assert [event.kv.key for event in past.events(1)] == [b"public"]
    past.close()


def test_the_reserved_prefix_cannot_be_written(served: Served, side: Side) -> None:
    inside(served, LeaseGrant(60, 5))
    inside(served, Put(SECRET, b"1", lease=5))
    refused = [
        ("KV.Put", ask.put(SECRET, b"2")),
        ("KV.Txn", ask.txn(ask.put(SECRET, b"2"))),
        ("KV.Txn", ask.txn(ask.txn(ask.get(b"x"), ask.put(SECRET, b"2")))),
        ("KV.Txn", ask.txn(ask.put(b"x"), ask.put(RESERVED_PREFIX, b"2"))),
        ("Lease.LeaseRevoke", ask.revoke(5)),
    ]
    for method, request in refused:
        side.call(method, request)
        assert status(side) == "PERMISSION_DENIED", (method, request)
    side.call("Lock.Lock", m.LockRequest(name=RESERVED_PREFIX[:-1], lease=5))
    side.call("Election.Campaign", m.CampaignRequest(name=RESERVED_PREFIX[:-1], lease=5))
    assert [entry[1] for entry in side.transcript[-2:]] == ["UNKNOWN", "UNKNOWN"]
    side.call("KV.DeleteRange", ask.delete(b"\0", b"\0"))
    side.call("KV.DeleteRange", ask.delete(SECRET))
    assert all(entry[3]["header"]["revision"] == 2 for entry in side.transcript[-2:])
    kept = inside(served, Range(SECRET))
    assert isinstance(kept, RangeResult) and kept.kvs[0].value == b"1"
    inside(served, Delete(SECRET))


# ------------------------------------------------------------------------------------------ slow watchers


def test_a_slow_watcher_loses_nothing_and_costs_little(served: Served, side: Side) -> None:
    slow = side.raw_watch(b"s", start_revision=1)
    assert next(slow).created
    sent_before = served.server.stats.sent_bytes
    for number in range(MANY):
        side.stub("KV.Put")(ask.put(b"s", b"%d" % number * BIG))
    written_bytes = sum(len(b"%d" % number) for number in range(MANY)) * BIG
    assert served.server.stats.sent_bytes - sent_before < written_bytes / 4, (
        "sent to a client that does not read"
    )
    seen: list[int] = []
    while len(seen) < MANY:
        response = next(slow)
        seen += [event.kv.version for event in response.events]
        assert response.header.revision >= response.events[-1].kv.mod_revision
    assert seen == list(range(1, MANY + 1))
    slow.cancel()


def test_progress_is_not_claimed_over_events_that_are_still_to_come(served: Served, side: Side) -> None:
    asked: queue.Queue[object] = queue.Queue()
    slow = side.stub("Watch.Watch")(iter(asked.get, None))
    asked.put(m.WatchRequest(create_request=m.WatchCreateRequest(key=b"s")))
    assert next(slow).created
    for number in range(MANY // 4):
        side.stub("KV.Put")(ask.put(b"s", b"%d" % number * BIG))
    asked.put(m.WatchRequest(progress_request=m.WatchProgressRequest()))
    last = 0
    while (response := next(slow)).events:
        last = response.events[-1].kv.version
    assert (response.watch_id, last) == (-1, MANY // 4)
    slow.cancel()
    asked.put(None)


def test_a_slow_watcher_is_told_when_compaction_made_it_miss_something(served: Served, side: Side) -> None:
    slow = side.raw_watch(b"s", start_revision=1)
    assert next(slow).created
    for number in range(MANY // 4):
        revision = side.stub("KV.Put")(ask.put(b"s", b"%d" % number * BIG)).header.revision
    inside(served, Compact(revision))
    responses: list[Any] = []
    while not responses or not responses[-1].canceled:
        responses.append(next(slow))
    versions = [event.kv.version for response in responses for event in response.events]
    assert versions == list(range(1, len(versions) + 1)) and len(versions) < MANY // 4
    assert responses[-1].compact_revision == revision
    slow.cancel()


def test_quiet_watches_that_asked_for_it_hear_how_far_they_are(served: Served, side: Side) -> None:
    watch = side.watch()
    watch.create(b"other")
    watch.create(b"quiet", progress_notify=True)
    watch.control(2)
    revision = side.call("KV.Put", ask.put(b"elsewhere")).header.revision
    response = watch.answer()
    while response.header.revision < revision:
        response = watch.answer()
    assert (response.watch_id, len(response.events)) == (1, 0)
    watch.close()


# -------------------------------------------------------------------------------------- calls that end early


def test_a_waiter_whose_connection_is_lost_leaves_no_key(served: Served, side: Side) -> None:
    other = Side("other", served.address)
    side.call("Lease.LeaseGrant", ask.grant(60, 7))
    side.call("Lease.LeaseGrant", ask.grant(60, 8))
    side.call("Lock.Lock", m.LockRequest(name=b"l", lease=7))
    waiting = other.start("Lock.Lock", m.LockRequest(name=b"l", lease=8))
    two = ask.get(b"l/", b"l0")
    side.wait_for("KV.Range", two, lambda found: found.count == 2, "the waiter's key")
    assert not waiting.done()
    other.close()
    side.wait_for("KV.Range", two, lambda found: found.count == 1, "the waiter's key to go")


def test_a_call_that_is_cancelled_before_its_key_is_durable_leaves_no_key() -> None:
    journal = FakeJournal(FakeDisk())
    with Served(Embedded(Engine(journal, BootClock(), system_rng()))) as served:
        side = Side("atoll", served.address)
        side.call("Lease.LeaseGrant", ask.grant(60, 7))
        journal.commits_at_once = False
        waiting = side.start("Lock.Lock", m.LockRequest(name=b"l", lease=7))
        wait_until(lambda: journal.appended, 20, "the lock's key on its way to the disk")
        waiting.cancel()
        wait_until(lambda: served.server.stats.calls_open == 0, 20, "the call to end")
        journal.commits_at_once = True
        journal.commit()
        keys = ask.get(b"l/", b"l0")
        found = side.wait_for("KV.Range", keys, lambda found: found.header.revision == 3, "the key's end")
        assert found.count == 0
        side.close()


def test_watches_end_when_the_store_does(served: Served, side: Side) -> None:
    before = served.tasks()
    watch = side.watch()
    watch.create(b"x")
    watch.control()
    served.store.close()
    with pytest.raises(grpc.RpcError) as caught:
        watch.answer()
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    late = side.watch()
    late.create(b"x")
    with pytest.raises(grpc.RpcError) as caught:
        late.answer()
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    wait_until(lambda: served.tasks() == before, 20, "both handlers to end")


def test_created_comes_before_history_and_history_before_what_follows(served: Served, side: Side) -> None:
    for number in range(3):
        inside(served, Put(b"h", b"%d" % number))
    watch = side.raw_watch(b"h", start_revision=1)
    first = next(watch)
    assert (first.created, first.header.revision, len(first.events)) == (True, 4, 0)
    inside(served, Put(b"h", b"3"))
    values: list[bytes] = []
    while len(values) < 4:
        values += [event.kv.value for event in next(watch).events]
    assert values == [b"0", b"1", b"2", b"3"]
    watch.cancel()


# ----------------------------------------------------------------------------------------------- accounts


def enable(side: Side) -> str:
    """Authentication on, with root; its token."""
    side.call("Auth.UserAdd", m.AuthUserAddRequest(name="root", password="r"))
    side.call("Auth.UserGrantRole", m.AuthUserGrantRoleRequest(user="root", role="root"))
    side.call("Auth.AuthEnable")
    return log_in(side)


def log_in(side: Side) -> str:
    return str(side.call("Auth.Authenticate", m.AuthenticateRequest(name="root", password="r")).token)


def test_permissions_reach_into_transactions_and_leases(side: Side) -> None:
    root = enable(side)
    side.call("Auth.UserAdd", m.AuthUserAddRequest(name="alice", password="a"), token=root)
    side.call("Auth.RoleAdd", m.AuthRoleAddRequest(name="writer"), token=root)
    permission = m.Permission(permType=m.Permission.WRITE, key=b"w")
    grant = m.AuthRoleGrantPermissionRequest(name="writer", perm=permission)
    side.call("Auth.RoleGrantPermission", grant, token=root)
    side.call("Auth.UserGrantRole", m.AuthUserGrantRoleRequest(user="alice", role="writer"), token=root)
    alice = str(side.call("Auth.Authenticate", m.AuthenticateRequest(name="alice", password="a")).token)
    side.call("Lease.LeaseGrant", ask.grant(60, 7))
    side.call("KV.Put", ask.put(b"theirs", lease=7), token=root)

    def outcome(method: str, request: object) -> str:
        side.call(method, request, token=alice)
        return status(side)

    write = ask.put(b"w", b"1")
    assert outcome("KV.Put", write) == "OK"
    for request in (
        ask.txn(ask.get(b"w")),
        ask.txn(otherwise=[ask.get(b"w")]),
        ask.txn(ask.txn(ask.txn(ask.get(b"w")))),
        ask.txn(ask.txn(when=m.Compare(key=b"w"))),
        ask.txn(ask.put(b"w", prev_kv=True)),
        ask.txn(ask.delete(b"w", prev_kv=True)),
        ask.txn(ask.txn(ask.put(b"w", lease=7))),
        ask.txn(ask.put(b"theirs")),
    ):
        assert outcome("KV.Txn", request) == "PERMISSION_DENIED", request
    assert outcome("KV.Put", ask.put(b"w", lease=7)) == "PERMISSION_DENIED"
    assert outcome("Lease.LeaseRevoke", ask.revoke(7)) == "PERMISSION_DENIED"
    assert outcome("Lease.LeaseTimeToLive", ask.time_to_live(7)) == "PERMISSION_DENIED"
    assert outcome("KV.Txn", ask.txn(ask.txn(write))) == "OK"


def test_accounts_and_ids_outlive_a_restart_and_tokens_do_not(tmp_path: Path) -> None:
    with Served(open_sqlite(tmp_path / "store.db")) as served:
        side = Side("before", served.address)
        token = enable(side)
        before = side.call("KV.Put", ask.put(b"k"), token=token).header
        side.close()
    with Served(open_sqlite(tmp_path / "store.db")) as served:
        side = Side("after", served.address)
        side.call("KV.Range", ask.get(b"k"))
        assert side.transcript[-1][2] == "etcdserver: user name is empty"
        side.call("KV.Range", ask.get(b"k"), token=token)
        assert status(side) == "UNAUTHENTICATED"
        after = side.call("KV.Range", ask.get(b"k"), token=log_in(side)).header
        assert after == before
        side.close()


def test_a_token_ends_five_minutes_after_its_last_use() -> None:
    clock = HandClock()
    with Served(open_memory(), clock=clock) as served:
        side = Side("atoll", served.address)
        token = enable(side)
        for _ in range(3):
            clock.time_s += 299.0
            assert side.call("KV.Range", ask.get(b"k"), token=token) is not None
        clock.time_s += 301.0
        side.call("KV.Range", ask.get(b"k"), token=token)
        assert status(side) == "UNAUTHENTICATED"
        side.close()


def test_changing_accounts_makes_no_revision(side: Side) -> None:
    token = enable(side)
    assert side.call("KV.Range", ask.get(b"k"), token=token).header.revision == 1


def test_concurrent_changes_of_accounts_are_all_kept(side: Side) -> None:
    add = [side.start("Auth.RoleAdd", m.AuthRoleAddRequest(name=f"r{number:02}")) for number in range(20)]
    for future in add:
        side.finish("Auth.RoleAdd", future)
    assert side.call("Auth.RoleList").roles == [f"r{number:02}" for number in range(20)]
