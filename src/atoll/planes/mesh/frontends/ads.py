"""Aggregated discovery over gRPC: streams of state-of-the-world and incremental requests, each a session of the push
service.

Rule: nothing is decided here; bytes become requests, requests go to the session. A client that breaks the protocol loses
its connection; one that says that it is somebody else half-way loses its stream.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TypeAlias

from atoll.errors import AtollError, Code, ProtocolFault
from atoll.planes.mesh.frontends.xds import HELLO_S_MAX, Visitors
from atoll.planes.mesh.service.push import Push
from atoll.runtime import loop
from atoll.runtime.clock import Clock
from atoll.runtime.grpc_call import Call
from atoll.runtime.grpc_server import Route, streaming
from atoll.runtime.logs import Log
from atoll.wire.grpc.status import Status
from atoll.wire.xds.messages import (
    DELTA_PATH,
    SOTW_PATH,
    DeltaRequest,
    Request,
    read_delta_request,
    read_request,
)

Read: TypeAlias = Callable[[bytes], Request | DeltaRequest]


class Ads:
    """``routes`` for a gRPC server."""

    def __init__(self, push: Push, visitors: Visitors, clock: Clock) -> None:
        self._push = push
        self._visitors = visitors
        self._clock = clock
        self._log = Log("ads")

    @property
    def routes(self) -> Mapping[str, Route]:
        return {
            SOTW_PATH: streaming(functools.partial(self._serve, read_request, False)),
            DELTA_PATH: streaming(functools.partial(self._serve, read_delta_request, True)),
        }

    async def _serve(self, read: Read, delta: bool, call: Call) -> None:
        try:
            await self._stream(read, delta, call)
        except ProtocolFault as fault:
            self._log.warning("an xDS client broke the protocol", peer=call.peer.address, what=fault.detail)
            call.fail(Status.INVALID_ARGUMENT, str(fault))
            call.cut_connection()

    async def _stream(self, read: Read, delta: bool, call: Call) -> None:
        async with loop.bounded(HELLO_S_MAX, "the first request of an xDS stream"):
            message = await call.receive()
        if message is None:
            return
        request = read(message)
        client = self._visitors.client(call.peer, request.node)
        await loop.sleep(self._push.door.ask(len(self._push), self._clock.now_s()))
        assert request.node is not None
        node = request.node
        session = self._push.open(client, node.id, call, node.agent, delta=delta)
        try:
            self._push.receive(session, request)
            async for message in call.messages():
                request = read(message)
                if request.node is not None and request.node.id not in ("", node.id):
                    raise _someone_else(node.id, request.node.id)
                self._push.receive(session, request)
        finally:
            self._push.close(session)


def _someone_else(before: str, now: str) -> AtollError:
    text = f"this stream began as node {before!r} and goes on as {now!r}: a stream is of one node"
    return AtollError(Code.INVALID, text)
