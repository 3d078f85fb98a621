"""Rows of what the mesh's benchmarks measured, as a table for people and for the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

HEAD = ("case", "measured", "aim", "")


@dataclass(frozen=True)
class Row:
    case: str
    measured: str
    aim: str = ""
    met: bool = True

    def cells(self) -> list[str]:
        return [self.case, self.measured, self.aim, "" if not self.aim else "met" if self.met else "MISSED"]


def markdown(rows: Sequence[Row]) -> str:
    lines = ["| " + " | ".join(HEAD) + " |", "|---" * len(HEAD) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(row.cells()) + " |" for row in rows)])


def show(rows: Sequence[Row], setting: str) -> None:
    table = Table(*HEAD)
    for row in rows:
        table.add_row(*row.cells())
    console = Console(width=160)
    console.print(table)
    console.print(setting)
