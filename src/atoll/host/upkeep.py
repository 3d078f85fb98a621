"""Upkeep of a store's file from outside its node.

Rule: what may be done to a file in use is done by reading it as SQLite lets any process do; everything that writes goes
through the node that owns it, or needs the store closed.
"""

from __future__ import annotations

from pathlib import Path

from atoll.errors import AtollError, Code
from atoll.host.catalog import STORE_FILE
from atoll.host.settings import Settings
from atoll.store import sqlite


def store_file(settings: Settings) -> Path:
    """The file of the store that the settings name. Raises INVALID where it has none."""
    scheme, _, path = settings.store_url.partition(":")
    if scheme != "sqlite":
        message = f"this is for sqlite: stores; store.url is {settings.store_url.partition('://')[0]}"
        raise AtollError(Code.INVALID, message)
    return Path(path) if path else settings.data / STORE_FILE


def backup(settings: Settings, target: Path) -> sqlite.Backup:
    """A consistent copy of the store, in use or not, in the new file ``target``, with its SHA-256 beside it."""
    path = store_file(settings)
    if not path.exists():
        raise AtollError(Code.NOT_FOUND, f"there is no store at {path}; give its folder with --data DIR")
    return sqlite.copy_store(path, target)
