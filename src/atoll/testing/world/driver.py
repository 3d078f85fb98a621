"""A ``store.api.Driver`` over a simulated network: the way from one node to the cluster's members.

Rule: as real drivers do, it calls back exactly once, turns a timeout of a write into UNKNOWN, tries another member
after a failure, and resumes watches by itself.
"""

from __future__ import annotations

from typing import Final

from atoll.errors import AtollError, Code, Reason
from atoll.runtime.rng import Rng
from atoll.store.api import (
    Cancel,
    Done,
    LeaseKeepAlive,
    Outcome,
    Range,
    Request,
    Txn,
    Watch,
    WatchSink,
)
from atoll.store.transaction import writes
from atoll.testing.world.cluster import MEMBERS
from atoll.testing.world.network import Network
from atoll.testing.world.server import Server
from atoll.testing.world.streams import Subscription
from atoll.testing.world.virtual import Virtual

RESUME_S: Final = (0.2, 0.8)
TIMEOUT_S_DEFAULT: Final = 5.0
CLOSED: Final = AtollError(Code.UNAVAILABLE, "the driver is closed", reason=Reason.CLOSED)
TIMED_OUT: Final = AtollError(Code.UNAVAILABLE, "no answer in time", reason=Reason.TIMEOUT)
NOT_KNOWN: Final = AtollError(
    Code.UNKNOWN, "no answer in time; it may have been applied", reason=Reason.TIMEOUT
)


class SimulatedDriver:
    def __init__(self, virtual: Virtual, rng: Rng, network: Network, server: Server, client: str) -> None:
        self._virtual = virtual
        self._rng = rng
        self._network = network
        self._server = server
        self._client = client
        self._member = rng.randrange(len(MEMBERS))
        self._calls: dict[int, Done] = {}
        self._numbers = 0
        self._subscriptions: list[Subscription] = []
        self._closed = False

    @property
    def member(self) -> str:
        return MEMBERS[self._member]

    def submit(self, request: Request, done: Done, timeout_s: float | None = None) -> None:
        if self._closed:
            done(CLOSED)
            return
        self._numbers += 1
        number = self._numbers
        self._calls[number] = done
        client, member = self._client, self.member

        def answer(outcome: Outcome) -> None:
            self._answer(number, outcome)

        self._network.send(client, member, self._server.receive, member, client, request, answer)
        self._virtual.after(timeout_s or TIMEOUT_S_DEFAULT, self._time_out, number, request)

    def watch(self, watch: Watch, sink: WatchSink) -> Cancel:
        subscription = Subscription(self._client, watch, sink, self._resume_later)
        self._subscriptions.append(subscription)
        self._resume(subscription)

        def cancel() -> None:
            self._server.cancel(subscription)
            if subscription in self._subscriptions:
                self._subscriptions.remove(subscription)

        return cancel

    def close(self) -> None:
        self._closed = True
        for subscription in self._subscriptions:
            self._server.cancel(subscription)
        self._subscriptions.clear()
        calls, self._calls = self._calls, {}
        for done in calls.values():
            done(CLOSED)

    def _answer(self, number: int, outcome: Outcome) -> None:
        done = self._calls.pop(number, None)
        if done is None:
            return
        if isinstance(outcome, AtollError) and outcome.code is Code.UNAVAILABLE:
            self._try_another_member()
        done(outcome)

    def _time_out(self, number: int, request: Request) -> None:
        done = self._calls.pop(number, None)
        if done is not None:
            self._try_another_member()
            done(NOT_KNOWN if _may_have_been_applied(request) else TIMED_OUT)

    def _try_another_member(self) -> None:
        self._member = (self._member + 1) % len(MEMBERS)

    def _resume_later(self, subscription: Subscription) -> None:
        if not subscription.cancelled:
            self._try_another_member()
            self._virtual.after(self._rng.uniform(*RESUME_S), self._resume, subscription)

    def _resume(self, subscription: Subscription) -> None:
        """Ask for the stream again; whether the question arrived is known a round trip later."""
        if self._closed or subscription.cancelled or subscription.live:
            return
        client, member = self._client, self.member
        if self._network.is_cut(client, member) or self._network.is_cut(member, client):
            self._resume_later(subscription)
        else:
            self._virtual.after(
                self._network.delay_s(client, member), self._server.subscribe, member, subscription
            )


def _may_have_been_applied(request: Request) -> bool:
    if isinstance(request, Range | LeaseKeepAlive):
        return False
    return writes(request) if isinstance(request, Txn) else True
