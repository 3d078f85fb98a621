"""What must hold at every instant of every World, whatever happens in it.

Rule: judged in true virtual time. A node answers as leader from the moment it was elected until its own
deadline, converted from its drifting clock to true time, whether or not it is paused just now: what counts is that
it would say yes if it were asked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from atoll.resources.election import Token
from atoll.store import facts
from atoll.store.api import Event
from atoll.testing.world.node import WORK_KEY, Node
from atoll.testing.world.virtual import Virtual


class Violation(Exception):
    """A rule of the World was broken; carries when, who and what."""


class Checks:
    """Hears of each fact and each commit; raises ``Violation`` at once."""

    def __init__(self, virtual: Virtual, nodes: Callable[[], Sequence[Node]]) -> None:
        self._virtual = virtual
        self._processes = nodes
        self._newest = Token(-1, -1)
        self._newest_written = Token(-1, -1)
        self.terms = 0
        self.writes_accepted = 0
        self.elected_at_s: list[tuple[float, str]] = []

    def heard(self, node: Node, fact: facts.MachineFact) -> None:
        match fact:
            case facts.Elected(_, token):
                self._no_other_answers(node)
                if token <= self._newest:
                    self._broken(f"{node.name} was elected with token {token} after {self._newest}")
                self._newest = token
                self.terms += 1
                self.elected_at_s.append((self._virtual.now_s, node.name))
            case facts.Extended():
                self._no_other_answers(node)

    def committed(self, events: tuple[Event, ...]) -> None:
        for event in events:
            if event.kv.key == WORK_KEY:
                generation, revision = event.kv.value.split()
                token = Token(int(generation), int(revision))
                if token < self._newest_written:
                    self._broken(f"a write with token {token} was accepted after {self._newest_written}")
                self._newest_written = token
                self.writes_accepted += 1

    def leaders(self) -> list[Node]:
        now_s = self._virtual.now_s
        return [node for node in self._processes() if node.serves_until_s() > now_s]

    def _no_other_answers(self, node: Node) -> None:
        for other in self.leaders():
            if other is not node:
                until_s = other.serves_until_s()
                self._broken(f"{node.name} leads while {other.name} answers as leader until {until_s:.6f}")

    def _broken(self, what: str) -> None:
        self._virtual.note("violation", what)
        raise Violation(f"at {self._virtual.now_s:.6f} s: {what}")
