"""Rows of fault tests add up, and their percentiles are those of all samples."""

from __future__ import annotations

import pytest

from tests.soaking import Rows, SoakReport
from tools import rows


def test_pieces_of_one_case_add_up() -> None:
    collected = Rows()
    for first, piece in enumerate(("one", "two")):
        report = SoakReport(piece, collected)
        report.row(
            "kill", rounds=10, violations=first, samples={"reopen_s": [1.0 + first]}, figures={"writes": 5}
        )
    added = rows.merged(collected.of("one") + collected.of("two"))
    assert added == [
        {
            "case": "kill",
            "rounds": 20,
            "violations": 1,
            "samples": {"reopen_s": [1.0, 2.0]},
            "figures": {"writes": 10},
        }
    ]
    assert (
        rows.describe(added[0]) == "kill: 20 rounds, 1 violations; reopen_s median 1, p95 2, max 2; writes 10"
    )


@pytest.mark.parametrize(("part", "expected"), [(0.5, 50), (0.95, 95), (0.99, 99), (1.0, 100), (0.0, 1)])
def test_percentile_is_by_nearest_rank(part: float, expected: int) -> None:
    assert rows.percentile([float(n) for n in range(100, 0, -1)], part) == expected


@pytest.mark.soak("selftest", few=3, full=10, chunk=4)
def test_a_piece_knows_its_rounds_and_its_first_seed(rounds: int, seed: int, soak_report: SoakReport) -> None:
    assert rounds in (2, 3, 4)
    assert seed % 4 == 1
    soak_report.row("selftest", rounds=rounds, figures={"first_seed": f"{seed}"})
