# Generated from src/atoll/embed/aio/session.py by `python3 dev.py generate`; edit that file instead.
"""Opening a session: the lease through which locks are held, renewed on a thread of its own.

Rule: grant first, then keep alive; the session's time counts from before the grant was sent.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from atoll.runtime.clock import BootClock
from atoll.store.blocking import BlockingStore
from atoll.store.session import Session


def open_session(store: BlockingStore, ttl_s: int = 10) -> Session:
    """A session of ``ttl_s`` seconds (the store may grant more). Close it to let go of all that it holds."""
    sent_s = BootClock().now_s()
    return Session(store.driver, store.lease_grant(ttl_s), sent_s)


@contextmanager
def session(store: BlockingStore, ttl_s: int = 10) -> Generator[Session, None, None]:
    """``open_session`` for the length of a block."""
    opened = open_session(store, ttl_s)
    try:
        yield opened
    finally:
        opened.close()
