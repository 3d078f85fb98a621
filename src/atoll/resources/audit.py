"""The audit log: who changed what, when and from where; sealed into a chain in which nothing can be changed unseen.

Rule: an entry's bytes are never encoded again after they were written: the chain is over those very bytes. The link of
an entry is SHA-256 of the link before it followed by the entry's bytes; the first link stands on ``GENESIS``.

Sealed entries lie in *blocks*, numbered from 1 without a gap; ``Head`` says how far the chain goes and ``Base`` from where
on it is still in the store (older blocks are in archives).

The doubt: whoever may rewrite the whole store can compute a whole new chain. That is found by comparing with a link that
was noted elsewhere; nodes write the newest one to their logs.
"""

from __future__ import annotations

import hashlib
from typing import TypeVar

import msgspec

from atoll.errors import AtollError, Code, Reason

FORMAT = 1
TEXT_CHARS_MAX = 1_024  # of each text in an entry; longer ones are cut
GENESIS = hashlib.sha256(b"atoll audit").hexdigest()


class Entry(msgspec.Struct, frozen=True):
    """One change. ``before`` and ``after`` are SHA-256 (hex) of what was there, empty for nothing. ``at_s``: Unix time
    by the clock of ``node``; the order of entries is the store's, not the clocks'.
    """

    id: str
    at_s: float
    user: str
    address: str
    via: str
    node: str
    action: str
    subject: str
    before: str = ""
    after: str = ""
    format: int = FORMAT


class Sealed(msgspec.Struct, frozen=True):
    """An entry's bytes, as text, and its link (hex)."""

    entry: str
    link: str


class Block(msgspec.Struct, frozen=True):
    """``first`` is the number of its first entry, counted from 1; ``previous`` the link before that."""

    number: int
    first: int
    previous: str
    entries: tuple[Sealed, ...]
    format: int = FORMAT


class Head(msgspec.Struct, frozen=True):
    """The end of a chain (or of its archived part): how many blocks and entries, and the newest link."""

    blocks: int = 0
    entries: int = 0
    link: str = GENESIS
    format: int = FORMAT


class Numbered(msgspec.Struct, frozen=True):
    """An entry as it is shown: with its number in the chain, 0 while it is not sealed."""

    number: int
    entry: Entry


class Verdict(msgspec.Struct, frozen=True):
    """What a check of the chain found: up to ``entries`` it holds, the newest good link is ``link``. ``broken_entry`` 0:
    nothing is wrong; otherwise the number of the first entry that is not what was sealed, and ``problem`` says why.
    """

    blocks: int
    entries: int
    link: str
    archived_entries: int = 0
    unsealed: int = 0
    broken_block: int = 0
    broken_entry: int = 0
    problem: str = ""


Record = TypeVar("Record", Entry, Block, Head)


def encode(record: Entry | Block | Head) -> bytes:
    return msgspec.json.encode(record)


def decode(kind: type[Record], data: bytes | str) -> Record:
    """Raises INVALID for what is no such record, or one of a newer format than this release knows."""
    try:
        record = msgspec.json.decode(data, type=kind)
    except msgspec.MsgspecError as error:
        text = f"not a {kind.__name__} of the audit log: {error}"
        raise AtollError(Code.INVALID, text, reason=Reason.CORRUPT) from error
    if record.format > FORMAT:
        text = f"{kind.__name__} of the audit log has format {record.format}, known is {FORMAT}"
        raise AtollError(Code.INVALID, text, reason=Reason.NEWER_FORMAT)
    return record


def next_link(link: str, entry: str) -> str:
    return hashlib.sha256(bytes.fromhex(link) + entry.encode()).hexdigest()


def seal(head: Head, entries: tuple[str, ...]) -> tuple[Block, Head]:
    """The next block of the chain that ends at ``head``, and its new end."""
    link, sealed = head.link, []
    for entry in entries:
        link = next_link(link, entry)
        sealed.append(Sealed(entry, link))
    block = Block(head.blocks + 1, head.entries + 1, head.link, tuple(sealed))
    return block, Head(head.blocks + 1, head.entries + len(entries), link)


class Broken(msgspec.Struct, frozen=True):
    block: int
    entry: int
    problem: str


def follow(head: Head, block: Block) -> Head | Broken:
    """The end of the chain after ``block``, or where it breaks: each entry's link is computed again."""
    if block.number != head.blocks + 1 or block.first != head.entries + 1:
        problem = f"block {head.blocks + 1} is missing or out of place: found block {block.number}"
        return Broken(head.blocks + 1, head.entries + 1, problem)
    if block.previous != head.link:
        return Broken(block.number, block.first, "its block does not follow the link before it")
    link = head.link
    for offset, sealed in enumerate(block.entries):
        link = next_link(link, sealed.entry)
        if link != sealed.link:
            problem = "what it says is not what was sealed"
            return Broken(block.number, block.first + offset, problem)
    return Head(block.number, head.entries + len(block.entries), link)
