"""Who is told of which service, and the pushes on their way.

Rule: at most one push to a subscriber is on its way; what changes meanwhile is not queued but coalesced: when the
push ends, the newest list goes out. So no queue grows with a slow consumer. One list is computed for all who asked
the same, and one object handed to all of them.

A frontend's part: its sink takes a ``Push`` without blocking, and ends it exactly once, by ``acknowledged`` or
``failed`` (the newest list is pushed again a second later, until the client is gone) or ``abandoned`` (not until the
next change). A sink that raises AtollError has failed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol, TypeAlias

import msgspec

from atoll.errors import AtollError, Code
from atoll.planes.registry.model.naming import Hosts, Selection, ServiceInfo, View
from atoll.planes.registry.policy.push_window import Agenda, Window, due_s
from atoll.resources.service import ServiceKey
from atoll.runtime.clock import Clock

SUBSCRIPTIONS_PER_CLIENT_MAX = 10_000

Sink: TypeAlias = Callable[["Push"], None]


class Lists(Protocol):
    """What pushes need to know of naming."""

    def view_of(self, key: ServiceKey, wanted: Selection) -> View:
        """What a selection comes down to."""

    def info(self, key: ServiceKey, wanted: Selection) -> ServiceInfo:
        """The list as it is now, with a fresh time."""


class PushEvent(msgspec.Struct, frozen=True, gc=False):
    """What happened to a push. ``kind``: ``pushed``, ``acknowledged``, ``failed`` or ``abandoned``; or ``subscribed``,
    with the list that was given at once. ``changed_s``: when the change was seen on this node; both times are on the
    boot clock.
    """

    kind: str
    client: str
    info: ServiceInfo
    at_s: float
    changed_s: float


class Push:
    """One list on its way to one subscriber."""

    __slots__ = ("_pushes", "_subscriber", "changed_s", "info")

    def __init__(self, pushes: Pushes, subscriber: _Subscriber, info: ServiceInfo, changed_s: float) -> None:
        self._pushes = pushes
        self._subscriber = subscriber
        self.info = info
        self.changed_s = changed_s

    @property
    def key(self) -> ServiceKey:
        return self.info.key

    @property
    def client(self) -> str:
        return self._subscriber.client

    def acknowledged(self) -> None:
        self._pushes.end(self._subscriber, self, "acknowledged")

    def failed(self) -> None:
        self._pushes.end(self._subscriber, self, "failed")

    def abandoned(self) -> None:
        self._pushes.end(self._subscriber, self, "abandoned")


class _Subscriber:
    __slots__ = (
        "acknowledged_s",
        "client",
        "group",
        "hosts",
        "last_ref_time_ms",
        "missed",
        "push",
        "pushed_s",
        "sink",
        "wanted",
    )

    def __init__(self, client: str, wanted: Selection, group: _Group, sink: Sink) -> None:
        self.client = client
        self.wanted = wanted
        self.group = group
        self.sink = sink
        self.hosts: Hosts | None = None  # what it has; None: nobody knows
        self.missed = False  # there was something to tell while a push was on its way
        self.push: Push | None = None  # on its way
        self.pushed_s = 0.0
        self.acknowledged_s = 0.0
        self.last_ref_time_ms = 0


class _Group:
    """All who asked the same of one service."""

    __slots__ = ("key", "subscribers", "view", "wanted")

    def __init__(self, key: ServiceKey, view: View, wanted: Selection) -> None:
        self.key = key
        self.view = view
        self.wanted = wanted
        self.subscribers: dict[str, _Subscriber] = {}


class Subscription(msgspec.Struct, frozen=True, gc=False):
    """One subscriber as lists show it; times on the boot clock, 0: never."""

    client: str
    key: ServiceKey
    wanted: Selection
    pushed_s: float
    acknowledged_s: float
    last_ref_time_ms: int


class Pushes:
    """The subscriptions of this node's clients."""

    def __init__(self, lists: Lists, clock: Clock, window: Window) -> None:
        self._lists = lists
        self._clock = clock
        self._window = window
        self._groups: dict[ServiceKey, dict[View, _Group]] = {}
        self._of_client: dict[str, dict[tuple[ServiceKey, tuple[str, ...]], _Subscriber]] = {}
        self._agenda: Agenda[ServiceKey] = Agenda()
        self._retries: Agenda[_Subscriber] = Agenda()
        self._told_s: dict[ServiceKey, float] = {}
        self._changed_s: dict[ServiceKey, float] = {}
        self.on_event: list[Callable[[PushEvent], None]] = []
        self.wake: Callable[[], None] = lambda: None

    def __len__(self) -> int:
        return sum(map(len, self._of_client.values()))

    # ------------------------------------------------------------------------------------- who

    def subscribe(self, client: str, key: ServiceKey, wanted: Selection, sink: Sink) -> ServiceInfo:
        """From now on ``sink`` is given every change; what is there now is the answer. Once more: replaces."""
        self.unsubscribe(client, key, wanted.clusters)
        own = self._of_client.setdefault(client, {})
        if len(own) >= SUBSCRIPTIONS_PER_CLIENT_MAX:
            text = f"client {client} has {len(own)} subscriptions, at most {SUBSCRIPTIONS_PER_CLIENT_MAX} are allowed"
            raise AtollError(Code.EXHAUSTED, text)
        group = self._group(key, wanted)
        info = self._lists.info(key, wanted)
        subscriber = _Subscriber(client, wanted, group, sink)
        subscriber.hosts = info.selected
        subscriber.last_ref_time_ms = info.last_ref_time_ms
        group.subscribers[client] = subscriber
        own[(key, wanted.clusters)] = subscriber
        self._report("subscribed", client, info, self._clock.now_s())
        return info

    def unsubscribe(self, client: str, key: ServiceKey, clusters: tuple[str, ...]) -> bool:
        """False: it was not subscribed."""
        own = self._of_client.get(client, {})
        subscriber = own.pop((key, clusters), None)
        if subscriber is None:
            return False
        self._leave(subscriber)
        if not own:
            del self._of_client[client]
        return True

    def drop_client(self, client: str) -> None:
        for subscriber in self._of_client.pop(client, {}).values():
            self._leave(subscriber)

    def is_wanted(self, key: ServiceKey) -> bool:
        """Somebody here is subscribed to the service."""
        return key in self._groups

    def of_client(self, client: str) -> list[Subscription]:
        return [_shown(each) for each in self._of_client.get(client, {}).values()]

    def of_service(self, key: ServiceKey) -> list[Subscription]:
        groups = self._groups.get(key, {}).values()
        return [_shown(each) for group in groups for each in group.subscribers.values()]

    # ------------------------------------------------------------------------------------ what

    def changed(self, keys: Iterable[ServiceKey]) -> None:
        """These services may look different now."""
        now_s = self._clock.now_s()
        for key in keys:
            if key in self._groups:
                self._changed_s.setdefault(key, now_s)
                self._agenda.add(key, due_s(self._window, now_s, self._told_s.get(key)))
        if self._agenda:
            self.wake()

    def next_s(self) -> float:
        return min(self._agenda.next_s(), self._retries.next_s())

    def tick(self, now_s: float) -> None:
        """Push what is due."""
        for key in self._agenda.take(now_s):
            changed_s = self._changed_s.pop(key, now_s)
            if self._tell(key, changed_s):
                self._told_s[key] = now_s
        for subscriber in self._retries.take(now_s):
            self._send_newest(subscriber, now_s)

    def _tell(self, key: ServiceKey, changed_s: float) -> bool:
        self._regroup(key)
        told = False
        for group in list(self._groups.get(key, {}).values()):
            info = self._lists.info(key, group.wanted)
            for subscriber in list(group.subscribers.values()):
                if subscriber.push is not None:
                    subscriber.missed = True
                elif not same(subscriber.hosts, info.selected):
                    self._send(subscriber, info, changed_s)
                    told = True
        return told

    def _group(self, key: ServiceKey, wanted: Selection) -> _Group:
        view = self._lists.view_of(key, wanted)
        groups = self._groups.setdefault(key, {})
        return groups.get(view) or groups.setdefault(view, _Group(key, view, wanted))

    def _regroup(self, key: ServiceKey) -> None:
        """A selector that changed, or a label, may part those who were given the same so far, and join others."""
        for group in list(self._groups.get(key, {}).values()):
            if not group.view.labels and self._lists.view_of(key, group.wanted) == group.view:
                continue
            for subscriber in list(group.subscribers.values()):
                self._leave_group(subscriber)
                subscriber.group = self._group(key, subscriber.wanted)
                subscriber.group.subscribers[subscriber.client] = subscriber

    def _send_newest(self, subscriber: _Subscriber, changed_s: float) -> None:
        if subscriber.push is None:
            info = self._lists.info(subscriber.group.key, subscriber.wanted)
            if not same(subscriber.hosts, info.selected):
                self._send(subscriber, info, changed_s)

    def _send(self, subscriber: _Subscriber, info: ServiceInfo, changed_s: float) -> None:
        push = Push(self, subscriber, info, changed_s)
        subscriber.push = push
        subscriber.pushed_s = self._clock.now_s()
        self._report("pushed", push.client, push.info, changed_s)
        try:
            subscriber.sink(push)
        except AtollError:
            self.end(subscriber, push, "failed")

    def end(self, subscriber: _Subscriber, push: Push, how: str) -> None:
        """A push ended. The second word on the same push is ignored."""
        if subscriber.push is not push:
            return
        subscriber.push = None
        now_s = self._clock.now_s()
        self._report(how, push.client, push.info, push.changed_s)
        if how == "failed":
            subscriber.hosts = None
            self._retries.add(subscriber, now_s + self._window.retry_s)
        else:
            subscriber.hosts = push.info.selected
            if how == "acknowledged":
                subscriber.acknowledged_s = now_s
                subscriber.last_ref_time_ms = push.info.last_ref_time_ms
            if subscriber.missed:
                self._retries.add(subscriber, now_s)
        subscriber.missed = False
        self.wake()

    def _report(self, kind: str, client: str, info: ServiceInfo, changed_s: float) -> None:
        for hear in self.on_event:
            hear(PushEvent(kind, client, info, self._clock.now_s(), changed_s))

    def _leave(self, subscriber: _Subscriber) -> None:
        subscriber.push = None
        self._retries.discard(subscriber)
        self._leave_group(subscriber)
        key = subscriber.group.key
        if key not in self._groups:
            self._agenda.discard(key)
            self._told_s.pop(key, None)
            self._changed_s.pop(key, None)

    def _leave_group(self, subscriber: _Subscriber) -> None:
        group = subscriber.group
        groups = self._groups.get(group.key, {})
        if group.subscribers.get(subscriber.client) is subscriber:
            del group.subscribers[subscriber.client]
        if not group.subscribers and groups.get(group.view) is group:
            del groups[group.view]
            if not groups:
                del self._groups[group.key]


def same(one: Hosts | None, other: Hosts) -> bool:
    """Whether a consumer would see no difference."""
    return one is other or (one is not None and one.hosts == other.hosts and one.protected == other.protected)


def _shown(subscriber: _Subscriber) -> Subscription:
    return Subscription(
        subscriber.client,
        subscriber.group.key,
        subscriber.wanted,
        subscriber.pushed_s,
        subscriber.acknowledged_s,
        subscriber.last_ref_time_ms,
    )
