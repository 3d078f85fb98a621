"""Who asks, and may they: asked here once by every endpoint of the registry's own API, before anything else.

Rule: an endpoint is declared with what it needs (``Needs``), and ``Door.guarded`` puts the question in front of its
handler, so that an endpoint without a question cannot be declared.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, TypeAlias

import msgspec

from atoll.access.grants import Resource
from atoll.planes.registry.service.guard import NOBODY, OPERATOR, Guard, Principal
from atoll.resources.actor import Actor
from atoll.runtime.http_api import Asked, Endpoint
from atoll.runtime.http_guard import OPERATOR_NAME

VIA = "api"


class Call(msgspec.Struct, frozen=True):
    """A question that was let in."""

    asked: Asked
    principal: Principal
    actor: Actor

    @property
    def fields(self) -> Any:
        return self.asked.fields

    @property
    def body(self) -> Any:
        return self.asked.body


Handler: TypeAlias = Callable[[Call], Any]
Needs: TypeAlias = Callable[[Guard, Principal, Asked], None]
"""Raises DENIED unless the principal may ask this."""


def reading(resource: Callable[[Asked], Resource]) -> Needs:
    return lambda guard, principal, asked: guard.require(principal, resource(asked), "r")


def writing(resource: Callable[[Asked], Resource]) -> Needs:
    return lambda guard, principal, asked: guard.require(principal, resource(asked), "w")


def administering(guard: Guard, principal: Principal, asked: Asked) -> None:
    guard.require_admin(principal)


def known(guard: Guard, principal: Principal, asked: Asked) -> None:
    """Any account will do; the handler leaves out what this one may not see."""
    guard.require_known(principal)


def get(
    path: str, summary: str, handler: Handler, answer: Any, query: type[msgspec.Struct] | tuple[str, ...] = ()
) -> Endpoint:
    return Endpoint("GET", path, summary, handler, answer, query=query)


def post(path: str, summary: str, handler: Handler, answer: Any, body: Any = None) -> Endpoint:
    return Endpoint("POST", path, summary, handler, answer, body=body)


def put(path: str, summary: str, handler: Handler, answer: Any, body: Any = None) -> Endpoint:
    return Endpoint("PUT", path, summary, handler, answer, body=body)


def delete(path: str, summary: str, handler: Handler, answer: Any, query: type[msgspec.Struct]) -> Endpoint:
    return Endpoint("DELETE", path, summary, handler, answer, query=query)


class Door:
    def __init__(self, guard: Guard, node_id: str) -> None:
        self.guard = guard
        self._node_id = node_id

    def principal(self, asked: Asked) -> Principal:
        caller = asked.caller
        if caller.operator:
            return OPERATOR if caller.operates(self.guard.enabled) else NOBODY
        return Principal(caller.user)

    def call(self, asked: Asked) -> Call:
        principal = self.principal(asked)
        user = OPERATOR_NAME if asked.caller.proven else principal.name
        return Call(asked, principal, Actor(user, asked.caller.address, VIA, self._node_id))

    def guarded(self, needs: Needs, endpoint: Endpoint) -> Endpoint:
        """``endpoint``, whose handler takes a ``Call``, behind the question ``needs``."""

        async def answer(asked: Asked) -> Any:
            return await endpoint.handler(self._let_in(asked, needs))

        async def stream(asked: Asked) -> AsyncIterator[Any]:
            async for item in endpoint.handler(self._let_in(asked, needs)):
                yield item

        behind = stream if endpoint.streams else answer
        return msgspec.structs.replace(endpoint, handler=behind, for_users=True)

    def _let_in(self, asked: Asked, needs: Needs) -> Call:
        call = self.call(asked)
        needs(self.guard, call.principal, asked)
        return call
