"""Watches on the wire: what a server of the World sends to its clients, in order, until the way is cut.

Rule: batches of one subscription arrive in the order in which they were sent; when one is lost the subscription is
over, and its client resumes it from the first revision that it has not been given.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from atoll.errors import AtollError
from atoll.store.api import Event, Watch, WatchBatch, WatchSink
from atoll.testing.world.network import Network
from atoll.testing.world.virtual import Virtual


class Subscription(msgspec.Struct):
    """One watch, on both sides of the wire. ``next_revision`` is the first that the client has not been given."""

    client: str
    watch: Watch
    sink: WatchSink
    lost: Callable[[Subscription], None]
    member: str = ""
    next_revision: int = 0
    sent_revision: int = 0
    arrives_s: float = 0.0
    began: bool = False
    live: bool = False
    cancelled: bool = False

    def picks(self, event: Event) -> bool:
        key, watch = event.kv.key, self.watch
        if not (watch.key <= key < watch.end if watch.end else key == watch.key):
            return False
        return not (watch.no_put if event.kv.version else watch.no_delete)


class Streams:
    """The subscriptions that are served. ``dropped`` hears of each that is served no more."""

    def __init__(self, virtual: Virtual, network: Network) -> None:
        self._virtual = virtual
        self._network = network
        self._live: list[Subscription] = []
        self.dropped: Callable[[Subscription], None] = lambda subscription: None

    def served(self) -> list[Subscription]:
        return list(self._live)

    def begin(self, subscription: Subscription, member: str, first: int) -> bool:
        """Serve it from ``first`` on; whether it resumes one that was lost."""
        subscription.member = member
        subscription.next_revision, subscription.sent_revision = first, first - 1
        subscription.live = True
        self._live.append(subscription)
        resumed, subscription.began = subscription.began, True
        return resumed

    def push(self, subscription: Subscription, batch: WatchBatch) -> None:
        if not subscription.live:
            return
        if self._network.is_cut(subscription.member, subscription.client):
            self.lose(subscription)
            return
        delay_s = self._network.delay_s(subscription.member, subscription.client)
        subscription.arrives_s = max(self._virtual.now_s + delay_s, subscription.arrives_s)
        self._virtual.at(subscription.arrives_s, self._arrive, subscription, batch)

    def refuse(self, subscription: Subscription, error: AtollError) -> None:
        """End it for good, with a reason."""
        self.drop(subscription)
        subscription.sink(error)

    def lose(self, subscription: Subscription) -> None:
        self.drop(subscription)
        subscription.lost(subscription)

    def cancel(self, subscription: Subscription) -> None:
        subscription.cancelled = True
        self.drop(subscription)

    def drop(self, subscription: Subscription) -> None:
        subscription.live = False
        if subscription in self._live:
            self._live.remove(subscription)
            self.dropped(subscription)

    def _arrive(self, subscription: Subscription, batch: WatchBatch) -> None:
        if not subscription.live:
            return
        if self._network.is_cut(subscription.member, subscription.client):
            self.lose(subscription)
            return
        subscription.next_revision = batch.revision + 1
        subscription.sink(batch)
