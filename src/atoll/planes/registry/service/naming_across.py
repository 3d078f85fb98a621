"""What only all nodes together know of naming: subscribers and clients; and the time that they agree on.

Rule: whoever asks gets what the reachable nodes answer, within ``ASKED_WITHIN_S``; a node that does not answer is left
out, as its clients are about to come to the others. Each node tells the others its time once a second (see
``policy/cluster_clock.py``).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, TypeVar

import msgspec

from atoll.errors import AtollError, Code
from atoll.planes.registry.model.naming import ClientView, PublisherView, SubscriberView
from atoll.planes.registry.policy.cluster_clock import ClusterClock
from atoll.planes.registry.service.clients import Clients, Known
from atoll.planes.registry.service.pushes import Pushes, Subscription
from atoll.resources.instance import Instance
from atoll.resources.service import ServiceKey
from atoll.runtime import loop
from atoll.runtime.clock import Clock
from atoll.store.peers import Peers

SUBSCRIBERS_KIND: Final = "naming.subscribers"
CLIENTS_KIND: Final = "naming.clients"
CLIENT_KIND: Final = "naming.client"
CLOCK_KIND: Final = "naming.clock"
ASKED_WITHIN_S: Final = 2.0
TOLD_EVERY_S: Final = 1.0

T = TypeVar("T")


class ClientDetail(msgspec.Struct, frozen=True):
    """A client with what it registered and what it is subscribed to."""

    view: ClientView
    published: tuple[PublisherView, ...]
    subscribed: tuple[SubscriberView, ...]


class NamingAcross:
    """One node's part."""

    def __init__(
        self, peers: Peers, clients: Clients, pushes: Pushes, clocks: tuple[Clock, ClusterClock]
    ) -> None:
        self._peers = peers
        self._clients = clients
        self._pushes = pushes
        self._clock, self._cluster_clock = clocks
        peers.on_ask(SUBSCRIBERS_KIND, self._answer_subscribers)
        peers.on_ask(CLIENTS_KIND, self._answer_clients)
        peers.on_ask(CLIENT_KIND, self._answer_client)
        peers.on_ask(CLOCK_KIND, self._answer_clock)

    async def subscribers(self, key: ServiceKey) -> list[SubscriberView]:
        """Who is subscribed to a service, on all nodes that answer; in the order of node and client."""
        answers = await self._peers.ask_all(SUBSCRIBERS_KIND, msgspec.msgpack.encode(key), ASKED_WITHIN_S)
        found = _joined(answers.values(), list[SubscriberView])
        return sorted(found, key=lambda each: (each.node, each.client, each.clusters))

    async def all_clients(self) -> list[ClientView]:
        """The clients of all nodes that answer; in the order of node and id."""
        answers = await self._peers.ask_all(CLIENTS_KIND, b"", ASKED_WITHIN_S)
        return sorted(_joined(answers.values(), list[ClientView]), key=lambda each: (each.node, each.id))

    async def client(self, client_id: str) -> ClientDetail:
        """Raises NOT_FOUND for one that no node that answers has."""
        answers = await self._peers.ask_all(CLIENT_KIND, client_id.encode(), ASKED_WITHIN_S)
        found = _joined(answers.values(), list[ClientDetail])
        if not found:
            raise AtollError(Code.NOT_FOUND, f"no node has a client {client_id!r}")
        return found[0]

    async def run(self) -> None:
        """Tell the others the time of this node, and hear theirs; for as long as the node runs."""
        while True:
            await self.tell_time()
            await loop.sleep(TOLD_EVERY_S)

    async def tell_time(self) -> None:
        now_ms = self._cluster_clock.now_ms(self._clock.now_s())
        answers = await self._peers.ask_all(CLOCK_KIND, msgspec.msgpack.encode(now_ms), ASKED_WITHIN_S)
        for answer in answers.values():
            self._cluster_clock.seen(msgspec.msgpack.decode(answer, type=int), self._clock.now_s())

    # --------------------------------------------------------------------------------------- answers

    async def _answer_subscribers(self, body: bytes) -> bytes:
        key = msgspec.msgpack.decode(body, type=ServiceKey)
        return msgspec.msgpack.encode([self._subscriber(each) for each in self._pushes.of_service(key)])

    async def _answer_clients(self, body: bytes) -> bytes:
        return msgspec.msgpack.encode([self._view(known) for known in self._clients])

    async def _answer_client(self, body: bytes) -> bytes:
        known = self._clients.get(body.decode())
        return msgspec.msgpack.encode([] if known is None else [self._detail(known)])

    async def _answer_clock(self, body: bytes) -> bytes:
        self._cluster_clock.seen(msgspec.msgpack.decode(body, type=int), self._clock.now_s())
        return msgspec.msgpack.encode(self._cluster_clock.now_ms(self._clock.now_s()))

    def _detail(self, known: Known) -> ClientDetail:
        published = [
            PublisherView(key, known.client.id, self._peers.node_id, Instance(ip, port, cluster))
            for key, identities in known.published.items()
            for cluster, ip, port in identities
        ]
        subscribed = [self._subscriber(each) for each in self._pushes.of_client(known.client.id)]
        return ClientDetail(self._view(known), tuple(published), tuple(subscribed))

    def _view(self, known: Known) -> ClientView:
        client = known.client
        return ClientView(
            client.id,
            self._peers.node_id,
            client.kind.value,
            client.address,
            client.port,
            client.app,
            client.version,
            client.opened_s,
            known.updated_s,
            known.count(),
            len(self._pushes.of_client(client.id)),
        )

    def _subscriber(self, subscription: Subscription) -> SubscriberView:
        known = self._clients.get(subscription.client)
        ahead_s = self._clock.wall_s() - self._clock.now_s()
        client = known.client if known is not None else None
        return SubscriberView(
            subscription.key,
            subscription.client,
            self._peers.node_id,
            client.address if client is not None else "",
            client.port if client is not None else 0,
            client.app if client is not None else "",
            client.version if client is not None else "",
            ",".join(subscription.wanted.clusters),
            subscription.pushed_s and subscription.pushed_s + ahead_s,
            subscription.acknowledged_s and subscription.acknowledged_s + ahead_s,
            subscription.last_ref_time_ms,
        )


def _joined(answers: Iterable[bytes], kind: type[list[T]]) -> list[T]:
    return [each for answer in answers for each in msgspec.msgpack.decode(answer, type=kind)]
