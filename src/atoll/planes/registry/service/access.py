"""Guard, accounts, audit log and journal of one node, put together over the store and the shared table of accounts.

Rule: no decision is made here. ``open_access`` returns when everybody can be let in or turned away; ``close`` writes what
the journal still holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from atoll.planes.registry.service.accounts import TOKEN_TTL_S, Accounts
from atoll.planes.registry.service.audit import Audit
from atoll.planes.registry.service.guard import Guard
from atoll.planes.registry.service.journal import Journal
from atoll.planes.registry.service.signing_keys import SigningKeys
from atoll.runtime import loop
from atoll.runtime.clock import Clock
from atoll.runtime.tasks import Tasks
from atoll.store.accounts import AccountsTable
from atoll.store.api import Store
from atoll.store.audit import AuditLog, AuditWriter
from atoll.store.event_log import Bounds, EventLog

JOURNAL_FILE = "events.db"


class Options(msgspec.Struct, frozen=True):
    token_ttl_s: float = TOKEN_TTL_S
    journal: Bounds = Bounds()


@dataclass(frozen=True)
class Ground:
    """What the parts stand on. ``data`` is the node's data folder."""

    store: Store
    table: AccountsTable
    writer: AuditWriter
    clock: Clock
    tasks: Tasks
    data: Path


@dataclass(frozen=True)
class Access:
    guard: Guard
    accounts: Accounts
    audit: Audit
    journal: Journal

    async def close(self, within_s: float) -> None:
        """What cannot be written in time is given up with the process."""
        await loop.in_thread(self.journal.close)


async def open_access(ground: Ground, options: Options) -> Access:
    """Raises what the store says, and CORRUPT or NEWER_FORMAT for signing keys that cannot be read."""
    keys = SigningKeys(ground.store, ground.clock, ground.writer, options.token_ttl_s)
    await keys.load()
    guard = Guard(ground.clock, lambda: keys.keys)
    keys.on_change(guard.forget)
    ground.table.follow(guard.take)
    ground.tasks.start("signing keys", keys.follow())
    log = EventLog(ground.data / JOURNAL_FILE, ground.clock, options.journal)
    return Access(
        guard,
        Accounts(ground.table, guard, keys, ground.clock, options.token_ttl_s),
        Audit(ground.writer, AuditLog(ground.store)),
        Journal(log, ground.clock),
    )
