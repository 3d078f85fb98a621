"""What a fault test says about itself and what it measured: the ``soak`` mark and the rows of reliability.md.

Rule: a row is plain data (JSON), so that the pieces of a long test can be added up by ``tools/soak.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

Row = dict[str, Any]
_PROPERTY = "soak-row"


@dataclass(frozen=True)
class SoakMark:
    """``@pytest.mark.soak(name, few=.., full=.., chunk=..)``: rounds in ``test``, in ``soak``, and a piece's."""

    name: str
    few: int
    full: int
    chunk: int = 0  # 0: in one piece


class SoakReport:
    """One test's way to say what it measured."""

    def __init__(self, item: pytest.Item) -> None:
        self._properties = (
            item.user_properties
        )  # they travel with the test's report, also from another process

    def row(
        self,
        case: str,
        *,
        rounds: int,
        violations: int = 0,
        samples: Mapping[str, Sequence[float]] | None = None,
        figures: Mapping[str, int | float | str] | None = None,
    ) -> None:
        """Add a row. ``samples``: all measured values by name, unit last (``takeover_s``), shown as percentiles.
        ``figures``: other numbers and words; numbers of the pieces of one test are added up.
        """
        measured = {name: list(values) for name, values in (samples or {}).items()}
        row = {"case": case, "rounds": rounds, "violations": violations, "samples": measured}
        self._properties.append((_PROPERTY, {**row, "figures": dict(figures or {})}))


def rows_of(report: pytest.TestReport) -> list[Row]:
    """What the reported test measured."""
    return [row for name, row in report.user_properties if name == _PROPERTY and isinstance(row, dict)]


def mark_of(item: Any) -> SoakMark:
    """The mark of a test; a test that uses ``rounds`` or ``seed`` without one is an error of the test."""
    mark = item.get_closest_marker("soak")
    if mark is None:
        raise pytest.UsageError(
            f"{item.nodeid} uses rounds or seed: mark it @pytest.mark.soak(name, few=, full=)"
        )
    return SoakMark(*mark.args, **mark.kwargs)
