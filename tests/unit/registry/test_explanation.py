"""Explain and time travel: from events to answers, and from real registering and publishing to both."""

from __future__ import annotations

import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.errors import AtollError, Code
from atoll.planes.registry.model.naming import Selection
from atoll.planes.registry.policy import topology
from atoll.planes.registry.policy.explanation import Evidence, explain
from atoll.planes.registry.service.configs import Listener
from atoll.planes.registry.service.journal import Journal
from atoll.planes.registry.service.naming import Naming
from atoll.planes.registry.service.recorder import Recorder
from atoll.resources.consumer import NOBODY
from atoll.resources.events import Event, Kind, Moved
from atoll.store.event_log import EventLog
from tests.unit.registry import config_kit
from tests.unit.registry.config_kit import ANN
from tests.unit.registry.naming_kit import KEY, Bench, at
from tests.unit.registry.naming_kit import Listener as Subscriber

LIST = "public:DEFAULT_GROUP:naming/orders"
ITEM = "public:DEFAULT_GROUP:config/app.yaml"
CONNECTED = (1, Kind.CONNECTED, "")


def events(*rows: tuple[int, Kind, str]) -> list[Event]:
    """(id, kind, digest); the id is the second, too."""
    return [Event(number, float(number), kind, digest=digest) for number, kind, digest in rows]


def told(
    subject: str,
    pair: list[Event],
    changes: list[Event] | None = None,
    client: list[Event] | None = None,
    moves: tuple[Moved, ...] = (),
) -> tuple[str, float, float, str]:
    chosen = events(CONNECTED) if client is None else client
    found = explain("n1", "c1", subject, 100.0, Evidence(pair, changes or [], chosen, [], moves))
    return found.held, found.held_since_s, found.acknowledged_s, found.verdict


def test_a_list_is_held_once_it_is_acknowledged() -> None:
    pair = events((2, Kind.SUBSCRIBED, "a"), (4, Kind.PUSHED, "b"), (5, Kind.ACKNOWLEDGED, "b"))
    assert told(LIST, pair) == ("b", 5.0, 5.0, "it held the newest state")
    assert told(LIST, pair[:2])[0] == "a"
    assert "sent, but not taken yet" in told(LIST, pair[:2])[3]


def test_a_configuration_is_held_once_it_is_fetched() -> None:
    changes = events((1, Kind.CHANGED, "a"), (3, Kind.CHANGED, "b"))
    pair = events(
        (2, Kind.SUBSCRIBED, "a"), (4, Kind.PUSHED, "b"), (5, Kind.ACKNOWLEDGED, "b"), (6, Kind.FETCHED, "b")
    )
    assert told(ITEM, pair, changes) == ("b", 6.0, 5.0, "it held the newest state")
    held, since_s, _, verdict = told(ITEM, pair[:3], changes)
    assert (held, since_s) == ("a", 2.0)
    assert "sent, but not taken yet" in verdict


@pytest.mark.parametrize(
    ("pair", "changes", "verdict"),
    [
        ([(2, Kind.SUBSCRIBED, "a")], [(3, Kind.CHANGED, "b")], "had not been sent yet"),
        (
            [(2, Kind.SUBSCRIBED, "a"), (3, Kind.UNSUBSCRIBED, "")],
            [(4, Kind.CHANGED, "b")],
            "was not subscribed",
        ),
        ([(2, Kind.SUBSCRIBED, "")], [(3, Kind.CHANGED, "b")], "held nothing"),
        ([(2, Kind.FETCHED, "b")], [(1, Kind.CHANGED, "b")], "held the newest state"),
    ],
)
def test_the_verdict_says_why_a_client_was_behind(
    pair: list[tuple[int, Kind, str]], changes: list[tuple[int, Kind, str]], verdict: str
) -> None:
    assert verdict in told(ITEM, events(*pair), events(*changes))[3]


def test_leaving_ends_the_subscription() -> None:
    client = events((1, Kind.CONNECTED, ""), (5, Kind.GONE, ""))
    pair = events((2, Kind.SUBSCRIBED, "a"))
    verdict = told(ITEM, pair, events((6, Kind.CHANGED, "b")), client)[3]
    assert "not subscribed" in verdict
    assert "not connected any more" in verdict


def test_causes_are_in_order_and_begin_with_the_connection() -> None:
    value = msgspec.json.encode({"healthy": False, "weight": 1.0}).decode()
    evidence = Evidence(
        pair=events((3, Kind.SUBSCRIBED, "a"), (6, Kind.PUSHED, "b")),
        changes=[],
        client=events((2, Kind.CONNECTED, "")),
        marks=[Event(1, 1.0, Kind.STARTED), Event(4, 4.0, Kind.DROPPED, detail="7")],
        moves=(Moved(1.0, LIST, "x", ""), Moved(5.0, LIST, "10.0.0.1:80:DEFAULT", value)),
    )
    found = explain("n1", "c1", LIST, 100.0, evidence)
    assert [cause.what for cause in found.causes] == ["connected", "subscribed", "instance", "pushed"]
    assert found.causes[2].text == "instance 10.0.0.1:80:DEFAULT came or changed: healthy false, weight 1.0"
    assert found.gaps == ("at 4.000 7 events did not fit into the log",)


# ----------------------------------------------------------------------------------------- time travel

NAMES = st.sampled_from(["a", "b"])
MOVES = st.lists(
    st.builds(Moved, st.just(0.0), NAMES, st.sampled_from(["i", "j", "k"]), st.sampled_from(["", "1", "2"]))
)


@given(MOVES, MOVES)
def test_replaying_from_a_snapshot_is_replaying_from_the_start(early: list[Moved], late: list[Moved]) -> None:
    whole = topology.replay({}, [*early, *late])
    assert topology.replay(topology.replay({}, early), late) == whole


@given(MOVES, MOVES)
def test_a_difference_leads_from_one_time_to_the_other(early: list[Moved], late: list[Moved]) -> None:
    before = topology.together({"n1": topology.replay({}, early)})[0]
    after = topology.together({"n1": topology.replay({}, [*early, *late])})[0]
    state = {(one.subject, one.instance): bytes(one.value) for one in before}
    for found in topology.differences(before, after):
        place = (found.subject, found.instance)
        assert (state.pop(place, None) is None) == (found.before is None)
        if found.after is not None:
            state[place] = bytes(found.after)
    assert state == {(one.subject, one.instance): bytes(one.value) for one in after}


def test_nodes_that_saw_different_things_are_named() -> None:
    states = {"n1": {"a": {"i": "1"}}, "n2": {"a": {"i": "1", "j": "2"}}, "n3": {"a": {"i": "3"}}}
    placed, remarks = topology.together(states)
    assert [(one.instance, bytes(one.value), one.nodes) for one in placed] == [
        ("i", b"1", ("n1", "n2")),
        ("j", b"2", ("n2",)),
    ]
    assert remarks == ["2 instances were not seen by all nodes alike", topology.APPROXIMATE]


# ------------------------------------------------------------------------------------- on real services


@dataclass
class Whole:
    """Naming and configuration of one node, with a journal."""

    bench: Bench
    configs: config_kit.Kit
    journal: Journal

    @property
    def naming(self) -> Naming:
        return self.bench.naming


def with_journal(work: Callable[[Whole], Awaitable[None]]) -> None:
    async def scenario(kit: config_kit.Kit) -> None:
        bench = Bench(kit.store)
        with tempfile.TemporaryDirectory() as folder:
            log = EventLog(Path(folder) / "events.db", bench.clock)
            journal = Journal(log, bench.clock)
            recorder = Recorder(journal, bench.naming, kit.configs)
            journal.answer_for(bench.peers)
            log.record_snapshot(bench.clock.wall_s(), msgspec.json.encode(recorder.instances()))
            try:
                await work(Whole(bench, kit, journal))
            finally:
                log.close()

    config_kit.with_configs(scenario)


def test_what_a_subscriber_held_and_why_can_be_told_afterwards() -> None:
    async def work(whole: Whole) -> None:
        naming, bench, slow = whole.naming, whole.bench, Subscriber(acknowledges=False)
        publisher, consumer = bench.client("publisher"), bench.client("consumer")
        naming.register(publisher, KEY, [at(80)])
        naming.subscribe(consumer, KEY, Selection(), slow)
        bench.pass_s(2.0)
        first_s = bench.clock.wall_s()
        bench.pass_s(1.0)
        naming.register(publisher, KEY, [at(80), at(81)])
        bench.pass_s(2.0)
        sent_s = bench.clock.wall_s()
        bench.pass_s(1.0)
        slow.pushes[-1].acknowledged()
        bench.pass_s(1.0)
        before, behind, now = [
            (await whole.journal.explain("consum", LIST, at_s))[0] for at_s in (first_s, sent_s, 0.0)
        ]
        assert before.verdict == "it held the newest state"
        assert behind.held == before.held
        assert "sent, but not taken yet" in behind.verdict
        assert now.held == behind.newest
        assert now.acknowledged_s == pytest.approx(sent_s + 1.0, abs=0.01)
        whats = [cause.what for cause in now.causes]
        assert whats == ["connected", "subscribed", "instance", "instance", "pushed", "acknowledged"]
        assert "10.0.0.1:81:DEFAULT" in now.causes[3].text

    with_journal(work)


def test_whose_configuration_it_is_can_be_told_afterwards() -> None:
    async def work(whole: Whole) -> None:
        configs = whole.configs.configs
        await configs.publish(ANN, config_kit.KEY, "a: 1")
        md5 = configs.md5(config_kit.KEY, NOBODY)
        whole.bench.client("consumer")
        configs.listen(Listener("consumer", NOBODY, md5, lambda told: None), config_kit.KEY)
        await configs.publish(ANN, config_kit.KEY, "a: 2")
        found = (await whole.journal.explain("consumer", ITEM, 0.0))[0]
        assert (found.held, found.newest) == (md5, configs.md5(config_kit.KEY, NOBODY))
        assert "sent, but not taken yet" in found.verdict
        assert any("published by ann from 10.0.0.9" in cause.text for cause in found.causes)

    with_journal(work)


def test_past_topology_and_its_difference_to_now() -> None:
    async def work(whole: Whole) -> None:
        naming, bench = whole.naming, whole.bench
        start_s = bench.clock.wall_s()
        publisher = bench.client()
        bench.pass_s(1.0)
        naming.register(publisher, KEY, [at(80), at(81)])
        bench.pass_s(1.0)
        then_s = bench.clock.wall_s()
        bench.pass_s(1.0)
        naming.register(publisher, KEY, [at(81, weight=2.0), at(82)])
        bench.pass_s(1.0)
        past = await whole.journal.topology(then_s)
        assert [one.instance for one in past.instances] == ["10.0.0.1:80:DEFAULT", "10.0.0.1:81:DEFAULT"]
        assert past.nodes == ("n1",)
        assert (await whole.journal.topology(start_s)).instances == ()
        assert (await whole.journal.topology(0.0, "other:*")).instances == ()
        differences = (await whole.journal.differences(then_s, 0.0, "public:*:naming/ord*")).instances
        found = [(one.instance, one.before is None, one.after is None) for one in differences]
        assert found == [
            ("10.0.0.1:80:DEFAULT", False, True),
            ("10.0.0.1:81:DEFAULT", False, False),
            ("10.0.0.1:82:DEFAULT", True, False),
        ]

    with_journal(work)


def test_a_question_that_no_journal_can_answer_is_refused() -> None:
    async def work(whole: Whole) -> None:
        for question in (whole.journal.explain("nobody", LIST, 0.0), whole.journal.topology(5.0)):
            with pytest.raises(AtollError) as caught:
                await question
            assert caught.value.code is Code.NOT_FOUND

    with_journal(work)
