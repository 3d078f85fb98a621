"""Several nodes with naming, in one process: one virtual clock and one store; tables and questions by hand.

Rule: every table is the real one; what stands between them here is a loop that hands on messages, and that can be cut.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from atoll.runtime import loop
from atoll.store.memory import open_memory
from atoll.store.shell import StoreShell
from tests.unit.registry.naming_kit import Bench, VirtualClock

ROUNDS_MAX = 50


class Cluster:
    """``nodes`` n1, n2, ... ``cut`` and ``heal`` part one node from all others; ``kill`` ends it for good."""

    def __init__(self, store: StoreShell, count: int) -> None:
        self.clock = VirtualClock()
        self.nodes = [Bench(store, node=f"n{number}", clock=self.clock) for number in range(1, count + 1)]
        self.alone: list[Bench] = []
        self.members = {each.table.node_id: 1 for each in self.nodes}
        for each in self.nodes:
            each.peers.reach(self._asking(each))
            each.peers.take({other.table.node_id: other.peers.me for other in self.nodes})
            each.table.know_members(self.members)
        for one, other in self._pairs():
            one.table.link_up(other.table.identity)
        self.exchange()

    def cut(self, node: Bench) -> None:
        for one, other in self._pairs():
            if node in (one, other):
                one.table.link_down(other.table.identity)
        self.alone.append(node)

    def heal(self, node: Bench) -> None:
        self.alone.remove(node)
        for one, other in self._pairs():
            if node in (one, other):
                one.table.link_up(other.table.identity)
        self.exchange()

    def kill(self, node: Bench) -> None:
        """Its record in the store ends with its lease."""
        self.cut(node)
        self.nodes.remove(node)
        del self.members[node.table.node_id]
        for each in self.nodes:
            each.table.know_members(self.members)

    def exchange(self) -> None:
        """Hand on messages until there is none."""
        for _ in range(ROUNDS_MAX):
            if not sum(self._hand_on(one, other) for one, other in self._pairs()):
                return

    async def pass_s(self, seconds: float, beating: Callable[[], object] = lambda: None) -> None:
        """Time goes by, one second at a time; ``beating`` is called in each."""
        until_s = self.clock.boot_s + seconds
        while self.clock.boot_s < until_s - 1e-9:
            self.clock.boot_s += min(1.0, until_s - self.clock.boot_s)
            beating()
            for each in self.nodes:
                each.table.tick(self.clock.boot_s)
                each.naming.tick(self.clock.boot_s)
            self.exchange()
            for each in self.nodes:
                await each.naming.beating.hand_over()
            self.exchange()

    def _pairs(self) -> list[tuple[Bench, Bench]]:
        """Both directions of every link that stands."""
        there = [each for each in self.nodes if each not in self.alone]
        return [(one, other) for one in there for other in there if one is not other]

    def _hand_on(self, one: Bench, other: Bench) -> int:
        message = one.table.next_message(other.table.identity)
        if message is None:
            return 0
        other.table.receive(one.table.identity, message)
        return 1

    def _asking(self, asker: Bench) -> Callable[[str, bytes, float], Awaitable[dict[str, bytes]]]:
        async def ask(kind: str, body: bytes, within_s: float) -> dict[str, bytes]:
            if asker in self.alone:
                return {}
            others = [each for each in self.nodes if each is not asker and each not in self.alone]
            return {each.table.node_id: await each.peers.answer(kind, body) for each in others}

        return ask


def with_cluster(scenario: Callable[[Cluster], Awaitable[None]], count: int = 3) -> None:
    """Run ``scenario`` on a loop of its own."""

    async def run() -> None:
        store = StoreShell(open_memory())
        try:
            await scenario(Cluster(store, count))
        finally:
            await store.close()

    loop.run(run())
