"""``atoll store``: copies and upkeep of a store.

Rule: ``backup`` and ``check`` read the file itself, whether a node has it open or not; ``compact`` and ``defrag`` ask
the node; ``restore`` and ``migrate`` need the store closed, and refuse one that is in use.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from atoll.cli import command, show
from atoll.host import upkeep
from atoll.runtime import loop

MIGRATE_FIELDS = ("data", "store_user", "store_password_file", "store_ca", "store_certificate", "store_key")


def add(commands: Any) -> None:
    parser = commands.add_parser("store", help="back up and keep up a store")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    backup = actions.add_parser("backup", help="copy the store to a new file, while it is in use or not")
    backup.add_argument("target", metavar="FILE", help="the new file; FILE.sha256 is written beside it")
    command.add_settings(backup, ("data", "store_url"))
    backup.set_defaults(run=run_backup)
    check = actions.add_parser("check", help="read all of the store and name what is wrong with it")
    command.add_settings(check, ("data", "store_url"))
    check.set_defaults(run=run_check)
    restore = actions.add_parser("restore", help="make the store from a backup; its node must be stopped")
    restore.add_argument("source", metavar="FILE", help="a backup, or a file of `etcdctl snapshot save`")
    restore.add_argument(
        "--replace", action="store_true", help="keep the store that is there under another name"
    )
    command.add_settings(restore, ("data", "store_url"))
    restore.set_defaults(run=run_restore)
    migrate = actions.add_parser(
        "migrate", help="copy one store to another, empty one; stop its writers first"
    )
    migrate.add_argument("source", metavar="FROM", help="sqlite:PATH or etcd://HOST:PORT,...")
    migrate.add_argument("target", metavar="TO", help="sqlite:PATH or etcd://HOST:PORT,...")
    command.add_settings(migrate, MIGRATE_FIELDS)
    migrate.set_defaults(run=run_migrate)
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


def run_check(options: argparse.Namespace) -> int:
    found = upkeep.check(command.resolve(options).settings)
    for problem in found.problems:
        sys.stderr.write(f"atoll: {problem}\n")
    state = f"{len(found.problems)} problems" if found.problems else "sound"
    sys.stdout.write(
        f"{state}: revision {found.revision}, {found.keys} keys, {found.versions} versions, {found.leases} leases,"
        f" {show.size(found.size_bytes)}\n"
    )
    return 1 if found.problems else 0


def run_restore(options: argparse.Namespace) -> int:
    source = Path(options.source).absolute()
    made = upkeep.restore(command.resolve(options).settings, source, options.replace)
    sys.stdout.write(f"restored at revision {made.revision}, generation {made.generation}\n")
    if made.replaced:
        sys.stdout.write(f"the store that was there is {made.replaced}\n")
    return 0


def run_migrate(options: argparse.Namespace) -> int:
    moved = upkeep.migrate(command.resolve(options).settings, options.source, options.target)
    sys.stdout.write(f"{moved.keys} keys and {moved.leases} leases migrated, generation {moved.generation}\n")
    return 0


def run_compact(options: argparse.Namespace) -> int:
    done = loop.run(command.client(options).compact(options.revision))
    sys.stdout.write(f"compacted at revision {options.revision or done.revision}\n")
    return 0


def run_defrag(options: argparse.Namespace) -> int:
    loop.run(command.client(options).defragment())
    sys.stdout.write("defragmented\n")
    return 0
