"""Figures of two servers side by side: medians of alternating runs, of their ratios, and what was aimed at.

Rule: a ratio above 1 is better than the reference, whichever way the figure counts; half of an aim is the floor
below which a case is not done.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Case:
    """What is measured. ``aim`` is the ratio to the reference that the release aims at, None for orientation."""

    name: str
    unit: str
    aim: float | None = None
    less_is_better: bool = False


@dataclass
class Comparison:
    """All runs of one case."""

    case: Case
    etcd: list[float] = field(default_factory=list)
    atoll: list[float] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        """The median of the runs' own ratios: what a run compares was measured back to back, so that a slow minute
        of the disk slows both sides.
        """
        pairs = zip(self.etcd, self.atoll, strict=True)
        less = self.case.less_is_better
        return statistics.median(etcd / atoll if less else atoll / etcd for etcd, atoll in pairs)

    @property
    def verdict(self) -> str:
        aim = self.case.aim
        if aim is None:
            return ""
        return (
            "aim met"
            if self.ratio >= aim
            else "above the floor"
            if self.ratio >= aim / 2
            else "BELOW THE FLOOR"
        )

    def cells(self) -> list[str]:
        """case, etcd, Atoll, ratio, aim, verdict; each figure with the spread of its runs."""
        aim = "" if self.case.aim is None else f"{self.case.aim:g}x"
        name = f"{self.case.name} ({self.case.unit})"
        return [name, _spread(self.etcd), _spread(self.atoll), f"{self.ratio:.2f}x", aim, self.verdict]

    def plain(self) -> dict[str, object]:
        """For ``--json``."""
        case = self.case
        return {
            "case": case.name,
            "unit": case.unit,
            "etcd": self.etcd,
            "atoll": self.atoll,
            "ratio": round(self.ratio, 3),
            "aim": case.aim,
            "verdict": self.verdict,
        }


HEAD = ("case", "etcd", "Atoll", "ratio", "aim", "")


def markdown(comparisons: Sequence[Comparison]) -> str:
    lines = ["| " + " | ".join(HEAD) + " |", "|---" * len(HEAD) + "|"]
    lines += ["| " + " | ".join(each.cells()) + " |" for each in comparisons]
    return "\n".join(lines)


def _spread(values: Sequence[float]) -> str:
    middle = _number(statistics.median(values))
    return middle if len(values) == 1 else f"{middle} ({_number(min(values))} to {_number(max(values))})"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
