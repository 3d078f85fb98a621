"""A client's stream: its first message sets the connection up, all others answer what it was told.

Rule: the client is told a SetupAckRequest exactly if it brought an ability table, because only then it waits for one.
A second stream on the same transport replaces the first. Anything that is neither a set-up nor an answer is ignored.
"""

from __future__ import annotations

from collections.abc import Mapping

from atoll.errors import AtollError
from atoll.planes.registry.frontends.nacos_grpc.connections import Connection, Connections, refused
from atoll.planes.registry.service.configs import Configs
from atoll.planes.registry.service.naming import Naming
from atoll.resources.registry_client import Client
from atoll.runtime.clock import Clock
from atoll.runtime.grpc_call import Call
from atoll.runtime.logs import Log
from atoll.wire.grpc.status import Status
from atoll.wire.nacos import answers, payload, requests
from atoll.wire.nacos.payload import Envelope, Payload, PayloadFault
from atoll.wire.nacos.requests import Body, BodyFault, texts_of

ABILITIES: Mapping[str, bool] = {"supportPersistentInstanceByGrpc": True, "fuzzyWatch": True, "lock": True}
"""Exactly what is there: a client refuses to ask for what is not announced."""

LABELS_MAX = 64
LABEL_CHARS_MAX = 1_024

_SETUP = "ConnectionSetupRequest"
_SETUP_BODY = Body(requests.ConnectionSetupRequest)
_ANSWER_BODY = Body(requests.Acknowledgement)
_SETUP_ACK = Envelope("SetupAckRequest")
_SETUP_ACK_BODY = answers.encode(answers.SetupAckRequest(ability_table=ABILITIES))


class Sessions:
    def __init__(
        self, connections: Connections, naming: Naming, configs: Configs, clock: Clock, log: Log
    ) -> None:
        self._connections = connections
        self._naming = naming
        self._configs = configs
        self._clock = clock
        self._log = log

    async def serve(self, call: Call) -> None:
        """The whole life of one stream."""
        connection: Connection | None = None
        async for message in call.messages():
            found = self._read(call, message)
            if found is None:
                continue
            if connection is not None:
                self._answered(connection, found)
            elif found.type == _SETUP:
                connection = self._set_up(call, found)
                if connection is None:
                    return
            else:
                self._ignore(call, found.type, "comes before the connection was set up")
        if connection is not None:
            self._ended(connection, call, clean=True)

    def _read(self, call: Call, message: bytes) -> Payload | None:
        try:
            return payload.decode(message)
        except PayloadFault as fault:
            self._ignore(call, "message", str(fault))
            return None

    # ---------------------------------------------------------------------------------------------- set-up

    def _set_up(self, call: Call, found: Payload) -> Connection | None:
        try:
            setup = _SETUP_BODY.read(found.body)
        except BodyFault as fault:
            call.fail(Status.INVALID_ARGUMENT, str(fault))
            return None
        connection = self._connections.of(call)
        if connection is None:
            connection = self._open(call, self._client(call, setup))
        else:
            self._replace_stream(connection, call)
        if connection is None:
            return None
        opened = connection
        opened.abilities = setup.ability_table or {}
        call.on_cancel(lambda: self._ended(opened, call, clean=call.reset_by_peer))
        if setup.ability_table is not None:
            call.send_nowait(_SETUP_ACK.push("0", _SETUP_ACK_BODY))
        return opened

    def _open(self, call: Call, client: Client) -> Connection | None:
        try:
            connection = self._connections.open(client, call)
        except AtollError as error:
            refused(call, client.id, error)
            return None
        self._naming.client_opened(client)
        return connection

    def _replace_stream(self, connection: Connection, call: Call) -> None:
        old, connection.stream = connection.stream, call
        old.finish()
        connection.pushes.room(self._clock.now_s())

    def _client(self, call: Call, setup: requests.ConnectionSetupRequest) -> Client:
        labels = _bounded(texts_of(setup.labels))
        address, _, port = call.peer.address.rpartition(":")
        return Client(
            id=self._connections.id_of(call),
            address=address.strip("[]"),
            port=int(port),
            app=labels.get("AppName", ""),
            version=(setup.client_version or "")[:LABEL_CHARS_MAX],
            labels=labels,
            opened_s=self._clock.wall_s(),
        )

    # --------------------------------------------------------------------------------------------- answers

    def _answered(self, connection: Connection, found: Payload) -> None:
        now_s = self._clock.now_s()
        connection.active_s = now_s
        try:
            answer = _ANSWER_BODY.read(found.body)
        except BodyFault as fault:
            self._ignore(connection.stream, found.type, str(fault))
            return
        if answer.request_id is not None:
            connection.pushes.acknowledge(answer.request_id, answer.succeeded, now_s, found.body)

    def _ended(self, connection: Connection, call: Call, *, clean: bool) -> None:
        """This stream is over, and with it the connection, unless another stream took its place."""
        if connection.stream is not call or not self._connections.close(connection):
            return
        self._configs.client_closed(connection.id)
        self._naming.client_closed(connection.id, clean=clean and not connection.sent_away)

    def _ignore(self, call: Call, what: str, why: str) -> None:
        self._log.debug("ignored what came on a stream", peer=call.peer.address, what=what, why=why)


def _bounded(labels: Mapping[str, str]) -> Mapping[str, str]:
    """A client may say anything of itself, but not at any length."""
    kept = list(labels.items())[:LABELS_MAX]
    return {key[:LABEL_CHARS_MAX]: value[:LABEL_CHARS_MAX] for key, value in kept}
