"""The mesh's authority over the node's API: for operators who proved that they are.

Rule: whoever orders here can make any identity of the mesh. That a node without ``--auth`` is open to every local user does
not hold for this: it is answered only to the node's API token, and at its Unix socket to the node's own user and root.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from atoll.errors import AtollError, Code, Reason
from atoll.planes.mesh.service.identity.authority import Authority
from atoll.resources.actor import Actor
from atoll.resources.config_api import Removed
from atoll.resources.mesh.authority import UserMapping
from atoll.resources.mesh.authority_api import (
    AdvanceOrder,
    AuthorityShown,
    CertificateNamed,
    CertificateShown,
    CreateOrder,
    IntermediateOrder,
    RotateOrder,
    TokenMade,
    TokenOrder,
    TrustOrder,
    UserOrder,
    UserShown,
)
from atoll.runtime.http_api import Asked, Endpoint
from atoll.runtime.http_guard import OPERATOR_NAME

VIA = "api"
PATH = "/v1/mesh/authority"


class AuthorityApi:
    def __init__(self, authority: Authority, trust_domain: str, node_id: str) -> None:
        self._authority = authority
        self._trust_domain = trust_domain
        self._node_id = node_id

    def endpoints(self) -> list[Endpoint]:
        shown = AuthorityShown
        declared = [
            Endpoint("GET", PATH, "How the mesh's authority stands.", self.show, shown),
            Endpoint(
                "POST", f"{PATH}/root", "Begin with an offline root.", self.create, shown, body=CreateOrder
            ),
            Endpoint(
                "POST", f"{PATH}/rotate", "Begin to exchange the root.", self.rotate, shown, body=RotateOrder
            ),
            Endpoint(
                "POST",
                f"{PATH}/advance",
                "The exchange's next stage.",
                self.advance,
                shown,
                body=AdvanceOrder,
            ),
            Endpoint("POST", f"{PATH}/renew", "Let every workload renew now.", self.renew, shown),
            Endpoint(
                "PUT",
                f"{PATH}/intermediate",
                "A node's intermediate, signed offline.",
                self.intermediate,
                shown,
                body=IntermediateOrder,
            ),
            Endpoint("PUT", f"{PATH}/trust", "Trust another domain.", self.trust, shown, body=TrustOrder),
            Endpoint(
                "GET", f"{PATH}/certificates", "What is in use.", self.certificates, list[CertificateShown]
            ),
            Endpoint(
                "DELETE",
                f"{PATH}/certificate",
                "Let it not be renewed.",
                self.withdraw,
                Removed,
                query=CertificateNamed,
            ),
            Endpoint("POST", "/v1/mesh/token", "Make a join token.", self.token, TokenMade, body=TokenOrder),
            Endpoint("GET", "/v1/mesh/users", "What uids may be.", self.users, list[UserShown]),
            Endpoint("PUT", "/v1/mesh/user", "Map a uid.", self.map_user, list[UserShown], body=UserOrder),
        ]
        return [_for_operators(each) for each in declared]

    async def show(self, asked: Asked) -> AuthorityShown:
        return self._authority.shown()

    async def create(self, asked: Asked) -> AuthorityShown:
        order: CreateOrder = asked.body
        return await self._authority.create(self._actor(asked), self._trust_domain, order.certificate)

    async def rotate(self, asked: Asked) -> AuthorityShown:
        return await self._authority.rotate(self._actor(asked), asked.body)

    async def advance(self, asked: Asked) -> AuthorityShown:
        return await self._authority.advance(self._actor(asked), asked.body.force)

    async def renew(self, asked: Asked) -> AuthorityShown:
        return await self._authority.renew(self._actor(asked))

    async def intermediate(self, asked: Asked) -> AuthorityShown:
        return await self._authority.take_intermediate(self._actor(asked), asked.body)

    async def trust(self, asked: Asked) -> AuthorityShown:
        return await self._authority.trust(self._actor(asked), asked.body)

    async def certificates(self, asked: Asked) -> list[CertificateShown]:
        return self._authority.certificates()

    async def withdraw(self, asked: Asked) -> Removed:
        return Removed(await self._authority.withdraw(self._actor(asked), asked.fields.serial))

    async def token(self, asked: Asked) -> TokenMade:
        return await self._authority.make_token(self._actor(asked), asked.body)

    async def users(self, asked: Asked) -> list[UserShown]:
        return self._authority.users()

    async def map_user(self, asked: Asked) -> list[UserShown]:
        order: UserOrder = asked.body
        wanted = UserMapping(uid=order.uid, services=order.services, node=order.node)
        return await self._authority.map_user(self._actor(asked), wanted)

    def _actor(self, asked: Asked) -> Actor:
        return Actor(OPERATOR_NAME, asked.caller.address, VIA, self._node_id)


def _for_operators(endpoint: Endpoint) -> Endpoint:
    handler: Callable[[Asked], Any] = endpoint.handler

    async def answer(asked: Asked) -> Any:
        if not asked.caller.proven:
            raise AtollError(
                Code.DENIED,
                "identities are given out by a proven operator only: ask at the node's Unix socket (mesh.sock in its data "
                "folder) as the node's own user, or start the node with --auth and show its API token",
                reason=Reason.PERMISSION_DENIED,
            )
        return await handler(asked)

    return Endpoint(
        endpoint.method,
        endpoint.path,
        endpoint.summary,
        answer,
        endpoint.answer,
        query=endpoint.query,
        body=endpoint.body,
    )
