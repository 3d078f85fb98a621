"""The push service: from a new world to every client that it concerns, and to nobody else.

Rule: level over edge. A change marks sessions, and ``run`` brings each marked one from what its client has to what it
shall have; a change that comes meanwhile costs no second round. Clients with the same ``Client`` value share a snapshot
(``Group``), serialised once; a client whose snapshot did not change is sent nothing. The loop is left every
``TURN_S_MAX``, so that requests are answered while thousands of clients are brought up to date.

What is measured is the true delay: from when a change was seen until the client said that it has it.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable, Iterable, Iterator

import msgspec

from atoll.planes.mesh.model.snapshot import Snapshot
from atoll.planes.mesh.model.world import World
from atoll.planes.mesh.policy.admission import Admission, Door
from atoll.planes.mesh.policy.compiler import client_key
from atoll.planes.mesh.policy.quarantine import Refusal
from atoll.planes.mesh.service.groups import Compile, Group, Stage
from atoll.planes.mesh.service.sessions import NAMES, Hooks, Pace, Session, Who, heard_of
from atoll.resources.mesh.client_status import ClientStatus
from atoll.resources.mesh.clients import Client, ConnectionId
from atoll.runtime import loop
from atoll.runtime.clock import Clock
from atoll.runtime.grpc_call import Call
from atoll.runtime.logs import Log
from atoll.runtime.metrics import Metrics, Sample
from atoll.wire.xds.delta import Delta
from atoll.wire.xds.messages import DeltaRequest, Request
from atoll.wire.xds.shelf import Shelf
from atoll.wire.xds.sotw import Sotw
from atoll.wire.xds.stream import Fact, Limits, Refused

TURN_S_MAX = 0.005
GROUP_KEPT_S = 600.0
"""A group without clients, for what was set aside and for clients that come back."""
GROUPS_MAX = 20_000
TIDY_S = 10.0


class Rules(msgspec.Struct, frozen=True):
    """What clients may do, and how long is waited for them."""

    admission: Admission = Admission()
    stream: Limits = Limits()
    pace: Pace = Pace()


class Push:
    """All clients of this node. ``compile`` gives a client's snapshot in a world; it is called once a group and world."""

    def __init__(self, compile: Compile, clock: Clock, metrics: Metrics, rules: Rules | None = None) -> None:
        self.rules = rules or Rules()
        self.door = Door(self.rules.admission)
        self._compile = compile
        self._clock = clock
        self._shelf = Shelf()
        self._world: World | None = None
        self._seen_s = 0.0
        self._stages: dict[str, Stage] = {}
        self._staged: dict[str, World] = {}
        self._groups: dict[tuple[bytes, str], Group] = {}
        self._sessions: dict[ConnectionId, Session] = {}
        self._numbers = itertools.count(1)
        self._marked: dict[ConnectionId, Session] = {}
        self._due: list[tuple[float, int, Session]] = []
        self._tidy_s = 0.0
        self._wake = loop.Event()
        self._log = Log("mesh")
        self._sent: dict[tuple[str, str], list[int]] = {}  # by type and form: responses, bytes
        self._heard: dict[tuple[str, str], int] = {}  # by type and outcome
        self._cut_off = 0
        self._hooks = Hooks(self._on_fact, self._on_sent, self._show(metrics), self._schedule)

    # ------------------------------------------------------------------------------------- what is true

    def world_changed(self, world: World, seen_s: float) -> None:
        """From now on this is the world; its change was seen at ``seen_s`` of the boot clock."""
        self._world, self._seen_s = world, seen_s
        self._staged = {name: stage.change(world) for name, stage in self._stages.items()}
        self._mark_all()

    def stage(self, stage: Stage) -> None:
        """Try a change on the clients that it names, or on other ones than before."""
        self._stages[stage.name] = stage
        if self._world is not None:
            self._staged[stage.name] = stage.change(self._world)
        self._regroup()

    def unstage(self, name: str) -> None:
        """Everybody gets the same again; nothing where no such change is tried."""
        if self._stages.pop(name, None) is not None:
            self._staged.pop(name, None)
            self._regroup()

    @property
    def world(self) -> World | None:
        return self._world

    def preview(self, client: Client) -> Snapshot | None:
        """What ``client`` would get if it came now; None while nothing is known."""
        return None if self._world is None else self._compile(self._world, client).snapshot

    # ------------------------------------------------------------------------------------- clients

    def open(self, client: Client, node: str, call: Call, agent: str, *, delta: bool) -> Session:
        """A client has come, with its first request in hand. ``close`` it when its call ends."""
        number = next(self._numbers)
        who = Who(ConnectionId(node, number), call.peer.address, agent, self._clock.wall_s())
        stream = Delta(self.rules.stream) if delta else Sotw(self.rules.stream)
        session = Session(who, self._join(client, node), stream, call, self._hooks)
        self._sessions[who.id] = session
        self._bring(session)
        return session

    def receive(self, session: Session, request: Request | DeltaRequest) -> None:
        """Its client said something; what follows for it, goal included, goes out at once. Raises EXHAUSTED."""
        session.receive(request, self._clock.now_s())
        self._bring(session)

    def close(self, session: Session) -> None:
        if self._sessions.pop(session.who.id, None) is not None:
            self._marked.pop(session.who.id, None)
            self._leave(session.group)

    def __len__(self) -> int:
        return len(self._sessions)

    def sessions(self) -> Iterator[Session]:
        return iter(list(self._sessions.values()))

    def of_node(self, node: str) -> list[Session]:
        """The connections of one client, the newest first."""
        return [each for each in reversed(list(self._sessions.values())) if each.who.id.node == node]

    def statuses(self) -> list[ClientStatus]:
        """Of all clients, by node and connection."""
        boot_to_unix_s = self._clock.wall_s() - self._clock.now_s()
        found = [session.status(boot_to_unix_s) for session in self._sessions.values()]
        return sorted(found, key=lambda status: (status.node, status.connection))

    # ------------------------------------------------------------------------------------- the loop

    async def run(self) -> None:
        """Bring up to date whoever is marked, and look at whoever is due, until it is cancelled."""
        while True:
            await loop.wait_event(self._wake, self._next_due_s())
            self._wake.clear()
            await self._bring_marked()
            self._look_at_due()

    async def _bring_marked(self) -> None:
        began_s = self._clock.now_s()
        while self._marked:
            session = self._marked.pop(next(iter(self._marked)))
            self._bring(session)
            if self._clock.now_s() - began_s > TURN_S_MAX:
                await loop.sleep(0)
                began_s = self._clock.now_s()

    def _bring(self, session: Session) -> None:
        session.call.guard(self._refresh, session)

    def _refresh(self, session: Session) -> None:
        group = session.group
        world = self._staged.get(group.stage, self._world)
        if world is not None:
            group.follow(world, self._seen_s)
            session.refresh(self._clock)

    def _look_at_due(self) -> None:
        now_s = self._clock.now_s()
        while self._due and self._due[0][0] <= now_s:
            at_s, _, session = heapq.heappop(self._due)
            if session.scheduled_s == at_s:
                session.scheduled_s = math.inf
            if session.who.id in self._sessions:
                self._look_at(session, now_s)
        if now_s >= self._tidy_s:
            self._tidy_s = now_s + TIDY_S
            self._forget_groups(now_s)

    def _look_at(self, session: Session, now_s: float) -> None:
        blocked_until_s = session.blocked_since_s + self.rules.pace.read_s_max
        if now_s >= blocked_until_s:
            self._cut_off += 1
            limit_s = self.rules.pace.read_s_max
            self._log.warning("a client took in nothing", node=session.who.id.node, within_s=limit_s)
            session.call.cut_connection()
        elif blocked_until_s < math.inf:
            self._schedule(session, blocked_until_s)
        else:
            session.call.guard(session.pump, self._clock)

    def _schedule(self, session: Session, due_s: float) -> None:
        if due_s < session.scheduled_s:
            session.scheduled_s = due_s
            heapq.heappush(self._due, (due_s, next(self._numbers), session))
            self._wake.set()

    def _next_due_s(self) -> float | None:
        return max(self._due[0][0] - self._clock.now_s(), 0.0) if self._due else None

    # ------------------------------------------------------------------------------------- groups

    def _join(self, client: Client, node: str) -> Group:
        stage = next((name for name, each in self._stages.items() if node in each.nodes), "")
        key = (client_key(client), stage)
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = Group(client, stage, self._compile, self._shelf)
        group.members += 1
        return group

    def _leave(self, group: Group) -> None:
        group.members -= 1
        group.idle_since_s = self._clock.now_s()
        self._wake.set()

    def _regroup(self) -> None:
        for session in self._sessions.values():
            before = session.group
            session.group = self._join(before.client, session.who.id.node)
            self._leave(before)
        self._mark_all()

    def _forget_groups(self, now_s: float) -> None:
        """Those that nobody came back to."""
        old = [
            key
            for key, group in self._groups.items()
            if not group.members
            and (now_s - group.idle_since_s > GROUP_KEPT_S or len(self._groups) > GROUPS_MAX)
        ]
        for key in old:
            del self._groups[key]

    def _mark_all(self) -> None:
        self._mark(self._sessions.values())

    def _mark_group(self, group: Group) -> None:
        self._mark(each for each in self._sessions.values() if each.group is group)

    def _mark(self, sessions: Iterable[Session]) -> None:
        self._marked.update((session.who.id, session) for session in sessions)
        self._wake.set()

    # ------------------------------------------------------------------------------------- what is heard

    def _on_fact(self, session: Session, fact: Fact) -> None:
        counted = (NAMES.get(fact.type_url, "other"), heard_of(fact))
        self._heard[counted] = self._heard.get(counted, 0) + 1
        if isinstance(fact, Refused):
            self._on_refused(session, fact)
        elif session.group.took(fact.type_url, fact.offers):
            self._mark_group(session.group)

    def _on_refused(self, session: Session, fact: Refused) -> None:
        node, text = session.who.id.node, fact.refusal.text
        names = [offer.name for offer in fact.refusal.blamed]
        self._log.warning("a client refused resources", node=node, names=" ".join(names[:10]), why=text)
        resources = tuple(offer.resource for offer in fact.refusal.blamed)
        refusal = Refusal(resources, text, node, self._clock.wall_s())
        if session.group.refused(refusal):
            self._mark_group(session.group)

    def _on_sent(self, session: Session, type_url: str, size_bytes: int) -> None:
        count = self._sent.setdefault((NAMES.get(type_url, "other"), session.form), [0, 0])
        count[0] += 1
        count[1] += size_bytes

    def _show(self, metrics: Metrics) -> Callable[[float], None]:
        labels = ("type", "form")
        metrics.read_on_scrape(
            "atoll_mesh_responses_total", "Responses sent to clients of the mesh.", labels, self._responses
        )
        metrics.read_on_scrape(
            "atoll_mesh_response_bytes_total", "Bytes of these responses.", labels, self._response_bytes
        )
        metrics.read_on_scrape(
            "atoll_mesh_answers_total", "Responses accepted and refused.", ("type", "outcome"), self._answers
        )
        metrics.read_on_scrape(
            "atoll_mesh_clients", "Clients of the mesh by state.", ("state",), self._states
        )
        metrics.read_on_scrape(
            "atoll_mesh_clients_refused_total", "Clients sent away by a limit.", (), self._sent_away
        )
        metrics.read_on_scrape(
            "atoll_mesh_clients_cut_off_total", "Clients that took in nothing.", (), self._cut
        )
        delay = metrics.histogram(
            "atoll_mesh_push_delay_seconds", "From a change seen to its confirmation by a client."
        )
        observe: Callable[[float], None] = delay.observe
        return observe

    def _responses(self) -> Iterable[Sample]:
        return [(labels, count[0]) for labels, count in self._sent.items()]

    def _response_bytes(self) -> Iterable[Sample]:
        return [(labels, count[1]) for labels, count in self._sent.items()]

    def _answers(self) -> Iterable[Sample]:
        return list(self._heard.items())

    def _states(self) -> Iterable[Sample]:
        counts: dict[str, int] = {}
        for session in self._sessions.values():
            state = session.state
            counts[state] = counts.get(state, 0) + 1
        return [((state,), count) for state, count in counts.items()]

    def _sent_away(self) -> Iterable[Sample]:
        return [((), self.door.refused)]

    def _cut(self) -> Iterable[Sample]:
        return [((), self._cut_off)]
