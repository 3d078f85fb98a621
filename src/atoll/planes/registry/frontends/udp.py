"""Pushes by UDP to clients that poll over HTTP (1.x): a hint between two polls, acknowledged, repeated once.

Rule: polling alone is correct; so whatever is lost, refused or too large here is only later. A client is pushed to at
the address from which it polls and nowhere else, whatever address it names: otherwise anybody could have datagrams
sent to a third. It is forgotten when it has not polled for a while.

Source: Nacos 1.4.8 and 2.4.3, ``UdpPushService``, ``PushService``: acknowledged within 10 s, or sent once more.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias

import msgspec

from atoll.planes.registry.model.naming import Selection
from atoll.planes.registry.service.naming import Naming
from atoll.planes.registry.service.pushes import Push
from atoll.resources.registry_client import Client, ClientKind
from atoll.resources.service import ServiceKey
from atoll.runtime import loop
from atoll.runtime.clock import Clock
from atoll.runtime.datagrams import UdpSocket
from atoll.runtime.net import Address
from atoll.wire.nacos import datagrams

ACKNOWLEDGED_WITHIN_S = 10.0
SENT_MAX = 2
GRACE_S = 5.0  # beyond the time after which a client polls again
SUBSCRIBERS_MAX = 20_000
TICK_S = 1.0

_AGENT = re.compile(r"Nacos-(Java|DNS|C|Go|CSharp|Python)-Client:v?(\d{1,5}(?:\.\d{1,5}){0,3})")
_LEAST: Mapping[str, str] = {
    "java": "0.1.0",
    "dns": "0.1.0",
    "c": "1.0.12",
    "go": "0.1.0",
    "csharp": "0.9.0",
    "python": "0.4.3",
}


Encode: TypeAlias = Callable[[Push], bytes]


class Poll(NamedTuple):
    """One poll of a client that listens: from where, at which UDP port, as whom, for what."""

    address: Address
    app: str
    agent: str
    key: ServiceKey
    selection: Selection


class _Sent(msgspec.Struct):
    push: Push
    to: Address
    datagram: bytes
    again_s: float
    times: int = 1


class UdpPush:
    """Of one node. ``encode`` makes the JSON of a push's list, as HTTP v1 answers it."""

    def __init__(self, naming: Naming, clock: Clock, encode: Encode) -> None:
        self._naming = naming
        self._clock = clock
        self._encode = encode
        self._socket: UdpSocket | None = None
        self._until_s: dict[str, dict[tuple[ServiceKey, tuple[str, ...]], float]] = {}
        self._sent: dict[int, _Sent] = {}
        self._number = int(clock.wall_s() * 1_000_000_000)

    def use(self, socket: UdpSocket) -> None:
        """From now on pushes go out by ``socket``; without one nobody is subscribed."""
        self._socket = socket

    def close(self) -> None:
        """Push no more."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    @property
    def subscribers(self) -> int:
        return len(self._until_s)

    def subscribe(self, poll: Poll) -> bool:
        """Push to who polls until it polls no more. False: it is not pushed to, and polls often instead."""
        client = f"udp-{poll.address.host}:{poll.address.port}"
        if self._socket is None or not self._may(poll.agent):
            return False
        mine = self._until_s.get(client)
        if mine is None:
            if len(self._until_s) >= SUBSCRIBERS_MAX:
                return False
            mine = self._until_s[client] = {}
            host, port = poll.address
            self._naming.client_opened(Client(client, ClientKind.POLL, host, port, poll.app, poll.agent))
        what = (poll.key, poll.selection.clusters)
        if what not in mine:
            self._naming.subscribe(client, poll.key, poll.selection, self._sink(poll.address))
        kept_s = self._naming.directory.switches.push_cache_ms / 1000 + GRACE_S
        mine[what] = self._clock.now_s() + kept_s
        return True

    def received(self, datagram: bytes, source: Address) -> None:
        """An acknowledgement, or noise."""
        number = datagrams.acknowledged(datagram)
        sent = self._sent.get(number) if number is not None else None
        if number is not None and sent is not None and sent.to == source:
            del self._sent[number]
            sent.push.acknowledged()

    async def run(self) -> None:
        """For as long as the node runs."""
        while True:
            await loop.sleep(TICK_S)
            self.tick(self._clock.now_s())

    def tick(self, now_s: float) -> None:
        """Send again what was not acknowledged, forget who polls no more."""
        for number, sent in list(self._sent.items()):
            if sent.again_s <= now_s:
                self._again(number, sent, now_s)
        for client, mine in list(self._until_s.items()):
            for (key, clusters), until_s in list(mine.items()):
                if until_s <= now_s:
                    del mine[key, clusters]
                    self._naming.unsubscribe(client, key, Selection(clusters))
            if not mine:
                del self._until_s[client]
                self._naming.client_closed(client, clean=True)

    def _again(self, number: int, sent: _Sent, now_s: float) -> None:
        if sent.times >= SENT_MAX:
            del self._sent[number]
            sent.push.abandoned()
            return
        sent.times += 1
        sent.again_s = now_s + ACKNOWLEDGED_WITHIN_S
        self._send(sent)

    def _sink(self, to: Address) -> Callable[[Push], None]:
        def push(push: Push) -> None:
            self._number += 1
            datagram = datagrams.push(self._encode(push), self._number)
            if datagram is None:
                push.abandoned()
                return
            again_s = self._clock.now_s() + ACKNOWLEDGED_WITHIN_S
            sent = self._sent[self._number] = _Sent(push, to, datagram, again_s)
            self._send(sent)

        return push

    def _send(self, sent: _Sent) -> None:
        if self._socket is not None:
            self._socket.send(sent.datagram, sent.to)

    def _may(self, agent: str) -> bool:
        """Only clients that are known to listen."""
        found = _AGENT.match(agent)
        if found is None:
            return False
        language = found.group(1).lower()
        least = self._naming.directory.switches.push_versions.get(language) or _LEAST[language]
        return _version(found.group(2)) >= _version(least)


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))
