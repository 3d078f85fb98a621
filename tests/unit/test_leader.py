"""Leader-only jobs of two nodes on one store: one runs them, the other takes over."""

from __future__ import annotations

from atoll.errors import AtollError
from atoll.host.leader import ELECTION, Compactor, Job, Leader
from atoll.runtime import loop
from atoll.runtime.clock import BootClock
from atoll.store import elections
from atoll.store.api import Put, Range
from atoll.store.memory import open_memory
from atoll.store.shell import StoreShell
from atoll.store.term import Term

WITHIN_S = 30.0
FAILED: list[str] = []


def on_failure(name: str, error: BaseException) -> None:
    FAILED.append(f"{name}: {error}")


class Worker:
    """A job that says when it begins and ends, and writes once a term, guarded."""

    def __init__(self, store: StoreShell) -> None:
        self.store = store
        self.began: loop.Queue[Term] = loop.Queue()
        self.ended: loop.Queue[Term] = loop.Queue()

    async def run(self, term: Term) -> None:
        await self.store.commit(term.guards(), [Put(b"by", str(term.token).encode())])
        self.began.put_nowait(term)
        try:
            await loop.sleep(3600)
        finally:
            self.ended.put_nowait(term)


async def in_time(queue: loop.Queue[Term]) -> Term:
    item = await loop.next_within(queue, WITHIN_S)
    assert item is not None
    return item


def test_one_node_runs_the_jobs_and_another_takes_over() -> None:
    async def scenario() -> None:
        driver = open_memory()
        store = StoreShell(driver)
        workers = [Worker(store), Worker(store)]
        nodes = [
            Leader(f"n{number}", [Job("count", worker.run)], BootClock(), on_failure)
            for number, worker in enumerate(workers)
        ]
        nodes[0].start(driver)
        first = await in_time(workers[0].began)
        nodes[1].start(driver)
        assert (nodes[0].running, nodes[1].running) == (["count"], [])
        await nodes[0].stop(WITHIN_S)
        assert await in_time(workers[0].ended) is first
        second = await in_time(workers[1].began)
        assert second.token > first.token
        assert workers[0].ended.empty() and nodes[0].running == []
        history = await elections.history(store, ELECTION)
        assert [past.record.holder for past in history] == ["n0", "n1"]
        await nodes[1].stop(WITHIN_S)
        driver.close()

    loop.run(scenario())
    assert not FAILED


def test_a_hand_over_ends_the_jobs_before_the_other_node_begins_them() -> None:
    async def scenario() -> None:
        driver = open_memory()
        store = StoreShell(driver)
        workers = [Worker(store), Worker(store)]
        nodes = [Leader(f"n{n}", [Job("j", workers[n].run)], BootClock(), on_failure) for n in (0, 1)]
        nodes[0].start(driver)
        await in_time(workers[0].began)
        nodes[1].start(driver)
        handed_over = False
        while not handed_over:  # n1 needs a moment until it stands
            try:
                await elections.handover(store, ELECTION, "n1")
                handed_over = True
            except AtollError:
                await loop.sleep(0)
        await in_time(workers[1].began)
        assert not workers[0].ended.empty()
        for node in nodes:
            await node.stop(WITHIN_S)
        driver.close()

    loop.run(scenario())
    assert not FAILED


def test_without_jobs_nothing_is_written() -> None:
    async def scenario() -> int:
        driver = open_memory()
        node = Leader("n", [], BootClock(), on_failure)
        node.start(driver)
        await node.stop(WITHIN_S)
        revision = (await StoreShell(driver).range(Range(b"\0", b"\0"))).revision
        driver.close()
        return revision

    assert loop.run(scenario()) == 1


class Steps:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def now_s(self) -> float:
        return self.now

    def wall_s(self) -> float:
        return self.now


def test_the_compactor_keeps_history_of_the_age_it_was_told() -> None:
    async def scenario() -> list[int]:
        driver = open_memory()
        store, clock = StoreShell(driver), Steps()
        job = Compactor(store, clock, after_s=100.0)
        began = loop.Queue[Term]()

        async def hold(term: Term) -> None:
            began.put_nowait(term)
            await loop.sleep(3600)

        node = Leader("n", [Job("hold", hold)], BootClock(), on_failure)
        node.start(driver)
        term = await in_time(began)
        compacted = []
        for clock.now in (0.0, 50.0, 99.0, 100.0, 151.0):
            await store.put(Put(b"k", b"v"))
            await job.look(term)
            compacted.append((await store.status()).compact_revision)
        await node.stop(WITHIN_S)
        driver.close()
        first = compacted[3]
        return [revision and revision - first + 1 for revision in compacted]

    assert loop.run(scenario()) == [0, 0, 0, 1, 2]
