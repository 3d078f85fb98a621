"""Nothing live is removed, nothing dead stays, all agree in the end: whole clusters in virtual time, one seed a story.

Rule: a failing seed is replayed by ``python -m atoll.testing.tables --seed N``, which tells its story line by line.
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

from atoll.testing.tables import scenario
from atoll.testing.tables.scenario import FAULTS, Outcome
from tests.soaking import SoakReport

ROOT = Path(__file__).resolve().parents[2]
WORKERS = 2
SEEDS_A_TASK = 10
BROKEN_MAX = 10


def _outcomes(first_seed: int, count: int) -> Iterator[Outcome]:
    if count == 1:  # a replay: in this process, with its story
        outcome = scenario.run(first_seed, keep_trace=True)
        print("\n".join(outcome.trace))
        print(scenario.summary(outcome))
        yield outcome
        return
    seeds = range(first_seed, first_seed + count)
    with ProcessPoolExecutor(WORKERS, multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(scenario.run, seeds, chunksize=SEEDS_A_TASK)


@pytest.mark.soak("ephemeral-sim", few=500, full=20_000, chunk=1_000)
def test_tables_hold_what_live_clients_hold(rounds: int, seed: int, soak_report: SoakReport) -> None:
    faults: Counter[str] = Counter()
    totals = Counter({"nodes": 0, "clients": 0, "looks": 0})
    virtual_s = 0.0
    broken: list[str] = []
    for outcome in _outcomes(seed, rounds):
        faults.update(outcome.faults)
        totals.update({"nodes": outcome.nodes, "clients": outcome.clients, "looks": outcome.looks})
        virtual_s += outcome.virtual_s
        assert outcome.nodes >= 3
        if outcome.violation:
            broken.append(f"seed {outcome.seed}: {outcome.violation}")
        else:
            assert sum(outcome.faults.values()) >= 5
            assert outcome.virtual_s >= 60.0
        if len(broken) >= BROKEN_MAX:
            break
    print(f"faults over {rounds} seeds: {', '.join(f'{name} {faults[name]}' for name in FAULTS)}")
    figures = {**totals, "virtual_hours": int(virtual_s / 3600), **faults}
    soak_report.row("simulated tables", rounds=rounds, violations=len(broken), figures=figures)
    assert not broken, "replay with `python -m atoll.testing.tables --seed N`:\n" + "\n".join(broken)
    if rounds >= 200:
        assert set(faults) == set(FAULTS), "some fault was never drawn"


@pytest.mark.parametrize("seed", [3, 11])
def test_a_seed_replays_to_the_same_trace_under_any_hash_seed(seed: int) -> None:
    line = [sys.executable, "-m", "atoll.testing.tables", "--seed", str(seed)]
    stories = set()
    for hash_seed in ("0", "1", "4242"):
        variables = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT / "src")}
        stories.add(subprocess.run(line, capture_output=True, text=True, env=variables, check=True).stdout)
    assert len(stories) == 1
    assert f"trace {scenario.run(seed).trace_hash}" in stories.pop()
