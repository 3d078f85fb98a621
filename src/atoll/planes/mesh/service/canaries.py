"""Canaries of policy at work: begun and ended by people, tried on this node's clients, carried on by the node that leads.

Rule: every node tries the running canary on a share of its own clients and tells what they served; the leader adds up what all
nodes tell, lets ``policy.canary_judge`` decide, and commits that under its term. What could not be found out is no data, and
no data holds. While the store is away nothing is promoted or rolled back; clients keep what they have.

Who was chosen once stays chosen while it is connected: a client that is given the change, taken off it, and given it again
would count for both sides.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from atoll.errors import AtollError, Code
from atoll.planes.mesh.model import canary_view
from atoll.planes.mesh.model.canary_view import CanaryView, Write
from atoll.planes.mesh.model.document_view import Change as DocumentChange
from atoll.planes.mesh.model.world import World
from atoll.planes.mesh.policy import canary_judge
from atoll.planes.mesh.policy.canary_judge import Evidence, Verdict
from atoll.planes.mesh.policy.compiler import client_key
from atoll.planes.mesh.service.documents import Documents
from atoll.planes.mesh.service.groups import Compile, Stage
from atoll.planes.mesh.service.push import Push
from atoll.planes.mesh.service.sessions import Session
from atoll.planes.mesh.service.traffic import Traffic
from atoll.resources.actor import Actor
from atoll.resources.mesh.canary import (
    CANCELLED,
    CHANGES_MAX,
    PROMOTED,
    ROLLED_BACK,
    Canary,
    CanaryMove,
    CanaryOrder,
    CanaryShown,
    Change,
    Decision,
    Seen,
    check_plan,
)
from atoll.resources.mesh.client_status import State
from atoll.resources.mesh.documents import reading
from atoll.resources.mesh.documents.kinds import Kind
from atoll.resources.mesh.documents.reading import Read
from atoll.resources.mesh.traffic import ReportTaken, TrafficReport
from atoll.runtime import loop
from atoll.runtime.clock import Clock
from atoll.runtime.logs import Log
from atoll.store.api import Compare, KeyValue, Put, Store
from atoll.store.audit import hash_of
from atoll.store.following import Following
from atoll.store.peers import Peers
from atoll.store.term import Term

ASK = "mesh.canary"
LOOK_EVERY_S = 1.0
ASKED_WITHIN_S = 1.0
REPORTED_S = 2.0
REPORTED_CANARY_S = 1.0
REPORTS_PER_S = 100.0  # from all proxies, while nothing is tried
COMPARED_MAX = 50  # other clients that are asked as often as the share
_ROUTING = (Kind.VIRTUAL_SERVICE, Kind.HTTP_ROUTE, Kind.GRPC_ROUTE)

Audit = Callable[[Actor, str, str, str, str], Put]


class Parts(msgspec.Struct, frozen=True):
    """What canaries stand on. ``compile``: what a client has in a world."""

    store: Store
    documents: Documents
    push: Push
    traffic: Traffic
    compile: Compile
    peers: Peers
    clock: Clock
    audit: Audit


class Canaries:
    """``try_on`` runs on every node, ``run`` is the leader's job; everything else answers on any node."""

    name = "canaries of policy"

    def __init__(self, parts: Parts) -> None:
        self.view = CanaryView()
        self._parts = parts
        self.following = Following(parts.store, canary_view.PREFIX, self._apply, "mesh canaries")
        self._tried = ""
        self._chosen: tuple[str, ...] = ()
        self._others: tuple[str, ...] = ()
        self._reached_s: float | None = None
        self._stage: Stage | None = None
        self._wake = loop.Event()
        self._log = Log("mesh canaries")
        parts.peers.on_ask(ASK, self._answer)

    # ------------------------------------------------------------------------------------- for people

    async def begin(self, actor: Actor, order: CanaryOrder) -> CanaryShown:
        """Raises INVALID for a plan or documents with errors, CONFLICT while another canary runs."""
        check_plan(order.plan)
        documents = self._parts.documents
        prepared = documents.prepare(await documents.read(order.files, order.namespace), order.force)
        prepared.require_valid()
        writes = [each for each in prepared.changes if each.is_write]
        changes = tuple(_change(each, each.read) for each in writes if each.read is not None)
        if not changes:
            raise AtollError(Code.INVALID, "these documents are in force already: there is nothing to try")
        if len(changes) > CHANGES_MAX:
            text = f"{len(changes)} documents at once; a canary takes up to {CHANGES_MAX}"
            raise AtollError(Code.EXHAUSTED, text)
        now_s = self._parts.clock.wall_s()
        decision = Decision(now_s, "begin", f"{order.plan.share_percent:g} % of the clients", _who(actor))
        canary = Canary(
            name=order.name,
            changes=changes,
            plan=order.plan,
            started_s=now_s,
            actor=actor,
            decisions=(decision,),
        )
        await self._commit(actor, "begin", canary.name, canary_view.begin(self.view, canary))
        return await self.shown(order.name)

    async def move(self, actor: Actor, order: CanaryMove) -> CanaryShown:
        """Promote or cancel it, whatever the judge says. Raises NOT_FOUND, CONFLICT: it is over; INVALID."""
        canary = self.view.get(order.name)
        if order.move not in ("promote", "cancel"):
            raise AtollError(Code.INVALID, f"a canary cannot {order.move[:40]!r}; expected promote, cancel")
        why = order.why or "asked for"
        if order.move == "promote":
            await self._promote(actor, canary, why, ())
        else:
            await self._end(actor, canary, CANCELLED, why, ())
        return await self.shown(order.name)

    def every(self) -> list[Canary]:
        """The newest first."""
        return sorted(self.view.canaries.values(), key=lambda each: (-each.started_s, each.name))

    async def shown(self, name: str) -> CanaryShown:
        """Raises NOT_FOUND."""
        canary = self.view.get(name)
        if not canary.is_running:
            return CanaryShown(canary)
        seen = await self._seen_by_all(name)
        return CanaryShown(canary, seen, canary_judge.judge(canary.plan, _evidence(seen)).why)

    def hear(self, report: TrafficReport) -> ReportTaken:
        """A proxy of this node tells what it served. The more there are the rarer they are asked, but those that a running
        canary concerns.
        """
        self._parts.traffic.hear(report, self._parts.clock.now_s())
        if report.node in self._chosen or report.node in self._others[:COMPARED_MAX]:
            return ReportTaken(REPORTED_CANARY_S)
        return ReportTaken(max(REPORTED_S, len(self._parts.push) / REPORTS_PER_S))

    # ------------------------------------------------------------------------------------- on every node

    async def try_on(self) -> None:
        """Keep the running canary on its share of this node's clients, until cancelled."""
        while True:
            self._wake.clear()
            self.look()
            await loop.wait_event(self._wake, LOOK_EVERY_S)

    def look(self) -> None:
        """Who has it now, and who has confirmed it."""
        canary = self.view.current
        if canary is None:
            self._leave()
            return
        if self._tried != canary.name:
            self._leave()
            self._tried = canary.name
        sessions = {each.who.id.node: each for each in self._parts.push.sessions()}
        concerned = self._concerned(canary, sessions)
        wanted = self._wanted(canary, concerned) if concerned else ()
        kept = tuple(node for node in self._chosen if node in concerned)
        added = tuple(node for node in wanted if node not in kept)[: max(0, len(wanted) - len(kept))]
        chosen = (*kept, *added)
        self._others = tuple(node for node in concerned if node not in chosen)
        if self._stage is None or frozenset(chosen) != self._stage.nodes:
            self._chosen = chosen
            self._stage = Stage(canary.name, _changed_world(canary), frozenset(chosen))
            self._parts.push.stage(self._stage)
        self._mark(canary.name, sessions)

    def _wanted(self, canary: Canary, concerned: Sequence[str]) -> tuple[str, ...]:
        busy = self._parts.traffic.busy(concerned, [change.document for change in canary.changes])
        return canary_judge.share_of(canary.name, concerned, canary.plan.share_percent, busy)

    def _leave(self) -> None:
        if self._tried:
            self._parts.push.unstage(self._tried)
            self._parts.traffic.unmark(self._tried)
        self._tried, self._chosen, self._others = "", (), ()
        self._reached_s = self._stage = None

    def _concerned(self, canary: Canary, sessions: dict[str, Session]) -> list[str]:
        """The nodes of clients whose configuration the change changes."""
        world = self._parts.push.world
        if world is None:
            return []
        changed, differs = _changed_world(canary)(world), {}
        found = []
        for node, session in sessions.items():
            client = session.group.client
            key = client_key(client)
            if key not in differs:
                now = self._parts.compile(world, client).snapshot
                differs[key] = self._parts.compile(changed, client).snapshot != now
            if differs[key]:
                found.append(node)
        return sorted(found)

    def _mark(self, name: str, sessions: dict[str, Session]) -> None:
        """Count from when a client has confirmed the change, and the others from when the first one has."""
        traffic = self._parts.traffic
        for node in self._chosen:
            session = sessions[node]
            if session.group.stage != name or session.state is not State.SYNCED:
                continue
            if traffic.mark(name, node) and self._reached_s is None:
                self._reached_s = self._parts.clock.now_s()
        if self._reached_s is not None:
            for node in self._others:
                traffic.mark(name, node)

    async def _answer(self, body: bytes) -> bytes:
        return msgspec.json.encode(self._seen(body.decode()))

    def _seen(self, name: str) -> Seen:
        """What this node knows."""
        canary = self.view.current
        if canary is None or name != self._tried:
            return Seen()
        traffic, ends = self._parts.traffic, _route_ends(canary)
        since_s = self._reached_s
        return Seen(
            clients=self._chosen,
            concerned=len(self._chosen) + len(self._others),
            canary=traffic.since(name, self._chosen),
            others=traffic.since(name, self._others),
            before=traffic.before(name, self._chosen),
            by_change=traffic.by_routes(name, self._chosen, ends) if ends else -1,
            running_s=0.0 if since_s is None else self._parts.clock.now_s() - since_s,
            refused=self._refused(name),
        )

    def _refused(self, name: str) -> str:
        """With which words a client of the share refused what it was given; empty: none did."""
        for session in self._parts.push.sessions():
            if session.group.stage == name and (aside := session.group.aside):
                return f"{session.who.id.node} refused {aside[0].document}: {aside[0].text}"
        return ""

    async def _seen_by_all(self, name: str) -> Seen:
        answers = await self._parts.peers.ask_all(ASK, name.encode(), ASKED_WITHIN_S)
        return _together([msgspec.json.decode(each, type=Seen) for each in answers.values()])

    # ------------------------------------------------------------------------------------- for the leader

    async def run(self, term: Term) -> None:
        """Judge the running canary every second, until cancelled."""
        while term.holds():
            canary = self.view.current
            if canary is not None:
                await self._judge_safely(canary, term)
            await loop.sleep(LOOK_EVERY_S)

    async def judge(self, canary: Canary, guards: Sequence[Compare] = ()) -> Verdict:
        """Once. Raises what the store says."""
        verdict = await self._verdict(canary)
        actor = Actor(via="atoll", node=self._parts.peers.node_id)
        if verdict.action == canary_judge.ROLL_BACK:
            await self._end(actor, canary, ROLLED_BACK, verdict.why, guards)
        elif verdict.action == canary_judge.PROMOTE:
            await self._promote(actor, canary, verdict.why, guards)
        return verdict

    async def _verdict(self, canary: Canary) -> Verdict:
        overtaken = canary_view.overtaken(canary, self._parts.documents.view)
        if overtaken:
            return Verdict(canary_judge.ROLL_BACK, overtaken)
        return canary_judge.judge(canary.plan, _evidence(await self._seen_by_all(canary.name)))

    async def _judge_safely(self, canary: Canary, term: Term) -> None:
        try:
            term.check()
            await self.judge(canary, term.guards())
        except AtollError as error:  # away, or somebody ended it at the same time: the next look shows
            self._log.warning("a canary stands", canary=canary.name, why=error.message)

    # ------------------------------------------------------------------------------------- writing

    async def _promote(self, actor: Actor, canary: Canary, why: str, guards: Sequence[Compare]) -> None:
        decision = Decision(self._parts.clock.wall_s(), "promote", why, _who(actor))
        write, changes = canary_view.promote(canary, self._parts.documents.view, PROMOTED, decision)
        entries = [self._document_entry(actor, each) for each in changes]
        whole = Write((*write.guards, *guards), (*write.operations, *entries))
        revision = await self._commit(actor, "promote", canary.name, whole)
        await self._parts.documents.follower.at(revision)

    async def _end(
        self, actor: Actor, canary: Canary, state: str, why: str, guards: Sequence[Compare]
    ) -> None:
        action = "roll_back" if state == ROLLED_BACK else "cancel"
        decision = Decision(self._parts.clock.wall_s(), action, why, _who(actor))
        write = canary_view.end(canary, state, decision)
        await self._commit(actor, action, canary.name, Write((*write.guards, *guards), write.operations))

    async def _commit(self, actor: Actor, action: str, name: str, write: Write) -> int:
        entry = self._parts.audit(actor, f"mesh-canary.{action}", name, "", hash_of(None))
        result = await self._parts.store.commit(write.guards, (*write.operations, entry))
        self._log.info("canary", canary=name, action=action)
        await self.following.at(result.revision)
        return result.revision

    def _document_entry(self, actor: Actor, change: DocumentChange) -> Put:
        before = change.before.content if change.before is not None else None
        after = change.read.content if change.read is not None else None
        action = f"mesh-document.{change.outcome}"
        return self._parts.audit(actor, action, str(change.key), hash_of(before), hash_of(after))

    def _apply(self, kvs: Sequence[KeyValue], revision: int, whole: bool) -> None:
        if not kvs and not whole:
            return
        try:
            self.view = self.view.after(kvs, whole)
        except AtollError as error:
            self._log.error("a canary cannot be read; none is tried", why=error.message)
            self.view = CanaryView()
        self._wake.set()


def _change(change: DocumentChange, read: Read) -> Change:
    revision = change.before.document.revision if change.before is not None else 0
    return Change(str(change.key), read.content.decode(), revision)


def _changed_world(canary: Canary) -> Callable[[World], World]:
    return lambda world: world.with_policies(canary_view.policies_with(canary, world.policies))


def _route_ends(canary: Canary) -> tuple[str, ...]:
    """How the names of routes end that the change makes and that count what goes by them."""
    routing = [change for change in canary.changes if canary_view.key_of(change).kind in _ROUTING]
    return tuple(f"@{reading.hash8_of(change.content.encode())}" for change in routing)


def _evidence(seen: Seen) -> Evidence:
    by_change = None if seen.by_change < 0 else seen.by_change
    return Evidence(seen.canary, seen.others, seen.before, by_change, seen.running_s, seen.refused)


def _together(seen: Sequence[Seen]) -> Seen:
    """Of all nodes that try it; ``running_s`` of the one that began first."""
    total = Seen()
    for each in seen:
        known = [count for count in (total.by_change, each.by_change) if count >= 0]
        total = Seen(
            (*total.clients, *each.clients),
            total.concerned + each.concerned,
            total.canary.plus(each.canary),
            total.others.plus(each.others),
            total.before.plus(each.before),
            sum(known) if known else -1,
            max(total.running_s, each.running_s),
            total.refused or each.refused,
        )
    return total


def _who(actor: Actor) -> str:
    return actor.user or actor.via
