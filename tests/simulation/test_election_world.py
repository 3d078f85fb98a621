"""Never two leaders, and always one again: whole clusters in virtual time, one seed a story.

Rule: a failing seed is replayed by ``python3 dev.py sim --seed N``, which tells its story line by line.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from atoll.testing.world import scenario
from atoll.testing.world.faults import FAULTS
from tests.soaking import SoakReport

ROOT = Path(__file__).resolve().parents[2]
WORKERS = 2
SEEDS_A_TASK = 25


def _outcomes(first_seed: int, count: int) -> Iterator[scenario.Outcome]:
    if count == 1:  # a replay: in this process, with its story
        outcome = scenario.run(first_seed, keep_trace=True)
        print("\n".join(outcome.trace))
        print(scenario.summary(outcome))
        yield outcome
        return
    seeds = range(first_seed, first_seed + count)
    with ProcessPoolExecutor(WORKERS, multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(scenario.run, seeds, chunksize=SEEDS_A_TASK)


@pytest.mark.soak("sim", few=1000, full=50_000, chunk=5_000)
def test_one_leader_whatever_happens(rounds: int, seed: int, soak_report: SoakReport) -> None:
    faults: Counter[str] = Counter()
    totals = Counter({"terms": 0, "writes_accepted": 0, "writes_refused": 0})
    virtual_s = 0.0
    broken: list[str] = []
    for outcome in _outcomes(seed, rounds):
        faults.update(outcome.faults)
        totals["terms"] += outcome.terms
        totals["writes_accepted"] += outcome.writes_accepted
        totals["writes_refused"] += outcome.writes_refused
        virtual_s += outcome.virtual_s
        assert outcome.nodes >= 3
        assert sum(outcome.faults.values()) >= 5
        if outcome.violation:
            broken.append(f"seed {outcome.seed}: {outcome.violation}")
        else:
            assert outcome.virtual_s >= scenario.END_S_MIN
        if len(broken) >= 10:
            break
    covered = ", ".join(f"{name} {faults[name]}" for name in FAULTS)
    print(f"faults over {rounds} seeds: {covered}")
    figures = {**totals, "virtual_hours": int(virtual_s / 3600), **faults}
    soak_report.row("simulated elections", rounds=rounds, violations=len(broken), figures=figures)
    assert not broken, "replay with `python3 dev.py sim --seed N`:\n" + "\n".join(broken)
    if rounds >= 200:
        assert set(faults) == set(FAULTS), "some fault was never drawn"
        assert totals["writes_refused"] > 0, "no stale write was ever tried: the fence was not tested"


@pytest.mark.parametrize("seed", [3, 11])
def test_a_seed_replays_to_the_same_trace_under_any_hash_seed(seed: int) -> None:
    line = [sys.executable, "-m", "atoll.testing.world", "--seed", str(seed)]
    stories = set()
    for hash_seed in ("0", "1", "4242"):
        variables = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT / "src")}
        stories.add(subprocess.run(line, capture_output=True, text=True, env=variables, check=True).stdout)
    assert len(stories) == 1
    assert f"trace {scenario.run(seed).trace_hash}" in stories.pop()
