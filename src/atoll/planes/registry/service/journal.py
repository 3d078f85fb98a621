"""What happened on this node, written down beside the work: the memory behind *explain* and *topology at time T*.

Rule: recording is an append to a bounded queue; it never blocks and never fails. What does not fit is counted, and the gap
itself is recorded, so that an explanation says what it cannot know.

A subject is written as in permissions and in the audit log: ``NAMESPACE:GROUP:naming/SERVICE`` and
``NAMESPACE:GROUP:config/DATA_ID`` (``str(grants.service(...))``, ``str(grants.config(...))``). A digest names one state of
it: a configuration's md5, a list's revision or checksum, as the frontends tell it to clients.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from atoll.errors import AtollError, Code, Reason
from atoll.planes.registry.policy import explanation, topology
from atoll.planes.registry.policy.explanation import Evidence
from atoll.resources.events import Differences, Explanation, Kind, Topology
from atoll.runtime import loop
from atoll.runtime.clock import Clock
from atoll.runtime.metrics import Metrics
from atoll.store.event_log import EventLog
from atoll.store.peers import Peers

EXPLAIN = "registry-explain"
TOPOLOGY = "registry-topology"
ASKED_WITHIN_S = 10.0
SNAPSHOT_EVERY_S = 3_600.0
EVENTS_READ_MAX = 2_000  # of a client and a subject, and of a subject
CLIENT_KINDS = (Kind.CONNECTED, Kind.GONE)
MARK_KINDS = (Kind.STARTED, Kind.DROPPED)

Instances = Mapping[str, Mapping[str, Mapping[str, object]]]
"""subject -> instance (``ip:port:cluster``) -> value: everything that a node knows now."""


class _Question(msgspec.Struct, frozen=True):
    subject: str
    at_s: float
    client: str = ""


class _State(msgspec.Struct, frozen=True):
    """One node's answer: its instances, and since when it has kept its journal."""

    state: topology.State
    since_s: float


class Journal:
    """The recording methods return at once; the questions are answered by all nodes. Lives on the event loop."""

    def __init__(self, log: EventLog, clock: Clock) -> None:
        self._log = log
        self._clock = clock
        self._peers: Peers | None = None

    def client_connected(self, client: str, detail: str) -> None:
        """``detail``: address, application, SDK version and user, for people."""
        self._log.record(Kind.CONNECTED, "", client, "", detail)

    def client_gone(self, client: str, detail: str) -> None:
        """``detail``: why, closed or lost."""
        self._log.record(Kind.GONE, "", client, "", detail)

    def changed(self, subject: str, digest: str, detail: str) -> None:
        """This node sees a new state of ``subject``. ``detail``: what changed and through whom."""
        self._log.record(Kind.CHANGED, subject, "", digest, detail)

    def subscribed(self, client: str, subject: str, digest: str) -> None:
        """``digest``: the state that was given at once, or that the client said it has; empty for none. Who asks again
        and again with the same is not written again.
        """
        self._log.record_once(Kind.SUBSCRIBED, subject, client, digest)

    def unsubscribed(self, client: str, subject: str) -> None:
        self._log.record(Kind.UNSUBSCRIBED, subject, client, "", "")

    def pushed(self, client: str, subject: str, digest: str) -> None:
        """Sent to the client; not yet acknowledged."""
        self._log.record(Kind.PUSHED, subject, client, digest, "")

    def acknowledged(self, client: str, subject: str, digest: str) -> None:
        self._log.record(Kind.ACKNOWLEDGED, subject, client, digest, "")

    def push_failed(self, client: str, subject: str, digest: str, why: str) -> None:
        self._log.record(Kind.FAILED, subject, client, digest, why)

    def fetched(self, client: str, subject: str, digest: str) -> None:
        """The client asked and got this state; the same state again is not written again."""
        self._log.record_once(Kind.FETCHED, subject, client, digest)

    def instance(self, subject: str, instance: str, value: object) -> None:
        """An instance (``ip:port:cluster``) of a service is as ``value`` says from now on; None: it is gone."""
        text = "" if value is None else msgspec.json.encode(value).decode()
        self._log.record_instance(subject, instance, text)

    def close(self) -> None:
        """Write what is queued. Blocks."""
        self._log.close()

    def show(self, metrics: Metrics) -> None:
        """What is recorded and what is lost, for whoever scrapes."""

        def events() -> list[tuple[tuple[str], float]]:
            now = self._log.statistics()
            return [(("recorded",), now.recorded), (("dropped",), now.dropped)]

        metrics.read_on_scrape(
            "atoll_registry_events_total",
            "Events for explain and topology: recorded, or dropped because the queue was full.",
            ("outcome",),
            events,
        )
        metrics.read_on_scrape(
            "atoll_registry_events_bytes",
            "Size of the file of events.",
            (),
            lambda: [((), self._log.statistics().size_bytes)],
        )

    async def keep_snapshots(self, read: Callable[[], Instances]) -> None:
        """Write all instances down now and once an hour, for ever: where the replay of a past time begins."""
        while True:
            at_s = self._clock.wall_s()
            state = {
                subject: {name: msgspec.json.encode(value).decode() for name, value in instances.items()}
                for subject, instances in read().items()
            }
            content = await loop.in_thread(msgspec.json.encode, state)
            self._log.record_snapshot(at_s, content)
            await loop.sleep(SNAPSHOT_EVERY_S)

    # ------------------------------------------------------------------------------------------ questions

    def answer_for(self, peers: Peers) -> None:
        """Answer other nodes' questions, and ask them from now on."""
        self._peers = peers
        peers.on_ask(EXPLAIN, self._answer_explain)
        peers.on_ask(TOPOLOGY, self._answer_topology)

    async def explain(self, client: str, subject: str, at_s: float) -> list[Explanation]:
        """Why each client whose id has ``client`` in it held what it held of ``subject`` at ``at_s`` (Unix time, 0: now);
        from every node that it had to do with, the best known first. Raises NOT_FOUND where no node knows of any.
        """
        at_s = at_s or self._clock.wall_s()
        answers = await self._ask(EXPLAIN, _Question(subject, at_s, client))
        found = [
            one for body in answers.values() for one in msgspec.json.decode(body, type=list[Explanation])
        ]
        if not found:
            text = f"no node knows of a client like {client!r} that had to do with {subject} up to {at_s:.3f}"
            raise AtollError(Code.NOT_FOUND, text, facts={"subject": subject})
        return sorted(found, key=lambda one: (not one.connected, -one.held_since_s, one.client, one.node))

    async def topology(self, at_s: float, subject: str = "") -> Topology:
        """All instances at ``at_s`` (Unix time, 0: now) of services whose subject fits (``*`` for any text)."""
        at_s = at_s or self._clock.wall_s()
        answers = await self._ask(TOPOLOGY, _Question(subject, at_s))
        states = {node: msgspec.json.decode(body, type=_State) for node, body in answers.items()}
        knowing = {node: each.state for node, each in states.items() if each.since_s <= at_s}
        if not knowing:
            since_s = min((each.since_s for each in states.values()), default=at_s)
            text = f"no node's journal goes back to {at_s:.3f}; the oldest begins at {since_s:.3f}"
            raise AtollError(Code.NOT_FOUND, text, reason=Reason.COMPACTED)
        placed, remarks = topology.together(knowing)
        remarks += [
            f"node {node} keeps its journal only since {each.since_s:.3f}"
            for node, each in sorted(states.items())
            if node not in knowing
        ]
        return Topology(at_s, tuple(placed), tuple(sorted(knowing)), tuple(remarks))

    async def differences(self, from_s: float, to_s: float, subject: str = "") -> Differences:
        """What differs between two times; ``to_s`` 0: now."""
        before, after = await self.topology(from_s, subject), await self.topology(to_s, subject)
        found = topology.differences(before.instances, after.instances)
        remarks = dict.fromkeys((*before.remarks, *after.remarks))
        return Differences(before.at_s, after.at_s, tuple(found), tuple(remarks))

    async def _ask(self, kind: str, question: _Question) -> Mapping[str, bytes]:
        if self._peers is None:
            raise AtollError(Code.UNAVAILABLE, "this node is still starting", retry_after_s=1.0)
        return await self._peers.ask_all(kind, msgspec.json.encode(question), ASKED_WITHIN_S)

    async def _answer_explain(self, body: bytes) -> bytes:
        question = msgspec.json.decode(body, type=_Question)
        return msgspec.json.encode(await loop.in_thread(self._explain_here, question))

    def _explain_here(self, question: _Question) -> Sequence[Explanation]:
        node = self._peers.node_id if self._peers else ""
        subject, at_s, log = question.subject, question.at_s, self._log
        clients = log.clients_of(subject, question.client, at_s)
        if not clients:
            return []
        changes = log.events(subject, "", at_s, (Kind.CHANGED,), EVENTS_READ_MAX)
        moves = log.moves_of(subject, at_s, EVENTS_READ_MAX)
        marks = log.events("", "", at_s, MARK_KINDS, EVENTS_READ_MAX)
        return [
            explanation.explain(
                node,
                client,
                subject,
                at_s,
                Evidence(
                    pair=log.events(subject, client, at_s, (), EVENTS_READ_MAX),
                    changes=changes,
                    client=log.events("", client, at_s, CLIENT_KINDS, EVENTS_READ_MAX),
                    marks=marks,
                    moves=moves,
                ),
            )
            for client in clients
        ]

    async def _answer_topology(self, body: bytes) -> bytes:
        question = msgspec.json.decode(body, type=_Question)
        return msgspec.json.encode(await loop.in_thread(self._topology_here, question))

    def _topology_here(self, question: _Question) -> _State:
        begun = self._log.snapshot(question.at_s)
        if begun is None:
            return _State({}, self._log.first_snapshot_s())
        at_s, content = begun
        snapshot = msgspec.json.decode(content, type=topology.State)
        state = topology.replay(snapshot, self._log.moves(at_s, question.at_s))
        return _State(topology.chosen(state, question.subject), at_s)
