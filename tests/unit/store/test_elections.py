"""Asking and wishing: the functions of ``store.elections`` over the memory store, with live candidates."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from atoll.errors import AtollError, Code
from atoll.resources import election as records
from atoll.resources.election import Control, Heartbeat, Keys, Token
from atoll.runtime import loop
from atoll.store import elections
from atoll.store.api import Put, Range
from atoll.store.candidate import Candidacy, Candidate, Fact, Quiesce, Won
from atoll.store.memory import open_memory
from atoll.store.shell import StoreShell

WITHIN_S = 20.0


class Standing:
    """Live candidates over one store, which quiesce when told to."""

    def __init__(self, store: StoreShell) -> None:
        self.store = store
        self.candidates: list[Candidate] = []

    async def add(self, each: str, priority: int = 0) -> Candidate:
        made: list[Candidate] = []

        def listen(fact: Fact) -> None:
            if isinstance(fact, Quiesce):
                made[0].quiesced()

        candidacy = Candidacy("demo", each, each.encode(), ttl_s=3, priority=priority, terms_max=3)
        made.append(Candidate(self.store.driver, candidacy, listen))
        self.candidates.append(made[0])
        made[0].start()
        await self.until(lambda seen: any(one.id == each for one in seen.candidates))
        return made[0]

    async def until(self, holds: Callable[[elections.Overview], bool]) -> elections.Overview:
        while not holds(seen := await elections.overview(self.store, "demo")):
            await loop.sleep(0)
        return seen

    async def until_leads(self, each: str) -> elections.Leader:
        async for leader in elections.observe(self.store, "demo"):
            if leader and leader.id == each and leader.serving:
                return leader
        raise AssertionError("observe ended")


def _run(scenario: Callable[[Standing], Awaitable[None]]) -> None:
    async def main() -> None:
        store = StoreShell(open_memory())
        standing = Standing(store)
        try:
            async with loop.bounded(WITHIN_S, "the scenario"):
                await scenario(standing)
        finally:
            for candidate in standing.candidates:
                await loop.in_thread(candidate.close)
            await store.close()

    loop.run(main())


def test_observe_tells_each_leader_and_history_remembers_them() -> None:
    async def scenario(standing: Standing) -> None:
        a = await standing.add("a")
        first = await standing.until_leads("a")
        assert first.value == b"a"
        await standing.add("b")
        a.resign()
        second = await standing.until_leads("b")
        assert second.token > first.token
        terms = await elections.history(standing.store, "demo")
        assert [(term.token, term.record.holder, term.record.cause) for term in terms] == [
            (first.token, "a", "resigned"),
            (second.token, "b", ""),
        ]
        assert terms[0].record.end_s >= terms[0].record.start_s > 0
        assert await elections.names(standing.store) == ("demo",)

    _run(scenario)


def test_handover_reaches_the_named_candidate_past_others() -> None:
    async def scenario(standing: Standing) -> None:
        for each in ("a", "b", "c"):
            await standing.add(each)
        await standing.until_leads("a")
        await elections.handover(standing.store, "demo", "c")
        await standing.until_leads("c")
        with pytest.raises(AtollError) as caught:
            await elections.handover(standing.store, "demo", "nobody")
        assert caught.value.code is Code.NOT_FOUND and "a, b, c" in caught.value.message

    _run(scenario)


def test_the_higher_priority_gets_its_turn() -> None:
    async def scenario(standing: Standing) -> None:
        await standing.add("a")
        await standing.until_leads("a")
        await standing.add("b", priority=5)
        await standing.until_leads("b")

    _run(scenario)


def test_nobody_begins_a_term_while_paused() -> None:
    async def scenario(standing: Standing) -> None:
        a = await standing.add("a")
        await standing.until_leads("a")
        await standing.add("b")
        await elections.pause(standing.store, "demo")
        a.resign()
        seen = await standing.until(lambda seen: seen.leader is not None and seen.leader.id == "b")
        assert seen.paused and seen.leader and not seen.leader.serving
        await elections.resume(standing.store, "demo")
        await standing.until_leads("b")

    _run(scenario)


def test_observe_goes_on_past_a_compaction() -> None:
    async def scenario(standing: Standing) -> None:
        store = standing.store
        observed: list[str] = []
        a = await standing.add("a")
        await standing.until_leads("a")
        async for leader in elections.observe(store, "demo"):
            observed.append(leader.id if leader else "")
            if len(observed) == 1:
                await standing.add("b")
                a.resign()
                await store.compact((await store.put(Put(b"x", b"y"))).revision)
            if leader and leader.id == "b" and leader.serving:
                break
        assert observed[0] == "a" and observed[-1] == "b"

    _run(scenario)


def test_history_keeps_as_many_terms_as_asked_and_closes_what_nobody_closed() -> None:
    async def scenario(standing: Standing) -> None:
        store, keys = standing.store, Keys("demo")
        for number in range(6):
            record = records.TermRecord(f"old-{number}", 100.0 + number)
            await store.put(Put(keys.term(Token(0, 1 + number)), records.encode(record)))
        await standing.add("a")
        await standing.until_leads("a")

        async def tidied() -> bool:
            terms = await elections.history(store, "demo")
            return len(terms) == 3 and all(term.record.cause for term in terms[:-1])

        while not await tidied():
            await loop.sleep(0)
        holders = [term.record.holder for term in await elections.history(store, "demo")]
        assert holders == ["old-4", "old-5", "a"]

    _run(scenario)


def test_records_keep_what_they_do_not_know_and_refuse_what_is_newer() -> None:
    async def scenario(standing: Standing) -> None:
        store, keys = standing.store, Keys("demo")
        await store.put(Put(keys.control, b'{"format": 1, "paused": false, "later": [1, 2]}'))
        await elections.pause(store, "demo")
        kept = (await store.range(Range(keys.control))).kvs[0].value
        assert b'"later":[1,2]' in kept and b'"paused":true' in kept
        await store.put(Put(keys.control, b'{"format": 2}'))
        with pytest.raises(AtollError) as caught:
            await elections.resume(store, "demo")
        assert "format 2" in caught.value.message

    _run(scenario)


def test_records_are_read_back_as_written() -> None:
    beat = Heartbeat(7, 1, 10.0, records.LEADING, "a")
    assert records.decode(Heartbeat, records.encode(beat)) == beat
    assert beat.token == Token(1, 7) > Token(0, 99)
    assert records.decode(Control, b"{}") == Control()
    with pytest.raises(AtollError):
        records.decode(Heartbeat, b"no json")
    keys = Keys("demo")
    assert keys.token_of(keys.term(Token(3, 255))) == Token(3, 255)
    with pytest.raises(AtollError):
        keys.token_of(keys.history + b"zz")
    assert keys.lease_of(keys.own(0x7F)) == 0x7F
    assert keys.lease_of(b"demo/a/b") == keys.lease_of(b"demo/") == 0


def test_terms_won_are_told_once() -> None:
    heard: list[Fact] = []

    async def scenario(standing: Standing) -> None:
        candidate = Candidate(standing.store.driver, Candidacy("demo", "z", ttl_s=3), heard.append)
        standing.candidates.append(candidate)
        candidate.start()
        candidate.start()
        await standing.until_leads("z")

    _run(scenario)
    assert sum(isinstance(fact, Won) for fact in heard) == 1
