"""Upkeep of a store's file from outside its node.

Rule: what may be done to a file in use is done by reading it as SQLite lets any process do; everything that writes goes
through the node that owns it, or needs the store closed.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from atoll.errors import AtollError, Code
from atoll.host import catalog
from atoll.host.catalog import STORE_FILE
from atoll.host.settings import Settings
from atoll.runtime.clock import BootClock
from atoll.store import maintenance, migration
from atoll.store.api import Driver
from atoll.store.sqlite import Backup, open_sqlite


def store_file(settings: Settings) -> Path:
    """The file of the store that the settings name. Raises INVALID where it has none."""
    scheme, _, path = settings.store_url.partition(":")
    if scheme != "sqlite":
        message = f"this is for sqlite: stores; store.url is {settings.store_url.partition('://')[0]}"
        raise AtollError(Code.INVALID, message)
    return Path(path) if path else settings.data / STORE_FILE


def backup(settings: Settings, target: Path) -> Backup:
    """A consistent copy of the store, in use or not, in the new file ``target``, checked, its SHA-256 beside it."""
    return maintenance.backup(_existing(settings), target)


def check(settings: Settings) -> maintenance.Checked:
    """What is in the store, in use or not, and what is wrong with it."""
    return maintenance.check(_existing(settings))


def restore(settings: Settings, source: Path, replace: bool) -> maintenance.Restored:
    """Make the store from a backup. Raises IN_USE while a node has it open."""
    return maintenance.restore(source, store_file(settings), BootClock(), replace)


def migrate(settings: Settings, source: str, target: str) -> migration.Migrated:
    """Copy everything from the store at one address to the empty one at another. No node may use either."""
    origin = _open(settings, source, False)
    try:
        goal = _open(settings, target, True)
        try:
            return migration.migrate(origin, goal, BootClock().wall_s())
        finally:
            goal.close()
    finally:
        origin.close()


def _open(settings: Settings, url: str, is_target: bool) -> Driver:
    chosen = dataclasses.replace(settings, store_url=url)
    if url.startswith("etcd://"):
        return catalog.open_store(chosen).driver
    path = store_file(chosen)
    if not is_target:
        path = _existing(chosen)
    return open_sqlite(path, catalog.limits(settings), accept_unfinished=is_target)


def _existing(settings: Settings) -> Path:
    path = store_file(settings)
    if not path.exists():
        raise AtollError(Code.NOT_FOUND, f"there is no store at {path}; give its folder with --data DIR")
    return path
