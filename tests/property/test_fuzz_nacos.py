"""Mutated payloads against the whole of Nacos's gRPC: documented answers only. The work is done by ``fuzz/nacos.py``.

A failure's text has the case; ``python -m fuzz.nacos RUNS SEED`` makes the same cases again.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.soaking import SoakReport
from tools.environment import ROOT

WITHIN_S = 280.0


@pytest.mark.soak("fuzz-nacos", few=3_000, full=100_000, chunk=25_000)
def test_mutated_payloads_get_documented_answers(rounds: int, seed: int, soak_report: SoakReport) -> None:
    line = [sys.executable, "-m", "fuzz.nacos", str(rounds), str(seed)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    done = subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=WITHIN_S)
    assert done.returncode == 0, done.stderr[-6_000:]
    (outcomes,) = [json.loads(text)["outcomes"] for text in done.stdout.splitlines() if text.startswith("{")]
    assert sum(outcomes.values()) >= rounds
    assert outcomes["0"] > rounds / 50, "most cases must not end at the first door"
    soak_report.row("mutated payloads, Nacos gRPC", rounds=rounds, figures=outcomes)
