"""What a fault test says about itself and what it measured: the ``soak`` mark and the rows of reliability.md.

Rule: a row is plain data (JSON), so that the pieces of a long test can be added up by ``tools/soak.py``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from tools.rows import describe

Row = dict[str, Any]


@dataclass(frozen=True)
class SoakMark:
    """``@pytest.mark.soak(name, few=.., full=.., chunk=..)``: rounds in ``test``, in ``soak``, and a piece's."""

    name: str
    few: int
    full: int
    chunk: int = 0  # 0: in one piece


class Rows:
    """The rows of one run of pytest, by test."""

    def __init__(self) -> None:
        self._by_node: dict[str, list[Row]] = defaultdict(list)

    def add(self, node: str, row: Row) -> None:
        self._by_node[node].append(row)

    def of(self, node: str) -> list[Row]:
        return self._by_node[node]

    def lines(self) -> list[str]:
        return [describe(row) for rows in self._by_node.values() for row in rows]


class SoakReport:
    """One test's way to say what it measured."""

    def __init__(self, node: str, rows: Rows) -> None:
        self._node = node
        self._rows = rows

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
        self._rows.add(self._node, {**row, "figures": dict(figures or {})})


def mark_of(item: Any) -> SoakMark:
    """The mark of a test; a test that uses ``rounds`` or ``seed`` without one is an error of the test."""
    mark = item.get_closest_marker("soak")
    if mark is None:
        raise pytest.UsageError(
            f"{item.nodeid} uses rounds or seed: mark it @pytest.mark.soak(name, few=, full=)"
        )
    return SoakMark(*mark.args, **mark.kwargs)
