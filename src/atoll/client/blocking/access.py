# Generated from src/atoll/client/access.py by `python3 dev.py generate`; edit that file instead.
"""Namespaces, users, roles, rights and the audit log over the node's API, typed."""

from __future__ import annotations

from atoll.client.blocking.node import Client
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

    def every(self) -> list[NamespaceView]:
        return self._client.get("/v1/namespaces", list[NamespaceView])

    def one(self, name: str) -> NamespaceView:
        return self._client.get("/v1/namespace", NamespaceView, NamespaceNamed(name))

    def create(self, order: NamespaceOrder) -> NamespaceView:
        return self._client.post("/v1/namespace", order, NamespaceView)

    def update(self, order: NamespaceOrder) -> NamespaceView:
        return self._client.send("PUT", "/v1/namespace", order, NamespaceView)

    def remove(self, asked: NamespaceRemoval) -> Removed:
        return self._client.send("DELETE", "/v1/namespace", None, Removed, asked)


class Access:
    """Who may do what, and what was done."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def login(self, user: str, password: str) -> Session:
        return self._client.post("/v1/login", LoginOrder(user, password), Session)

    def first_administrator(self, password: str = "") -> FirstAdministrator:
        return self._client.post("/v1/login/first", FirstOrder(password), FirstAdministrator)

    def users(self) -> list[UserShown]:
        return self._client.get("/v1/users", list[UserShown])

    def create_user(self, user: str, password: str) -> Done:
        return self._client.post("/v1/user", UserOrder(user, password), Done)

    def change_password(self, user: str, password: str) -> Done:
        return self._client.send("PUT", "/v1/user/password", UserOrder(user, password), Done)

    def delete_user(self, user: str) -> Done:
        return self._client.send("DELETE", "/v1/user", None, Done, UserNamed(user))

    def roles(self) -> list[RoleShown]:
        return self._client.get("/v1/roles", list[RoleShown])

    def give_role(self, role: str, user: str) -> Done:
        return self._client.post("/v1/role", RoleOrder(role, user), Done)

    def take_role(self, role: str, user: str = "") -> Done:
        return self._client.send("DELETE", "/v1/role", None, Done, RoleRemoval(role, user))

    def give_right(self, right: Right) -> Done:
        return self._client.post("/v1/right", right, Done)

    def take_right(self, right: Right) -> Done:
        return self._client.send("DELETE", "/v1/right", None, Done, right)

    def audit(self, asked: AuditAsked) -> AuditPage:
        return self._client.get("/v1/audit", AuditPage, asked)

    def verify(self, asked: AnchorAsked) -> Verdict:
        return self._client.get("/v1/audit/verify", Verdict, asked)
