"""kill -9 and SIGSTOP of supervisor, watchdog and program of ``atoll lead``, singly and in pairs.

Rule: whatever is done to the leader's processes, no two programs serve at once, tokens ascend, and a standby takes
over where a switch is due. Which pair of faults is not survivable is in docs/explanation/lead.md.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.lead import CLOCK, Candidate, Witness, is_alive
from tests.peers.etcd import Cluster, etcd_cluster
from tests.soaking import SoakReport
from tests.waiting import wait_until

pytestmark = pytest.mark.peers
TTL_S = 3
TAKE_OVER_S_MAX = (
    TTL_S + 1.0 + 15.0
)  # the promise is TTL + 1 s; the rest is for a machine at work on other tests

AT_ONCE = 4  # scenes of eight processes each
SCENES_WITHIN_S = 120.0
KILL, STOP, CONT = signal.SIGKILL, signal.SIGSTOP, signal.SIGCONT


@dataclass
class Scene:
    """A leader, a standby, and how long it took from the fault to the first stamp of the standby's program."""

    leader: Candidate
    standby: Candidate
    witness: Witness
    take_over_s: float = float("inf")

    def end(self) -> None:
        self.leader.end()
        self.standby.end()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with etcd_cluster(tmp_path_factory.mktemp("etcd"), election_timeout_ms=500) as made:
        yield made


def supervisor_of(leader: Candidate) -> list[int]:
    return [leader.supervisor.pid]


def program_of(leader: Candidate) -> list[int]:
    return [leader.program]


def one_watchdog_of(leader: Candidate) -> list[int]:
    return leader.watchdogs[:1]


def other_watchdog_of(leader: Candidate) -> list[int]:
    return leader.watchdogs[1:]


def watchdogs_of(leader: Candidate) -> list[int]:
    return leader.watchdogs


Who = Callable[[Candidate], list[int]]

FAULTS: dict[str, list[tuple[int, Who]]] = {
    "kill supervisor": [(KILL, supervisor_of)],
    "kill program": [(KILL, program_of)],
    "kill watchdog": [(KILL, one_watchdog_of)],
    "stop supervisor": [(STOP, supervisor_of)],
    "stop watchdog": [(STOP, one_watchdog_of)],
    "stop program, kill supervisor": [(STOP, program_of), (KILL, supervisor_of)],
    "stop program, stop supervisor": [(STOP, program_of), (STOP, supervisor_of)],
    "stop program, kill watchdog": [(STOP, program_of), (KILL, one_watchdog_of)],
    "kill watchdogs": [(KILL, watchdogs_of)],
    "stop watchdogs": [(STOP, watchdogs_of)],
    "kill watchdog, kill supervisor": [(KILL, one_watchdog_of), (KILL, supervisor_of)],
    "stop watchdog, kill supervisor": [(STOP, one_watchdog_of), (KILL, supervisor_of)],
    "stop supervisor, kill watchdog": [(STOP, supervisor_of), (KILL, one_watchdog_of)],
    "stop supervisor, stop watchdog": [(STOP, supervisor_of), (STOP, one_watchdog_of)],
    "kill watchdog, stop watchdog": [(KILL, one_watchdog_of), (STOP, other_watchdog_of)],
    "kill everything": [(KILL, watchdogs_of), (KILL, supervisor_of), (KILL, program_of)],
}


GROUPS = [list(FAULTS)[first : first + AT_ONCE] for first in range(0, len(FAULTS), AT_ONCE)]


@pytest.mark.soak("lead", few=1, full=20, chunk=5)
@pytest.mark.parametrize("group", GROUPS, ids=lambda group: "; ".join(group))
def test_one_serves_whatever_is_done_to_the_leader(
    group: list[str], cluster: Cluster, tmp_path: Path, rounds: int, soak_report: SoakReport
) -> None:
    take_overs_s: dict[str, list[float]] = {fault: [] for fault in group}
    violations = dict.fromkeys(group, 0)
    for number in range(rounds):
        scenes = {fault: _scene(cluster, tmp_path / f"{number}-{fault}") for fault in group}
        try:
            _run_together([_carry_out(fault, scene) for fault, scene in scenes.items()])
        finally:
            for scene in scenes.values():
                scene.end()
        for fault, scene in scenes.items():
            take_overs_s[fault].append(scene.take_over_s)
            violations[fault] += len(scene.witness.violations())
    for fault in group:
        samples = {"take_over_s": take_overs_s[fault]}
        soak_report.row(f"lead: {fault}", rounds=rounds, violations=violations[fault], samples=samples)
        assert max(take_overs_s[fault]) < TAKE_OVER_S_MAX
    assert not any(violations.values())


def _scene(cluster: Cluster, folder: Path) -> Scene:
    folder.mkdir()
    witness = Witness(folder / "stamps")
    a, b = (Candidate(name, folder.name, cluster.url, witness, "--ttl", str(TTL_S)) for name in ("a", "b"))
    return Scene(a, b, witness)


Condition = Callable[[], object]


def _run_together(scenes: list[Iterator[Condition]]) -> None:
    """Several scenes at once, all from this thread: each yields the condition that it waits for."""
    waiting = {scene: next(scene) for scene in scenes}

    def none_waits() -> bool:
        for scene, condition in list(waiting.items()):
            if condition():
                following = next(scene, None)
                if following is None:
                    del waiting[scene]
                else:
                    waiting[scene] = following
        return not waiting

    wait_until(none_waits, SCENES_WITHIN_S, "all scenes to end")


def _carry_out(fault: str, scene: Scene) -> Iterator[Condition]:
    leader, standby, witness = scene.leader, scene.standby, scene.witness
    leader.start()
    yield lambda: witness.serving("a")
    old = witness.spans()[0]
    standby.start()
    yield standby.stands
    hurt = [(number, pid) for number, who in FAULTS[fault] for pid in who(leader)]
    campaigns = leader.campaigns()
    at_s = CLOCK.now_s()
    for number, pid in hurt:
        with contextlib.suppress(ProcessLookupError):  # an earlier fault may have taken it along
            os.kill(pid, number)
    yield lambda: witness.serving("b", at_s)
    new = next(span for span in witness.spans() if span.candidate == "b" and span.first_s > at_s)
    scene.take_over_s = new.first_s - at_s
    yield lambda: not is_alive(old.pid)
    for number, pid in hurt:
        if number == STOP and is_alive(pid):
            os.kill(pid, CONT)
    if leader.supervisor.running:
        yield lambda: leader.stands(campaigns)  # it stands again, without a restart
    yield lambda: witness.goes_on(new)


def test_a_stopped_program_keeps_the_leadership_as_documented(cluster: Cluster, tmp_path: Path) -> None:
    scene = _scene(cluster, tmp_path / "stopped")
    try:
        _run_together([_stop_and_wake_the_program(scene)])
    finally:
        scene.end()
    assert {span.candidate for span in scene.witness.spans()} == {"a"}


def _stop_and_wake_the_program(scene: Scene) -> Iterator[Condition]:
    scene.leader.start()
    yield lambda: scene.witness.serving("a")
    scene.standby.start()
    yield scene.standby.stands
    os.kill(scene.leader.program, STOP)
    stopped_s = CLOCK.now_s()
    yield lambda: CLOCK.now_s() > stopped_s + TTL_S + 1.5
    assert {span.candidate for span in scene.witness.spans()} == {"a"}
    os.kill(scene.leader.program, CONT)
    yield lambda: scene.witness.spans()[0].last_s > stopped_s + TTL_S
