"""Staged releases: what gates say, what follows, and a whole release in virtual time on a store in memory."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest

from atoll.errors import AtollError, Code, Reason
from atoll.planes.registry.policy import rollout_judge as judging
from atoll.planes.registry.policy.rollout_judge import FAIL, NO_DATA, PASS, Progress, Share
from atoll.resources.config_item import md5_of
from atoll.resources.config_views import Details
from atoll.resources.consumer import Consumer
from atoll.resources.rollout import (
    HealthyGate,
    HttpGate,
    Observation,
    Plan,
    PrometheusGate,
    Rollout,
    require_plan,
)
from tests.unit.registry.config_kit import ANN, KEY, Kit, with_configs

GATE = HealthyGate(("g@@web",), share_min=0.9, instances_min=2)
PLAN = Plan(steps=(10.0, 50.0, 100.0), interval_s=60.0, check_every_s=10.0, gates=(GATE,))
CLIENTS = [Consumer(f"10.0.{number // 250}.{number % 250}", app="web") for number in range(1_000)]


def reached(kit: Kit, content: str) -> int:
    """How many of a thousand clients are served ``content``."""
    return sum(kit.configs.md5(KEY, client) == md5_of(content) for client in CLIENTS)


async def look_for(kit: Kit, seconds: float, share: Share | None) -> None:
    """Let the leader look as often as the plan says for ``seconds``."""
    kit.shares["g@@web"] = share
    for _ in range(int(seconds // PLAN.check_every_s)):
        kit.clock.pass_s(PLAN.check_every_s)
        rollout = kit.configs.rollouts.get(KEY)
        if rollout.open:
            await kit.configs.rollouts.look(rollout)


async def staged(kit: Kit, plan: Plan = PLAN) -> None:
    await kit.configs.publish(ANN, KEY, "old")
    await kit.configs.stage(ANN, KEY, "new", Details(), plan)


def test_a_release_whose_gate_holds_reaches_more_and_more_and_is_promoted() -> None:
    async def scenario(kit: Kit) -> None:
        await staged(kit)
        shares = []
        for _ in range(3):
            shares.append(reached(kit, "new"))
            await look_for(kit, 70, Share(10, 10))
        assert 60 <= shares[0] <= 140 and 440 <= shares[1] <= 560 and shares[2] == 1_000
        rollout = kit.configs.rollouts.get(KEY)
        item = kit.configs.item(KEY)
        assert rollout.state == "promoted" and item is not None and item.content == "new"
        assert kit.configs.grays(KEY) == ()
        actions = [each.action for each in rollout.decisions]
        assert actions == ["start", "hold", "advance", "hold", "advance", "hold", "promote"]
        assert [entry[1] for entry in kit.audited if "hold" not in entry[1]] == [
            "create",
            "stage",
            "stage-advance",
            "stage-advance",
            "stage-promote",
        ]

    with_configs(scenario)


def test_who_was_reached_stays_reached() -> None:
    async def scenario(kit: Kit) -> None:
        await staged(kit)
        first = {client.address for client in CLIENTS if kit.configs.md5(KEY, client) == md5_of("new")}
        await look_for(kit, 70, Share(10, 10))
        second = {client.address for client in CLIENTS if kit.configs.md5(KEY, client) == md5_of("new")}
        assert first < second

    with_configs(scenario)


def test_a_failing_gate_rolls_back_by_itself() -> None:
    async def scenario(kit: Kit) -> None:
        await staged(kit)
        await look_for(kit, 70, Share(10, 10))
        await look_for(kit, 10, Share(8, 10))
        rollout = kit.configs.rollouts.get(KEY)
        assert rollout.state == "rolled_back" and reached(kit, "old") == 1_000
        last = rollout.decisions[-1]
        assert last.action == "roll_back" and "8 of 10 healthy" in last.why
        assert last.observations[0].verdict == FAIL

    with_configs(scenario)


@pytest.mark.parametrize("share", [None, Share(1, 1)], ids=["unknown", "too few"])
def test_no_data_holds_for_ever_and_starts_the_step_again(share: Share | None) -> None:
    async def scenario(kit: Kit) -> None:
        await staged(kit)
        await look_for(kit, 50, Share(10, 10))
        await look_for(kit, 100_000, share)
        rollout = kit.configs.rollouts.get(KEY)
        assert (rollout.state, rollout.step) == ("running", 0)
        assert rollout.decisions[-1].action == "hold" and "no data" in rollout.decisions[-1].why
        await look_for(kit, 60, Share(10, 10))
        assert kit.configs.rollouts.get(KEY).step == 0
        await look_for(kit, 10, Share(10, 10))
        assert kit.configs.rollouts.get(KEY).step == 1

    with_configs(scenario)


def test_a_publish_in_between_ends_it_and_is_not_undone() -> None:
    async def scenario(kit: Kit) -> None:
        await staged(kit)
        await kit.configs.publish(ANN, KEY, "urgent")
        with pytest.raises(AtollError) as refused:
            await kit.configs.rollouts.move(ANN, KEY, "promote")
        assert refused.value.reason is Reason.CONFIG_CHANGED
        await look_for(kit, 10, Share(10, 10))
        assert kit.configs.rollouts.get(KEY).state == "rolled_back" and reached(kit, "urgent") == 1_000

    with_configs(scenario)


def test_people_steer_it() -> None:
    async def scenario(kit: Kit) -> None:
        await staged(kit, Plan(steps=(1.0, 100.0), gates=()))
        with pytest.raises(AtollError) as second:
            await kit.configs.stage(ANN, KEY, "newer", Details(), PLAN)
        assert second.value.reason is Reason.IN_USE
        await look_for(kit, 10_000, None)
        assert kit.configs.rollouts.get(KEY).step == 0
        assert (await kit.configs.rollouts.move(ANN, KEY, "pause")).state == "paused"
        assert (await kit.configs.rollouts.move(ANN, KEY, "resume")).state == "running"
        assert (await kit.configs.rollouts.move(ANN, KEY, "advance", "looks good")).percent == 100
        assert (await kit.configs.rollouts.move(ANN, KEY, "advance")).state == "promoted"
        with pytest.raises(AtollError) as over:
            await kit.configs.rollouts.move(ANN, KEY, "abort")
        assert over.value.code is Code.CONFLICT
        await kit.configs.stage(ANN, KEY, "newer", Details(), PLAN)
        assert (await kit.configs.rollouts.move(ANN, KEY, "abort")).state == "cancelled"
        assert reached(kit, "new") == 1_000
        with pytest.raises(AtollError):
            await kit.configs.rollouts.move(ANN, KEY, "fly")

    with_configs(scenario)


def test_a_paused_release_ends_when_its_version_is_taken_away() -> None:
    async def scenario(kit: Kit) -> None:
        await staged(kit)
        await kit.configs.remove(ANN, KEY, "staged")
        with pytest.raises(AtollError):
            await kit.configs.rollouts.move(ANN, KEY, "promote")
        assert (await kit.configs.rollouts.move(ANN, KEY, "abort")).state == "cancelled"

    with_configs(scenario)


# ------------------------------------------------------------------------------------------------ pure decisions

VERDICTS = list(itertools.product((PASS, FAIL, NO_DATA), repeat=2))


@pytest.mark.parametrize("verdicts", VERDICTS, ids=["-".join(pair) for pair in VERDICTS])
@pytest.mark.parametrize("step", [0, 2], ids=["first step", "last step"])
@pytest.mark.parametrize("good_s", [None, 59.0, 60.0], ids=["not good before", "almost over", "over"])
def test_what_follows_from_what_the_gates_say(
    verdicts: Sequence[str], step: int, good_s: float | None
) -> None:
    rollout = Rollout(key=KEY, id=1, plan=PLAN, md5="m", step=step)
    seen = [Observation(f"gate {number}", verdict) for number, verdict in enumerate(verdicts)]
    before = None if good_s is None else Progress(step, 1_000.0 - good_s)
    verdict, after = judging.judge(rollout, seen, before, 1_000.0)
    if FAIL in verdicts:
        expected = "roll_back"
    elif NO_DATA in verdicts or good_s != 60.0:
        expected = "hold"
    else:
        expected = "promote" if step == 2 else "advance"
    assert verdict.action == expected
    assert (after.good_since_s is None) == (set(verdicts) != {PASS})


def test_as_many_failures_in_a_row_are_borne_as_the_plan_says() -> None:
    plan = Plan(gates=(GATE,), failures_max=2)
    rollout = Rollout(key=KEY, id=1, plan=plan, md5="m")
    bad, good = [Observation("g", FAIL)], [Observation("g", PASS)]
    progress: Progress | None = None
    actions = []
    for seen in (bad, bad, good, bad, bad, bad):
        verdict, progress = judging.judge(rollout, seen, progress, 0.0)
        actions.append(verdict.action)
    assert actions == ["hold"] * 5 + ["roll_back"]


def test_progress_of_another_step_does_not_count() -> None:
    rollout = Rollout(key=KEY, id=1, plan=PLAN, md5="m", step=1)
    verdict, after = judging.judge(rollout, [Observation("g", PASS)], Progress(0, 0.0), 1_000.0)
    assert verdict.action == "hold" and after == Progress(1, 1_000.0)


def _vector(*values: str) -> bytes:
    samples = ",".join(f'{{"metric":{{}},"value":[1,"{value}"]}}' for value in values)
    return f'{{"status":"success","data":{{"resultType":"vector","result":[{samples}]}}}}'.encode()


@pytest.mark.parametrize(
    ("body", "verdict"),
    [
        (_vector("0.01"), PASS),
        (_vector("0.01", "0.2"), FAIL),
        (_vector(), NO_DATA),
        (_vector("NaN"), NO_DATA),
        (b'{"status":"success","data":{"resultType":"scalar","result":[1,"0.1"]}}', PASS),
        (b'{"status":"error"}', NO_DATA),
        (b"<html>", NO_DATA),
        (b"[]", NO_DATA),
        (None, NO_DATA),
    ],
)
def test_what_a_prometheus_says(body: bytes | None, verdict: str) -> None:
    gate = PrometheusGate("http://p:9090", "errors", "<=", 0.1)
    assert judging.prometheus(gate, body).verdict == verdict


def test_what_a_url_says() -> None:
    gate = HttpGate("http://h/health", 204)
    assert [judging.http(gate, status).verdict for status in (204, 200, 500, None)] == [
        PASS,
        FAIL,
        FAIL,
        NO_DATA,
    ]


@pytest.mark.parametrize(
    "plan",
    [
        Plan(steps=()),
        Plan(steps=(50.0, 10.0, 100.0)),
        Plan(steps=(10.0, 50.0)),
        Plan(interval_s=0.0),
        Plan(failures_max=-1),
        Plan(gates=(HealthyGate(()),)),
        Plan(gates=(HttpGate("ftp://h"),)),
        Plan(gates=(PrometheusGate("http://p", "q", "~"),)),
    ],
)
def test_a_plan_that_cannot_be_followed_is_refused(plan: Plan) -> None:
    with pytest.raises(AtollError) as refused:
        require_plan(plan)
    assert refused.value.reason is Reason.PARAMETER_INVALID
