"""Probes of persistent instances: what a row of them says, who probes whom, and real connections on loopback."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable

import pytest

from atoll.errors import AtollError, Reason
from atoll.kit import rendezvous
from atoll.planes.registry.model import checkers
from atoll.planes.registry.model.switches import CheckTimes
from atoll.planes.registry.policy import probing
from atoll.planes.registry.policy.probing import Found, Outcome, Row
from atoll.planes.registry.service import probes
from atoll.planes.registry.service.beating import Which
from atoll.planes.registry.service.probes import Prober
from atoll.resources.service import Cluster, HealthChecker
from atoll.runtime.net import Address
from atoll.runtime.rng import seeded_rng
from atoll.store.peers import Member
from tests.unit.registry.naming_kit import ANN, KEY, Bench, at, on_a_node, serving

OK, SOFT, HARD = Outcome.OK, Outcome.SOFT, Outcome.HARD


@pytest.mark.parametrize("healthy", [True, False], ids=["healthy", "unhealthy"])
@pytest.mark.parametrize(
    "outcomes", list(itertools.product(Outcome, repeat=4)), ids=lambda row: "-".join(x.value for x in row)
)
def test_three_of_a_kind_in_a_row_change_health_and_a_refusal_at_once(
    outcomes: tuple[Outcome, ...], healthy: bool
) -> None:
    row, current = Row(), healthy
    for position, outcome in enumerate(outcomes):
        verdict = probing.judge(row, Found(outcome), current, 3)
        last_three = outcomes[max(0, position - 2) : position + 1]
        if current:
            fails = len(last_three) == 3 and OK not in last_three
            expected = False if outcome is HARD or fails else None
        else:
            expected = True if last_three == (OK, OK, OK) else None
        assert verdict is expected
        current = current if verdict is None else verdict


def test_the_pace_follows_how_long_probes_take_within_its_bounds() -> None:
    times, row = CheckTimes(max_ms=5000, min_ms=1000, factor=0.75), Row()
    assert probing.next_after_s(row, 0.001, times) == 1.0
    assert probing.next_after_s(row, 20.0, times) == 5.0
    row = Row()
    probing.next_after_s(row, 2.0, times)
    assert probing.next_after_s(row, 4.0, times) == pytest.approx(0.75 * 2.0 + 0.25 * 4.0)


@pytest.mark.parametrize(
    ("status", "expected", "outcome"),
    [
        (200, 200, OK),
        (204, 204, OK),
        (200, 204, HARD),
        (503, 200, SOFT),
        (302, 200, SOFT),
        (404, 200, HARD),
        (503, 503, OK),
    ],
)
def test_the_expected_status_is_honoured(status: int, expected: int, outcome: Outcome) -> None:
    assert probing.judge_status(status, expected) is outcome


def test_every_key_has_one_owner_and_a_node_that_goes_moves_only_its_own() -> None:
    keys = [f"key-{number}".encode() for number in range(600)]
    three = {key: rendezvous.owner(key, ["a", "b", "c"]) for key in keys}
    assert three == {key: rendezvous.owner(key, ["c", "a", "b"]) for key in keys}
    shares = [list(three.values()).count(node) for node in "abc"]
    assert min(shares) > 120
    two = {key: rendezvous.owner(key, ["a", "b"]) for key in keys}
    assert all(two[key] == three[key] for key in keys if three[key] != "c")
    assert rendezvous.owner(b"x", []) == ""


@pytest.mark.parametrize(
    "checker",
    [
        HealthChecker("HTTP", path="/a b"),
        HealthChecker("HTTP", path="/\r\nx"),
        HealthChecker("HTTP", headers="a"),
        HealthChecker("HTTP", headers="Content-Length:5"),
        HealthChecker("HTTP", expected_response_code=99),
        HealthChecker("MYSQL", user="root"),
    ],
    ids=lambda each: f"{each.kind} {each.path!r} {each.headers}",
)
def test_a_checker_that_makes_no_proper_request_is_refused(checker: HealthChecker) -> None:
    with pytest.raises(AtollError) as caught:
        checkers.check(checker)
    assert caught.value.reason is Reason.PARAMETER_INVALID
    assert checkers.headers_of(HealthChecker("HTTP", headers="A:1|B: 2 ")) == {"a": "1", "b": "2"}


def told(outcomes: list[Outcome]) -> Callable[[Address, Cluster], Awaitable[Found]]:
    """A probe that finds these, one after the other, and the last one from then on."""

    async def tried(address: Address, cluster: Cluster) -> Found:
        return Found(outcomes.pop(0) if len(outcomes) > 1 else outcomes[0])

    return tried


def test_an_instance_turns_unhealthy_and_healthy_again_as_its_probes_say() -> None:
    async def scenario(bench: Bench) -> None:
        naming = bench.naming
        await naming.register_persistent(ANN, KEY, at(1, ephemeral=False))
        prober = Prober(
            naming, seeded_rng(1), {"TCP": told([OK, SOFT, SOFT, OK, SOFT, SOFT, SOFT, OK, OK, OK])}
        )
        prober.look()
        assert len(prober) == 1
        seen = []
        for _ in range(10):
            await prober.probe(Which(KEY, at(1).id))
            seen += bench.ports()
        assert seen == [1, 1, 1, 1, 1, 1, -1, -1, -1, 1]

    on_a_node(scenario)


def test_only_probed_kinds_of_members_own_instances_are_probed() -> None:
    async def scenario(bench: Bench) -> None:
        naming = bench.naming
        for port in range(1, 41):
            await naming.register_persistent(ANN, KEY, at(port, ephemeral=False))
        prober = Prober(naming, seeded_rng(1))
        prober.look()
        assert len(prober) == 40
        bench.peers.take({"n2": Member("n2", 1)})
        prober.look()
        assert 0 < len(prober) < 40
        bench.peers.take({})
        prober.look()
        assert len(prober) == 40
        await naming.update_cluster(ANN, KEY, Cluster(checker=HealthChecker("NONE")))
        prober.look()
        assert len(prober) == 0
        await naming.update_cluster(ANN, KEY, Cluster(checker=HealthChecker("TCP")))
        await naming.set_switch(ANN, "check", "false")
        prober.look()
        assert len(prober) == 0

    on_a_node(scenario)


def test_a_listening_port_is_alive_and_a_closed_one_refuses() -> None:
    async def scenario(bench: Bench) -> None:
        async with serving(b"") as (address, _):
            assert (await probes.try_tcp(address, Cluster())).outcome is OK
        refused = await probes.try_tcp(address, Cluster())
        assert refused.outcome is HARD and "refused" in refused.cause

    on_a_node(scenario)


ANSWERS = {
    "as expected": (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", OK),
    "busy": (b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n", SOFT),
    "wrong": (b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n", HARD),
    "no HTTP": (b"SSH-2.0-x\r\n\r\n", HARD),
}


@pytest.mark.parametrize(("answer", "outcome"), ANSWERS.values(), ids=ANSWERS)
def test_an_http_probe_reads_the_status(answer: bytes, outcome: Outcome) -> None:
    async def scenario(bench: Bench) -> None:
        async with serving(answer) as (address, heard):
            checker = HealthChecker("HTTP", path="/up", headers="X-A:1")
            found = await probes.try_http(address, Cluster(checker=checker))
        assert found.outcome is outcome, found.cause
        assert heard.startswith(b"GET /up HTTP/1.1\r\n") and b"x-a: 1" in heard.lower()

    on_a_node(scenario)
