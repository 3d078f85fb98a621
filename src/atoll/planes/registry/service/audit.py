"""The audit log as the registry uses it: entries for its transactions, and questions to the log.

Rule: whoever commits a change puts ``entry(...)`` in the same transaction; nothing is logged afterwards.

    operations = [*txn.success, audit.entry(actor, "config.publish", str(key), hash_of(before), hash_of(after))]
"""

from __future__ import annotations

import fnmatch

import msgspec

from atoll.resources.actor import Actor
from atoll.resources.audit import Entry, Head, Numbered, Verdict
from atoll.store.api import Put
from atoll.store.audit import AuditLog, AuditWriter, hash_of

__all__ = ["Asked", "Audit", "Page", "hash_of"]

COUNT_MAX = 1_000


class Asked(msgspec.Struct, frozen=True):
    """Which entries: ``*`` in ``subject`` and ``action`` stands for any text; empty: any. Unix times; 0: no bound."""

    user: str = ""
    action: str = ""
    subject: str = ""
    since_s: float = 0.0
    until_s: float = 0.0

    def wants(self, entry: Entry) -> bool:
        return (
            (not self.user or entry.user == self.user)
            and (not self.action or fnmatch.fnmatchcase(entry.action, self.action))
            and (not self.subject or fnmatch.fnmatchcase(entry.subject, self.subject))
            and entry.at_s >= self.since_s
            and (not self.until_s or entry.at_s < self.until_s)
        )


class Page(msgspec.Struct, frozen=True):
    """``entries`` newest first; ``before`` goes on from there, 0 at the end."""

    entries: tuple[Numbered, ...]
    before: int


class Audit:
    def __init__(self, writer: AuditWriter, log: AuditLog) -> None:
        self._writer = writer
        self._log = log

    def entry(self, actor: Actor, action: str, subject: str, before_hash: str, after_hash: str) -> Put:
        """One more put for the transaction of a change."""
        return self._writer.entry(actor, action, subject, before_hash, after_hash)

    async def search(self, asked: Asked, count: int = 100, before: int = 0) -> Page:
        found, go_on = await self._log.newest(asked.wants, min(count, COUNT_MAX), before)
        return Page(tuple(found), go_on)

    async def verify(self, anchor: Head | None = None) -> Verdict:
        """Check the chain; ``anchor`` is an end of it that was noted elsewhere (entries and link)."""
        return await self._log.verify(anchor)
