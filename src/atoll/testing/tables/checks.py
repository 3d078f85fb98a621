"""What must hold: what live clients hold is there, what nobody holds goes in time, and nobody flaps.

Rule: judged in true time. The bounds are the promises of docs/explanation/ephemeral-tables.md, with what clocks may
drift; while the network or the store is disturbed, and ``SETTLED_S`` after, they wait.
"""

from __future__ import annotations

from collections.abc import Sequence

from atoll.store.ephemeral_keys import Change
from atoll.testing.tables.node import Node
from atoll.testing.tables.world import Client, World
from atoll.testing.world.checks import Violation

LOOK_EVERY_S = 0.5
CONVERGED_S = 3.0  # a change, after which every node has it
SETTLED_S = 9.0  # a disturbance, after which changes converge again
STARTED_S = 6.0
CLEAN_S = 1.0
BROKEN_S = 11.5
KILLED_S = 30.0
DISTURBED_S = 34.0
UNSEEN_S = 0.75  # who comes back so soon is not seen to have gone
AWAY_S = 9.0  # who is away for longer than this may be removed
EXCUSED_S = 45.0


class Checks:
    """``disturbed_s``: when something last was wrong with network or store; kept up to date by the scenario."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.disturbed_s = -EXCUSED_S
        self.is_disturbed = False
        self.looks = 0
        self._owners: dict[bytes, Client] = {}
        self._ended: dict[bytes, float] = {}  # key that nobody holds: by when it has to be gone
        self._excused: dict[str, float] = {}  # node whose clients others may have given up
        world.made = self._made
        world.virtual.after(LOOK_EVERY_S, self._look)

    def _made(self, node: Node) -> None:
        node.seen = self._seen

    # ------------------------------------------------------------------------------------------ the truth

    def holds(self, client: Client) -> None:
        for key in client.keys:
            self._owners[key] = client
            self._ended.pop(key, None)

    def ended(self, keys: Sequence[bytes], within_s: float) -> None:
        for key in keys:
            self._owners.pop(key, None)
            self._ended[key] = self.world.virtual.now_s + within_s

    def killed(self) -> None:
        """A node died: what its clients no longer held has until then."""
        until_s = self.world.virtual.now_s + KILLED_S
        self._ended = {key: max(until_s, by_s) for key, by_s in self._ended.items()}

    # ---------------------------------------------------------------------------------------- every change

    def _seen(self, node: Node, changes: Sequence[Change]) -> None:
        for change in changes:
            after = change.after
            if change.visible and (after is None or after.lost):
                self._seen_to_go(node, change)

    def _seen_to_go(self, node: Node, change: Change) -> None:
        client = self._owners.get(change.key)
        if client is None or self.world.virtual.now_s - node.since_s < STARTED_S:
            return  # a node that has just started serves nobody before the others' tables have arrived
        now_s = self.world.virtual.now_s
        away_s = 0.0 if client.node is not None else now_s - client.lost_s
        after = change.after
        if client.node is None and away_s >= (UNSEEN_S if after is not None else AWAY_S):
            return
        if client.node is not None and now_s - client.since_s < CONVERGED_S:
            return  # it was away for long and is on its way back to this node
        if self._is_excused(node) or (client.node is not None and self._is_excused(client.node)):
            return
        what = "removed" if after is None else "unhealthy"
        where = f"at {client.node.name}" if client.node else f"away for {away_s:.2f} s"
        raise Violation(f"at {now_s:.3f} s: {node.name} shows {change.key.decode()} as {what}; it is {where}")

    def _is_excused(self, node: Node) -> bool:
        now_s = self.world.virtual.now_s
        recently = self.is_disturbed or now_s - self.disturbed_s < SETTLED_S
        return recently or now_s - self._excused.get(node.name, -EXCUSED_S) < EXCUSED_S

    # ------------------------------------------------------------------------------------- now and then

    def _look(self) -> None:
        self.world.virtual.after(LOOK_EVERY_S, self._look)
        now_s = self.world.virtual.now_s
        if self.is_disturbed:
            self.disturbed_s = now_s
        for node in self.world.nodes.values():
            if node.machine is not None and not self.world.lease_holds(node):
                self._excused[node.name] = now_s
            if node.works and now_s - node.since_s >= STARTED_S:
                self._look_at(node, now_s)

    def _look_at(self, node: Node, now_s: float) -> None:
        self.looks += 1
        machine = node.machine
        if machine is None:
            return
        shown = {entry.key: entry for entry in machine.keys.items(b"")}
        for key in shown:
            by_s = self._ended.get(key)
            if by_s is not None and now_s > max(by_s, self.disturbed_s + DISTURBED_S) + 1.0:
                self._broken(f"{node.name} still shows {key.decode()}, which nobody holds", now_s)
        if now_s - self.disturbed_s < SETTLED_S:
            return
        for client in self.world.clients.values():
            if client.node is None or now_s - client.since_s < CONVERGED_S or self._is_excused(client.node):
                continue
            for key, value in client.keys.items():
                entry = shown.get(key)
                if now_s - client.changed_s[key] >= CONVERGED_S and (
                    entry is None or entry.value != value or entry.lost
                ):
                    self._broken(f"{node.name} shows {entry}, {client.name} holds {key!r}: {value!r}", now_s)

    def agree(self) -> None:
        """At the end: every node shows exactly what live clients hold."""
        now_s = self.world.virtual.now_s
        truth = {key: client.keys[key] for key, client in sorted(self._owners.items())}
        for node in self.world.nodes.values():
            if node.machine is None:
                raise Violation(f"{node.name} does not run")
            shown = {entry.key: entry.value for entry in node.machine.keys.items(b"") if not entry.lost}
            if shown != truth:
                missing, extra = sorted(truth.keys() - shown.keys()), sorted(shown.keys() - truth.keys())
                self._broken(
                    f"{node.name} does not show {missing}, and shows {extra} that nobody holds", now_s
                )

    def _broken(self, what: str, now_s: float) -> None:
        raise Violation(f"at {now_s:.3f} s: {what}")
