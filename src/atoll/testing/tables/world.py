"""The cluster: nodes that find one another by leased records, dial, and are cut off; and clients that hold keys.

Rule: from one seed everything follows. A World only offers what can be done to it; ``scenario`` draws what happens.
"""

from __future__ import annotations

from collections.abc import Callable

from atoll.runtime.rng import Rng, seeded_rng
from atoll.testing.tables.node import Node
from atoll.testing.world.network import Network
from atoll.testing.world.virtual import DriftingClock, Virtual

LEASE_TTL_S = 10.0
LOOK_EVERY_S = 2.0
DIAL_AGAIN_S = 0.5
STORE = "store"
RATE_DRIFT_MAX = 0.02


class Client:
    """``keys``: what it holds, by value. ``node`` None: not connected. ``lost_s``: since when it is not."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.keys: dict[bytes, bytes] = {}
        self.node: Node | None = None
        self.connection = ""
        self.connections = 0
        self.since_s = 0.0
        self.lost_s = 0.0
        self.changed_s: dict[bytes, float] = {}


class World:
    """Nodes, the records in the store, clients."""

    def __init__(self, seed: int, keep_trace: bool = False) -> None:
        self.rng: Rng = seeded_rng(seed)
        self.virtual = Virtual(keep_trace)
        self.network = Network(self.virtual, self.rng)
        self.nodes: dict[str, Node] = {}
        self.clients: dict[str, Client] = {}
        self.store_away = False
        self._clients_made = 0
        self._leases: dict[str, tuple[int, float]] = {}  # node: incarnation, until
        self.made: Callable[[Node], None] = lambda node: None

    # --------------------------------------------------------------------------------------------- nodes

    def add(self) -> Node:
        name = f"n{len(self.nodes)}"
        rate = 1.0 + RATE_DRIFT_MAX * (2 * self.rng.random() - 1)
        node = Node(
            name, self.virtual, self.network, DriftingClock(self.virtual, rate, 1000 * self.rng.random())
        )
        self.nodes[name] = node
        self.made(node)
        self.start(node)
        self.virtual.after(LOOK_EVERY_S * self.rng.random(), self._look, node)
        self.virtual.after(DIAL_AGAIN_S * self.rng.random(), self._dial, node)
        return node

    def start(self, node: Node) -> None:
        node.start()
        self.virtual.note(node.name, f"starts, run {node.incarnation}")
        self._look_once(node)

    def lease_holds(self, node: Node) -> bool:
        """Whether the store has a record of this very run."""
        incarnation, until_s = self._leases.get(node.name, (0, 0.0))
        return incarnation == node.incarnation and until_s > self.virtual.now_s

    def _look(self, node: Node) -> None:
        self.virtual.after(LOOK_EVERY_S, self._look, node)
        if node.works:
            self._look_once(node)

    def _look_once(self, node: Node) -> None:
        if self.store_away or self.network.is_cut(node.name, STORE):
            node.act(lambda machine, now_s: machine.know_members(None, now_s))
            return
        now_s = self.virtual.now_s
        self._leases[node.name] = (node.incarnation, now_s + LEASE_TTL_S)
        members = {name: run for name, (run, until_s) in self._leases.items() if until_s > now_s}
        node.act(lambda machine, now_s: machine.know_members(members, now_s))

    def return_store(self) -> None:
        """Leases go on from where they were when it went: a new leader of etcd extends them."""
        self.store_away = False
        until_s = self.virtual.now_s + LEASE_TTL_S
        self._leases = {name: (run, max(until_s, end_s)) for name, (run, end_s) in self._leases.items()}

    def _dial(self, node: Node) -> None:
        self.virtual.after(DIAL_AGAIN_S, self._dial, node)
        if not node.works:
            return
        for other in self.nodes.values():
            linked = other.name in node.ways or node.name in other.ways
            if node.name < other.name and other.works and not linked and self.connects(node, other):
                node.link(other)

    def connects(self, one: Node, other: Node) -> bool:
        names = one.name, other.name
        return not (self.network.is_cut(*names) or self.network.is_cut(*names[::-1]))

    # ------------------------------------------------------------------------------------------- clients

    def add_client(self, node: Node) -> Client:
        self._clients_made += 1
        client = Client(f"c{self._clients_made}")
        self.clients[client.name] = client
        for number in range(self.rng.randint(1, 3)):
            self.change(client, b"%s/%d" % (client.name.encode(), number))
        self.connect(client, node)
        return client

    def connect(self, client: Client, node: Node) -> None:
        client.connections += 1
        client.node = node
        client.connection = f"{client.name}.{client.connections}"
        client.since_s = self.virtual.now_s
        self.virtual.note(client.name, f"connects to {node.name}")
        for key in client.keys:
            self._put(client, key)

    def change(self, client: Client, key: bytes) -> None:
        client.keys[key] = b"v%d" % self.rng.randint(0, 999_999)
        client.changed_s[key] = self.virtual.now_s
        if client.node is not None:
            self._put(client, key)

    def delete(self, client: Client, key: bytes) -> None:
        del client.keys[key]
        connection = client.connection
        if client.node is not None:
            client.node.act(lambda machine, now_s: machine.delete(connection, key))

    def close(self, client: Client) -> None:
        """Orderly."""
        self._drop(client, clean=True)
        client.node = None

    def lose(self, client: Client, noticed_after_s: float) -> None:
        """The connection breaks; its node notices so much later, if it lives."""
        node, connection = client.node, client.connection
        client.node, client.lost_s = None, self.virtual.now_s
        if node is not None and node.machine is not None:
            run = node.machine

            def notice() -> None:
                if node.machine is run:
                    node.act(lambda machine, now_s: machine.drop_client(connection, False, now_s))

            self.virtual.after(noticed_after_s, notice)

    def _drop(self, client: Client, clean: bool) -> None:
        connection = client.connection
        if client.node is not None:
            client.node.act(lambda machine, now_s: machine.drop_client(connection, clean, now_s))

    def _put(self, client: Client, key: bytes) -> None:
        connection, value = client.connection, client.keys[key]
        if client.node is not None:
            client.node.act(lambda machine, now_s: machine.put(connection, key, value))
