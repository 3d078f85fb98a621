"""Rows that fault tests measure: adding up the pieces of one case, and showing them.

Rule: samples stay raw until they are shown, so that percentiles of added pieces are true percentiles.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Row = dict[str, Any]


def merged(rows: Sequence[Row]) -> list[Row]:
    """One row a case, in order of first appearance: rounds, violations, numbers added; samples joined."""
    cases: dict[str, Row] = {}
    for row in rows:
        known = cases.setdefault(
            row["case"], {"case": row["case"], "rounds": 0, "violations": 0, "samples": {}, "figures": {}}
        )
        known["rounds"] += row["rounds"]
        known["violations"] += row["violations"]
        for name, values in row["samples"].items():
            known["samples"].setdefault(name, []).extend(values)
        for name, value in row["figures"].items():
            before = known["figures"].get(name)
            number = isinstance(value, int | float) and isinstance(before, int | float)
            known["figures"][name] = before + value if number else value
    return list(cases.values())


def percentile(values: Sequence[float], part: float) -> float:
    """The smallest sample that at least ``part`` (0 to 1) of all samples do not exceed (nearest rank)."""
    ordered = sorted(values)
    rank = max(1, -int(-part * len(ordered) // 1))
    return ordered[rank - 1]


def measured(row: Row) -> str:
    """The measured part of a row as one line of text."""
    parts = [f"{name} {_spread(values)}" for name, values in row["samples"].items() if values]
    parts += [f"{name} {_number(value)}" for name, value in row["figures"].items()]
    return "; ".join(parts)


def describe(row: Row) -> str:
    """A whole row as one line of text."""
    head = f"{row['case']}: {row['rounds']} rounds, {row['violations']} violations"
    tail = measured(row)
    return f"{head}; {tail}" if tail else head


def _spread(values: Sequence[float]) -> str:
    points = (("median", 0.5), ("p95", 0.95), ("max", 1.0))
    return ", ".join(f"{name} {_number(percentile(values, part))}" for name, part in points)


def _number(value: float | str) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
