"""The old end of the audit log: blocks that leave the store for files in the data folder of the node that leads.

One rule: a block is deleted from the store only after it is durable in a file, in one transaction that moves the base of the
chain behind it, guarded by the leader's term and by the base as it was read. So a crash leaves a block in both places, never
in none.

A file holds the blocks ``FIRST`` to ``LAST`` of its name, one JSON object a line, and is never written again. Where leaders
change, the files lie on several nodes; ``check`` takes all of them together and goes on from one to the next.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from atoll.errors import AtollError, Code, Reason
from atoll.resources import audit as nouns
from atoll.resources.audit import Block, Broken, Entry, Head
from atoll.runtime import disk, loop
from atoll.runtime.clock import Clock
from atoll.runtime.logs import Log
from atoll.store.api import Compare, Delete, Put, Range, Relation, Store, Target
from atoll.store.audit import BASE, BLOCKS_READ_MAX, AuditLog, block_key
from atoll.store.term import Term

FOLDER = "audit"
LOOK_EVERY_S = 60.0


class Retention(msgspec.Struct, frozen=True):
    """How much of the log stays in the store."""

    entries_max: int = 100_000
    age_s_max: float = 90 * 86_400.0


class Archiver:
    """Leader-only: ``run`` looks once a minute, until it is cancelled. ``folder`` is made when it is needed."""

    name = "archive the audit log"

    def __init__(self, store: Store, clock: Clock, folder: Path, retention: Retention | None = None) -> None:
        self._store = store
        self._clock = clock
        self._folder = folder
        self._retention = retention or Retention()
        self._audit = AuditLog(store)
        self._log = Log("audit")

    async def run(self, term: Term) -> None:
        while term.holds():
            try:
                while await self.archive(term):
                    continue
            except AtollError as error:
                self._log.warning("not archived", error=error.message)
            await loop.sleep(LOOK_EVERY_S)

    async def archive(self, term: Term) -> int:
        """Move the oldest blocks that are due, at most ``BLOCKS_READ_MAX``. Returns how many there were. Raises CONFLICT,
        and what the store and the disk say.
        """
        found = await self._store.range(Range(BASE))
        base = nouns.decode(Head, found.kvs[0].value) if found.kvs else Head()
        blocks = await self._due(base, await self._audit.head())
        if not blocks:
            return 0
        after = base
        for block in blocks:
            moved = nouns.follow(after, block)
            if isinstance(moved, Broken):
                text = (
                    f"entry {moved.entry} of the audit log is broken, so it is not archived: {moved.problem}"
                )
                raise AtollError(Code.INVALID, text, reason=Reason.CORRUPT)
            after = moved
        await loop.in_thread(self._write, blocks)
        term.check()
        revision = found.kvs[0].mod_revision if found.kvs else 0
        await self._store.commit(
            (*term.guards(), Compare(BASE, Target.MOD, Relation.EQUAL, revision)),
            (
                Put(BASE, nouns.encode(after)),
                Delete(block_key(blocks[0].number), block_key(blocks[-1].number + 1)),
            ),
        )
        self._log.info("archived", entries=after.entries, link=after.link)
        return len(blocks)

    async def _due(self, base: Head, head: Head) -> list[Block]:
        due: list[Block] = []
        last = min(base.blocks + BLOCKS_READ_MAX, head.blocks)
        async for block in self._audit.blocks(base.blocks + 1, last):
            if not self._is_due(block, head):
                break
            due.append(block)
        return due

    def _is_due(self, block: Block, head: Head) -> bool:
        newest = nouns.decode(Entry, block.entries[-1].entry)
        too_old = self._clock.wall_s() - newest.at_s > self._retention.age_s_max
        return too_old or head.entries - block.first + 1 > self._retention.entries_max

    def _write(self, blocks: list[Block]) -> None:
        disk.make_private_folder(self._folder)
        name = f"{blocks[0].number:012d}-{blocks[-1].number:012d}.jsonl"
        disk.write_private_file(self._folder / name, b"\n".join(map(nouns.encode, blocks)) + b"\n")


def read(files: Iterable[Path]) -> Iterator[Block]:
    """The blocks of archives, in order. Raises CORRUPT for what is none, NOT_FOUND for a file that is not there."""
    for file in sorted(files, key=lambda each: each.name):
        try:
            lines = file.read_text().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise AtollError(Code.NOT_FOUND, f"the archive {file} cannot be read: {error}") from error
        for line in lines:
            yield nouns.decode(Block, line)


def check(blocks: Iterable[Block], start: Head | None = None) -> Head | Broken:
    """The end of the chain of archived ``blocks``, which must be the ``base`` of what is in the store; or where it breaks.
    A block that comes twice, after a crash, counts once.
    """
    head = start or Head()
    for block in blocks:
        if block.number <= head.blocks:
            continue
        after = nouns.follow(head, block)
        if isinstance(after, Broken):
            return after
        head = after
    return head
