"""What one client is told over its stream: in order, acknowledged one by one, never more than it takes in.

Rule: of each thing that a client hears about (``Message.key``) at most one message is on its way and at most one, the
newest, waits. So a client that reads slowly, or does not acknowledge, costs one message for each thing that it asked
for and no more, and hears the newest when it comes back. An acknowledgement is matched by the request's id alone:
clients answer with types of their own liking.

The caller does the I/O: ``send`` takes whole payloads and says whether there is room for more.
"""

from __future__ import annotations

import enum
import heapq
import itertools
from collections.abc import Callable, Hashable

import msgspec

from atoll.wire.nacos.payload import Envelope

FUZZY_TIMEOUT_S = 3.0
CONFIG_TIMEOUT_S = 3.0
NAMING_TIMEOUT_S = 5.0
DETECTION_TIMEOUT_S = 5.0
RETRY_STEP_S = 2.0
NEVER_S = float("inf")
TRIES_MAX = 50
"""Then the client is given up, and its connection with it."""


class Outcome(enum.Enum):
    ACKNOWLEDGED = "acknowledged"
    FAILED = "failed"  # refused, not answered in time, or the connection ended
    DROPPED = "dropped"  # overtaken by a newer one, or not for this client any more


def nobody_asks(_outcome: Outcome) -> None:
    return None


class Kind(msgspec.Struct, frozen=True):
    """How messages of one type are sent. ``retry_step_s``: after the n-th failure wait n times so long; 0: whoever
    gave the message decides what to do about it.
    """

    envelope: Envelope
    timeout_s: float
    retry_step_s: float = 0.0

    @property
    def name(self) -> str:
        return self.envelope.type


def _kind(name: str, timeout_s: float, retry_step_s: float = 0.0) -> Kind:
    return Kind(Envelope(name), timeout_s, retry_step_s)


NOTIFY_SUBSCRIBER = _kind("NotifySubscriberRequest", NAMING_TIMEOUT_S)
CONFIG_CHANGED = _kind("ConfigChangeNotifyRequest", CONFIG_TIMEOUT_S, RETRY_STEP_S)
CONFIG_METRICS = _kind("ClientConfigMetricRequest", CONFIG_TIMEOUT_S)
CONFIG_FUZZY_SYNC = _kind("ConfigFuzzyWatchSyncRequest", FUZZY_TIMEOUT_S, RETRY_STEP_S)
CONFIG_FUZZY_CHANGED = _kind("ConfigFuzzyWatchChangeNotifyRequest", FUZZY_TIMEOUT_S, RETRY_STEP_S)
NAMING_FUZZY_SYNC = _kind("NamingFuzzyWatchSyncRequest", FUZZY_TIMEOUT_S, RETRY_STEP_S)
NAMING_FUZZY_CHANGED = _kind("NamingFuzzyWatchChangeNotifyRequest", FUZZY_TIMEOUT_S, RETRY_STEP_S)
DETECTION = _kind("ClientDetectionRequest", DETECTION_TIMEOUT_S)


class Message(msgspec.Struct, gc=False):
    """``body`` is asked for when the message goes out, so that what was overtaken is never encoded; None: there is
    nothing to say to this client any more. ``ended`` hears once how it went, ``answered`` the body of the answer.
    """

    kind: Kind
    key: Hashable
    body: Callable[[], bytes | None]
    ended: Callable[[Outcome], None] = nobody_asks
    answered: Callable[[bytes], None] | None = None
    tries: int = 0


class Outbox:
    """What the push queues of a node share: the ids of requests, the deadlines, the counts."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._due: list[tuple[float, int, PushQueue]] = []
        self.counts: dict[tuple[str, str], int] = {}  # by type and outcome, ``sent`` among them

    def new_id(self) -> str:
        return str(next(self._numbers))

    def count(self, kind: Kind, what: str) -> None:
        counted = (kind.name, what)
        self.counts[counted] = self.counts.get(counted, 0) + 1

    def schedule(self, queue: PushQueue, due_s: float) -> None:
        heapq.heappush(self._due, (due_s, next(self._numbers), queue))

    def tick(self, now_s: float) -> None:
        """What is overdue has failed, what may be tried again is."""
        while self._due and self._due[0][0] <= now_s:
            heapq.heappop(self._due)[2].tick(now_s)


class _Flight(msgspec.Struct, gc=False):
    message: Message
    due_s: float


class PushQueue:
    """``send(payload)`` returns False when nothing more should be sent until ``room`` is called."""

    __slots__ = (
        "_flying",
        "_later",
        "_outbox",
        "_request_of",
        "_scheduled_s",
        "_send",
        "_stalled",
        "_waiting",
        "closed",
        "gave_up",
    )

    def __init__(self, outbox: Outbox, send: Callable[[bytes], bool]) -> None:
        self._outbox = outbox
        self._send = send
        self._stalled = False
        self._waiting: dict[Hashable, Message] = {}
        self._flying: dict[str, _Flight] = {}  # by request id
        self._request_of: dict[Hashable, str] = {}  # what flies under a key
        self._later: dict[Hashable, _Flight] = {}  # to be tried again
        self._scheduled_s = NEVER_S
        self.closed = False
        self.gave_up = False

    @property
    def held(self) -> int:
        """Messages that are not acknowledged yet."""
        return len(self._waiting) + len(self._later) + len(self._flying)

    def offer(self, message: Message, now_s: float) -> None:
        """Send ``message``, now or when its turn comes; what waited under its key is dropped."""
        key = message.key
        if self.closed:
            self._end(message, Outcome.FAILED)
            return
        old = self._waiting.pop(key, None)
        if old is None and key in self._later:
            old = self._later.pop(key).message
        if old is not None:
            message.tries = old.tries
            self._end(old, Outcome.DROPPED)
        if self._stalled or key in self._request_of:
            self._waiting[key] = message
        else:
            self._launch(message, now_s)

    def acknowledge(self, request_id: str, succeeded: bool, now_s: float, body: bytes = b"") -> bool:
        """The client answered. False: to nothing that is on its way (any more)."""
        flight = self._flying.pop(request_id, None)
        if flight is None:
            return False
        message = flight.message
        del self._request_of[message.key]
        if succeeded:
            if message.answered is not None:
                message.answered(body)
            self._end(message, Outcome.ACKNOWLEDGED)
        else:
            self._failed(message, now_s)
        if message.key in self._waiting and not self._stalled:
            self._launch(self._waiting.pop(message.key), now_s)
        return True

    def room(self, now_s: float) -> None:
        """The client takes in again."""
        self._stalled = False
        for key in list(self._waiting):
            if self._stalled:
                return
            if key in self._waiting and key not in self._request_of:
                self._launch(self._waiting.pop(key), now_s)

    def forget(self, key: Hashable) -> None:
        """The client does not want to hear of ``key`` any longer."""
        message = self._waiting.pop(key, None)
        if message is not None:
            self._end(message, Outcome.DROPPED)
        later = self._later.pop(key, None)
        if later is not None:
            self._end(later.message, Outcome.DROPPED)

    def tick(self, now_s: float) -> None:
        self._scheduled_s = NEVER_S
        for request_id in [each for each, flight in self._flying.items() if flight.due_s <= now_s]:
            self.acknowledge(request_id, False, now_s)
        for key in [key for key, flight in self._later.items() if flight.due_s <= now_s]:
            if key in self._later:
                self.offer(self._later.pop(key).message, now_s)
        for table in (self._flying.values(), self._later.values()):
            for flight in table:
                self._schedule(flight.due_s)

    def close(self) -> None:
        """Nothing more is sent, and whatever was not acknowledged has failed."""
        self.closed = True
        lost = [flight.message for flight in self._flying.values()]
        lost += self._waiting.values()
        lost += [flight.message for flight in self._later.values()]
        self._flying.clear()
        self._waiting.clear()
        self._later.clear()
        self._request_of.clear()
        for message in lost:
            self._end(message, Outcome.FAILED)

    def _launch(self, message: Message, now_s: float) -> None:
        body = message.body()
        if body is None:
            self._end(message, Outcome.DROPPED)
            return
        request_id = self._outbox.new_id()
        kind = message.kind
        due_s = now_s + kind.timeout_s
        self._flying[request_id] = _Flight(message, due_s)
        self._request_of[message.key] = request_id
        self._schedule(due_s)
        self._outbox.count(kind, "sent")
        if not self._send(kind.envelope.push(request_id, body)):
            self._stalled = True

    def _failed(self, message: Message, now_s: float) -> None:
        message.tries += 1
        if message.tries > TRIES_MAX:
            self.gave_up = True
        newer = self._waiting.get(message.key)
        if newer is not None:
            newer.tries = message.tries
        if newer is not None or self.gave_up or not message.kind.retry_step_s:
            self._end(message, Outcome.FAILED)
            return
        due_s = now_s + message.tries * message.kind.retry_step_s
        self._later[message.key] = _Flight(message, due_s)
        self._schedule(due_s)

    def _schedule(self, due_s: float) -> None:
        if due_s < self._scheduled_s and not self.closed:
            self._scheduled_s = due_s
            self._outbox.schedule(self, due_s)

    def _end(self, message: Message, outcome: Outcome) -> None:
        self._outbox.count(message.kind, outcome.value)
        message.ended(outcome)
