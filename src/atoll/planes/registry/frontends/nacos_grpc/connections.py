"""The open connections of Nacos clients: who is there, what keeps them there, and how they end.

Rule: the transport is the client. What it registered, subscribed to and listens to lives as long as its connection, and
a call belongs to the connection that it came over, whatever it says. A client that says goodbye (takes its stream back)
is gone at once; one that is lost, or that this node sent away, may come back and claim what it had.

A connection's name is made from the node's start, a count and the peer's address, so that it can be told before the
client has set the connection up, without remembering everyone who ever asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from atoll.errors import AtollError
from atoll.planes.registry.frontends.nacos_grpc.pushes import (
    DETECTION,
    DETECTION_TIMEOUT_S,
    Message,
    Outbox,
    PushQueue,
)
from atoll.planes.registry.policy.control import Control
from atoll.planes.registry.service.guard import NOBODY, Principal
from atoll.resources.registry_client import Client
from atoll.runtime.clock import Clock
from atoll.runtime.grpc_call import Call
from atoll.wire.nacos import answers
from atoll.wire.nacos.payload import Envelope

IDLE_S_MAX = 20.0
"""Without a request or an answer for so long a client is asked whether it is there."""
RESET_GRACE_S = 3.0
"""What a client gets to connect elsewhere before the transport is closed: some never act on being asked."""

_RESET = Envelope("ConnectResetRequest")
_DETECTION_BODY = answers.encode(answers.ClientDetectionRequest())
_DETECTION_KEY = "detection"


class Connection:
    """One client that has set up its connection. ``stream`` is what it is told over."""

    __slots__ = (
        "abilities",
        "active_s",
        "asked_s",
        "client",
        "cut_at_s",
        "key",
        "principal",
        "pushes",
        "sent_away",
        "stream",
    )

    def __init__(self, key: int, client: Client, stream: Call, outbox: Outbox) -> None:
        self.key = key
        self.client = client
        self.stream = stream
        self.abilities: Mapping[str, bool] = {}
        self.principal: Principal = NOBODY  # as of the newest request
        self.active_s = 0.0
        self.asked_s = float("-inf")  # when it was asked whether it is there
        self.cut_at_s = float("inf")
        self.sent_away = False
        self.pushes = PushQueue(outbox, self._send)

    @property
    def id(self) -> str:
        return self.client.id

    def _send(self, payload: bytes) -> bool:
        return self.stream.send_nowait(payload)


class Connections:
    """All of a node. ``control`` limits how many there may be."""

    def __init__(self, clock: Clock, control: Control, outbox: Outbox) -> None:
        self._clock = clock
        self._control = control
        self._by_key: dict[int, Connection] = {}
        self._by_id: dict[str, Connection] = {}
        self._outbox = outbox
        self._started_ms = int(clock.wall_s() * 1_000)

    def __len__(self) -> int:
        return len(self._by_key)

    def __iter__(self) -> Iterator[Connection]:
        return iter(list(self._by_key.values()))

    def id_of(self, call: Call) -> str:
        address, _, port = call.peer.address.rpartition(":")
        return f"{self._started_ms + call.connection_id}_{address.strip('[]')}_{port}"

    def of(self, call: Call) -> Connection | None:
        return self._by_key.get(call.connection_id)

    def by_id(self, client_id: str) -> Connection | None:
        return self._by_id.get(client_id)

    def open(self, client: Client, stream: Call) -> Connection:
        """Raises EXHAUSTED where a limit says no."""
        self._control.connected(client.address)
        connection = Connection(stream.connection_id, client, stream, self._outbox)
        connection.active_s = self._clock.now_s()
        self._by_key[connection.key] = self._by_id[connection.id] = connection
        return connection

    def close(self, connection: Connection) -> bool:
        """Forget it. False: that was done before."""
        if self._by_key.get(connection.key) is not connection:
            return False
        del self._by_key[connection.key]
        del self._by_id[connection.id]
        self._control.disconnected(connection.client.address)
        connection.pushes.close()
        return True

    def send_away(self, connection: Connection, server: str = "") -> None:
        """Ask the client to connect elsewhere (``server``: HOST:PORT, if that is known), and see to it that it does."""
        if connection.sent_away:
            return
        connection.sent_away = True
        connection.cut_at_s = self._clock.now_s() + RESET_GRACE_S
        connection.stream.send_nowait(reset(connection.id, server))

    def look_after(self, now_s: float) -> None:
        """Ask those who were silent too long, end those who did not answer or should have gone."""
        for connection in self:
            if connection.pushes.gave_up or now_s >= connection.cut_at_s:
                self.cut(connection)
            elif now_s - connection.active_s >= IDLE_S_MAX:
                self._doubt(connection, now_s)

    def cut(self, connection: Connection) -> None:
        """End the transport; the client is not taken for gone."""
        connection.sent_away = True
        connection.stream.cut_connection()

    def _doubt(self, connection: Connection, now_s: float) -> None:
        """Not by the queue's own deadline: a client that takes in nothing is never even asked."""
        if connection.asked_s < connection.active_s:
            connection.asked_s = now_s
            connection.pushes.offer(Message(DETECTION, _DETECTION_KEY, lambda: _DETECTION_BODY), now_s)
        elif now_s - connection.asked_s >= DETECTION_TIMEOUT_S:
            self.cut(connection)


def reset(connection_id: str, server: str = "") -> bytes:
    """The payload that asks a client to connect elsewhere. Nobody waits for an answer."""
    host, _, port = server.rpartition(":")
    body = answers.ConnectResetRequest(server_ip=host, server_port=port, connection_id=connection_id)
    return _RESET.push("0", answers.encode(body))


def refused(stream: Call, connection_id: str, error: AtollError) -> None:
    """Turn away a client that may not connect now."""
    stream.send_nowait(reset(connection_id))
    stream.fail_error(error)
