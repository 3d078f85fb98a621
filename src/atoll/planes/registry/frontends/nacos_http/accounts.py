"""Logging in, users, roles, permissions.

Rule: what may be asked by whom was decided at the door; only the change of a password asks here, because it is for the
user itself as well.

Source: Nacos 2.4.3 and 3.1, ``UserController``, ``RoleController``, ``PermissionController``.
"""

from __future__ import annotations

from typing import Any

from atoll.errors import AtollError, Code, Reason
from atoll.planes.registry.frontends.nacos_http import answer, shapes
from atoll.planes.registry.frontends.nacos_http.answer import Bare
from atoll.planes.registry.frontends.nacos_http.application import Operation
from atoll.planes.registry.frontends.nacos_http.call import Call
from atoll.planes.registry.frontends.nacos_http.doors import Doors, credentials
from atoll.planes.registry.service.accounts import Accounts, Permission
from atoll.runtime.net import Address


class AccountsApi:
    def __init__(self, accounts: Accounts, doors: Doors) -> None:
        self._accounts = accounts
        self._doors = doors

    def operations(self) -> dict[str, Operation]:
        return {
            "auth.login": self.login,
            "auth.first": self.first,
            "users.create": self.create_user,
            "users.update": self.update_user,
            "users.delete": self.delete_user,
            "users.list": self.list_users,
            "users.search": self.search_users,
            "roles.create": self.create_role,
            "roles.delete": self.delete_role,
            "roles.list": self.list_roles,
            "roles.search": self.search_roles,
            "permissions.create": self.create_permission,
            "permissions.delete": self.delete_permission,
            "permissions.list": self.list_permissions,
            "permissions.exists": self.permission_exists,
        }

    async def login(self, call: Call) -> Bare:
        """Bare in all versions. A wrong password is 403, as everywhere."""
        given = credentials(call)
        if not given.username:
            raise AtollError(Code.DENIED, "unknown user!", reason=Reason.INVALID_CREDENTIALS)
        done = await self._accounts.login(given)
        body = {
            "accessToken": done.token,
            "tokenTtl": done.ttl_s,
            "globalAdmin": done.admin,
            "username": done.user,
        }
        bearer = (b"authorization", f"Bearer {done.token}".encode())
        return answer.json(body)._replace(fields=[bearer])

    async def first(self, call: Call) -> Any:
        loopback = Address(call.peer[0], call.peer[1]).is_loopback
        made = await self._accounts.create_first_administrator(call.actor, call.text("password"), loopback)
        what = {"username": made.user, "password": made.password}
        return what if call.is_result else answer.json(what)

    # --------------------------------------------------------------------------------------------- users

    async def create_user(self, call: Call) -> str:
        await self._accounts.create_user(call.actor, call.required("username"), call.required("password"))
        return "create user ok!"

    async def update_user(self, call: Call) -> str:
        name = call.required("username")
        self._doors.guard.require_own_or_admin(call.principal, name)
        await self._accounts.change_password(call.actor, name, call.required("newPassword"))
        return "update user ok!"

    async def delete_user(self, call: Call) -> str:
        await self._accounts.delete_user(call.actor, call.required("username"))
        return "delete user ok!"

    def list_users(self, call: Call) -> Any:
        names = self._accounts.users(call.text("username"), _blur(call))
        return _page(call, [{"username": name, "password": ""} for name in names])

    def search_users(self, call: Call) -> Any:
        return self._accounts.users(f"*{call.text('username')}*", True)

    # --------------------------------------------------------------------------------------------- roles

    async def create_role(self, call: Call) -> str:
        await self._accounts.add_role(call.actor, call.required("role"), call.required("username"))
        return "add role ok!"

    async def delete_role(self, call: Call) -> str:
        role, user = call.required("role"), call.text("username")
        await self._accounts.delete_role(call.actor, role, user)
        return f"delete role of user {user} ok!" if user else f"delete role {role} ok!"

    def list_roles(self, call: Call) -> Any:
        found = self._accounts.roles(call.text("username"), call.text("role"), _blur(call))
        return _page(call, [{"role": each.role, "username": each.user} for each in found])

    def search_roles(self, call: Call) -> Any:
        wanted = call.text("role")
        return [name for name in self._accounts.role_names() if wanted in name]

    # --------------------------------------------------------------------------------------- permissions

    async def create_permission(self, call: Call) -> str:
        await self._accounts.add_permission(call.actor, _permission(call))
        return "add permission ok!"

    async def delete_permission(self, call: Call) -> str:
        await self._accounts.delete_permission(call.actor, _permission(call))
        return "delete permission ok!"

    def list_permissions(self, call: Call) -> Any:
        found = self._accounts.permissions(call.text("role"), _blur(call))
        rows = [{"role": each.role, "resource": each.resource, "action": each.action} for each in found]
        return _page(call, rows)

    def permission_exists(self, call: Call) -> bool:
        return _permission(call) in self._accounts.permissions(call.required("role"))


def _permission(call: Call) -> Permission:
    return Permission(call.required("role"), call.required("resource"), call.required("action"))


def _blur(call: Call) -> bool:
    return call.text("search").lower() == "blur"


def _page(call: Call, rows: list[dict[str, str]]) -> dict[str, Any]:
    number, size = call.page(100)
    return shapes.page(number, size, len(rows), shapes.slice_of(rows, number, size))
