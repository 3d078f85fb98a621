"""How results look: tables for people, JSON for programs.

Rule: a table is drawn by ``rich``, loaded when the first one is; what is piped has no colour and no cut-off cells.
"""

from __future__ import annotations

import datetime
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

PIPED_WIDTH_COLUMNS = 10_000


def print_json(value: Any) -> None:
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], title: str = "") -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(*columns, title=title or None, title_justify="left", box=None, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    width = None if sys.stdout.isatty() else PIPED_WIDTH_COLUMNS
    Console(width=width, highlight=False, markup=False, emoji=False).print(table)


def print_pairs(pairs: Iterable[tuple[str, str]]) -> None:
    print_table(("", ""), pairs)


def moment(wall_s: float) -> str:
    """A time in the local zone, or a dash for none."""
    if not wall_s:
        return "-"
    return datetime.datetime.fromtimestamp(wall_s).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def size(size_bytes: int) -> str:
    amount = float(size_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.4g} {unit}"
        amount /= 1024
    return f"{amount:.4g} TiB"
