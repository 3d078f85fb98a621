"""Opening a session: the lease through which locks are held, renewed on a thread of its own.

Rule: grant first, then keep alive; the session's time counts from before the grant was sent.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from atoll.runtime.clock import BootClock
from atoll.store.session import Session
from atoll.store.shell import StoreShell


async def open_session(store: StoreShell, ttl_s: int = 10) -> Session:
    """A session of ``ttl_s`` seconds (the store may grant more). Close it to let go of all that it holds."""
    sent_s = BootClock().now_s()
    return Session(store.driver, await store.lease_grant(ttl_s), sent_s)


@asynccontextmanager
async def session(store: StoreShell, ttl_s: int = 10) -> AsyncGenerator[Session, None]:
    """``open_session`` for the length of a block."""
    opened = await open_session(store, ttl_s)
    try:
        yield opened
    finally:
        opened.close()
