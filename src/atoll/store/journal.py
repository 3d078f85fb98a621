"""What an embedded store writes down, and the small interface to whatever makes it durable.

Rule: the engine appends writes in order; the journal says, in the same order, up to which number they are
durable. Until then nobody outside the engine sees their effect.

Two kinds of failure, because callers must be told different things. *Lost for certain* (a full disk before the
commit): the engine takes the writes back and goes on. *Unknown* (a commit or fsync that failed: the pages may or
may not be on the disk, and the kernel may already have forgotten which): the engine stops, and only reopening,
which reads what is really there, decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

import msgspec

from atoll.errors import AtollError
from atoll.store.api import Event, KeyValue


class Write(msgspec.Struct, frozen=True):
    """One write of the engine. ``events`` are all of one revision; ``number`` counts writes from 1."""

    number: int
    events: tuple[Event, ...] = ()
    leases_granted: tuple[tuple[int, int], ...] = ()  # id, TTL in seconds
    leases_revoked: tuple[tuple[int, int], ...] = ()  # id, TTL in seconds
    compact_revision: int | None = None  # history below it is to be forgotten
    notes: tuple[tuple[str, bytes], ...] = ()  # name, value; each replaces the one of its name


class Recovered(msgspec.Struct, frozen=True):
    """What a journal holds when it is opened. ``versions`` ascend by revision, in order within one; they are
    iterated once.
    """

    versions: Iterable[KeyValue] = ()
    compact_revision: int = -1
    leases: Sequence[tuple[int, int]] = ()
    notes: Sequence[tuple[str, bytes]] = ()


class Progress(Protocol):
    """The engine, as its journal sees it. Called from any one thread at a time."""

    def durable(self, number: int) -> None:
        """Every write up to ``number`` is on the disk."""

    def lost(self, error: AtollError) -> None:
        """No write after the last durable one is on the disk, nor will be; the journal goes on empty."""

    def unknown(self, error: AtollError) -> None:
        """Writes after the last durable one may be on the disk. The journal has stopped."""


class Journal(Protocol):
    """Three implementations: in memory, SQLite, and a fake that fails on purpose in ``testing``."""

    def recover(self) -> Recovered:
        """What is there. Called once, before ``start``."""

    def start(self, progress: Progress) -> None:
        """Begin to take writes and to report to ``progress``."""

    def append(self, write: Write) -> None:
        """Take ``write``, in order, under the engine's lock. Neither blocks nor raises."""

    def discard(self) -> None:
        """Forget what was appended and is not durable. Called under the engine's lock, within ``lost``."""

    def flush(self) -> None:
        """Make what was appended durable, now or soon. Called without the engine's lock after ``append``."""

    def forget(self, versions: Sequence[KeyValue], number: int) -> None:
        """Remove compacted ``versions`` when there is time. Write ``number``, the compaction, is durable."""

    def size_bytes(self) -> int:
        """How much room the journal takes, compacted but not yet returned room included."""

    def close(self) -> None:
        """Make durable what was appended, report it, and stop. Idempotent."""
