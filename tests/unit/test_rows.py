"""Rows of fault tests add up, and their percentiles are those of all samples."""

from __future__ import annotations

import pytest

from tests.soaking import SoakReport
from tools import rows


def test_pieces_of_one_case_add_up() -> None:
    head = {"case": "kill", "rounds": 10}
    one = {**head, "violations": 0, "samples": {"reopen_s": [1.0]}, "figures": {"writes": 5, "disk": "slow"}}
    two = {**head, "violations": 1, "samples": {"reopen_s": [2.0]}, "figures": {"writes": 5, "disk": "slow"}}
    [added] = rows.merged([one, two])
    assert added["rounds"] == 20 and added["violations"] == 1
    assert added["figures"] == {"writes": 10, "disk": "slow"}
    text = "kill: 20 rounds, 1 violations; reopen_s median 1, p95 2, max 2; writes 10; disk slow"
    assert rows.describe(added) == text


@pytest.mark.parametrize(("part", "expected"), [(0.5, 50), (0.95, 95), (0.99, 99), (1.0, 100), (0.0, 1)])
def test_percentile_is_by_nearest_rank(part: float, expected: int) -> None:
    assert rows.percentile([float(n) for n in range(100, 0, -1)], part) == expected


@pytest.mark.soak("selftest", few=3, full=10, chunk=4)
def test_a_piece_knows_its_rounds_and_its_first_seed(
    rounds: int, seed: int, soak_report: SoakReport, request: pytest.FixtureRequest
) -> None:
    assert rounds in (2, 3, 4)
    assert seed % 4 == 1
    soak_report.row("selftest", rounds=rounds, figures={"first_seed": f"{seed}"})
    assert request.node.user_properties[-1][1]["rounds"] == rounds
