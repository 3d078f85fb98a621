"""The mesh's certificate authority over the node's API, typed: for operators."""

from __future__ import annotations

from atoll.client.node import Client
from atoll.resources.config_api import Removed
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

PATH = "/v1/mesh/authority"


class MeshAuthority:
    """The authority's part of ``client``."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def show(self) -> AuthorityShown:
        return await self._client.get(PATH, AuthorityShown)

    async def create(self, order: CreateOrder) -> AuthorityShown:
        return await self._client.post(f"{PATH}/root", order, AuthorityShown)

    async def rotate(self, order: RotateOrder) -> AuthorityShown:
        return await self._client.post(f"{PATH}/rotate", order, AuthorityShown)

    async def advance(self, order: AdvanceOrder) -> AuthorityShown:
        return await self._client.post(f"{PATH}/advance", order, AuthorityShown)

    async def renew(self) -> AuthorityShown:
        return await self._client.post(f"{PATH}/renew", None, AuthorityShown)

    async def put_intermediate(self, order: IntermediateOrder) -> AuthorityShown:
        return await self._client.send("PUT", f"{PATH}/intermediate", order, AuthorityShown)

    async def trust(self, order: TrustOrder) -> AuthorityShown:
        return await self._client.send("PUT", f"{PATH}/trust", order, AuthorityShown)

    async def certificates(self) -> list[CertificateShown]:
        return await self._client.get(f"{PATH}/certificates", list[CertificateShown])

    async def withdraw(self, asked: CertificateNamed) -> Removed:
        return await self._client.send("DELETE", f"{PATH}/certificate", None, Removed, asked)

    async def make_token(self, order: TokenOrder) -> TokenMade:
        return await self._client.post("/v1/mesh/token", order, TokenMade)

    async def users(self) -> list[UserShown]:
        return await self._client.get("/v1/mesh/users", list[UserShown])

    async def map_user(self, order: UserOrder) -> list[UserShown]:
        return await self._client.send("PUT", "/v1/mesh/user", order, list[UserShown])
