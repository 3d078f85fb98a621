"""Elections as the API shows them. Never stored.

Rule: text only: a value that is no UTF-8 is shown with escapes, leases are lower-case hex as etcdctl shows them, and
tokens are ``GENERATION.REVISION``.
"""

from __future__ import annotations

import msgspec


class LeaderView(msgspec.Struct, frozen=True):
    """``id`` is empty for a foreign candidate. ``serving``: its term has begun."""

    id: str
    value: str
    token: str
    key: str
    lease: str
    serving: bool


class CandidateView(msgspec.Struct, frozen=True):
    id: str
    priority: int
    lease: str
    revision: int


class TermView(msgspec.Struct, frozen=True):
    """Unix times by the holder's clock; ``end_s`` 0 and ``cause`` empty while it goes on."""

    token: str
    holder: str
    start_s: float
    end_s: float
    cause: str


class ElectionView(msgspec.Struct, frozen=True):
    """One election: ``candidates`` in order of succession, ``terms`` oldest first."""

    name: str
    leader: LeaderView | None
    candidates: tuple[CandidateView, ...]
    paused: bool
    handover_to: str
    revision: int
    terms: tuple[TermView, ...] = ()


class Observed(msgspec.Struct, frozen=True):
    """Who leads from now on; None: nobody stands. ``at_s``: when the node saw it, Unix time."""

    at_s: float
    leader: LeaderView | None


class ElectionOrder(msgspec.Struct, frozen=True):
    """Pause or resume this election."""

    name: str


class HandoverOrder(msgspec.Struct, frozen=True):
    """Let the candidate ``to`` lead the election."""

    name: str
    to: str
