"""What happens to registrations, subscribers and configurations when nodes die, are cut off, lose the store or are
restarted: real processes in network namespaces, clients that fail over as the vendor's do.

Rule: a round begins and ends with every subscriber holding exactly what is registered. The bound of a fault is the
instant by which it must not be felt any more; convergence is what subscribers needed beyond it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.registry.round import CLOCK, Figures, Round
from tests.e2e.registry.stage import ETCD, NODES, Stage, stage
from tests.soaking import SoakReport
from tests.waiting import wait_until

pytestmark = [pytest.mark.peers, pytest.mark.timeout(3000)]

OWNER_KILLED_S = 30.0  # what nobody claims is gone by then
CONNECTION_LOST_S = 10.0
CUT_OFF_S = 15.0
STORE_STOPPED_S, STORE_STOPPED_SHORT_S = 60.0, 15.0
STOP_WITHIN_S = 30.0


@pytest.fixture
def played(tmp_path: Path) -> Iterator[Stage]:
    with stage(tmp_path) as made:
        yield made


def last_until(at_s: float) -> None:
    """Let the fault last."""
    wait_until(lambda: CLOCK.now_s() > at_s, at_s - CLOCK.now_s() + 1.0, "the fault to have lasted")


@pytest.mark.soak("registry-faults", few=1, full=20, chunk=5)
def test_a_node_with_a_thousand_instances_behind_it_is_killed(
    played: Stage, rounds: int, seed: int, soak_report: SoakReport
) -> None:
    figures = Figures()
    for number in range(seed, seed + rounds):
        victim = number % len(NODES)
        play = Round(played, number, home=victim)
        play.kill_mortals(OWNER_KILLED_S)
        played.nodes[victim].process.kill()
        play.settle(play.mortals_gone_by_s, figures)
        played.nodes[victim].start()
        play.end(figures)
    figures.report("kill -9 of a node with 1,000 instances behind it", rounds, soak_report)


@pytest.mark.soak("registry-faults", few=2, full=20, chunk=5)
def test_a_node_is_cut_off_from_the_others(
    played: Stage, rounds: int, seed: int, soak_report: SoakReport
) -> None:
    """In every second round from the store as well."""
    figures = Figures()
    for number in range(seed, seed + rounds):
        victim = NODES[number % len(NODES)]
        play = Round(played, number)
        others = [node for node in NODES if node != victim]
        played.net.drop(victim, [*others, ETCD] if number % 2 else others)
        play.kill_mortals(CONNECTION_LOST_S)
        play.more("meanwhile")
        last_until(play.began_s + CUT_OFF_S)
        played.net.heal()
        play.settle(max(CLOCK.now_s(), play.mortals_gone_by_s), figures)
        play.end(figures)
    figures.report("partition of one node from the others", rounds, soak_report)


@pytest.mark.soak("registry-faults", few=1, full=20, chunk=5)
def test_the_store_is_stopped(played: Stage, rounds: int, seed: int, soak_report: SoakReport) -> None:
    """Killed, or in every second round paused, so that it neither answers nor refuses."""
    figures = Figures()
    lasts_s = STORE_STOPPED_S if rounds > 1 else STORE_STOPPED_SHORT_S
    for number in range(seed, seed + rounds):
        play = Round(played, number)
        (played.etcd.pause if number % 2 else played.etcd.kill)()
        play.more("meanwhile")
        play.kill_mortals(CONNECTION_LOST_S)
        play.settle(play.mortals_gone_by_s, figures)  # naming goes on while the store is away
        last_until(play.began_s + lasts_s)
        (played.etcd.resume if number % 2 else played.etcd.start)()
        played.cluster.wait_ready()
        play.wait_written()
        play.end(figures)
    figures.report(f"etcd stopped for {lasts_s:.0f} s", rounds, soak_report)


@pytest.mark.soak("registry-faults", few=1, full=20, chunk=5)
def test_all_nodes_are_restarted_one_after_the_other(
    played: Stage, rounds: int, seed: int, soak_report: SoakReport
) -> None:
    figures = Figures()
    for number in range(seed, seed + rounds):
        play = Round(played, number)
        for node in played.nodes:
            node.process.terminate()
            assert node.process.wait(STOP_WITHIN_S) == 0, node.text()
            node.start()
        play.kill_mortals(CONNECTION_LOST_S)
        play.settle(play.mortals_gone_by_s, figures)
        play.end(figures)
    figures.report("rolling restart of all nodes", rounds, soak_report)
