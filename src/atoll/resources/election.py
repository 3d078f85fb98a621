"""Elections as they are stored: the keys of one election and the records beside its queue of candidates.

Rule: the queue itself is laid out as etcd's own elections are (``<name>/<lease in lower-case hex>``, the
smallest create revision leads; etcd clientv3 ``concurrency/election.go``), so that ``etcdctl elect`` takes part;
everything that Atoll adds lies under ``atoll/election/<name>/`` and may be absent.

``candidate/``, ``control`` and ``heartbeat`` are neighbours in key order and ``history/`` is not among them: one
watch follows the three and nobody is woken by history.

Doubt: a name must not continue another name after a slash (``a`` and ``a/b``): as in etcd, the keys of the second
lie in the range of the first. They are told apart by the shape of the last segment only.
"""

from __future__ import annotations

import string
from typing import TypeVar

import msgspec

from atoll.errors import AtollError, Code

FORMAT = 1
NAME_BYTES_MAX = 512
LEADING = "leading"
RESIGNED = "resigned"

_HEX = frozenset(string.hexdigits.lower().encode())


class Token(msgspec.Struct, frozen=True, order=True):
    """A fencing token. Compares as a tuple: a later term of an election has a larger one, restores included."""

    generation: int
    revision: int

    def __str__(self) -> str:
        return f"{self.generation}.{self.revision}"


class Heartbeat(msgspec.Struct, frozen=True):
    """The last sign of life of the last leader. ``state`` ``resigned``: it served no more when this was written."""

    revision: int
    generation: int
    ttl_s: float
    state: str
    holder: str
    format: int = FORMAT

    @property
    def token(self) -> Token:
        return Token(self.generation, self.revision)


class Standing(msgspec.Struct, frozen=True):
    """Who stands behind a key of the queue. A foreign candidate has none."""

    id: str
    priority: int = 0
    format: int = FORMAT


class Control(msgspec.Struct, frozen=True):
    """What an operator wants. ``handover_to`` is the id of a candidate, empty for none."""

    paused: bool = False
    handover_to: str = ""
    format: int = FORMAT


class TermRecord(msgspec.Struct, frozen=True):
    """One term. Times in seconds since the Unix epoch by the holder's wall clock; ``end_s`` 0: not known (yet)."""

    holder: str
    start_s: float
    end_s: float = 0.0
    cause: str = ""
    format: int = FORMAT


Record = TypeVar("Record", Heartbeat, Standing, Control, TermRecord)


def encode(record: Heartbeat | Standing | Control | TermRecord) -> bytes:
    return msgspec.json.encode(record)


def decode(kind: type[Record], data: bytes) -> Record:
    """Raises INVALID for what is no such record, or one of a newer format than this release knows."""
    try:
        record = msgspec.json.decode(data, type=kind)
    except msgspec.MsgspecError as error:
        raise AtollError(Code.INVALID, f"not a {kind.__name__} record: {error}") from error
    if record.format > FORMAT:
        raise AtollError(
            Code.INVALID, f"{kind.__name__} record has format {record.format}, known is {FORMAT}"
        )
    return record


def rewrite(data: bytes, record: Control) -> bytes:
    """``record`` encoded with the fields of ``data`` kept that this release does not know."""
    known = msgspec.to_builtins(record)
    try:
        old = msgspec.json.decode(data) if data else {}
    except msgspec.MsgspecError:
        old = {}
    return msgspec.json.encode({**old, **known} if isinstance(old, dict) else known)


class Keys:
    """The keys of one election. Raises INVALID for a name that cannot be one."""

    def __init__(self, name: str) -> None:
        raw = name.encode()
        if not raw or len(raw) > NAME_BYTES_MAX or raw.endswith(b"/") or b"\0" in raw:
            raise AtollError(
                Code.INVALID,
                f"election name {name!r}: must have 1 to {NAME_BYTES_MAX} bytes, no NUL, and not end with '/'",
            )
        self.name = name
        self.queue = raw + b"/"
        side = b"atoll/election/" + raw + b"/"
        self.standings = side + b"candidate/"
        self.control = side + b"control"
        self.heartbeat = side + b"heartbeat"
        self.history = side + b"history/"
        self.side_end = self.heartbeat + b"\0"  # [standings, side_end) holds standings, control and heartbeat

    def own(self, lease: int) -> bytes:
        return self.queue + b"%x" % lease

    def standing(self, lease: int) -> bytes:
        return self.standings + b"%x" % lease

    def term(self, token: Token) -> bytes:
        return self.history + b"%016x-%016x" % (token.generation, token.revision)

    def token_of(self, key: bytes) -> Token:
        """The token in a key made by ``term``. Raises INVALID."""
        generation, dash, revision = key.removeprefix(self.history).partition(b"-")
        try:
            return Token(int(generation, 16), int(revision, 16))
        except ValueError as error:
            raise AtollError(Code.INVALID, f"not a key of a term: {key!r}") from error

    def lease_of(self, key: bytes) -> int:
        """The lease of a queue key, or 0 if ``key`` only lies in the range and is no candidate's."""
        last = key.removeprefix(self.queue)
        return int(last, 16) if 0 < len(last) <= 16 and _HEX.issuperset(last) else 0
