"""A whole cluster in one process and one thread: candidates, their clocks, the network, etcd, and virtual time.

Rule: from one seed everything follows. A World only offers what can be done to it; which of it happens, and when,
is decided by a scenario, a transcript or a test.
"""

from __future__ import annotations

from typing import Final

from atoll.resources import election as records
from atoll.resources.election import Control, Keys
from atoll.runtime.rng import Rng, seeded_rng
from atoll.store import acts, facts
from atoll.store.api import (
    Compact,
    Compare,
    Event,
    Outcome,
    Put,
    Range,
    Relation,
    Target,
    Txn,
    TxnResult,
    prefix_end,
)
from atoll.store.candidacy import Candidacy
from atoll.testing.world.checks import Checks
from atoll.testing.world.cluster import MEMBERS, Cluster
from atoll.testing.world.driver import SimulatedDriver
from atoll.testing.world.embedded import EmbeddedServer
from atoll.testing.world.foreign import ForeignCandidate
from atoll.testing.world.network import Network, both
from atoll.testing.world.node import Node
from atoll.testing.world.server import Server
from atoll.testing.world.virtual import DriftingClock, Virtual

WISH_AGAIN_S: Final = 0.1


class World:
    """One election, ``name``, of nodes added by ``add``, over an etcd cluster or an ``embedded`` store."""

    def __init__(
        self, seed: int, *, name: str = "demo", embedded: bool = False, keep_trace: bool = False
    ) -> None:
        self.rng: Rng = seeded_rng(seed)
        self.name = name
        self.keys = Keys(name)
        self.virtual = Virtual(keep_trace)
        self.network = Network(self.virtual, self.rng)
        kind = EmbeddedServer if embedded else Cluster
        self.server: Server = kind(self.virtual, self.rng, self.network)
        self.nodes: dict[str, Node] = {}
        self.foreign: list[ForeignCandidate] = []
        self.checks = Checks(self.virtual, lambda: list(self.nodes.values()))
        self.server.on_commit = self._committed

    def add(self, candidacy: Candidacy, rate: float = 1.0) -> Node:
        clock = DriftingClock(self.virtual, rate, 1000.0 * self.rng.random())
        node = Node(self.virtual, self.rng, clock, candidacy, self.connect)
        node.heard = self._heard
        self.nodes[node.name] = node
        node.tell(acts.Enter())
        return node

    def connect(self, client: str) -> SimulatedDriver:
        return SimulatedDriver(self.virtual, self.rng, self.network, self.server, client)

    def add_foreign(self, client: str, stays_s: float) -> ForeignCandidate:
        foreign = ForeignCandidate(self.virtual, self.connect(client), self.name, stays_s)
        self.foreign.append(foreign)
        return foreign

    @property
    def cluster(self) -> Cluster:
        """The etcd cluster; only in a World that has one."""
        if not isinstance(self.server, Cluster):
            raise TypeError("this World has an embedded store, no etcd cluster")
        return self.server

    @property
    def embedded(self) -> EmbeddedServer:
        """The embedded store; only in a World that has one."""
        if not isinstance(self.server, EmbeddedServer):
            raise TypeError("this World has an etcd cluster, no embedded store")
        return self.server

    # ---------------------------------------------------------------------------------------------- looking

    def leader(self) -> Node | None:
        """Who answers as leader now."""
        return next(iter(self.checks.leaders()), None)

    def standbys(self) -> list[Node]:
        """Those that stand and do not lead, in order of succession."""
        leader, order = self.leader(), self._queue()
        standing = [(order[p.lease], p) for p in self.nodes.values() if p is not leader and p.lease in order]
        return [node for _, node in sorted(standing, key=lambda pair: pair[0])]

    def abandoned(self) -> set[int]:
        """Leases in the queue that are no node's: whoever stood there is gone, and the lease has yet to run out."""
        return set(self._queue()) - {node.lease for node in self.nodes.values()}

    def _queue(self) -> dict[int, int]:
        """The create revision of every candidate's key, by lease."""
        kvs = self.server.read(Range(self.keys.queue, prefix_end(self.keys.queue))).kvs
        return {kv.lease: kv.create_revision for kv in kvs if self.keys.lease_of(kv.key)}

    # ------------------------------------------------------------------------------------------------ doing

    def cut_off(self, node: Node, ways: str = "both") -> list[tuple[str, str]]:
        """Cut ``node`` from all members; ``ways`` ``out`` loses its requests only, ``in`` the answers only."""
        pairs = both([node.name], MEMBERS)
        half = len(pairs) // 2
        chosen = {"both": pairs, "out": pairs[:half], "in": pairs[half:]}[ways]
        self.network.cut(chosen)
        return chosen

    def control(self, **wishes: bool | str) -> None:
        """Write the operator's wishes, as ``store.elections`` does: what is not named stays; tried until it holds."""
        found = self.server.read(Range(self.keys.control)).kvs
        old = records.decode(Control, found[0].value) if found else Control()
        new = Control(
            paused=bool(wishes.get("paused", old.paused)),
            handover_to=str(wishes.get("handover_to", old.handover_to)),
        )
        seen = Compare(self.keys.control, Target.MOD, Relation.EQUAL, found[0].mod_revision if found else 0)
        put = Put(self.keys.control, records.encode(new))

        def written(outcome: Outcome) -> None:
            if not (isinstance(outcome, TxnResult) and outcome.succeeded):
                self.virtual.after(WISH_AGAIN_S, lambda: self.control(**wishes))

        self.server.write(Txn((seen,), (put,)), written)

    def compact(self) -> None:
        self.server.write(Compact(self.server.revision), lambda outcome: None)

    def heal(self) -> None:
        """End every fault. Crashed nodes start again, foreign candidates go."""
        self.network.mend_all()
        self.server.heal()
        for foreign in self.foreign:
            foreign.leave()
        for node in self.nodes.values():
            node.resume()
            node.restart()

    def run_for(self, duration_s: float) -> None:
        self.virtual.run_until(self.virtual.now_s + duration_s)

    # -- hearing

    def _heard(self, node: Node, fact: facts.MachineFact) -> None:
        if not isinstance(fact, facts.Extended):
            self.virtual.note(node.name, describe(fact))
        self.checks.heard(node, fact)

    def _committed(self, events: tuple[Event, ...]) -> None:
        for event in events:
            verb = "deleted" if event.is_delete else "put"
            self.virtual.note("store", f"{event.kv.mod_revision} {verb} {event.kv.key.decode()}")
        self.checks.committed(events)


def describe(fact: facts.MachineFact) -> str:
    """A fact in words, for traces and transcripts."""
    match fact:
        case facts.Waiting(hold, ahead):
            return f"waits: {hold.value}" + (f" ({ahead} ahead)" if ahead else "")
        case facts.Elected(_, token):
            return f"leads, token {token}"
        case facts.Extended():
            return "goes on leading"
        case facts.Quiesce(cause, _, to):
            return f"quiesces: {cause.value}" + (f" to {to}" if to else "")
        case facts.Lost(cause, token):
            return f"leads no more: {cause.value}"
        case facts.Proclaimed(value):
            return f"proclaimed {value.decode(errors='replace')}"
        case facts.Out(closed):
            return "closed" if closed else "left"
