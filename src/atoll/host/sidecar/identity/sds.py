"""The secret service of one sidecar: its Envoy's key, certificate and roots, over gRPC at a Unix socket.

Rule: the socket is 0600 in a 0700 folder, and besides only a process of the same user that ``may_ask`` knows is answered: the
Envoys of this sidecar. An application of the same user gets neither the key nor the roots from here. Serves ``StreamSecrets``
(state of the world), which is what the bootstrap and the control plane name.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from atoll.errors import AtollError, Code, ProtocolFault
from atoll.host.sidecar.identity.held import Held
from atoll.resources.mesh import proxy
from atoll.runtime import loop
from atoll.runtime.clock import Clock
from atoll.runtime.grpc_call import Call, Limits
from atoll.runtime.grpc_server import GrpcServer, streaming
from atoll.runtime.listener import Listener, listen_unix
from atoll.runtime.logs import Log
from atoll.wire.grpc.status import Status
from atoll.wire.xds import secrets
from atoll.wire.xds.secrets import Secret, SecretStream

MODE = 0o600
CLOSE_WITHIN_S = 1.0
TAKEN_WITHIN_S = 10.0
STREAMS_MAX = 1_000  # of one sidecar: an Envoy opens one for each secret that a listener or cluster names
MESSAGE_BYTES_MAX = 262_144


class SecretServer:
    """A ``Sink`` of ``WorkloadIdentity``. ``may_ask``: whether a process (its number) is an Envoy of this sidecar."""

    def __init__(self, socket: Path, may_ask: Callable[[int], bool], clock: Clock) -> None:
        self._socket = socket
        self._may_ask = may_ask
        self._log = Log("sds")
        self._own: Mapping[str, Secret] = {}
        self._others: Mapping[str, Secret] = {}
        self._streams: dict[Call, SecretStream] = {}
        self._answered = loop.Event()
        self._listener: Listener | None = None
        self._grpc = GrpcServer(
            {secrets.STREAM_PATH: streaming(self._serve)},
            errors=_status_of,
            clock=clock,
            limits=Limits(message_bytes_max=MESSAGE_BYTES_MAX),
            log=self._log,
        )

    @property
    def streams(self) -> int:
        return len(self._streams)

    async def open(self) -> None:
        self._listener = listen_unix(self._socket, MODE, grpc=self._grpc)

    async def close(self) -> None:
        if self._listener is not None:
            await self._listener.close(CLOSE_WITHIN_S)
            self._socket.unlink(missing_ok=True)

    async def hold(self, held: Held) -> bool:
        """Tell every stream; True when each that asks for the roots has taken these."""
        domains = {held.bundle.trust_domain: held.bundle.roots, **held.bundle.foreign}
        pair = secrets.certificate(proxy.IDENTITY_SECRET, held.issued.chain, held.key)
        roots = secrets.trust(proxy.ROOTS_SECRET, domains)
        self._own = {each.name: each for each in (pair, roots)}
        self._tell()
        return await self._is_taken(roots)

    def serve_also(self, others: Mapping[str, Secret]) -> None:
        """Besides the workload's own: what a gateway shows to callers from outside, by name."""
        self._others = others
        self._tell()

    @property
    def _secrets(self) -> Mapping[str, Secret]:
        return {**self._others, **self._own}

    def _tell(self) -> None:
        known = self._secrets
        for call, stream in list(self._streams.items()):
            self._send(call, stream.advance(known))

    async def _is_taken(self, roots: Secret) -> bool:
        try:
            async with loop.bounded(TAKEN_WITHIN_S, "taking in new roots"):
                while any(self._lacks(stream, roots) for stream in self._streams.values()):
                    self._answered.clear()
                    await self._answered.wait()
        except AtollError:
            return False
        return True

    def _lacks(self, stream: SecretStream, secret: Secret) -> bool:
        return secret.name in stream.wanted and stream.held.get(secret.name) != secret.version

    async def _serve(self, call: Call) -> None:
        self._require_own(call)
        stream = self._streams[call] = SecretStream(self._secrets)
        try:
            async for message in call.messages():
                refused = stream.refused
                self._send(call, stream.on_request(message))
                if stream.refused and stream.refused != refused:
                    self._log.error(
                        "Envoy refuses its secrets", names=", ".join(stream.wanted), why=stream.refused
                    )
                self._answered.set()
        except ProtocolFault as fault:
            call.fail(Status.INVALID_ARGUMENT, fault.detail)
        finally:
            del self._streams[call]
            self._answered.set()

    def _send(self, call: Call, response: bytes | None) -> None:
        if response is not None:
            call.send_nowait(response)

    def _require_own(self, call: Call) -> None:
        peer = call.peer
        if peer.uid not in (0, os.geteuid()) or not self._may_ask(peer.pid):
            self._log.warning("a stranger asks for this workload's key", uid=peer.uid, pid=peer.pid)
            raise AtollError(Code.DENIED, "this socket is for the Envoy of one sidecar, and for nobody else")
        if len(self._streams) >= STREAMS_MAX:
            raise AtollError(Code.EXHAUSTED, f"{STREAMS_MAX} streams of secrets are open")


def _status_of(error: AtollError) -> tuple[Status, str]:
    status = Status.PERMISSION_DENIED if error.code is Code.DENIED else Status.RESOURCE_EXHAUSTED
    return status, error.message
