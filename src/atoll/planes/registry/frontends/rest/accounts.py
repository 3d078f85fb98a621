"""Logging in, users, roles and rights over the registry's own API.

Rule: they are views of the one table of accounts; only an administrator may look at them or change them, but that anybody
may log in and change the own password.
"""

from __future__ import annotations

import msgspec

from atoll.planes.registry.frontends.rest.door import (
    Call,
    Door,
    administering,
    delete,
    get,
    known,
    post,
    put,
)
from atoll.planes.registry.service.accounts import Accounts, Login, Permission
from atoll.planes.registry.service.guard import Credentials, Guard, Principal
from atoll.resources.access_api import (
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
from atoll.resources.node import Done
from atoll.runtime.http_api import Asked, Endpoint
from atoll.runtime.net import Address


def _own_or_admin(guard: Guard, principal: Principal, asked: Asked) -> None:
    guard.require_own_or_admin(principal, asked.body.user)


class AccountsApi:
    def __init__(self, accounts: Accounts, door: Door) -> None:
        self._accounts = accounts
        self._door = door

    def endpoints(self) -> list[Endpoint]:
        own, admin = _own_or_admin, administering
        declared = [
            (known, post("/v1/login/renew", "A new token for one that is good.", self.renew, Session)),
            (admin, get("/v1/users", "Users.", self.users, list[UserShown])),
            (admin, post("/v1/user", "Make a user.", self.create_user, Done, UserOrder)),
            (own, put("/v1/user/password", "Change a password.", self.change_password, Done, UserOrder)),
            (admin, delete("/v1/user", "Remove a user.", self.delete_user, Done, UserNamed)),
            (admin, get("/v1/roles", "Roles.", self.roles, list[RoleShown])),
            (admin, post("/v1/role", "Give a role.", self.add_role, Done, RoleOrder)),
            (admin, delete("/v1/role", "Take a role.", self.delete_role, Done, RoleRemoval)),
            (admin, post("/v1/right", "Give a role a right.", self.add_right, Done, Right)),
            (admin, delete("/v1/right", "Take a right.", self.delete_right, Done, Right)),
        ]
        return [
            self._open(post("/v1/login", "Log in.", self.login, Session, LoginOrder)),
            self._open(
                post(
                    "/v1/login/first",
                    "Make the first administrator, once, from this machine.",
                    self.first,
                    FirstAdministrator,
                    FirstOrder,
                )
            ),
            *(self._door.guarded(needs, endpoint) for needs, endpoint in declared),
        ]

    def _open(self, endpoint: Endpoint) -> Endpoint:
        """Asked before anybody can have a token."""

        async def answer(asked: Asked) -> object:
            return await endpoint.handler(self._door.call(asked))

        return msgspec.structs.replace(endpoint, handler=answer, open_to_all=True)

    # ---------------------------------------------------------------------------------------- logging in

    async def login(self, call: Call) -> Session:
        order: LoginOrder = call.body
        credentials = Credentials("", order.user, order.password, call.actor.address)
        return _session(await self._accounts.login(credentials))

    async def renew(self, call: Call) -> Session:
        return _session(self._accounts.refresh(call.principal))

    async def first(self, call: Call) -> FirstAdministrator:
        order: FirstOrder = call.body
        here = Address(call.actor.address, 0).is_loopback
        made = await self._accounts.create_first_administrator(call.actor, order.password, here)
        return FirstAdministrator(made.user, "" if order.password else made.password)

    # --------------------------------------------------------------------------------------------- users

    async def users(self, call: Call) -> list[UserShown]:
        return [UserShown(name, tuple(self._accounts.roles_of(name))) for name in self._accounts.users()]

    async def create_user(self, call: Call) -> Done:
        await self._accounts.create_user(call.actor, call.body.user, call.body.password)
        return Done()

    async def change_password(self, call: Call) -> Done:
        await self._accounts.change_password(call.actor, call.body.user, call.body.password)
        return Done()

    async def delete_user(self, call: Call) -> Done:
        await self._accounts.delete_user(call.actor, call.fields.user)
        return Done()

    # --------------------------------------------------------------------------------------------- roles

    async def roles(self, call: Call) -> list[RoleShown]:
        given, rights = self._accounts.roles(), self._accounts.permissions()
        return [
            RoleShown(
                name,
                tuple(each.user for each in given if each.role == name),
                tuple(Right(each.role, each.resource, each.action) for each in rights if each.role == name),
            )
            for name in self._accounts.role_names()
        ]

    async def add_role(self, call: Call) -> Done:
        await self._accounts.add_role(call.actor, call.body.role, call.body.user)
        return Done()

    async def delete_role(self, call: Call) -> Done:
        await self._accounts.delete_role(call.actor, call.fields.role, call.fields.user)
        return Done()

    async def add_right(self, call: Call) -> Done:
        await self._accounts.add_permission(call.actor, _permission(call.body))
        return Done()

    async def delete_right(self, call: Call) -> Done:
        await self._accounts.delete_permission(call.actor, _permission(call.fields))
        return Done()


def _session(login: Login) -> Session:
    return Session(login.user, login.token, login.ttl_s, login.admin)


def _permission(right: Right) -> Permission:
    return Permission(right.role, right.resource, right.action)
