"""What stands at the other end of a World's network: an etcd cluster (``cluster``) or Atoll's own store (``embedded``).

Rule: clients reach it through ``receive`` and ``subscribe`` only; the rest is for the World, which stands outside of
time and networks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from atoll.store.api import Done, Event, Outcome, Range, RangeResult, Request
from atoll.testing.world.streams import Subscription


class Server(Protocol):
    """``rate``: how fast its clock runs. ``on_commit`` hears of each revision that somebody may see."""

    rate: float
    on_commit: Callable[[tuple[Event, ...]], None]
    election_timeout_s: float

    @property
    def ttl_s_min(self) -> int: ...

    @property
    def revision(self) -> int: ...

    def receive(
        self, member: str, client: str, request: Request, answer: Callable[[Outcome], None]
    ) -> None: ...

    def subscribe(self, member: str, subscription: Subscription) -> None: ...

    def cancel(self, subscription: Subscription) -> None: ...

    def read(self, request: Range) -> RangeResult: ...

    def write(self, request: Request, done: Done) -> None: ...

    def end_lease(self, lease: int) -> None: ...

    def heal(self) -> None: ...
