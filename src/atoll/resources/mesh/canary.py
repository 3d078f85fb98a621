"""A canary of policy: changed documents that reach a share of the clients first, and all of them only if traffic says so.

Rule: written by the mesh plane alone. While it runs, the documents in the store are what everybody else has; promoting
writes the changes there in one transaction, and rolling back has nothing to undo. Unix time throughout.
"""

from __future__ import annotations

import math
from typing import Annotated

import msgspec

from atoll.errors import AtollError, Code
from atoll.resources.actor import Actor
from atoll.resources.mesh.document_api import FILES_MAX, FileText
from atoll.resources.mesh.hosts import DEFAULT_NAMESPACE
from atoll.resources.mesh.traffic import Tally
from atoll.resources.records import Record

NAME_PATTERN = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
CHANGES_MAX = 50
DECISIONS_MAX = 100

RUNNING = "running"
PROMOTED = "promoted"
ROLLED_BACK = "rolled_back"
CANCELLED = "cancelled"


class CanaryPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``share_percent`` of the clients that the change concerns, at least one on each node. ``requests_min``: what the
    share must have served before the change goes on; fewer is no data, and no data holds. ``hold_s``: how long it lasts
    at least. It is rolled back when the share of errors (5xx and 4xx) is certainly more than ``error_points_max``
    percentage points above that of the other clients (or, where they have none to compare with, of the same clients
    before), or when more than a tenth of its requests certainly took longer than ``latency_factor_max``
    times what nine tenths of theirs took, plus ``latency_ms_allowed``.
    """

    share_percent: float = 10.0
    requests_min: int = 100
    hold_s: float = 30.0
    error_points_max: float = 1.0
    latency_factor_max: float = 1.5
    latency_ms_allowed: float = 10.0


class Change(msgspec.Struct, frozen=True):
    """``document``: ``Kind/namespace/name``; ``content``: as it will be, as JSON. ``revision``: of what is in
    the store, 0: nothing; it must still be so when the change is promoted.
    """

    document: str
    content: str
    revision: int = 0


class Decision(msgspec.Struct, frozen=True):
    at_s: float
    action: str
    why: str
    actor: str = ""


class Canary(Record, frozen=True, kw_only=True):
    """``state``: running, promoted, rolled_back or cancelled. ``started_s`` and ``ended_s``: Unix time, 0: not yet."""

    name: str
    changes: tuple[Change, ...]
    plan: CanaryPlan = CanaryPlan()
    state: str = RUNNING
    started_s: float = 0.0
    ended_s: float = 0.0
    actor: Actor = Actor()
    decisions: tuple[Decision, ...] = ()

    @property
    def is_running(self) -> bool:
        return self.state == RUNNING


class CanaryOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Try ``files`` (documents to write) on a share of the clients. ``namespace`` and ``force`` as in applying them."""

    name: Annotated[str, msgspec.Meta(pattern=NAME_PATTERN)]
    files: Annotated[tuple[FileText, ...], msgspec.Meta(max_length=FILES_MAX)]
    plan: CanaryPlan = CanaryPlan()
    namespace: str = DEFAULT_NAMESPACE
    force: bool = False


class CanaryAsked(msgspec.Struct, frozen=True):
    name: str


class CanaryMove(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``move``: ``promote`` or ``cancel``, whatever the judge says."""

    name: str
    move: str
    why: str = ""


class Seen(msgspec.Struct, frozen=True):
    """What one node, or all together, know of a canary. ``clients``: on which it is tried; ``concerned``: whose configuration
    it changes. Counts are of requests since it reached the clients; ``by_change``: those that went by changed routes, -1: the
    change makes none. ``refused``: what a client of the share said when it refused what it was given.
    """

    clients: tuple[str, ...] = ()
    concerned: int = 0
    canary: Tally = Tally()
    others: Tally = Tally()
    before: Tally = Tally()
    by_change: int = -1
    running_s: float = 0.0
    refused: str = ""


class CanaryShown(msgspec.Struct, frozen=True):
    """``seen``: while it runs. ``verdict``: what the judge would say now."""

    canary: Canary
    seen: Seen = Seen()
    verdict: str = ""


def check_plan(plan: CanaryPlan) -> None:
    """Raises INVALID naming what is wrong and what would be right."""
    limits = (
        ("share_percent", plan.share_percent, 0.0, 100.0),
        ("requests_min", plan.requests_min, 1, 10_000_000),
        ("hold_s", plan.hold_s, 0.0, 7 * 86_400.0),
        ("error_points_max", plan.error_points_max, 0.0, 100.0),
        ("latency_factor_max", plan.latency_factor_max, 1.0, 1000.0),
        ("latency_ms_allowed", plan.latency_ms_allowed, 0.0, 3_600_000.0),
    )
    for name, value, least, most in limits:
        if math.isnan(value) or not least <= value <= most or (name == "share_percent" and value == 0):
            raise AtollError(
                Code.INVALID, f"{name} of a canary is {value:g}; it must be from {least:g} to {most:g}"
            )
