"""Ephemeral tables: the second kind of state, available before consistent, replicated node to node.

Rule: registering, dropping and looking up are synchronous acts in memory that cannot fail for want of a store or a
peer; the other nodes hear of them afterwards. All methods belong to the loop's thread.

    table = EphemeralTable(Identity(node_id, incarnation), clock, Times())
    tasks.start("ephemeral table", table.run())
    table.put(client_id, key, value)               # value: opaque bytes, one registration
    cancel = table.watch(prefix, sink)             # sink(changes) at once, after each act; begin with items(prefix)
    table.drop_client(client_id, clean=False)      # damped: lost after 0.8 s, removed after 10 s, unless taken over

Consumers see one entry a key: who holds it (``client`` on node ``origin``), its ``value``, and whether its client is
``lost``: to be shown as unhealthy whatever the value says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from atoll.runtime import loop
from atoll.runtime.clock import Clock
from atoll.store.api import Cancel
from atoll.store.ephemeral_keys import Change, Sink
from atoll.store.ephemeral_machine import NEVER_S, Counts, Damping, Effect, Machine, Times
from atoll.wire.nodes.entry import Entry, Identity
from atoll.wire.nodes.messages import Message

__all__ = ["Change", "Damping", "Entry", "EphemeralTable", "Identity", "Sink", "Times"]


class EphemeralTable:
    """The table of one node."""

    def __init__(self, identity: Identity, clock: Clock, times: Times | None = None) -> None:
        self.identity = identity
        self._clock = clock
        self._machine = Machine(identity, times or Times())
        self._wake = loop.Event()
        self._sleeps_until_s = 0.0
        self.on_news: Callable[[], None] = lambda: None  # there may be something to say to peers
        self.on_silent: Callable[[Identity], None] = lambda peer: None  # end the link to it
        self.on_shed: Callable[[], None] = lambda: None  # send the clients away: this node is cut off

    @property
    def node_id(self) -> str:
        return self.identity.node

    def __len__(self) -> int:
        """Keys, of all nodes."""
        return len(self._machine.keys)

    # ------------------------------------------------------------------------------------------ acts

    def put(self, client: str, key: bytes, value: bytes) -> None:
        """``client``, which is connected to this node, holds ``value`` under ``key`` from now on. A client that was
        dropped is there again. Other clients of this name or key on nodes that lost them give way.
        """
        self._machine.put(client, key, value)
        self._done()

    def delete(self, client: str, key: bytes) -> bool:
        """``client`` takes ``key`` back. False: it did not hold it on this node."""
        deleted = self._machine.delete(client, key)
        self._done()
        return deleted

    def drop_client(self, client: str, clean: bool) -> None:
        """The client's connection has ended. ``clean``: it said so, and what it held is gone at once; otherwise
        what it held is kept for a while (``Damping``), for the client to come back on whichever node.
        """
        self._machine.drop_client(client, clean, self._clock.now_s())
        self._done()

    # ------------------------------------------------------------------------------------- looking up

    def get(self, key: bytes) -> Entry | None:
        """The entry that stands for ``key`` now."""
        return self._machine.keys.get(key)

    def items(self, prefix: bytes = b"") -> list[Entry]:
        """The entries of all keys that begin with ``prefix``, in the order of the keys."""
        return self._machine.keys.items(prefix)

    def of_client(self, client: str) -> list[Entry]:
        """What a client of this node holds."""
        return self._machine.own.of_client(client)

    def watch(self, prefix: bytes, sink: Sink) -> Cancel:
        """``sink(changes)`` after every act that changed an entry under ``prefix``, on the loop, in order."""
        return self._machine.keys.watch(prefix, sink)

    # --------------------------------------------------------------------------------------- time

    async def run(self) -> None:
        """Do what time brings; for as long as the node runs."""
        while True:
            due_s = self._sleeps_until_s = self._machine.due_s()
            self._wake.clear()
            await loop.wait_event(self._wake, None if due_s == NEVER_S else due_s - self._clock.now_s())
            self.tick(self._clock.now_s())

    def tick(self, now_s: float) -> None:
        """Do what is due by now; ``run`` calls it in time, and tests with a clock of their own."""
        self._machine.tick(now_s)
        for peer in self._machine.silent(now_s):
            self.on_silent(peer)
            self._machine.link_down(peer, now_s)
        if Effect.SHED_CLIENTS in self._machine.take_effects():
            self.on_shed()
        self._done()

    # -------------------------------------------------------------------------- for links and membership

    def link_up(self, peer: Identity) -> None:
        self._machine.link_up(peer, self._clock.now_s())
        self._done()

    def link_down(self, peer: Identity) -> None:
        self._machine.link_down(peer, self._clock.now_s())
        self._done()

    def receive(self, peer: Identity, message: Message) -> None:
        self._machine.receive(peer, message, self._clock.now_s())
        self._done()

    def next_message(self, peer: Identity) -> Message | None:
        """What to say to ``peer`` now; None: nothing for the moment."""
        return self._machine.next_message(peer, self._clock.now_s())

    def know_members(self, members: Mapping[str, int] | None) -> None:
        """Which runs have a record in the store, by node; None: the store is away."""
        self._machine.know_members(members, self._clock.now_s())
        self._done()

    @property
    def is_synced(self) -> bool:
        """Whether the tables of all members have arrived, as they were when their links began."""
        return self._machine.is_synced()

    @property
    def counts(self) -> Counts:
        return self._machine.counts

    def _done(self) -> None:
        self._machine.keys.publish()
        self.on_news()
        if self._machine.due_s() < self._sleeps_until_s:
            self._wake.set()
