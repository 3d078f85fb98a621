# Generated from src/atoll/embed/aio/locks.py by `python3 dev.py generate`; edit that file instead.
"""Mutex, RWMutex and Semaphore for processes that share a store: who is in is decided by ``turn``.

Rule: a lock belongs to a session; it is over when the session is. ``with`` gives the turn, whose ``check()``
and ``guards()`` a holder uses as a leader uses those of its term.
"""

from __future__ import annotations

from types import TracebackType
from typing import Final

from atoll.embed.blocking.turn import Rules, Turn
from atoll.errors import AtollError, Code
from atoll.store.blocking import BlockingStore
from atoll.store.session import Session

HOLDERS_MAX: Final = 10_000


class Lock:
    """Something that is taken, held and given back. ``acquire`` and ``release``, or ``with``."""

    def __init__(self, turn: Turn) -> None:
        self.turn = turn

    def acquire(self, within_s: float | None = None) -> Turn:
        """Wait until it is held. Raises TIMEOUT after ``within_s`` seconds, CONFLICT when the session is over."""
        self.turn.take(within_s)
        return self.turn

    def try_acquire(self) -> bool:
        """Take it if nobody is before; whether it is held now."""
        return self.turn.take(wait=False)

    def release(self) -> None:
        """Give it back; does nothing when it is not held."""
        self.turn.give_back()

    def __enter__(self) -> Turn:
        return self.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class Mutex(Lock):
    """One holder at a time, in order of arrival. Queues with etcd's own locks of the same name."""

    def __init__(self, store: BlockingStore, session: Session, name: str) -> None:
        root = _root(name)
        super().__init__(Turn(store, session, Rules(root, root, root)))


class Semaphore(Lock):
    """At most ``holders_max`` holders at a time; everybody who uses the name must give the same number."""

    def __init__(self, store: BlockingStore, session: Session, name: str, holders_max: int) -> None:
        if not 1 <= holders_max <= HOLDERS_MAX:
            raise AtollError(Code.INVALID, f"holders_max {holders_max}: must be 1 to {HOLDERS_MAX}")
        root = _root(name)
        super().__init__(Turn(store, session, Rules(root, root, root, holders_max)))


class RWMutex:
    """Many readers or one writer. A writer waits for all before it, a reader for the writers before it: nobody
    starves. Keys as in etcd's ``RWMutex`` recipe.
    """

    def __init__(self, store: BlockingStore, session: Session, name: str) -> None:
        root = _root(name)
        self.reader = Lock(Turn(store, session, Rules(root, root + b"read/", root + b"write/")))
        self.writer = Lock(Turn(store, session, Rules(root, root + b"write/", root)))


def _root(name: str) -> bytes:
    if not name or name.endswith("/"):
        raise AtollError(Code.INVALID, f"lock name {name!r}: must not be empty nor end with '/'")
    return name.encode() + b"/"
