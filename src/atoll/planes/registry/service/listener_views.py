"""Listeners of configuration on all nodes: each tells of its own, whoever is asked puts them together.

Rule: nothing is kept. A node that does not answer in time is left out: its clients are missing from the list, and
nobody waits for it longer than ``ASKED_WITHIN_S``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import msgspec

from atoll.planes.registry.model.config_listeners import Listener
from atoll.planes.registry.service.configs import Configs
from atoll.resources.config_item import ConfigKey
from atoll.resources.config_views import ListenerView
from atoll.store.peers import Peers

ASKED_WITHIN_S: Final = 1.0
LISTED_MAX: Final = 20_000  # that one node tells of

T = TypeVar("T")


class Listening(msgspec.Struct, frozen=True):
    """One item that a client listens to."""

    key: ConfigKey
    listener: ListenerView


class ListenerViews:
    """One node's part."""

    def __init__(self, configs: Configs, peers: Peers) -> None:
        self._configs = configs
        self._peers = peers
        self._tells("config.listeners", ConfigKey, self._listeners)
        self._tells("config.listeners-at", str, self._listeners_at)

    def _tells(self, kind: str, question: type[T], answer: Callable[[T], list[Any]]) -> None:
        async def handler(body: bytes) -> bytes:
            return msgspec.msgpack.encode(answer(msgspec.msgpack.decode(body, type=question))[:LISTED_MAX])

        self._peers.on_ask(kind, handler)

    # --------------------------------------------------------------------------------------- of all nodes

    async def listeners(self, key: ConfigKey) -> list[ListenerView]:
        """Who listens to an item."""
        return await self._ask("config.listeners", key, ListenerView)

    async def listeners_at(self, address: str) -> list[Listening]:
        """What is listened to from an address (an IP)."""
        return await self._ask("config.listeners-at", address, Listening)

    async def _ask(self, kind: str, question: object, answer: type[T]) -> list[T]:
        answers = await self._peers.ask_all(kind, msgspec.msgpack.encode(question), ASKED_WITHIN_S)
        listed = (msgspec.msgpack.decode(body, type=list[answer]) for _, body in sorted(answers.items()))  # type: ignore[valid-type]
        return [each for found in listed for each in found]

    # --------------------------------------------------------------------------------------- of this node

    def _listeners(self, key: ConfigKey) -> list[ListenerView]:
        return [self._listener(each) for each in self._configs.listeners.of_key(key)]

    def _listeners_at(self, address: str) -> list[Listening]:
        listeners = self._configs.listeners
        return [
            Listening(key, self._listener(each))
            for client in listeners.clients()
            for key, each in listeners.of_client(client).items()
            if each.consumer.address == address
        ]

    def _listener(self, each: Listener) -> ListenerView:
        consumer = each.consumer
        return ListenerView(
            self._peers.node_id,
            each.client,
            consumer.address,
            consumer.app,
            each.md5,
            each.gray_name,
            dict(consumer.labels),
            consumer.tag,
        )
