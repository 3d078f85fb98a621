"""The audit log: no change without its entry, no entry without its change, and nothing sealed is changed unseen."""

from __future__ import annotations

import contextlib
import sqlite3
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import msgspec
import pytest

from atoll.errors import AtollError, Code, Reason
from atoll.resources import audit as nouns
from atoll.resources.actor import Actor
from atoll.resources.audit import Block, Broken, Head, Verdict
from atoll.resources.election import Token
from atoll.runtime import loop
from atoll.runtime.clock import BootClock
from atoll.runtime.logs import Log
from atoll.runtime.rng import seeded_rng
from atoll.runtime.tasks import Tasks
from atoll.store.api import Compare, Delete, Put, Range, Relation, Store, Target, Watch, prefix_end
from atoll.store.audit import (
    BASE,
    BLOCKS,
    ENTRIES_OF_BLOCK_MAX,
    HEAD,
    NEW,
    AuditLog,
    AuditWriter,
    Sealer,
    block_key,
    hash_of,
)
from atoll.store.audit_archive import Archiver, Retention, check, read
from atoll.store.memory import open_memory
from atoll.store.shell import StoreShell
from atoll.store.sqlite import open_sqlite
from atoll.store.sqlite_file import checksum
from atoll.store.term import Term
from tests.unit.registry.naming_kit import VirtualClock

ANN = Actor("ann", "10.0.0.9", "api", "n1")
LEADER = b"leader"
BLOCKS_MADE, OF_EACH = 4, 3


class Ground:
    """A store, a writer, and a sealer in a term that lasts."""

    def __init__(self, store: Store, term: Term) -> None:
        clock = BootClock()
        self.store = store
        self.term = term
        self.writer = AuditWriter(clock, seeded_rng(7), "n1")
        self.sealer = Sealer(store, clock)
        self.log = AuditLog(store)

    async def change(self, name: str) -> None:
        entry = self.writer.entry(ANN, "thing.write", name, "", hash_of(name.encode()))
        await self.store.commit((), (Put(name.encode(), b"x"), entry))


@contextlib.asynccontextmanager
async def ground(store: StoreShell) -> AsyncIterator[Ground]:
    clock = BootClock()
    revision = (await store.put(Put(LEADER))).revision
    term = Term("test", Token(0, revision), LEADER, 0, clock)
    term.extend(clock.now_s() + 1_000)
    try:
        yield Ground(store, term)
    finally:
        await store.close()


def on(open_store: Callable[[], StoreShell], work: Callable[[Ground], Awaitable[None]]) -> None:
    async def main() -> None:
        async with ground(open_store()) as made:
            await work(made)

    loop.run(main())


def memory() -> StoreShell:
    return StoreShell(open_memory())


async def sealed(made: Ground) -> None:
    """Four blocks of three entries."""
    for block in range(BLOCKS_MADE):
        for number in range(OF_EACH):
            await made.change(f"thing-{block * OF_EACH + number + 1}")
        assert await made.sealer.seal(made.term) == OF_EACH


def test_entries_are_sealed_in_the_order_of_the_store() -> None:
    async def work(made: Ground) -> None:
        await sealed(made)
        await made.change("not sealed yet")
        verdict = await made.log.verify()
        assert (verdict.blocks, verdict.entries, verdict.unsealed, verdict.broken_entry) == (4, 12, 1, 0)
        found, before = await made.log.newest(lambda entry: True, 5)
        shown = [(one.number, one.entry.subject) for one in found]
        assert shown == [(0, "not sealed yet")] + [(n, f"thing-{n}") for n in (12, 11, 10, 9)]
        found, before = await made.log.newest(lambda entry: True, 100, before)
        assert [one.number for one in found] == [8, 7, 6, 5, 4, 3, 2, 1]
        assert before == 0
        assert found[-1].entry.user == "ann"

    on(memory, work)


def test_a_change_that_is_refused_leaves_no_entry() -> None:
    async def work(made: Ground) -> None:
        entry = made.writer.entry(ANN, "thing.write", "thing", "", "")
        with pytest.raises(AtollError):
            await made.store.commit(
                (Compare(b"thing", Target.CREATE, Relation.GREATER, 0),), (Put(b"thing"), entry)
            )
        assert await made.sealer.seal(made.term) == 0

    on(memory, work)


def test_a_deposed_leader_seals_nothing() -> None:
    async def work(made: Ground) -> None:
        await made.change("thing")
        await made.store.delete(Delete(LEADER))
        with pytest.raises(AtollError) as caught:
            await made.sealer.seal(made.term)
        assert caught.value.code is Code.CONFLICT
        assert (await made.log.head()).blocks == 0

    on(memory, work)


def test_a_seal_is_guarded_by_the_seal_before_it() -> None:
    """Two sealers that read the same end of the chain: the later one is refused, whatever its term says."""

    async def work(made: Ground) -> None:
        await made.change("thing")
        racer = Racing(made.store)
        with pytest.raises(AtollError) as caught:
            await Sealer(racer, BootClock()).seal(made.term)
        assert caught.value.code is Code.CONFLICT
        assert (await made.log.verify()).entries == 1

    class Racing(StoreShell):
        """Between its reader and its writer somebody else seals."""

        def __init__(self, store: Store) -> None:
            assert isinstance(store, StoreShell)
            super().__init__(store.driver)

        async def commit(self, guards, operations):  # type: ignore[no-untyped-def]
            await super().commit((), operations)
            return await super().commit(guards, operations)

    on(memory, work)


def test_more_than_a_block_is_sealed_in_several() -> None:
    async def work(made: Ground) -> None:
        for number in range(ENTRIES_OF_BLOCK_MAX + 1):
            await made.change(f"thing-{number}")
        assert await made.sealer.seal(made.term) == ENTRIES_OF_BLOCK_MAX
        assert await made.sealer.seal(made.term) == 1
        assert (await made.log.verify()).entries == ENTRIES_OF_BLOCK_MAX + 1

    on(memory, work)


def test_a_leader_seals_what_is_new_by_itself() -> None:
    async def work(made: Ground) -> None:
        tasks = Tasks(Log("test"), lambda name, error: None)
        tasks.start("seal", made.sealer.run(made.term))
        await made.change("thing")
        batches = made.store.watch(Watch(HEAD, start_revision=1))
        async with contextlib.aclosing(batches), loop.bounded(20.0, "sealing"):
            while not (await anext(batches)).events:
                continue
        assert (await made.log.head()).entries == 1
        assert await tasks.stop(5.0) == []

    on(memory, work)


# ------------------------------------------------------------------------------------------ tampering


class File:
    """The file of a closed store, in the hands of somebody who knows how it is made."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path)

    def block(self, number: int) -> Block:
        return nouns.decode(Block, self._row(block_key(number))[1])

    def put(self, number: int, block: Block) -> None:
        self.write(block_key(number), nouns.encode(block))

    def write(self, key: bytes, value: bytes) -> None:
        row = self._row(key)[0]
        self._connection.execute(
            "UPDATE history SET value = ?, checksum = ? WHERE id = ?", (value, checksum(row, key, value), row)
        )
        self._connection.commit()

    def hide(self, key: bytes) -> None:
        """The key is gone, and its revision still is not missing."""
        row, value = self._row(key)
        self._connection.execute(
            "UPDATE history SET key = ?, checksum = ? WHERE id = ?",
            (b"elsewhere", checksum(row, b"elsewhere", value), row),
        )
        self._connection.commit()

    def _row(self, key: bytes) -> tuple[int, bytes]:
        found = self._connection.execute(
            "SELECT id, value FROM history WHERE key = ? ORDER BY id DESC LIMIT 1", (key,)
        )
        row, value = found.fetchone()
        return row, value


def change_entry(file: File) -> None:
    block = file.block(2)
    one = block.entries[1]
    forged = msgspec.structs.replace(one, entry=one.entry.replace('"ann"', '"bob"'))
    assert forged != one
    file.put(2, msgspec.structs.replace(block, entries=(block.entries[0], forged, block.entries[2])))


def change_entry_and_its_link(file: File) -> None:
    block = file.block(2)
    head = Head(1, OF_EACH, block.previous)
    texts = [each.entry for each in block.entries]
    texts[1] = texts[1].replace('"ann"', '"bob"')
    file.put(2, nouns.seal(head, tuple(texts))[0])


def delete_entry(file: File) -> None:
    block = file.block(2)
    file.put(2, msgspec.structs.replace(block, entries=(block.entries[0], block.entries[2])))


def swap_entries(file: File) -> None:
    block = file.block(2)
    first, second, third = block.entries
    file.put(2, msgspec.structs.replace(block, entries=(first, third, second)))


def delete_block(file: File) -> None:
    file.hide(block_key(2))


def swap_blocks(file: File) -> None:
    second, third = file.block(2), file.block(3)
    file.put(2, third)
    file.put(3, second)


def cut_the_end(file: File) -> None:
    file.hide(block_key(4))


def cut_the_end_of_a_block(file: File) -> None:
    block = file.block(4)
    file.put(4, msgspec.structs.replace(block, entries=block.entries[:2]))


def spoil_a_block(file: File) -> None:
    file.write(block_key(3), b"{}")


def rewrite_everything(file: File) -> None:
    """A whole new chain, in which an entry says something else; even its end fits."""
    head = Head()
    for number in range(1, BLOCKS_MADE + 1):
        texts = [each.entry.replace('"ann"', '"bob"') for each in file.block(number).entries]
        block, head = nouns.seal(head, tuple(texts))
        file.put(number, block)
    file.write(HEAD, nouns.encode(head))


def verdict_after(tamper: Callable[[File], None], path: Path, anchored: bool = False) -> Verdict:
    """Seal, close, tamper with the file, open again, check."""
    anchors: list[Head | None] = [None]
    verdicts: list[Verdict] = []

    async def make(made: Ground) -> None:
        await sealed(made)
        verdict = await made.log.verify()
        assert verdict.broken_entry == 0
        if anchored:
            anchors[0] = Head(verdict.blocks, verdict.entries, verdict.link)

    async def check(made: Ground) -> None:
        verdicts.append(await made.log.verify(anchors[0]))

    on(lambda: StoreShell(open_sqlite(path)), make)
    tamper(File(path))
    on(lambda: StoreShell(open_sqlite(path)), check)
    return verdicts[0]


@pytest.mark.parametrize(
    ("tamper", "block", "entry"),
    [
        (change_entry, 2, 5),
        (change_entry_and_its_link, 3, 7),
        (delete_entry, 2, 5),
        (swap_entries, 2, 5),
        (delete_block, 2, 4),
        (swap_blocks, 2, 4),
        (cut_the_end, 4, 10),
        (cut_the_end_of_a_block, 5, 12),
        (spoil_a_block, 3, 7),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_tampering_with_the_file_is_found_at_its_place(
    tamper: Callable[[File], None], block: int, entry: int, tmp_path: Path
) -> None:
    verdict = verdict_after(tamper, tmp_path / "store.db")
    assert (verdict.broken_block, verdict.broken_entry) == (block, entry)
    assert verdict.problem


def test_a_file_that_nobody_touched_is_whole(tmp_path: Path) -> None:
    assert verdict_after(lambda file: None, tmp_path / "store.db", anchored=True).broken_entry == 0


def test_a_chain_computed_anew_is_found_by_a_link_noted_elsewhere(tmp_path: Path) -> None:
    assert verdict_after(rewrite_everything, tmp_path / "one.db").broken_entry == 0
    verdict = verdict_after(rewrite_everything, tmp_path / "two.db", anchored=True)
    assert "noted elsewhere" in verdict.problem


def test_deleting_through_the_store_is_found() -> None:
    async def work(made: Ground) -> None:
        await sealed(made)
        await made.store.delete(Delete(BLOCKS, prefix_end(BLOCKS)))
        assert (await made.log.verify()).broken_entry == 1
        assert (await made.store.range(Range(NEW, prefix_end(NEW)))).count == 0

    on(memory, work)


# ------------------------------------------------------------------------------------------ archives


def test_old_blocks_go_to_files_and_the_chain_goes_on(tmp_path: Path) -> None:
    async def work(made: Ground) -> None:
        await sealed(made)
        archiver = Archiver(made.store, BootClock(), tmp_path / "audit", Retention(entries_max=2 * OF_EACH))
        assert await archiver.archive(made.term) == 2
        assert await archiver.archive(made.term) == 0
        verdict = await made.log.verify()
        assert (verdict.archived_entries, verdict.entries, verdict.broken_entry) == (6, 12, 0)
        found, before = await made.log.newest(lambda entry: True, 100)
        assert ([one.number for one in found], before) == ([12, 11, 10, 9, 8, 7], 0)
        files = list((tmp_path / "audit").iterdir())
        assert [stat.S_IMODE(each.stat().st_mode) for each in files] == [0o600]
        assert check(read(files)) == await made.log.base()
        files[0].write_text(files[0].read_text().replace("ann", "bob"))
        assert isinstance(check(read(files)), Broken)

    on(memory, work)


def test_what_is_too_old_is_archived_even_if_it_is_little(tmp_path: Path) -> None:
    async def work(made: Ground) -> None:
        await sealed(made)
        clock = VirtualClock(wall_ahead_s=BootClock().wall_s() + 100 * 86_400)
        archiver = Archiver(made.store, clock, tmp_path)
        assert await archiver.archive(made.term) == BLOCKS_MADE
        await made.change("thing")
        await made.sealer.seal(made.term)
        verdict = await made.log.verify()
        assert (verdict.archived_entries, verdict.entries, verdict.broken_entry) == (12, 13, 0)

    on(memory, work)


def test_a_broken_chain_is_not_archived(tmp_path: Path) -> None:
    async def work(made: Ground) -> None:
        await sealed(made)
        block = nouns.decode(Block, (await made.store.range(Range(block_key(2)))).kvs[0].value)
        forged = msgspec.structs.replace(block, entries=block.entries[1:])
        await made.store.put(Put(block_key(2), nouns.encode(forged)))
        archiver = Archiver(made.store, BootClock(), tmp_path, Retention(entries_max=1))
        with pytest.raises(AtollError) as caught:
            await archiver.archive(made.term)
        assert caught.value.reason is Reason.CORRUPT
        assert (await made.log.base()).blocks == 0

    on(memory, work)


def test_a_block_that_was_archived_twice_counts_once(tmp_path: Path) -> None:
    """As after a crash between the file and the transaction."""

    async def work(made: Ground) -> None:
        await sealed(made)
        for entries in (2 * OF_EACH, OF_EACH):
            folder = tmp_path / str(entries)
            await Archiver(made.store, BootClock(), folder, Retention(entries)).archive(made.term)
            if entries == 2 * OF_EACH:
                await made.store.delete(Delete(BASE))
                for block in read(folder.iterdir()):
                    await made.store.put(Put(block_key(block.number), nouns.encode(block)))
        files = [file for folder in tmp_path.iterdir() for file in folder.iterdir()]
        assert len(files) == 2
        assert check(read(files)) == await made.log.base()

    on(memory, work)
