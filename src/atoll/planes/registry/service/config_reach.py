"""Whom configuration reaches: who listens on all nodes, and what a publish would change for them.

Rule: listeners are asked of every node when somebody wants to know; what they would be served is computed here, by the
same function that serves them. A preview writes nothing.
"""

from __future__ import annotations

from collections.abc import Container

import msgspec

from atoll.errors import AtollError
from atoll.planes.registry.model import config_decisions as decisions
from atoll.planes.registry.model import gray
from atoll.planes.registry.model.config_decisions import Content, Stamp
from atoll.planes.registry.model.config_limits import ConfigLimits
from atoll.planes.registry.model.config_listeners import Listener, Listeners
from atoll.planes.registry.model.config_view import ConfigView, Entry
from atoll.planes.registry.policy import content_check, key_changes
from atoll.resources.actor import Actor
from atoll.resources.config_item import ConfigItem, ConfigKey, GrayRelease, md5_of
from atoll.resources.config_views import Details, Fault, KeyChange, ListenerView, Preview, Reach
from atoll.resources.consumer import Consumer
from atoll.runtime import loop
from atoll.store.peers import Peers

ASK_WITHIN_S = 2.0
LISTENERS_SHOWN_MAX = 10_000  # of one item on one node

OF_KEY = "config-listeners"
OF_ADDRESS = "config-listens"


class Listened(msgspec.Struct, frozen=True):
    """One item that a client listens to."""

    key: ConfigKey
    listener: ListenerView


class ConfigReach:
    def __init__(self, view: ConfigView, listeners: Listeners, limits: ConfigLimits) -> None:
        self._view = view
        self._listeners = listeners
        self._limits = limits
        self._peers: Peers | None = None

    def join(self, peers: Peers) -> None:
        """Ask, and answer, the other nodes by ``peers``."""
        self._peers = peers
        peers.on_ask(OF_KEY, self._answer_key)
        peers.on_ask(OF_ADDRESS, self._answer_address)

    async def listeners(self, key: ConfigKey) -> tuple[tuple[ListenerView, ...], tuple[str, ...]]:
        """Who listens to ``key`` on all nodes, and the nodes that did not answer."""
        if self._peers is None:
            return tuple(self._of_key(key)), ()
        answers = await self._peers.ask_all(OF_KEY, msgspec.json.encode(key), ASK_WITHIN_S)
        found = [msgspec.json.decode(each, type=list[ListenerView]) for _, each in sorted(answers.items())]
        return tuple(view for views in found for view in views), self._unasked(answers.keys())

    async def listened(self, address: str) -> tuple[tuple[Listened, ...], tuple[str, ...]]:
        """What the clients at ``address`` listen to on all nodes, and the nodes that did not answer."""
        if self._peers is None:
            return tuple(self._of_address(address)), ()
        answers = await self._peers.ask_all(OF_ADDRESS, address.encode(), ASK_WITHIN_S)
        found = [msgspec.json.decode(each, type=list[Listened]) for _, each in sorted(answers.items())]
        return tuple(one for each in found for one in each), self._unasked(answers.keys())

    async def preview(self, actor: Actor, key: ConfigKey, content: str, details: Details) -> Preview:
        """What a publish with ``details`` would do, staged ones included: ``details.gray`` as it would begin."""
        entry = self._view.entry(key)
        name = (details.gray_name or gray.default_name(details.gray)) if details.gray is not None else ""
        before = entry.gray(name) if name else entry.item
        kind, schema = self._kind(entry, details)
        faults: tuple[Fault, ...] = ()
        changed: tuple[tuple[KeyChange, ...], int] = ((), 0)
        if not key.is_cipher:
            faults = await loop.in_thread(content_check.faults, kind, content, schema)
            old = before.content if before is not None else (entry.item.content if entry.item else "")
            changed = await loop.in_thread(key_changes.changes, kind, old, content)
        after, refusal = self._after(actor, key, Content(content), details)
        if faults and self._limits.check and not details.force:
            refusal = f"it is not valid {kind}: {faults[0].message}"
        listening, unasked = await self.listeners(key)
        return Preview(
            md5_before=before.md5 if before is not None else "",
            md5_after=md5_of(content),
            faults=faults,
            refusal=refusal,
            changes=changed[0],
            changes_more=changed[1],
            reaches=tuple(_reach(each, after or entry, entry) for each in listening),
            unasked=unasked,
        )

    def _kind(self, entry: Entry, details: Details) -> tuple[str, str]:
        current = entry.item
        kind = details.type or (current.type if current is not None else "")
        schema = (current.schema if current is not None else "") if details.schema is None else details.schema
        return decisions.kind_of(kind), schema

    def _after(
        self, actor: Actor, key: ConfigKey, content: Content, details: Details
    ) -> tuple[Entry | None, str]:
        """What would be known under ``key``, or why the publish would be refused."""
        entry = self._view.entry(key)
        stamp = Stamp(0.0, actor, 0, 0)
        try:
            if details.gray is None:
                decisions.publish(self._view, key, content, details, stamp)
                decisions.room(self._view, key, self._limits, len(content.text.encode()))
            else:
                name = details.gray_name or gray.default_name(details.gray)
                decisions.publish(self._view, key, content, details, stamp)
                decisions.require_gray_room(self._view, key, name, self._limits.gray_releases_max)
        except AtollError as error:
            return None, error.message
        imagined = Entry()
        imagined.item, imagined.grays = entry.item, entry.grays
        md5 = md5_of(content.text)
        if details.gray is None:
            imagined.item = ConfigItem(key=key, id=0, md5=md5)
        else:
            name = details.gray_name or gray.default_name(details.gray)
            release = GrayRelease(key=key, id=0, md5=md5, name=name, rule=details.gray)
            imagined.grays = gray.order([*(each for each in entry.grays if each.name != name), release])
        return imagined, ""

    # --------------------------------------------------------------------------------------- this node

    async def _answer_key(self, body: bytes) -> bytes:
        return msgspec.json.encode(self._of_key(msgspec.json.decode(body, type=ConfigKey)))

    async def _answer_address(self, body: bytes) -> bytes:
        return msgspec.json.encode(self._of_address(body.decode()))

    def _of_key(self, key: ConfigKey) -> list[ListenerView]:
        return [self._shown(each) for each in self._listeners.of_key(key)[:LISTENERS_SHOWN_MAX]]

    def _of_address(self, address: str) -> list[Listened]:
        return [
            Listened(key, self._shown(each))
            for client in list(self._listeners.clients())
            for key, each in self._listeners.of_client(client).items()
            if each.consumer.address == address
        ][:LISTENERS_SHOWN_MAX]

    def _shown(self, listener: Listener) -> ListenerView:
        who = listener.consumer
        node = self._peers.node_id if self._peers is not None else ""
        return ListenerView(
            node,
            listener.client,
            who.address,
            who.app,
            listener.md5,
            listener.gray_name,
            who.labels,
            who.tag,
        )

    def _unasked(self, answered: Container[str]) -> tuple[str, ...]:
        members = self._peers.members() if self._peers is not None else []
        return tuple(each.node for each in members if each.node not in answered)


def _reach(listener: ListenerView, after: Entry, before: Entry) -> Reach:
    who = Consumer(listener.address, listener.labels, listener.tag, listener.app)
    return Reach(listener, _md5(after, who) != _md5(before, who))


def _md5(entry: Entry, who: Consumer) -> str:
    served = entry.served(who)
    return served.md5 if served is not None else ""
