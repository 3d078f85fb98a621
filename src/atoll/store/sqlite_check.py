"""Reads all of a store's file and says what is wrong with it; changes nothing.

Rule: works on a store that is in use (beside its owner, as of one moment) and on one that is not (then it leaves
no trace beside the file). What opening would refuse at once, because it is no store or of a newer format, is an
error; damage is a list of problems.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import msgspec

from atoll.errors import AtollError
from atoll.store import sqlite_file
from atoll.store.journal import Recovered
from atoll.store.mvcc import State
from atoll.store.sqlite_file import Owner

PROBLEMS_MAX = 20
"""So many problems of a damaged file are named; one is enough to refuse it."""


class Checked(msgspec.Struct, frozen=True):
    """What ``check`` found. The store is sound if and only if ``problems`` is empty."""

    revision: int = 0
    compact_revision: int = 0
    keys: int = 0
    versions: int = 0
    leases: int = 0
    size_bytes: int = 0
    problems: tuple[str, ...] = ()


def check(path: Path) -> Checked:
    """Read all of the store at ``path``, in use or not, and say what is wrong with it.

    Raises what opening it would raise for a file that is not a store of a known format.
    """
    sqlite_file.check_header(path)
    try:
        with _reader(path) as connection:
            return _check(connection, path)
    except sqlite3.Error as error:
        return Checked(problems=(str(error),))


@contextlib.contextmanager
def _reader(path: Path) -> Iterator[sqlite3.Connection]:
    """For reading ``path``: alone where nobody has it, which leaves no trace, otherwise beside its owner."""
    owner = None
    with contextlib.suppress(AtollError):
        owner = Owner(path)
    try:
        opened = sqlite_file.connect_owned(path) if owner else sqlite_file.connect(path, read_only=True)
        with contextlib.closing(opened) as connection:
            yield connection
    finally:
        if owner is not None:
            owner.release()


def _check(connection: sqlite3.Connection, path: Path) -> Checked:
    connection.execute("BEGIN")  # all of it as of one moment
    rows = connection.execute(f"PRAGMA integrity_check({PROBLEMS_MAX})").fetchall()
    problems = [text for (text,) in rows if text != "ok"]
    state, versions = State(), 0
    small = Recovered()
    try:
        small = sqlite_file.read_small(connection, path)
        found = list(sqlite_file.versions_in(connection, path, small.compact_revision))
        versions = len(found)
        state.load(small.compact_revision, found)
    except AtollError as error:
        problems.append(error.message)
    unknown = {kv.lease for kv in state.current() if kv.lease} - {lease for lease, _ in small.leases}
    problems += [f"a key belongs to the lease {lease:x}, which does not exist" for lease in sorted(unknown)]
    return Checked(
        revision=state.revision,
        compact_revision=max(small.compact_revision, 0),
        keys=sum(1 for _ in state.current()),
        versions=versions,
        leases=len(small.leases),
        size_bytes=path.stat().st_size,
        problems=tuple(problems[:PROBLEMS_MAX]),
    )
