"""``atoll config check`` and ``atoll config explain``: what the settings are, and where each value came from.

Rule: both resolve the settings exactly as ``atoll up`` does, and start nothing.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from atoll.cli import command, show
from atoll.host.api import shown_settings


def add(commands: Any) -> None:
    parser = commands.add_parser("config", help="check or explain the settings")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    check = actions.add_parser("check", help="check file, environment and flags")
    command.add_settings(check)
    check.set_defaults(run=run_check)
    explain = actions.add_parser("explain", help="show each value and where it came from")
    explain.add_argument("--json", action="store_true", help="print JSON instead of a table")
    command.add_settings(explain)
    explain.set_defaults(run=run_explain)


def run_check(options: argparse.Namespace) -> int:
    resolved = command.resolve(options)
    for remark in resolved.remarks:
        sys.stdout.write(f"note: {remark}\n")
    sys.stdout.write("the settings are fine\n")
    return 0


def run_explain(options: argparse.Namespace) -> int:
    values = shown_settings(command.resolve(options))
    if options.json:
        show.print_json(values)
    else:
        show.print_table(
            ("setting", "value", "from"), ((each.name, each.value, each.source) for each in values)
        )
    return 0
