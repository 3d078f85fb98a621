"""Unary requests: in which order they are judged, and who answers them.

Rule: the reference's order. Starting; ServerCheckRequest; types that only servers send; unknown types; connections that
were not set up; rate limits; bodies that cannot be read; then the handler, which asks for permission before it does
anything. A handler answers with the body of a success, or raises.

Handlers that only look something up, or act in memory, are plain functions: no task is made for them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeAlias

import msgspec

from atoll.access.grants import Resource
from atoll.errors import AtollError, Reason
from atoll.planes.registry.frontends.nacos_grpc import errors
from atoll.planes.registry.frontends.nacos_grpc.connections import Connection, Connections
from atoll.planes.registry.policy.control import REFUSAL_DELAY_S, Control, over_limit
from atoll.planes.registry.service.guard import Guard, Principal
from atoll.resources.actor import Actor
from atoll.runtime import loop
from atoll.runtime.clock import Clock
from atoll.runtime.grpc_call import Call
from atoll.wire.nacos import answers, payload
from atoll.wire.nacos.catalog.entry import Status
from atoll.wire.nacos.catalog.grpc_types import TYPES, GrpcType, Way
from atoll.wire.nacos.payload import Envelope, Payload, PayloadFault
from atoll.wire.nacos.requests import Body, BodyFault

VIA = "nacos-grpc"
TOKEN_HEADER = "accessToken"  # noqa: S105 - a name, not a secret

_SERVER_CHECK = "ServerCheckRequest"
_CHECKED = Envelope("ServerCheckResponse")


class Asked(msgspec.Struct, gc=False):
    """Who asks, over which connection."""

    connection: Connection
    headers: Mapping[str, str]
    principal: Principal
    guard: Guard
    node: str

    def require(self, resource: Resource, action: str) -> None:
        """Raises DENIED."""
        self.guard.require(self.principal, resource, action)

    def actor(self, claimed_user: str = "") -> Actor:
        """``claimed_user`` counts only where nobody has to log in."""
        address = self.connection.client.address
        return Actor(self.principal.name or claimed_user, address, VIA, self.node)


Handler: TypeAlias = Callable[[Asked, Any], bytes]
LaterHandler: TypeAlias = Callable[[Asked, Any], Coroutine[Any, Any, bytes]]


class _Route(msgspec.Struct, frozen=True):
    """One type that is served."""

    entry: GrpcType
    answer: Envelope
    read: Callable[[bytes], Any]
    failure: errors.Failure
    now: Handler | None = None
    later: LaterHandler | None = None

    def refusal(self, error: AtollError) -> bytes:
        return self.answer.around(self.failure(errors.code_of(error), error.message))


class Doors(msgspec.Struct, frozen=True):
    """Whom a request has to pass."""

    connections: Connections
    control: Control
    guard: Guard
    clock: Clock
    node: str
    started: Callable[[], bool]


class Dispatch:
    """``now`` and ``later``: the handlers by type. Every type that the table says is served must have one."""

    def __init__(self, doors: Doors, now: Mapping[str, Handler], later: Mapping[str, LaterHandler]) -> None:
        self._doors = doors
        self.requests: Counter[str] = Counter()  # by type
        self._routes: dict[str, _Route] = {}
        for name, entry in TYPES.items():
            if entry.body is None or entry.way is not Way.UNARY or name == _SERVER_CHECK:
                continue
            failure = errors.FAILURES.get(entry.response, answers.failure)
            self._routes[name] = _Route(
                entry,
                Envelope(entry.response),
                Body(entry.body).read,
                failure,
                now.get(name),
                later.get(name),
            )
        if lacking := [name for name, route in self._routes.items() if not (route.now or route.later)]:
            raise RuntimeError(f"no handler for {', '.join(lacking)}, which the table says are served")

    def request(self, call: Call, message: bytes) -> None:
        """``/Request/request``."""
        try:
            found = payload.decode(message)
        except PayloadFault as fault:
            call.reply(errors.error_response(errors.BAD_GATEWAY, str(fault)))
            return
        if found.type in TYPES:
            self.requests[found.type] += 1
        route = self._routes.get(found.type)
        connection = self._doors.connections.of(call)
        if route is None or connection is None or not self._doors.started():
            call.reply(self._without_connection(call, found.type, known=route is not None))
            return
        now_s = self._doors.clock.now_s()
        connection.active_s = now_s
        try:
            self._handle(call, route, connection, found, now_s)
        except BodyFault as fault:
            call.reply(errors.error_response(errors.BAD_GATEWAY, str(fault)))
        except AtollError as error:
            self._refuse(call, route, error)

    def _handle(
        self, call: Call, route: _Route, connection: Connection, found: Payload, now_s: float
    ) -> None:
        doors = self._doors
        if not doors.control.allows(route.entry.point, now_s):
            raise over_limit(route.entry.point)
        principal = doors.guard.principal_of(found.headers.get(TOKEN_HEADER, ""))
        body = route.read(found.body)
        connection.principal = principal
        asked = Asked(connection, found.headers, principal, doors.guard, doors.node)
        if route.now is not None:
            call.reply(route.answer.around(route.now(asked, body)))
        elif route.later is not None:
            call.start_task(self._answer_later(call, route, route.later(asked, body)))

    async def _answer_later(self, call: Call, route: _Route, work: Coroutine[Any, Any, bytes]) -> None:
        try:
            call.reply(route.answer.around(await work))
        except AtollError as error:
            await self._answer_refusal(call, route, error)

    def _refuse(self, call: Call, route: _Route, error: AtollError) -> None:
        if error.reason is Reason.RATE_LIMITED:
            call.start_task(self._answer_refusal(call, route, error))
        else:
            call.reply(route.refusal(error))

    async def _answer_refusal(self, call: Call, route: _Route, error: AtollError) -> None:
        if error.reason is Reason.RATE_LIMITED:
            await loop.sleep(REFUSAL_DELAY_S)
        call.reply(route.refusal(error))

    def _without_connection(self, call: Call, name: str, *, known: bool) -> bytes:
        """The answers that need no handler."""
        if not self._doors.started():
            return errors.error_response(errors.INVALID_SERVER_STATUS, "Server is starting,please try later.")
        if name == _SERVER_CHECK:
            connection_id = self._doors.connections.id_of(call)
            return _CHECKED.around(answers.encode(answers.ServerCheckResponse(connection_id=connection_id)))
        if known:
            return errors.error_response(errors.UNREGISTERED, "Connection is unregistered.")
        return _not_served(name)


def _not_served(name: str) -> bytes:
    entry = TYPES.get(name)
    if entry is not None and entry.way is Way.CLUSTER:
        return errors.error_response(errors.BAD_GATEWAY, f" invoke {name} from sdk is forbidden")
    if entry is not None and entry.module == "ai" and entry.status is Status.ABSENT:
        return errors.error_response(errors.NOT_IMPLEMENTED, entry.note)
    return errors.error_response(errors.NO_HANDLER, "RequestHandler Not Found")
