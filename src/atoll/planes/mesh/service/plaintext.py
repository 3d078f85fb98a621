"""Who still calls without the mesh's TLS, from what proxies report: what is to be known before a service goes STRICT.

Rule: what is not known is never taken for quiet. A proxy that has not reported lately makes its service unknown, and what it
counted before it was first heard of counts as just now. Connections that are open count, however long nothing was said on
them: going STRICT ends them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import msgspec

from atoll.resources.mesh.clients import Kind
from atoll.resources.mesh.node_metadata import parse_node_id
from atoll.resources.mesh.plaintext_api import PlainPort, PlaintextShown
from atoll.resources.mesh.traffic import Plain, TrafficReport
from atoll.runtime.clock import Clock
from atoll.store.peers import Peers

ASK = "mesh plaintext"
ASKED_WITHIN_S = 2.0
SILENT_S_MAX = 60.0
PROXIES_MAX = 20_000


class _Port(msgspec.Struct):
    """``total`` of the proxy's run ``run``."""

    run: str
    total: int
    open: int
    last_s: float
    since_s: float


class _Proxy(msgspec.Struct):
    heard_s: float
    ports: dict[int, _Port]


class _Known(msgspec.Struct, frozen=True):
    """What one node knows of a service: ports of proxies that report to it, and proxies that are connected to it."""

    ports: tuple[PlainPort, ...]
    connected: tuple[str, ...]


class Plaintext:
    """Of the proxies that report to this node; ``shown`` asks the other nodes for theirs. ``connected``: the ``node.id`` of
    each client of this node now.
    """

    def __init__(self, connected: Callable[[], Iterable[str]], peers: Peers, clock: Clock) -> None:
        self._all_connected = connected
        self._peers = peers
        self._clock = clock
        self._proxies: dict[str, _Proxy] = {}
        peers.on_ask(ASK, self._answer)

    def hear(self, report: TrafficReport) -> None:
        now_s = self._clock.wall_s()
        known = self._proxies.get(report.node)
        if known is None:
            self._make_room()
            known = self._proxies[report.node] = _Proxy(now_s, {})
        known.heard_s = now_s
        known.ports = {
            port: _port(known.ports.get(port), report.run, plain, now_s)
            for port, plain in report.plain.items()
        }

    async def shown(self, service: str, namespace: str) -> PlaintextShown:
        """What all nodes know. A proxy may be connected to one node and report to another."""
        asked = msgspec.json.encode((service, namespace))
        answers = await self._peers.ask_all(ASK, asked, ASKED_WITHIN_S)
        found = [msgspec.json.decode(each, type=_Known) for each in answers.values()]
        connected = {node: None for each in found for node in each.connected}
        ports = [port for each in found for port in each.ports if port.node in connected]
        heard = {port.node: None for port in ports}
        return PlaintextShown(
            service,
            namespace,
            self._clock.wall_s(),
            tuple(sorted(ports, key=lambda each: (each.node, each.port))),
            tuple(sorted(node for node in connected if node not in heard)),
        )

    def known(self, service: str, namespace: str) -> _Known:
        """What this node knows."""
        now_s = self._clock.wall_s()
        heard = [
            (node, proxy)
            for node, proxy in self._proxies.items()
            if _is_of(node, service, namespace) and now_s - proxy.heard_s <= SILENT_S_MAX
        ]
        return _Known(tuple(_ports_shown(heard)), tuple(self._connected(service, namespace)))

    def _connected(self, service: str, namespace: str) -> Iterator[str]:
        return iter({node: None for node in self._all_connected() if _is_of(node, service, namespace)})

    async def _answer(self, body: bytes) -> bytes:
        service, namespace = msgspec.json.decode(body, type=tuple[str, str])
        return msgspec.json.encode(self.known(service, namespace))

    def _make_room(self) -> None:
        if len(self._proxies) >= PROXIES_MAX:
            oldest = min(self._proxies, key=lambda node: self._proxies[node].heard_s)
            del self._proxies[oldest]


def _is_of(node: str, service: str, namespace: str) -> bool:
    told = parse_node_id(node)
    return told.kind is Kind.SIDECAR and (told.service, told.namespace) == (service, namespace)


def _port(before: _Port | None, run: str, plain: Plain, now_s: float) -> _Port:
    if before is None:
        return _Port(run, plain.total, plain.open, now_s if plain.total or plain.open else 0.0, now_s)
    more = plain.total if before.run != run else plain.total - before.total
    last_s = now_s if more or plain.open else before.last_s
    return _Port(run, plain.total, plain.open, last_s, before.since_s)


def _ports_shown(proxies: Iterable[tuple[str, _Proxy]]) -> Iterator[PlainPort]:
    for node, proxy in proxies:
        for port, each in proxy.ports.items():
            yield PlainPort(node, port, each.total, each.open, each.last_s, each.since_s)
