"""Nacos's gRPC API, with the behaviour of 2.4 and 3.1, over the registry.

Rule: nothing is decided here. Types, their permissions and what becomes of them are ``wire.nacos.catalog.grpc_types``;
what differs from the reference is said there and claimed from conformance results.

    api = open_api(registry)
    server = GrpcServer(api.routes, errors=api.errors, clock=clock, limits=api.limits)   # one for all listeners
    tasks.start("nacos connections", api.run())

All of a client's calls come over one transport and are recognised by it, so one ``GrpcServer`` must stand behind all
listeners: its numbers of connections are the key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from atoll.planes.registry.frontends.nacos_grpc import errors, metrics
from atoll.planes.registry.frontends.nacos_grpc.config import ConfigHandlers
from atoll.planes.registry.frontends.nacos_grpc.connections import Connections
from atoll.planes.registry.frontends.nacos_grpc.dispatch import Dispatch, Doors
from atoll.planes.registry.frontends.nacos_grpc.fuzzy import FuzzyHandlers
from atoll.planes.registry.frontends.nacos_grpc.locks import LockHandlers
from atoll.planes.registry.frontends.nacos_grpc.naming import NamingHandlers
from atoll.planes.registry.frontends.nacos_grpc.pushes import Outbox
from atoll.planes.registry.frontends.nacos_grpc.session import Sessions
from atoll.planes.registry.service.registry import Registry
from atoll.resources.registry_client import Client
from atoll.runtime import loop
from atoll.runtime.grpc_call import ErrorTable, Limits
from atoll.runtime.grpc_server import Route, streaming, unary_callback
from atoll.runtime.logs import Log
from atoll.runtime.metrics import Sample
from atoll.wire.http2 import limits as http2_limits
from atoll.wire.nacos import answers
from atoll.wire.nacos.payload import REQUEST_PATH, STREAM_PATH

MESSAGE_BYTES_MAX = 10 * 1024 * 1024
"""The reference's own limit, ``max-inbound-message-size``."""
CONNECTIONS_MAX = 50_000
PING_IDLE_INTERVAL_S_MIN = 10.0
"""Go and Python clients ping each 60 s with no call open, which gRPC's default takes for abuse."""
SUBSCRIBERS_LATER_S = 2.0
TICK_S = 0.25
LOOK_AFTER_S = 3.0


def _always() -> bool:
    return True


class NacosGrpc:
    """What a listener needs to serve the API; ``run`` goes beside it until it is cancelled."""

    def __init__(self, registry: Registry, started: Callable[[], bool]) -> None:
        clock = registry.clock
        log = Log("nacos")
        self._clock = clock
        self._control = registry.control
        self._registered = registry.naming.registered
        self._outbox = Outbox()
        self.connections = Connections(clock, registry.control, self._outbox)
        self._sessions = Sessions(self.connections, registry.naming, registry.configs, clock, log)
        guard = registry.guard
        naming = NamingHandlers(registry.naming, guard, clock)
        configs = ConfigHandlers(registry.configs, guard, registry.journal, clock)
        fuzzy = FuzzyHandlers(registry.naming, registry.configs, guard, clock)
        locks = LockHandlers(registry.locks)
        doors = Doors(self.connections, registry.control, guard, clock, registry.peers.node_id, started)
        self._dispatch = Dispatch(
            doors,
            {**naming.now, **configs.now, **fuzzy.now, "HealthCheckRequest": health},
            {**naming.later, **configs.later, **locks.later},
        )
        self.routes: Mapping[str, Route] = {
            REQUEST_PATH: unary_callback(self._dispatch.request),
            STREAM_PATH: streaming(self._sessions.serve),
        }
        self.errors: ErrorTable = errors.status_of
        self.limits = Limits(
            http2=http2_limits.Limits(ping_idle_interval_s_min=PING_IDLE_INTERVAL_S_MIN),
            message_bytes_max=MESSAGE_BYTES_MAX,
            connections_max=CONNECTIONS_MAX,
        )

    async def run(self) -> None:
        """Repeat what was not acknowledged, and end who does not answer; for as long as the node runs."""
        looked_s = self._clock.now_s()
        while True:
            await loop.sleep(TICK_S)
            now_s = self._clock.now_s()
            self._outbox.tick(now_s)
            if now_s - looked_s >= LOOK_AFTER_S:
                looked_s = now_s
                self.connections.look_after(now_s)

    def leave(self) -> None:
        """This node is about to stop: ask every client to connect elsewhere."""
        for connection in self.connections:
            self.connections.send_away(connection)

    async def shed(self) -> None:
        """The same for a node that is cut off: those that registered something go first, so that the others find there
        what they look for.
        """
        for connection in self.connections:
            if self._registered(connection.id):
                self.connections.send_away(connection)
        await loop.sleep(SUBSCRIBERS_LATER_S)
        self.leave()

    # --------------------------------------------------------------------------- as ``connected.Connections``

    def clients(self) -> Sequence[Client]:
        return [connection.client for connection in self.connections]

    def send_away(self, client_id: str, server: str) -> bool:
        connection = self.connections.by_id(client_id)
        if connection is None:
            return False
        self.connections.send_away(connection, server)
        return True

    async def ask_metrics(
        self, client_id: str, keys: Sequence[tuple[str, str]], within_s: float
    ) -> Mapping[str, Any] | None:
        connection = self.connections.by_id(client_id)
        if connection is None:
            return None
        return await metrics.ask(connection, keys, self._clock.now_s(), within_s)

    # ------------------------------------------------------------------------------------------ for metrics

    def pushed(self) -> Iterable[Sample]:
        """Messages to clients by type and outcome."""
        return list(self._outbox.counts.items())

    def requested(self) -> Iterable[Sample]:
        """Unary requests by type."""
        return [((name,), count) for name, count in self._dispatch.requests.items()]

    def over_limit(self) -> Iterable[Sample]:
        """Requests and connections above their limit, by point and what was done about it."""
        return list(self._control.over.items())


def health(_asked: object, _request: object) -> bytes:
    return answers.SUCCESS


def open_api(registry: Registry, started: Callable[[], bool] = _always) -> NacosGrpc:
    """``started``: until it is true clients are told to come back later."""
    api = NacosGrpc(registry, started)
    registry.connected.attach(api)
    shown = registry.metrics
    shown.read_on_scrape(
        "atoll_nacos_connections",
        "Nacos clients connected over gRPC.",
        (),
        lambda: [((), len(api.connections))],
    )
    shown.read_on_scrape(
        "atoll_nacos_requests_total",
        "Requests of Nacos clients over gRPC, by type.",
        ("type",),
        api.requested,
    )
    shown.read_on_scrape(
        "atoll_nacos_pushes_total",
        "Messages to Nacos clients over gRPC, by type and what became of them.",
        ("type", "outcome"),
        api.pushed,
    )
    shown.read_on_scrape(
        "atoll_nacos_over_limit_total",
        "Requests and connections of Nacos clients above a limit, by point and what was done.",
        ("point", "done"),
        api.over_limit,
    )
    return api
