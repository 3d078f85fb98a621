"""``atoll store``: copies and upkeep of a store.

Rule: ``backup`` reads the file itself, whether a node has it open or not; ``compact`` and ``defrag`` ask the node.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from atoll.cli import command, show
from atoll.host import upkeep
from atoll.runtime import loop


def add(commands: Any) -> None:
    parser = commands.add_parser("store", help="back up and keep up a store")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    backup = actions.add_parser("backup", help="copy the store to a new file, while it is in use or not")
    backup.add_argument("target", metavar="FILE", help="the new file; FILE.sha256 is written beside it")
    command.add_settings(backup, ("data", "store_url"))
    backup.set_defaults(run=run_backup)
    compact = actions.add_parser("compact", help="forget old history")
    compact.add_argument(
        "--revision", type=int, default=0, metavar="N", help="up to here (default: the newest)"
    )
    command.add_client(compact)
    compact.set_defaults(run=run_compact)
    defrag = actions.add_parser("defrag", help="give free space back to the disk")
    command.add_client(defrag)
    defrag.set_defaults(run=run_defrag)


def run_backup(options: argparse.Namespace) -> int:
    made = upkeep.backup(command.resolve(options).settings, Path(options.target).absolute())
    sys.stdout.write(f"{made.path}: {show.size(made.size_bytes)}, sha256 {made.sha256}\n")
    return 0


def run_compact(options: argparse.Namespace) -> int:
    done = loop.run(command.client(options).compact(options.revision))
    sys.stdout.write(f"compacted at revision {options.revision or done.revision}\n")
    return 0


def run_defrag(options: argparse.Namespace) -> int:
    loop.run(command.client(options).defragment())
    sys.stdout.write("defragmented\n")
    return 0
