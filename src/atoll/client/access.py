"""Namespaces, users, roles, rights and the audit log over the node's API, typed."""

from __future__ import annotations

from atoll.client.node import Client
from atoll.resources.access_api import (
    AnchorAsked,
    AuditAsked,
    AuditPage,
    FirstAdministrator,
    FirstOrder,
    LoginOrder,
    Right,
    RoleOrder,
    RoleRemoval,
    RoleShown,
    Session,
    UserNamed,
    UserOrder,
    UserShown,
)
from atoll.resources.audit import Verdict
from atoll.resources.config_api import Removed
from atoll.resources.namespace import NamespaceView
from atoll.resources.namespace_api import NamespaceNamed, NamespaceOrder, NamespaceRemoval
from atoll.resources.node import Done


class Namespaces:
    """The namespaces of ``client``."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def every(self) -> list[NamespaceView]:
        return await self._client.get("/v1/namespaces", list[NamespaceView])

    async def one(self, name: str) -> NamespaceView:
        return await self._client.get("/v1/namespace", NamespaceView, NamespaceNamed(name))

    async def create(self, order: NamespaceOrder) -> NamespaceView:
        return await self._client.post("/v1/namespace", order, NamespaceView)

    async def update(self, order: NamespaceOrder) -> NamespaceView:
        return await self._client.send("PUT", "/v1/namespace", order, NamespaceView)

    async def remove(self, asked: NamespaceRemoval) -> Removed:
        return await self._client.send("DELETE", "/v1/namespace", None, Removed, asked)


class Access:
    """Who may do what, and what was done."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def login(self, user: str, password: str) -> Session:
        return await self._client.post("/v1/login", LoginOrder(user, password), Session)

    async def first_administrator(self, password: str = "") -> FirstAdministrator:
        return await self._client.post("/v1/login/first", FirstOrder(password), FirstAdministrator)

    async def users(self) -> list[UserShown]:
        return await self._client.get("/v1/users", list[UserShown])

    async def create_user(self, user: str, password: str) -> Done:
        return await self._client.post("/v1/user", UserOrder(user, password), Done)

    async def change_password(self, user: str, password: str) -> Done:
        return await self._client.send("PUT", "/v1/user/password", UserOrder(user, password), Done)

    async def delete_user(self, user: str) -> Done:
        return await self._client.send("DELETE", "/v1/user", None, Done, UserNamed(user))

    async def roles(self) -> list[RoleShown]:
        return await self._client.get("/v1/roles", list[RoleShown])

    async def give_role(self, role: str, user: str) -> Done:
        return await self._client.post("/v1/role", RoleOrder(role, user), Done)

    async def take_role(self, role: str, user: str = "") -> Done:
        return await self._client.send("DELETE", "/v1/role", None, Done, RoleRemoval(role, user))

    async def give_right(self, right: Right) -> Done:
        return await self._client.post("/v1/right", right, Done)

    async def take_right(self, right: Right) -> Done:
        return await self._client.send("DELETE", "/v1/right", None, Done, right)

    async def audit(self, asked: AuditAsked) -> AuditPage:
        return await self._client.get("/v1/audit", AuditPage, asked)

    async def verify(self, asked: AnchorAsked) -> Verdict:
        return await self._client.get("/v1/audit/verify", Verdict, asked)
