"""What goes into the machine of an election and what comes out of it; both are values.

Rule: a shell (a thread live, ``testing.world`` in simulation) carries these out in order and reports back with the
same tag; it decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import msgspec

from atoll.errors import AtollError
from atoll.store.api import Outcome, Request, Watch, WatchBatch
from atoll.store.facts import MachineFact


class Instant(msgspec.Struct, frozen=True):
    """Now, on both clocks; see ``runtime.clock``."""

    boot_s: float
    wall_s: float


class Enter(msgspec.Struct, frozen=True):
    """Stand in the election, and stand again after each term until ``Resign``."""


class Resign(msgspec.Struct, frozen=True):
    """Leave. ``quiet``: nothing is served any more, so there is nothing to wait for."""

    quiet: bool = False


class Quiesced(msgspec.Struct, frozen=True):
    """The answer to ``facts.Quiesce``: nothing is served any more."""


class Proclaim(msgspec.Struct, frozen=True):
    value: bytes


class Close(msgspec.Struct, frozen=True):
    """Leave for good; nothing is served any more."""


class Answer(msgspec.Struct, frozen=True):
    tag: int
    outcome: Outcome


class Batch(msgspec.Struct, frozen=True):
    tag: int
    batch: WatchBatch | AtollError


Event: TypeAlias = Enter | Resign | Quiesced | Proclaim | Close | Answer | Batch


class Submit(msgspec.Struct, frozen=True):
    tag: int
    request: Request
    timeout_s: float


class Follow(msgspec.Struct, frozen=True):
    tag: int
    watch: Watch


class Unfollow(msgspec.Struct, frozen=True):
    tag: int


class Tell(msgspec.Struct, frozen=True):
    fact: MachineFact


Action: TypeAlias = Submit | Follow | Unfollow | Tell


class Outbox:
    """Numbers what a machine sends, keeps what is to be done with each answer, and hands out its actions."""

    def __init__(self) -> None:
        self._tags = 0
        self._handlers: dict[int, Callable[[Outcome], None]] = {}
        self._actions: list[Action] = []

    def take(self) -> list[Action]:
        actions, self._actions = self._actions, []
        return actions

    def tell(self, fact: MachineFact) -> None:
        self._actions.append(Tell(fact))

    def submit(self, request: Request, timeout_s: float, handler: Callable[[Outcome], None]) -> None:
        self._tags += 1
        self._handlers[self._tags] = handler
        self._actions.append(Submit(self._tags, request, timeout_s))

    def answer(self, tag: int, outcome: Outcome) -> None:
        handler = self._handlers.pop(tag, None)
        if handler:
            handler(outcome)

    def forget(self) -> None:
        """Answers to what was sent so far mean nothing any more."""
        self._handlers.clear()

    def follow(self, watch: Watch) -> int:
        self._tags += 1
        self._actions.append(Follow(self._tags, watch))
        return self._tags

    def unfollow(self, tag: int) -> None:
        if tag:
            self._actions.append(Unfollow(tag))
