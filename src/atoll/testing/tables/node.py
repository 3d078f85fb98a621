"""A simulated node: one run after another of the real machine, on a clock of its own, with links that carry bytes.

Rule: a link is a TCP connection: in order, nothing lost while it lives, what is on its way lost when it ends; a cut is
noticed by silence alone. What a real link cannot do, losing a single message, is a fault that a scenario draws.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from atoll.store.ephemeral_keys import Change
from atoll.store.ephemeral_machine import NEVER_S, Effect, Machine, Times
from atoll.testing.world.network import Network
from atoll.testing.world.virtual import DriftingClock, Virtual
from atoll.wire.nodes.entry import Identity
from atoll.wire.nodes.messages import decode, encode

RETRANSMIT_S = 0.2


class Way:
    """One direction of a link."""

    def __init__(self, source: Node, target: Node) -> None:
        self.source = source
        self.target = target
        self.run = target.who
        self.is_busy = False
        self.ended = False
        self.pumped_s = -NEVER_S  # until then somebody looks whether there is something to say


class Node:
    """``machine`` None: crashed. ``stalled`` nodes do nothing while their clock goes on."""

    def __init__(self, name: str, virtual: Virtual, network: Network, clock: DriftingClock) -> None:
        self.name = name
        self.incarnation = 0
        self.machine: Machine | None = None
        self.stalled = False
        self.since_s = 0.0
        self.vanish = 0
        self.ways: dict[str, Way] = {}
        self.seen: Callable[[Node, Sequence[Change]], None] = lambda node, changes: None
        self.shed: Callable[[Node], None] = lambda node: None
        self._virtual = virtual
        self._network = network
        self.clock = clock
        self._waiting: deque[Callable[[], None]] = deque()
        self._tick_at_s = NEVER_S

    @property
    def who(self) -> Identity:
        return Identity(self.name, self.incarnation)

    @property
    def works(self) -> bool:
        return self.machine is not None and not self.stalled

    # ------------------------------------------------------------------------------------- start and end

    def start(self) -> None:
        self.incarnation += 1
        self.since_s = self._virtual.now_s
        self.machine = Machine(self.who, Times())
        self.machine.keys.watch(b"", lambda changes: self.seen(self, changes))

    def crash(self) -> None:
        self.machine = None
        self._waiting.clear()
        for way in list(self.ways.values()):
            self._end(way)

    def stall(self) -> None:
        self.stalled = True

    def resume(self) -> None:
        self.stalled = False
        while self._waiting and self.machine is not None:
            self._waiting.popleft()()
        self.act(lambda machine, now_s: machine.tick(now_s))

    # ---------------------------------------------------------------------------------------------- acts

    def act(self, act: Callable[[Machine, float], object]) -> None:
        """Do something to the machine, now or when the stall ends, and what follows from it."""
        machine = self.machine
        if machine is None:
            return
        if self.stalled:
            self._waiting.append(lambda: self.act(act) if self.machine is machine else None)
            return
        now_s = self.clock.now_s()
        act(machine, now_s)
        for peer in machine.silent(now_s):
            way = self.ways.get(peer.node)
            if way is not None:
                self._virtual.note(self.name, f"ends a silent link with {peer.node}")
                self._end(way)
            machine.link_down(peer, now_s)
        machine.keys.publish()
        if Effect.SHED_CLIENTS in machine.take_effects():
            self.shed(self)
        for name in list(self.ways):
            self._pump(name)
        self._schedule(machine)

    def _schedule(self, machine: Machine) -> None:
        due_s = machine.due_s()
        at_s = max(self.clock.true_s(due_s), self._virtual.now_s + 0.001) if due_s < NEVER_S else NEVER_S
        if at_s < self._tick_at_s or self._tick_at_s <= self._virtual.now_s:
            self._tick_at_s = at_s
            if at_s < NEVER_S:
                self._virtual.at(at_s, self._tick, machine)

    def _tick(self, machine: Machine) -> None:
        if self.machine is machine and self._virtual.now_s >= self._tick_at_s:
            self._tick_at_s = NEVER_S
            self.act(lambda each, now_s: each.tick(now_s))

    # --------------------------------------------------------------------------------------------- links

    def link(self, other: Node) -> None:
        self._virtual.note(self.name, f"links with {other.name}")
        for one, two in ((self, other), (other, self)):
            one.ways[two.name] = Way(one, two)
        for one, two in ((self, other), (other, self)):
            peer = two.who
            one.act(lambda machine, now_s, peer=peer: machine.link_up(peer, now_s))  # type: ignore[misc]

    def _end(self, way: Way) -> None:
        """This side's socket is closed; the other side hears it if the network lets it."""
        way.ended = True
        self.ways.pop(way.target.name, None)
        run = self.who
        self._network.send(self.name, way.target.name, way.target.hear_end, self, run)

    def hear_end(self, source: Node, run: Identity) -> None:
        way = self.ways.get(source.name)
        if way is not None and way.run == run and (source.ways.get(self.name) is None):
            way.ended = True
            del self.ways[source.name]
            self.act(lambda machine, now_s: machine.link_down(run, now_s))

    def _pump(self, name: str) -> None:
        way = self.ways.get(name)
        if way is None or way.is_busy or self.machine is None:
            return
        machine = self.machine
        message = machine.next_message(way.run, self.clock.now_s())
        if message is None:
            due_s = machine.saying_due_s(way.run)
            if due_s > way.pumped_s and due_s < NEVER_S:
                way.pumped_s = due_s
                self._virtual.at(self.clock.true_s(due_s) + 0.001, self._say_due, way)
            return
        way.is_busy = True
        if self.vanish:
            self.vanish -= 1
            self._virtual.after(0.001, self._arrived, way, None)
        else:
            delay_s = self._network.delay_s(self.name, name)
            self._virtual.after(delay_s, self._arrived, way, encode(message))

    def _say_due(self, way: Way) -> None:
        if self.ways.get(way.target.name) is way and self.works:
            self._pump(way.target.name)

    def _arrived(self, way: Way, data: bytes | None) -> None:
        if way.ended or self.ways.get(way.target.name) is not way:
            return
        if self._network.is_cut(self.name, way.target.name):
            self._virtual.after(RETRANSMIT_S, self._arrived, way, data)
            return
        way.is_busy = False
        target, who = way.target, self.who
        back = target.ways.get(self.name)
        if data is not None and back is not None and target.who == way.run:
            target.act(lambda machine, now_s: machine.receive(who, decode(data), now_s))
        if self.works:
            self._pump(way.target.name)
