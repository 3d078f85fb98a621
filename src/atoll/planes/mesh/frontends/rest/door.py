"""Who asks the mesh's API, and may they: asked here once by every endpoint that is for users, before anything else.

Rule: an endpoint is declared with what it needs: any account to look, the role root to change something. Whoever needed no
token is the operator only while nobody needs one. Permissions are those of now, as the accounts of the node have them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import msgspec

from atoll.access.grants import permissions_of
from atoll.errors import AtollError, Code, Reason
from atoll.resources.accounts import Accounts
from atoll.resources.actor import Actor
from atoll.runtime.http_api import Asked, Endpoint
from atoll.runtime.http_guard import OPERATOR_NAME, Caller

VIA = "api"

Needs: TypeAlias = Callable[[Accounts, Caller], None]
"""Raises DENIED unless the caller may ask this."""


class Call(msgspec.Struct, frozen=True):
    """A question that was let in."""

    asked: Asked
    actor: Actor

    @property
    def fields(self) -> Any:
        return self.asked.fields

    @property
    def body(self) -> Any:
        return self.asked.body


def looking(accounts: Accounts, caller: Caller) -> None:
    """Any account will do."""
    if not caller.operates(accounts.enabled) and not caller.user:
        raise AtollError(Code.DENIED, "log in first", reason=Reason.INVALID_TOKEN)


def changing(accounts: Accounts, caller: Caller) -> None:
    looking(accounts, caller)
    if not caller.operates(accounts.enabled) and not permissions_of(accounts, caller.user).admin:
        text = f"user {caller.user!r} lacks the role root, which changes the mesh"
        raise AtollError(Code.DENIED, text, reason=Reason.PERMISSION_DENIED)


class Door:
    """``accounts``: those in force now."""

    def __init__(self, accounts: Callable[[], Accounts], node_id: str) -> None:
        self._accounts = accounts
        self._node_id = node_id

    def guarded(self, needs: Needs, endpoint: Endpoint) -> Endpoint:
        """``endpoint``, whose handler takes a ``Call``, behind the question ``needs``."""

        async def answer(asked: Asked) -> Any:
            needs(self._accounts(), asked.caller)
            return await endpoint.handler(Call(asked, self._actor(asked.caller)))

        return msgspec.structs.replace(endpoint, handler=answer, for_users=True)

    def _actor(self, caller: Caller) -> Actor:
        user = OPERATOR_NAME if caller.proven else caller.user
        return Actor(user, caller.address, VIA, self._node_id)
