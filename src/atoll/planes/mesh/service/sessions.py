"""One stream of one client: its machine, its call, and what is told of it.

Rule: a session sends only while its call takes in more, so that what waits for a slow client is one response and not a
queue. Whoever takes in nothing for ``Pace.read_s_max`` is cut off; it finds everything again when it comes back.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import cast

import msgspec

from atoll.planes.mesh.service.groups import Group
from atoll.resources.mesh.client_status import ClientStatus, State, TypeStatus
from atoll.resources.mesh.clients import ConnectionId
from atoll.runtime.clock import Clock
from atoll.runtime.grpc_call import Call
from atoll.wire.xds.delta import Delta
from atoll.wire.xds.messages import DeltaRequest, Request
from atoll.wire.xds.shelf import version_of
from atoll.wire.xds.snapshot import Type
from atoll.wire.xds.sotw import Sotw
from atoll.wire.xds.stream import Accepted, Fact
from atoll.wire.xds.track import Track

NAMES = {kind.value: kind.name for kind in Type}


class Pace(msgspec.Struct, frozen=True):
    """``read_s_max``: how long a client may take in nothing of what waits for it."""

    read_s_max: float = 60.0


class Who(msgspec.Struct, frozen=True):
    """A client at the other end of a stream, and how it came."""

    id: ConnectionId
    address: str
    agent: str
    since_s: float  # Unix time


class Hooks(msgspec.Struct, frozen=True):
    """Whom a session tells: of an answer, of bytes sent (by type), of a delay, of when it wants to be looked at."""

    heard: Callable[[Session, Fact], None]
    sent: Callable[[Session, str, int], None]
    took: Callable[[float], None]
    due: Callable[[Session, float], None]


class Session:
    """Made by ``Push.open``."""

    def __init__(self, who: Who, group: Group, stream: Sotw | Delta, call: Call, hooks: Hooks) -> None:
        self.who = who
        self.group = group
        self.stream = stream
        self.call = call
        self.scheduled_s = math.inf
        self.blocked_since_s = math.inf
        self.delay_s = -1.0
        self._hooks = hooks
        self._behind_since_s = math.inf  # of the oldest change that was sent and is not confirmed
        self._changed_s = 0.0

    @property
    def form(self) -> str:
        return "delta" if isinstance(self.stream, Delta) else "sotw"

    def receive(self, request: Request | DeltaRequest, now_s: float) -> None:
        """``request``: of the stream's form. Raises EXHAUSTED."""
        if isinstance(self.stream, Delta):
            facts = self.stream.on_request(cast(DeltaRequest, request), now_s)
        else:
            facts = self.stream.on_request(cast(Request, request), now_s)
        for fact in facts:
            self._hooks.heard(self, fact)

    def refresh(self, clock: Clock) -> None:
        """The group's goal may be another one."""
        goal = self.group.goal
        if goal is not None and goal is not self.stream.goal:
            self._changed_s = self.group.seen_s if self.stream.goal is not None else math.inf
            self.stream.advance(goal)
        self.pump(clock)

    def pump(self, clock: Clock) -> None:
        """Send what must come next, as long as the client takes it."""
        now_s = clock.now_s()
        while self.call.writable and not self.call.ended:
            data = self.stream.take(now_s)
            if data is None:
                self._rest(now_s)
                return
            self._behind_since_s = min(self._behind_since_s, self._changed_s)
            self._hooks.sent(self, self.stream.sent_type, len(data))
            self.call.send_nowait(data)
        if not self.call.ended and self.blocked_since_s == math.inf:
            self.blocked_since_s = now_s
            self._hooks.due(self, now_s)
            self.call.on_drain(lambda: self._drained(clock))

    def _drained(self, clock: Clock) -> None:
        self.blocked_since_s = math.inf
        self.pump(clock)

    def _rest(self, now_s: float) -> None:
        if self.stream.due_s < math.inf:
            self._hooks.due(self, self.stream.due_s)
        if self.stream.is_current:
            if self._behind_since_s < math.inf:
                self.delay_s = now_s - self._behind_since_s
                self._hooks.took(self.delay_s)
            self._behind_since_s = self._changed_s = math.inf

    # ------------------------------------------------------------------------------------- for people

    @property
    def state(self) -> State:
        tracks = [track for track in self.stream.tracks.values() if track.subscribed]
        states = {self._state_of(track) for track in tracks} | ({State.NACK} if self.group.aside else set())
        return next((state for state in State if state in states), State.STALE)

    def status(self, boot_to_unix_s: float) -> ClientStatus:
        """``boot_to_unix_s``: what to add to times of the boot clock."""
        types = {
            NAMES.get(track.type_url, track.type_url): _status(track, self._state_of(track), boot_to_unix_s)
            for track in self.stream.tracks.values()
            if track.subscribed
        }
        client = self.group.client
        return ClientStatus(
            node=self.who.id.node,
            connection=self.who.id.connection,
            kind=client.kind,
            service=client.service,
            namespace=client.namespace,
            state=self.state,
            form=self.form,
            address=self.who.address,
            agent=self.who.agent,
            since_s=self.who.since_s,
            types=types,
            set_aside=self.group.aside,
            problems=self.group.problems,
            delay_s=self.delay_s,
            stage=self.group.stage,
        )

    def _state_of(self, track: Track) -> State:
        if track.is_refusing:
            return State.NACK
        goal = self.stream.goal
        settled = goal is not None and track.settled is self.stream.offers(track, goal) and track.acknowledged
        return State.SYNCED if settled else State.STALE


def heard_of(fact: Fact) -> str:
    """For counting."""
    return "accepted" if isinstance(fact, Accepted) else "refused"


def _status(track: Track, state: State, boot_to_unix_s: float) -> TypeStatus:
    told = track.told
    return TypeStatus(
        state=state,
        asked=-1 if track.wildcard else len(track.names),
        resources=len(track.sent),
        sent_version=version_of(track.sent.values()),
        accepted_version=version_of(track.accepted.values()),
        responses=told.responses,
        sent_at_s=_at(told.sent_s, boot_to_unix_s),
        accepted_at_s=_at(told.accepted_s, boot_to_unix_s),
        refused_at_s=_at(told.refused_s, boot_to_unix_s),
        text=told.text if track.is_refusing else "",
    )


def _at(boot_s: float, boot_to_unix_s: float) -> float:
    return boot_s + boot_to_unix_s if boot_s else 0.0
