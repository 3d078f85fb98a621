"""What an election tells its candidate, in the order in which it happens.

Rule: a fact says what is so now; ``Won`` and ``Lost`` alternate, and between them ``Extended`` and at most one
``Quiesce``. Times are seconds on the candidate's boot-time clock.
"""

from __future__ import annotations

import enum
from typing import TypeAlias

import msgspec

from atoll.resources.election import Token


class Cause(enum.Enum):
    """Why a term ended."""

    RESIGNED = "resigned"
    HANDED_OVER = "handed over"
    CUT_OFF = "cut off: the store could not be reached until the deadline"
    NO_LEADER = "the store had no leader until the deadline; nobody else can be elected meanwhile"
    PAUSED = "the process did not run until after the deadline"
    KEY_GONE = "its key was deleted: the lease ended or somebody removed it"
    NOT_QUIET = "told to quiesce, and did not until the deadline"
    CLOSED = "closed"


class Hold(enum.Enum):
    """Why a candidate does not lead (yet)."""

    CAMPAIGNING = "campaigning"
    BEHIND = "behind another candidate"
    LAST_TERM = "first; the last term may still be served"
    ELECTION_PAUSED = "first; the election is paused"
    STORE_SILENT = "cut off from the store"
    STORE_LEADERLESS = "the store has no leader"


class Waiting(msgspec.Struct, frozen=True):
    """Stands, does not lead. ``ahead``: candidates before it. ``until_s``: end of the wait where one is known."""

    hold: Hold
    ahead: int = 0
    until_s: float | None = None


class Elected(msgspec.Struct, frozen=True):
    """A term began. The live candidate turns this into ``candidate.Won`` with a ``Term``."""

    key: bytes
    token: Token
    lease: int
    deadline_s: float


class Extended(msgspec.Struct, frozen=True):
    """The term may now be served until ``deadline_s``."""

    deadline_s: float


class Quiesce(msgspec.Struct, frozen=True):
    """Stop serving, then say so (``Candidate.quiesced``). The key is kept until then; after ``by_s`` the term is no
    longer extended and runs out.
    """

    cause: Cause  # RESIGNED or HANDED_OVER
    by_s: float
    handover_to: str = ""


class Lost(msgspec.Struct, frozen=True):
    """The term is over; nothing of it may be served any more."""

    cause: Cause
    token: Token
    detail: str = ""


class Proclaimed(msgspec.Struct, frozen=True):
    """The value beside the own key is now ``value``."""

    value: bytes
    revision: int


class Out(msgspec.Struct, frozen=True):
    """No candidate any more: resigned without coming back, or closed. ``start`` enters again unless closed."""

    closed: bool


MachineFact: TypeAlias = Waiting | Elected | Extended | Quiesce | Lost | Proclaimed | Out
