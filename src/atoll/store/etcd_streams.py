"""The two streams of a driver, one for watches and one for renewals, each where it should be at any moment.

One rule: ``follow`` looks at the state and not at events: a stream that is wanted is on a good member with a token
that counts, or it is not there. What a stream owes when it breaks is its machine's business (``etcd_watches``,
``keep_alive``); here is only the coming and going. Everything runs on the driver's thread.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from atoll.errors import AtollError
from atoll.store import etcd_messages, keep_alive
from atoll.store.api import Done, Watch, WatchSink
from atoll.store.attempts import Attempts
from atoll.store.etcd_errors import Failure
from atoll.store.etcd_link import Ended, Link, Stream
from atoll.store.etcd_watches import Delivery, Watches
from atoll.store.keep_alive import KeepAlives
from atoll.wire.etcd import messages
from atoll.wire.etcd.services import METHODS

KEEP_ALIVE_LINGER_S: Final = 30.0  # a keep-alive stream stays open so long after its last renewal

Step: TypeAlias = Callable[[float], None]  # something to do on the driver's thread, at the time given


class _Lane:
    """The place of one stream: where it is, and which of those that were. ``machine`` is told its coming and going."""

    def __init__(self, method: str, machine: Watches | KeepAlives, opened: Callable[[], list[Any]]) -> None:
        self.method = METHODS[method]
        self.machine = machine
        self.opened = opened
        self.link: Link | None = None
        self.stream: Stream | None = None
        self.token = ""
        self.serial = 0

    def open(self, link: Link, token: str, heard: Ended) -> None:
        self.serial += 1
        self.link, self.token = link, token
        self.stream = link.stream(self.method, token, heard)
        self.send(self.opened())

    def send(self, requests: list[Any]) -> None:
        """On the stream, if there is one; otherwise ``opened`` will name them again."""
        if self.stream is not None:
            for request in requests:
                self.stream.send(request)

    def lose(self) -> None:
        if self.stream is not None:
            self.stream.close()
        self.link = self.stream = None
        self.machine.lost()


class Streams:
    """Watches and renewals of one driver. ``link`` and ``post`` are the driver's."""

    def __init__(
        self,
        attempts: Attempts,
        link: Callable[[str], Link],
        post: Callable[[Step], None],
        *,
        with_token: bool,
    ) -> None:
        self._attempts = attempts
        self._failover, self._token = attempts.failover, attempts.token
        self._link = link
        self._post = post
        self._watches = Watches(with_token=with_token)
        self._keep_alives = KeepAlives()
        self._renewals: dict[int, Done] = {}
        self._watch_lane = _Lane("Watch.Watch", self._watches, self._watches.opened)
        self._renewal_lane = _Lane("Lease.LeaseKeepAlive", self._keep_alives, self._renewals_to_send)

    # ------------------------------------------------------------------------------ what is asked

    def watch(self, watch_id: int, watch: Watch, sink: WatchSink) -> None:
        self._watch_lane.send(self._watches.add(watch_id, watch, sink))

    def cancel_watch(self, watch_id: int) -> None:
        self._watch_lane.send(self._watches.cancel(watch_id))

    def renew(self, number: int, lease: int, timeout_s: float, done: Done, now_s: float) -> None:
        self._renewals[number] = done
        if self._keep_alives.renew(number, lease, now_s, timeout_s):
            self._renewal_lane.send([messages.LeaseKeepAliveRequest(ID=lease)])

    def _renewals_to_send(self) -> list[Any]:
        return [messages.LeaseKeepAliveRequest(ID=lease) for lease in self._keep_alives.opened()]

    def __bool__(self) -> bool:
        """Whether anybody waits for anything."""
        return bool(self._watches or self._keep_alives)

    # ------------------------------------------------------------------------------ coming and going

    def follow(self, now_s: float) -> None:
        for number in self._keep_alives.expire(now_s):
            self._renewals.pop(number)(keep_alive.too_late(self._failover))
        lane = self._renewal_lane
        lingers = lane.link is not None and now_s < self._keep_alives.last_used_s + KEEP_ALIVE_LINGER_S
        self._place(self._watch_lane, bool(self._watches), now_s)
        self._place(lane, bool(self._keep_alives) or lingers, now_s)

    def next_due_s(self) -> float | None:
        """When ``follow`` has something to do at the latest, if nothing else happens."""
        if self._renewal_lane.stream is None:
            return self._keep_alives.next_due_s()
        end_s = self._keep_alives.last_used_s + KEEP_ALIVE_LINGER_S
        return min(end_s, self._keep_alives.next_due_s() or end_s)

    def _place(self, lane: _Lane, wanted: bool, now_s: float) -> None:
        if lane.link is not None and not (wanted and self._failover.is_good(lane.link.endpoint)):
            lane.lose()
        if lane.link is None and wanted and self._token.ready:
            endpoint = self._failover.choose(now_s)
            if endpoint is not None:
                heard = functools.partial(self._heard, lane, lane.serial + 1)
                lane.open(self._link(endpoint), self._token.value, self._on_thread(heard))

    def _on_thread(self, step: Callable[[Any, float], None]) -> Ended:
        return lambda message: self._post(functools.partial(step, message))

    def _heard(self, lane: _Lane, serial: int, message: Any, now_s: float) -> None:
        if lane.link is None or lane.serial != serial:
            return  # of a stream that was given up
        if isinstance(message, Failure):
            self._failed(lane, lane.link.endpoint, message, now_s)
            return
        self._failover.heard(lane.link.endpoint, now_s)
        if lane is self._watch_lane:
            self._heard_watch(message)
        else:
            self._heard_renewal(message)

    def _heard_watch(self, message: Any) -> None:
        heard = self._watches.heard(message)
        if heard.token_doubted:
            self._token.refused(self._watch_lane.token)
            self._watch_lane.lose()
        _deliver(heard.deliveries)

    def _heard_renewal(self, message: Any) -> None:
        number = self._keep_alives.heard(message.ID)
        if number is not None:
            self._renewals.pop(number)(etcd_messages.keep_alive_result(message))

    def _failed(self, lane: _Lane, endpoint: str, failure: Failure, now_s: float) -> None:
        """Also an end that blames nobody makes the member prove itself, by a probe, before it is used again."""
        lane.lose()
        self._attempts.learn(endpoint, lane.token, failure, now_s)
        if self._failover.is_good(endpoint):
            self._failover.silent(endpoint, now_s, failure.text)

    # ------------------------------------------------------------------------------ the end

    def end(self, error: AtollError) -> None:
        """Tell everybody who waits ``error``."""
        _deliver(self._watches.end(error))
        for number in self._keep_alives.close():
            self._renewals.pop(number)(error)

    def close(self, error: AtollError) -> None:
        """``end``, and no stream is left."""
        self.end(error)
        self._watch_lane.lose()
        self._renewal_lane.lose()


def _deliver(deliveries: list[Delivery]) -> None:
    for sink, told in deliveries:
        sink(told)
