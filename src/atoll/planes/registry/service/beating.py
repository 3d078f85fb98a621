"""Instances that are kept alive by beats (HTTP), on whichever node each beat arrives.

Rule: one node holds such an instance and judges its silence: the one where it was registered last. A beat that arrives
elsewhere is handed to it, all of a second in one question; what no node takes is claimed by the node that heard it. A
holder that sees a newer registration of the same instance lets its own go, unless the other calls an instance
unhealthy that was heard of here in time. So nodes that were cut off from one another agree again without a vote.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, Protocol

import msgspec

from atoll.errors import AtollError
from atoll.planes.registry.policy import beats
from atoll.planes.registry.policy.beats import Beats, Verdict
from atoll.resources import instance as instances
from atoll.resources import naming_keys
from atoll.resources.instance import Instance, InstanceId
from atoll.resources.registry_client import Client, ClientKind
from atoll.resources.service import ServiceKey
from atoll.runtime import loop
from atoll.runtime.clock import Clock
from atoll.store.ephemeral import Change, Entry, EphemeralTable
from atoll.store.peers import Peers

BEATS_KIND: Final = "naming.beats"
REMOVE_KIND: Final = "naming.remove"
HANDED_EVERY_S: Final = 1.0
ASKED_WITHIN_S: Final = 2.0
WAITING_MAX: Final = 100_000  # beats of other nodes' instances that wait to be handed over


class Which(NamedTuple):
    """One instance that beats."""

    key: ServiceKey
    identity: InstanceId


class BeatAnswer(msgspec.Struct, frozen=True, gc=False):
    """``known`` False: nobody has this instance, and it has to be registered. ``light``: beats need no body."""

    interval_ms: int
    known: bool
    light: bool


class Registrar(Protocol):
    """What this needs of naming."""

    table: EphemeralTable
    clock: Clock

    def client_opened(self, client: Client) -> None: ...

    def client_closed(self, client_id: str, clean: bool) -> None: ...

    def register(self, client_id: str, key: ServiceKey, wanted: Sequence[Instance]) -> None: ...

    def registered(self, client_id: str) -> int:
        """The number of instances of that client."""

    def published(self, client_id: str, key: ServiceKey) -> Sequence[InstanceId]:
        """What that client has of one service; nothing of a client that is not there."""


def client_id(identity: InstanceId) -> str:
    """The id of the client that stands for an address: one an address, whatever services it has."""
    return f"{identity.ip}:{identity.port}#true"


class Beating:
    """Of one node."""

    def __init__(self, naming: Registrar, peers: Peers) -> None:
        self._naming = naming
        self._table = naming.table
        self._clock = naming.clock
        self._peers = peers
        self._beats: Beats[Which] = Beats()
        self._elsewhere: dict[Which, None] = {}
        self.wake: Callable[[], None] = lambda: None
        peers.on_ask(BEATS_KIND, self._answer_beats)
        peers.on_ask(REMOVE_KIND, self._answer_remove)
        self._table.watch(naming_keys.LIVE, self._changed)

    def __len__(self) -> int:
        return len(self._beats)

    # ------------------------------------------------------------------------------------------ acts

    def register(self, key: ServiceKey, instance: Instance, client: Client | None = None) -> None:
        """The instance is alive, and this node holds it from now on. Raises what ``Naming.register`` raises."""
        identity = instance.id
        name = client_id(identity)
        before = self._naming.published(name, key)
        told = client or Client(name, address=identity.ip)
        opened = msgspec.structs.replace(told, id=name, kind=ClientKind.BEAT, port=identity.port)
        self._naming.client_opened(opened)
        try:
            self._naming.register(name, key, [instance])
        except AtollError:
            self._close_if_idle(name)
            raise
        for replaced in before:  # the same address in another cluster: it was moved
            self._beats.forget(Which(key, replaced))
        self._beats.beat(Which(key, identity), beats.times_of(instance), self._clock.now_s())
        self.wake()

    def beat(self, key: ServiceKey, identity: InstanceId, body: Instance | None, client: Client) -> bool:
        """False: the instance is not known, and ``body`` (the whole instance) did not come with the beat."""
        which = Which(key, identity)
        held = self._table.get(naming_keys.live_key(key, identity))
        if held is not None and not held.lost:
            if held.origin != self._table.node_id:
                if len(self._elsewhere) < WAITING_MAX:
                    self._elsewhere[which] = None
            elif which in self._beats:
                self._heard(which, held)
            return True
        instance = body
        if held is not None:
            instance = instances.decode_published(identity, held.value)
        if instance is None:
            return False
        self.register(key, msgspec.structs.replace(instance, healthy=True), client)
        return True

    async def deregister(self, key: ServiceKey, identity: InstanceId) -> bool:
        """On whichever node it is held. False: no reachable node holds it."""
        if self._remove(Which(key, identity)):
            return True
        body = msgspec.msgpack.encode((key, identity))
        answers = await self._peers.ask_all(REMOVE_KIND, body, ASKED_WITHIN_S)
        return any(msgspec.msgpack.decode(answer, type=bool) for answer in answers.values())

    def _heard(self, which: Which, held: Entry) -> None:
        instance = instances.decode_published(which.identity, held.value)
        self._beats.beat(which, beats.times_of(instance), self._clock.now_s())
        if not instance.healthy:
            self._publish(which, msgspec.structs.replace(instance, healthy=True))

    def _publish(self, which: Which, instance: Instance) -> None:
        """What its client has not published (any more) stays as it is."""
        name = client_id(which.identity)
        if which.identity in self._naming.published(name, which.key):
            self._naming.register(name, which.key, [instance])

    def _take_back(self, which: Which) -> None:
        name = client_id(which.identity)
        if which.identity in self._naming.published(name, which.key):
            self._naming.register(name, which.key, [])
            self._close_if_idle(name)

    def _remove(self, which: Which) -> bool:
        """Take back what this node holds. False: it does not hold it."""
        if which not in self._beats:
            return False
        self._beats.forget(which)
        self._take_back(which)
        return True

    def _close_if_idle(self, name: str) -> None:
        if not self._naming.registered(name):
            self._naming.client_closed(name, clean=True)

    # ------------------------------------------------------------------------------------------ time

    def next_s(self) -> float:
        return self._beats.next_s()

    def tick(self, now_s: float) -> None:
        """Judge silence."""
        for which, verdict in self._beats.tick(now_s):
            held = self._table.get(naming_keys.live_key(which.key, which.identity))
            if verdict is Verdict.REMOVED:
                self._take_back(which)
            elif held is not None and held.origin == self._table.node_id:
                instance = instances.decode_published(which.identity, held.value)
                self._publish(which, msgspec.structs.replace(instance, healthy=False))

    async def run(self) -> None:
        """Hand over the beats of other nodes' instances; for as long as the node runs."""
        while True:
            await loop.sleep(HANDED_EVERY_S)
            if self._elsewhere:
                await self.hand_over()

    async def hand_over(self) -> None:
        """Ask the holders of what was heard here to count it; claim what no node answers for."""
        heard, self._elsewhere = list(self._elsewhere), {}
        answers = await self._peers.ask_all(BEATS_KIND, msgspec.msgpack.encode(heard), ASKED_WITHIN_S)
        taken: set[int] = set()
        for answer in answers.values():
            taken.update(msgspec.msgpack.decode(answer, type=list[int]))
        for index, which in enumerate(heard):
            if index not in taken:
                self._claim(which)

    def _claim(self, which: Which) -> None:
        held = self._table.get(naming_keys.live_key(*which))
        if held is not None and held.origin != self._table.node_id:
            instance = instances.decode_published(which.identity, held.value)
            self.register(which.key, msgspec.structs.replace(instance, healthy=True))

    # ----------------------------------------------------------------------------------- other nodes

    async def _answer_beats(self, body: bytes) -> bytes:
        """The places, in the list that was asked, of the instances that this node holds."""
        taken: list[int] = []
        for index, which in enumerate(msgspec.msgpack.decode(body, type=list[Which])):
            held = self._table.get(naming_keys.live_key(*which))
            if held is not None and held.origin == self._table.node_id and not held.lost:
                taken.append(index)
                if which in self._beats:
                    self._heard(which, held)
        return msgspec.msgpack.encode(taken)

    async def _answer_remove(self, body: bytes) -> bytes:
        key, identity = msgspec.msgpack.decode(body, type=tuple[ServiceKey, InstanceId])
        return msgspec.msgpack.encode(self._remove(Which(key, identity)))

    def _changed(self, changes: Sequence[Change]) -> None:
        """Another node registered what this one holds: let go, or insist."""
        for change in changes:
            after = change.after
            if after is None or after.origin == self._table.node_id or not len(self._beats):
                continue
            raw, identity = naming_keys.split_instance(change.key[len(naming_keys.LIVE) :])
            which = Which(naming_keys.service_of(raw), identity)
            if which not in self._beats:
                continue
            theirs = instances.decode_published(identity, after.value)
            if theirs.healthy or not self._beats.in_time(which, self._clock.now_s()):
                self._remove(which)
            else:
                self._publish(which, msgspec.structs.replace(theirs, healthy=True))
