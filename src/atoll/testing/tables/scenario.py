"""One seed's story: nodes and clients are set up, driven through faults, healed, and must agree with the clients.

Rule: what must hold all the time is in ``checks``; the end is checked here: once everything is healed, and after the
longest promise, every node shows exactly what live clients hold.

Sizes (STYLE.md, 21): at least 3 nodes, 5 faults, 60 virtual seconds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import msgspec

from atoll.testing.tables import checks
from atoll.testing.tables.checks import Checks
from atoll.testing.tables.node import Node
from atoll.testing.tables.world import STORE, Client, World
from atoll.testing.world.checks import Violation
from atoll.testing.world.network import both

FAULTS_BEGIN_S = 5.0
FAULTS_END_S = 60.0
HEALED_S = 37.0
NODES = (3, 3, 4, 5)
NODES_MAX = 6
CLIENTS = 10


class Outcome(msgspec.Struct, frozen=True):
    """What one seed showed. ``violation`` empty: everything held."""

    seed: int
    violation: str
    trace_hash: str
    faults: dict[str, int]
    nodes: int
    clients: int
    looks: int
    virtual_s: float
    events: int
    trace: tuple[str, ...] = ()


class Scenario:
    """A fault begins, and gives back what ends it; those named in ``QUIET`` leave the promises as they are."""

    def __init__(self, seed: int, keep_trace: bool = False) -> None:
        self.seed = seed
        self.world = World(seed, keep_trace)
        self.checks = Checks(self.world)
        self._rng = self.world.rng
        self._drawn: Counter[str] = Counter()
        self._disturbing = 0
        self._healed = False

    def run(self) -> Outcome:
        violation = ""
        try:
            self._play()
        except Violation as error:
            violation = str(error)
        world = self.world
        return Outcome(
            seed=self.seed,
            violation=violation,
            trace_hash=world.virtual.trace_hash,
            faults=dict(self._drawn),
            nodes=len(world.nodes),
            clients=len(world.clients),
            looks=self.checks.looks,
            virtual_s=world.virtual.now_s,
            events=world.virtual.events,
            trace=tuple(world.virtual.trace),
        )

    def _play(self) -> None:
        world, rng = self.world, self._rng
        for _ in range(rng.choice(NODES)):
            self._shed_by(world.add())
        world.virtual.run_until(2.0)
        for _ in range(CLIENTS):
            self._add_client()
        self._next_fault(FAULTS_BEGIN_S)
        world.virtual.run_until(FAULTS_END_S + 8.0)
        self._heal()
        world.virtual.run_until(world.virtual.now_s + HEALED_S)
        self.checks.agree()

    def _heal(self) -> None:
        world = self.world
        world.virtual.note("world", "everything is healed")
        self._healed = True
        world.network.mend_all()
        if world.store_away:
            world.return_store()
        for node in world.nodes.values():
            node.vanish = 0
            if node.stalled:
                node.resume()
            if node.machine is None:
                world.start(node)
        self.checks.is_disturbed = False
        self.checks.disturbed_s = world.virtual.now_s

    # ------------------------------------------------------------------------------------------- clients

    def _add_client(self) -> None:
        node = self._some_node()
        if node is not None:
            client = self.world.add_client(node)
            self.checks.holds(client)
            self._step_later(client)

    def _some_node(self, but: Node | None = None) -> Node | None:
        nodes = [node for node in self.world.nodes.values() if node.works and node is not but]
        return self._rng.choice(nodes) if nodes else None

    def _step_later(self, client: Client) -> None:
        self.world.virtual.after(self._rng.uniform(0.5, 10.0), self._step, client)

    def _step(self, client: Client) -> None:
        if self._healed or client.name not in self.world.clients:
            return
        self._step_later(client)
        if client.node is None or not client.node.works:
            return
        act = self._rng.random()
        key = self._rng.choice(list(client.keys))
        if act < 0.3:
            self.world.change(client, key)
        elif act < 0.4 and len(client.keys) > 1:
            self.checks.ended([key], checks.CLEAN_S)
            self.world.delete(client, key)
        elif act < 0.5:
            self._forget(client, checks.CLEAN_S)
            self.world.close(client)
        elif act < 0.6:
            self._forget(client, checks.BROKEN_S)
            self.world.lose(client, 0.3 * self._rng.random())
        else:
            self.world.virtual.note(client.name, "loses its connection")
            self.world.lose(client, 0.1 * self._rng.random())
            quick = self._rng.random() < 0.5
            self._come_back(client, self._rng.uniform(0.02, 0.6) if quick else self._rng.uniform(0.6, 7.0))

    def _forget(self, client: Client, within_s: float) -> None:
        self.world.virtual.note(client.name, "is no more")
        self.checks.ended(list(client.keys), within_s)
        del self.world.clients[client.name]
        self.world.virtual.after(self._rng.uniform(0.0, 5.0), self._replace)

    def _replace(self) -> None:
        if not self._healed:
            self._add_client()

    def _come_back(self, client: Client, after_s: float) -> None:
        self.world.virtual.after(after_s, self._back, client, client.node)

    def _back(self, client: Client, former: Node | None) -> None:
        if client.node is not None or client.name not in self.world.clients:
            return
        node = self._some_node(but=former) or self._some_node()
        if node is None:
            self.world.virtual.after(0.5, self._back, client, former)
        else:
            self.world.connect(client, node)

    def _leave_node(self, node: Node, noticed_s_max: float) -> None:
        """Its clients lose their connections, and look for another node."""
        for client in self.world.clients.values():
            if client.node is node:
                self.world.lose(client, 0.1 * self._rng.random())
                self.world.virtual.after(self._rng.uniform(0.05, noticed_s_max), self._back, client, node)

    def _shed_by(self, node: Node) -> None:
        def shed(shedding: Node) -> None:
            self.world.virtual.note(shedding.name, "is cut off and sends its clients away")
            self._leave_node(shedding, 3.0)

        node.shed = shed

    # -------------------------------------------------------------------------------------------- faults

    def _next_fault(self, at_s: float) -> None:
        if at_s < FAULTS_END_S:
            self.world.virtual.at(at_s, self._begin_some)

    def _begin_some(self) -> None:
        name = self._rng.choice(list(FAULTS))
        end = FAULTS[name](self)
        if end is not None:
            self._drawn[name] += 1
            self.world.virtual.note("world", f"fault: {name}")
            if name not in QUIET:
                self._disturbing += 1
                self.checks.is_disturbed = True
            self.world.virtual.after(self._rng.uniform(0.5, 14.0), self._end, name, end)
        gap_s = self._rng.choice((1.0, 4.0, 4.0, 12.0))
        self._next_fault(self.world.virtual.now_s + self._rng.uniform(0.3, 1.0) * gap_s)

    def _end(self, name: str, end: Callable[[], None]) -> None:
        if self._healed:
            return
        self.world.virtual.note("world", f"over: {name}")
        end()
        if name not in QUIET:
            self._disturbing -= 1
            self.checks.disturbed_s = self.world.virtual.now_s
            self.checks.is_disturbed = self._disturbing > 0

    def crash(self) -> Callable[[], None] | None:
        node = self._some_node()
        running = [each for each in self.world.nodes.values() if each.machine is not None]
        if node is None or len(running) < 3:
            return None
        self.checks.killed()
        node.crash()
        self._leave_node(node, 5.0)
        return lambda: self.world.start(node)

    def cut(self, pairs: list[tuple[str, str]]) -> Callable[[], None]:
        self.world.network.cut(pairs)
        return lambda: self.world.network.mend(pairs)

    def cut_two(self) -> Callable[[], None]:
        one, other = self._rng.sample(list(self.world.nodes), 2)
        return self.cut(both([one], [other]))

    def cut_one_way(self) -> Callable[[], None]:
        one, other = self._rng.sample(list(self.world.nodes), 2)
        return self.cut([(one, other)])

    def cut_off(self) -> Callable[[], None]:
        one = self._rng.choice(list(self.world.nodes))
        return self.cut(both([one], [name for name in self.world.nodes if name != one]))

    def cut_off_from_all(self) -> Callable[[], None]:
        one = self._rng.choice(list(self.world.nodes))
        return self.cut(both([one], [STORE, *(name for name in self.world.nodes if name != one)]))

    def cut_from_store(self) -> Callable[[], None]:
        return self.cut(both([self._rng.choice(list(self.world.nodes))], [STORE]))

    def stop_store(self) -> Callable[[], None] | None:
        if self.world.store_away:
            return None
        self.world.store_away = True
        return self.world.return_store

    def stall(self) -> Callable[[], None] | None:
        node = self._some_node()
        if node is None:
            return None
        node.stall()
        return node.resume

    def slow(self) -> Callable[[], None]:
        network = self.world.network
        name = self._rng.choice(list(self.world.nodes))
        network.late_to_s[name] = self._rng.uniform(0.1, 1.0)

        def end() -> None:
            network.late_to_s.pop(name, None)

        return end

    def vanish(self) -> Callable[[], None] | None:
        node = self._some_node()
        if node is None:
            return None
        node.vanish += self._rng.randint(1, 5)

        def end() -> None:
            node.vanish = 0

        return end

    def forget(self) -> Callable[[], None] | None:
        """A copy loses an entry, as by a bug, and does not know."""
        node = self._some_node()
        if node is None or node.machine is None:
            return None
        copies = [
            each.origin
            for each in node.machine.replicas.all.values()
            if each.origin.entries and each.is_whole
        ]
        if not copies:
            return None
        copy = self._rng.choice(copies)
        name = self._rng.choice(list(copy.entries))
        node.machine.keys.remove(copy.entries.pop(name))
        return lambda: None

    def join(self) -> Callable[[], None] | None:
        if len(self.world.nodes) >= NODES_MAX:
            return None
        self._shed_by(self.world.add())
        return lambda: None


FAULTS: dict[str, Callable[[Scenario], Callable[[], None] | None]] = {
    "crash": Scenario.crash,
    "cut two": Scenario.cut_two,
    "cut one way": Scenario.cut_one_way,
    "cut off from nodes": Scenario.cut_off,
    "cut off from all": Scenario.cut_off_from_all,
    "cut from store": Scenario.cut_from_store,
    "store away": Scenario.stop_store,
    "stall": Scenario.stall,
    "slow": Scenario.slow,
    "messages vanish": Scenario.vanish,
    "a copy forgets": Scenario.forget,
    "join": Scenario.join,
}
QUIET = ("crash", "join")


def run(seed: int, keep_trace: bool = False) -> Outcome:
    return Scenario(seed, keep_trace).run()


def summary(outcome: Outcome) -> str:
    faults = ", ".join(f"{name} x{count}" for name, count in sorted(outcome.faults.items()))
    return (
        f"seed {outcome.seed}: {outcome.violation or 'every rule held'}; {outcome.nodes} nodes, "
        f"{outcome.clients} clients, {outcome.virtual_s:.1f} virtual seconds, {outcome.events} events, "
        f"{outcome.looks} looks; {faults}; trace {outcome.trace_hash}"
    )
