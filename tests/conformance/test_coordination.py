"""Elections and locks, asyncio and blocking, over every driver: memory, SQLite, a real etcd.

Rule: what one driver does here all do; where threads meet, a condition is waited for, never a time.
"""

from __future__ import annotations

import signal
import subprocess
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from atoll.embed import aio, blocking
from atoll.errors import AtollError, Code, Reason
from atoll.runtime import loop
from atoll.store import elections, etcd_url
from atoll.store.api import Delete, Driver, Put, Range, Txn
from atoll.store.candidate import Candidacy, Cause, Quiesce
from atoll.store.etcd import EtcdDriver
from atoll.store.memory import open_memory
from atoll.store.sqlite import open_sqlite
from atoll.store.term import Term
from tests.peers.etcd import Cluster, etcd_cluster
from tests.waiting import wait_until

WITHIN_S = 30.0
TTL_S = 3

Scenario = Callable[[aio.StoreShell], Awaitable[None]]


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with etcd_cluster(tmp_path_factory.mktemp("etcd")) as cluster:
        yield cluster


@pytest.fixture(params=["memory", "sqlite", pytest.param("etcd", marks=pytest.mark.peers)])
def driver(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Driver]:
    opened: Driver
    if request.param == "memory":
        opened = open_memory()
    elif request.param == "sqlite":
        opened = open_sqlite(tmp_path / "store.db")
    else:
        opened = EtcdDriver(etcd_url.parse(request.getfixturevalue("etcd").url))
    yield opened
    opened.close()


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """One real etcd serves all tests: each has its own names."""
    return str(request.node.name).split("[")[0]


def _run(driver: Driver, scenario: Scenario) -> None:
    async def main() -> None:
        async with loop.bounded(WITHIN_S, "the scenario"):
            await scenario(aio.StoreShell(driver))

    loop.run(main())


# ------------------------------------------------------------------------------------------------ locks


def test_a_mutex_has_one_holder_and_growing_tokens(driver: Driver, name: str) -> None:
    async def scenario(store: aio.StoreShell) -> None:
        async with aio.session(store, TTL_S) as first, aio.session(store, TTL_S) as second:
            mine, theirs = aio.Mutex(store, first, name), aio.Mutex(store, second, name)
            async with mine as turn:
                token, guards = turn.token, turn.guards()
                turn.check()
                assert not await theirs.try_acquire()
                with pytest.raises(AtollError) as caught:
                    await theirs.acquire(within_s=0.05)
                assert caught.value.reason is Reason.TIMEOUT
                await store.commit(guards, [Put(name.encode() + b" work", b"mine")])
            turn = await theirs.acquire()
            assert turn.token > token
            assert not (await store.txn(Txn(guards, (Put(b"late", b"mine"),)))).succeeded
            await theirs.release()
            with pytest.raises(AtollError):
                theirs.turn.check()

    _run(driver, scenario)


def test_those_who_gave_up_leave_no_key_behind(driver: Driver, name: str) -> None:
    async def scenario(store: aio.StoreShell) -> None:
        async with aio.session(store, TTL_S) as first, aio.session(store, TTL_S) as second:
            await aio.Mutex(store, first, name).acquire()
            with pytest.raises(AtollError):
                await aio.Mutex(store, second, name).acquire(within_s=0.05)
            found = await store.range(Range(name.encode() + b"/", name.encode() + b"0"))
            assert [kv.lease for kv in found.kvs] == [first.lease]
            with pytest.raises(AtollError) as caught:
                await aio.Mutex(store, first, name).acquire()
            assert caught.value.code is Code.CONFLICT and "already" in caught.value.message

    _run(driver, scenario)


def test_a_lost_session_lets_the_next_one_in(driver: Driver, name: str) -> None:
    async def scenario(store: aio.StoreShell) -> None:
        async with aio.session(store, TTL_S) as first, aio.session(store, TTL_S) as second:
            over = loop.Event()
            first.on_over = loop.call_from_thread(lambda why: over.set())
            held = await aio.Mutex(store, first, name).acquire()
            await store.lease_revoke(first.lease)
            turn = await aio.Mutex(store, second, name).acquire()
            assert turn.token > held.token
            await over.wait()
            with pytest.raises(AtollError) as caught:
                held.check()
            assert caught.value.reason is Reason.LEASE_NOT_FOUND

    _run(driver, scenario)


def test_a_waiter_whose_key_was_removed_does_not_get_its_turn(driver: Driver, name: str) -> None:
    async def scenario(store: aio.StoreShell) -> None:
        async def remove(key: bytes) -> None:
            while not (await store.range(Range(key))).kvs:
                await loop.sleep(0)
            await store.delete(Delete(key))

        async def wait(mutex: aio.Mutex) -> None:
            with pytest.raises(AtollError) as caught:
                await mutex.acquire()
            assert caught.value.reason is Reason.LEASE_NOT_FOUND

        async with (
            aio.session(store, TTL_S) as first,
            aio.session(store, TTL_S) as second,
            aio.Mutex(store, first, name),
        ):
            own = name.encode() + b"/%x" % second.lease
            await loop.gather(wait(aio.Mutex(store, second, name)), remove(own))

    _run(driver, scenario)


def test_a_session_is_renewed_although_the_loop_is_blocked(driver: Driver, name: str) -> None:
    async def scenario(store: aio.StoreShell) -> None:
        async with aio.session(store, TTL_S) as session, aio.Mutex(store, session, name) as turn:
            granted_until_s = session.deadline_s
            # the loop does nothing else while this waits: only the session's own thread can renew
            wait_until(lambda: session.deadline_s > granted_until_s + TTL_S / 4, WITHIN_S, "a renewal")
            turn.check()

    _run(driver, scenario)


def test_a_semaphore_lets_so_many_in(driver: Driver, name: str) -> None:
    async def scenario(store: aio.StoreShell) -> None:
        sessions = [await aio.open_session(store, TTL_S) for _ in range(3)]
        places = [aio.Semaphore(store, each, name, 2) for each in sessions]
        assert [await place.try_acquire() for place in places] == [True, True, False]
        await places[0].release()
        assert (await places[2].acquire()).token > places[1].turn.token
        for each in sessions:
            each.close()
        with pytest.raises(AtollError):
            aio.Semaphore(store, sessions[0], name, 0)

    _run(driver, scenario)


def test_readers_share_and_a_writer_excludes(driver: Driver, name: str) -> None:
    async def scenario(store: aio.StoreShell) -> None:
        sessions = [await aio.open_session(store, TTL_S) for _ in range(3)]
        one, two, three = (aio.RWMutex(store, each, name) for each in sessions)
        assert await one.reader.try_acquire() and await two.reader.try_acquire()
        assert not await three.writer.try_acquire()
        await one.reader.release()
        await two.reader.release()
        await three.writer.acquire()
        assert not await one.reader.try_acquire()
        await three.writer.release()
        assert await one.reader.try_acquire()
        for each in sessions:
            each.close()

    _run(driver, scenario)


def test_a_barrier_holds_everybody_until_it_is_released(driver: Driver, name: str) -> None:
    async def scenario(store: aio.StoreShell) -> None:
        async with aio.session(store, TTL_S) as session:
            barrier = aio.Barrier(store, name, session)
            await barrier.wait()
            await barrier.hold()
            with pytest.raises(AtollError) as caught:
                await barrier.hold()
            assert caught.value.code is Code.CONFLICT
            with pytest.raises(AtollError):
                await barrier.wait(within_s=0.05)
            waiting = loop.gather(*(aio.Barrier(store, name).wait() for _ in range(3)))
            await loop.gather(waiting, barrier.release())

    _run(driver, scenario)


def test_blocking_twins_do_the_same(driver: Driver, name: str) -> None:
    store = blocking.BlockingStore(driver)
    entered: list[int] = []
    with blocking.session(store, TTL_S) as first:
        lock = blocking.Mutex(store, first, name)
        turn = lock.acquire()

        def contend() -> None:
            with blocking.session(store, TTL_S) as mine, blocking.Mutex(store, mine, name) as held:
                entered.append(held.token.revision)

        threads = [threading.Thread(target=contend) for _ in range(3)]
        for thread in threads:
            thread.start()
        queue = Range(name.encode() + b"/", name.encode() + b"0")
        wait_until(lambda: store.range(queue).count == 4, WITHIN_S, "all to stand")
        assert not entered
        turn.check()
        lock.release()
        for thread in threads:
            thread.join(WITHIN_S)
        assert len(entered) == 3 and entered == sorted(entered)
        assert store.range(queue).count == 0
        with pytest.raises(AtollError) as caught:
            blocking.Barrier(store, name + " barrier", first).hold()
            blocking.Barrier(store, name + " barrier").wait(within_s=0.05)
        assert caught.value.reason is Reason.TIMEOUT


# -------------------------------------------------------------------------------------------- elections


def test_campaign_lead_proclaim_resign(driver: Driver, name: str) -> None:
    async def scenario(store: aio.StoreShell) -> None:
        told: list[Term | Cause] = []
        callbacks = aio.Callbacks(won=told.append, lost=told.append)
        async with (
            aio.Election(store, Candidacy(name, "a", b"at a", TTL_S), callbacks) as a,
            aio.Election(store, Candidacy(name, "b", b"at b", TTL_S)) as b,
        ):
            term = await a.campaign(WITHIN_S)
            term.check()
            with pytest.raises(AtollError) as caught:
                await b.campaign(within_s=0.2)
            assert caught.value.reason is Reason.TIMEOUT
            await a.proclaim(b"elsewhere")
            leader = await b.leader()
            assert leader and leader.id == "a" and leader.value == b"elsewhere" and leader.serving
            with pytest.raises(AtollError) as caught:
                await b.proclaim(b"not mine")
            assert caught.value.reason is Reason.NOT_LEADER
            await a.resign()
            assert await a.ended(WITHIN_S)
            second = await b.campaign(WITHIN_S)
            assert second.token > term.token
            assert not (await store.txn(Txn(term.guards(), (Put(b"late", b"a"),)))).succeeded
            assert told == [term, Cause.RESIGNED]

    _run(driver, scenario)


def test_a_handover_quiesces_first(driver: Driver, name: str) -> None:
    async def scenario(store: aio.StoreShell) -> None:
        asked: loop.Queue[Quiesce] = loop.Queue()
        callbacks = aio.Callbacks(quiesce=asked.put_nowait)
        async with (
            aio.Election(store, Candidacy(name, "a", b"", TTL_S), callbacks) as a,
            aio.Election(store, Candidacy(name, "b", b"", TTL_S)) as b,
        ):
            term = await a.campaign(WITHIN_S)
            with pytest.raises(AtollError):
                await b.campaign(within_s=0.2)
            await elections.handover(store, name, "b")
            request = await asked.get()
            assert (request.cause, request.handover_to) == (Cause.HANDED_OVER, "b")
            term.check()
            a.quiesced()
            await b.campaign(WITHIN_S)
            assert not term.holds()

    _run(driver, scenario)


def test_observers_see_every_newest_leader_past_a_compaction(driver: Driver, name: str) -> None:
    async def scenario(store: aio.StoreShell) -> None:
        seen: list[str] = []
        async with (
            aio.Election(store, Candidacy(name, "a", b"", TTL_S)) as a,
            aio.Election(store, Candidacy(name, "b", b"", TTL_S)) as b,
        ):
            await a.campaign(WITHIN_S)
            async for leader in b.observe():
                seen.append(f"{leader.id} {leader.serving}" if leader else "nobody")
                if seen == ["a True"]:
                    with pytest.raises(AtollError):
                        await b.campaign(within_s=0.1)
                    await a.resign()
                    await store.compact((await store.put(Put(b"x", b""))).revision)
                if seen[-1] == "b True":
                    break

    _run(driver, scenario)


def test_the_blocking_election(driver: Driver, name: str) -> None:
    store = blocking.BlockingStore(driver)
    with (
        blocking.Election(store, blocking.Candidacy(name, "a", b"", TTL_S)) as a,
        blocking.Election(store, blocking.Candidacy(name, "b", b"", TTL_S)) as b,
    ):
        term = a.campaign(WITHIN_S)
        with pytest.raises(AtollError):
            b.campaign(within_s=0.2)
        a.resign()
        assert b.campaign(WITHIN_S).token > term.token
        for leader in a.observe():
            if leader and leader.id == "b" and leader.serving:
                break


@pytest.mark.peers
def test_etcdctl_stands_in_the_same_queue(etcd: Cluster, name: str) -> None:
    store = blocking.BlockingStore(EtcdDriver(etcd_url.parse(etcd.url)))
    with blocking.Election(store, blocking.Candidacy(name, "ours", b"", TTL_S)) as ours:
        ours.campaign(WITHIN_S)
        line = ["etcdctl", "--endpoints", ",".join(member.client for member in etcd.members), "elect", name]
        foreign = subprocess.Popen([*line, "theirs"], stdout=subprocess.DEVNULL)
        queue = Range(name.encode() + b"/", name.encode() + b"0")
        wait_until(lambda: store.range(queue).count == 2, WITHIN_S, "etcdctl to stand")
        ours.resign()
        leader = wait_until(lambda: ours.leader(), WITHIN_S, "etcdctl to lead")
        assert leader.value == b"theirs" and leader.id == "" and leader.serving
        foreign.send_signal(signal.SIGINT)
        foreign.wait(WITHIN_S)
        assert ours.campaign(WITHIN_S).token > leader.token
    store.close()
