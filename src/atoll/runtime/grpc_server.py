"""The gRPC server that frontends stand on: routes, limits and statistics; connections are its protocol's.

Rule: a route says how its handler is called, and that is all a frontend has to know:

``unary_callback(handler)``: ``handler(call, message)`` answers by ``call.reply`` / ``call.fail`` at once or later.
No task and no coroutine is made: the hot path. ``unary(handler)``: ``async handler(call, message) -> bytes``.
``streaming(handler)``: ``async handler(call)`` for the other three kinds: it takes messages by ``call.receive()``
or ``async for message in call.messages()``, answers by ``await call.send(...)``, and its return means OK.

An ``AtollError`` out of a handler becomes a status by the frontend's table; any other exception is INTERNAL to the
caller and a traceback in the log, and the connection goes on. An unknown method is UNIMPLEMENTED.

    server = GrpcServer({"/pkg.Service/Get": unary_callback(get)}, errors=table, clock=BootClock())
    listener = await listen(Address("127.0.0.1", 0), "--etcd-listen", grpc=server)     # runtime/listener.py
"""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, TypeAlias

import msgspec

from atoll.runtime.clock import Clock
from atoll.runtime.grpc_call import Call, ErrorTable, Limits, Stats
from atoll.runtime.logs import Log

CallbackHandler: TypeAlias = Callable[[Call, bytes], None]
UnaryHandler: TypeAlias = Callable[[Call, bytes], Awaitable[bytes]]
StreamHandler: TypeAlias = Callable[[Call], Coroutine[Any, Any, None]]


class Route(msgspec.Struct, frozen=True):
    """How one method is served; made by ``unary_callback``, ``unary`` or ``streaming``. ``handler`` is called
    with the call as soon as it begins if it ``streams``, otherwise with the call and its one message.
    """

    streams: bool
    handler: Callable[..., None]


def unary_callback(handler: CallbackHandler) -> Route:
    return Route(False, handler)


def unary(handler: UnaryHandler) -> Route:
    async def answer(call: Call, message: bytes) -> None:
        call.reply(await handler(call, message))

    def start(call: Call, message: bytes) -> None:
        call.start_task(answer(call, message))

    return Route(False, start)


def streaming(handler: StreamHandler) -> Route:
    def start(call: Call) -> None:
        call.start_task(handler(call))

    return Route(True, start)


class GrpcServer:
    """``routes`` by path, ``"/package.Service/Method"``. One server may stand behind several listeners."""

    def __init__(
        self,
        routes: Mapping[str, Route],
        *,
        errors: ErrorTable,
        clock: Clock,
        limits: Limits | None = None,
        log: Log | None = None,
    ) -> None:
        self.routes = dict(routes)
        self.errors = errors
        self.clock = clock
        self.limits = limits or Limits()
        self.log = log or Log("grpc")
        self.stats = Stats()
        self._connection_ids = itertools.count(1)

    def next_connection_id(self) -> int:
        return next(self._connection_ids)
