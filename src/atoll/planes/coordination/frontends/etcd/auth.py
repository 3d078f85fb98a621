"""Auth: users, roles, permissions, logging in.

One rule: the permission to act on accounts is asked for before anything about the request is judged; hashing a
password, which takes 50 ms, happens on another thread.

As etcd 3.4 has it: role ``root`` may do everything, a user may look at itself and at its roles, an account can be
made without a password, and tokens end when the password changes or the user goes. ``AuthStatus`` came with 3.5.
"""

from __future__ import annotations

from typing import Any

from atoll.access import accounts as changes
from atoll.access import passwords
from atoll.planes.coordination.frontends.etcd.node import Node, task_route
from atoll.resources.accounts import Password, Permission
from atoll.resources.actor import Actor
from atoll.runtime import loop, rng
from atoll.runtime.clock import Clock
from atoll.runtime.grpc_call import Call
from atoll.runtime.grpc_server import Route
from atoll.store.accounts import AccountsTable, Change, Deed
from atoll.wire.etcd import messages


class Auth:
    def __init__(self, node: Node, table: AccountsTable, clock: Clock) -> None:
        self._node = node
        self._gate = node.gate
        self._table = table
        self._clock = clock

    def routes(self) -> dict[str, Route]:
        handlers = {
            "AuthEnable": self.enable,
            "AuthDisable": self.disable,
            "Authenticate": self.authenticate,
            "UserAdd": self.add_user,
            "UserGet": self.get_user,
            "UserList": self.list_users,
            "UserDelete": self.delete_user,
            "UserChangePassword": self.change_password,
            "UserGrantRole": self.grant_role,
            "UserRevokeRole": self.revoke_role,
            "RoleAdd": self.add_role,
            "RoleGet": self.get_role,
            "RoleList": self.list_roles,
            "RoleDelete": self.delete_role,
            "RoleGrantPermission": self.grant_permission,
            "RoleRevokePermission": self.revoke_permission,
        }
        return dict(task_route(f"Auth.{name}", handler) for name, handler in handlers.items())

    # ------------------------------------------------------------------------------------- on, off, in

    async def enable(self, call: Call, request: Any) -> bytes:
        return await self._change(call, ("auth.enable", ""), changes.enable)

    async def disable(self, call: Call, request: Any) -> bytes:
        return await self._change(call, ("auth.disable", ""), changes.disable)

    async def authenticate(self, call: Call, request: Any) -> bytes:
        """A token for the right password. Accounts that changed meanwhile are asked again."""
        while True:
            accounts = self._gate.authority.accounts
            await loop.in_thread(passwords.verify, accounts, request.name, request.password)
            if accounts is self._gate.authority.accounts:
                break
        token = rng.new_token()
        self._gate.tokens.add(token, request.name, self._clock.now_s())
        body: bytes = messages.AuthenticateResponse(token=token).SerializeToString()
        return await self._header() + body

    # ---------------------------------------------------------------------------------------------- users

    async def add_user(self, call: Call, request: Any) -> bytes:
        self._require_admin(call)
        password = None if request.options.no_password else await _hashed(request.password)
        return await self._change(
            call,
            ("user.create", request.name),
            lambda accounts: changes.add_user(accounts, request.name, password),
        )

    async def get_user(self, call: Call, request: Any) -> bytes:
        self._gate.authority.require_own_or_admin(self._gate.user_of(call), request.name)
        user = changes.user(self._gate.authority.accounts, request.name)
        return await self._answer(messages.AuthUserGetResponse(roles=user.roles))

    async def list_users(self, call: Call, request: Any) -> bytes:
        self._require_admin(call)
        users = sorted(self._gate.authority.accounts.users)
        return await self._answer(messages.AuthUserListResponse(users=users))

    async def delete_user(self, call: Call, request: Any) -> bytes:
        return await self._change(
            call,
            ("user.delete", request.name),
            lambda accounts: changes.delete_user(accounts, request.name),
        )

    async def change_password(self, call: Call, request: Any) -> bytes:
        self._require_admin(call)
        changes.user(self._gate.authority.accounts, request.name)
        password = await _hashed(request.password)
        return await self._change(
            call,
            ("user.password", request.name),
            lambda accounts: changes.change_password(accounts, request.name, password),
        )

    async def grant_role(self, call: Call, request: Any) -> bytes:
        return await self._change(
            call,
            ("role.grant", f"{request.role} {request.user}"),
            lambda accounts: changes.grant_role(accounts, request.user, request.role),
        )

    async def revoke_role(self, call: Call, request: Any) -> bytes:
        return await self._change(
            call,
            ("role.revoke", f"{request.role} {request.name}"),
            lambda accounts: changes.revoke_role(accounts, request.name, request.role),
        )

    # ---------------------------------------------------------------------------------------------- roles

    async def add_role(self, call: Call, request: Any) -> bytes:
        return await self._change(
            call,
            ("role.create", request.name),
            lambda accounts: changes.add_role(accounts, request.name),
        )

    async def get_role(self, call: Call, request: Any) -> bytes:
        self._gate.authority.require_role_or_admin(self._gate.user_of(call), request.role)
        role = changes.role(self._gate.authority.accounts, request.role)
        permissions = [
            messages.Permission(permType=one.right, key=one.key, range_end=one.end)
            for one in role.permissions
        ]
        return await self._answer(messages.AuthRoleGetResponse(perm=permissions))

    async def list_roles(self, call: Call, request: Any) -> bytes:
        self._require_admin(call)
        roles = sorted(self._gate.authority.accounts.roles)
        return await self._answer(messages.AuthRoleListResponse(roles=roles))

    async def delete_role(self, call: Call, request: Any) -> bytes:
        return await self._change(
            call,
            ("role.delete", request.role),
            lambda accounts: changes.delete_role(accounts, request.role),
        )

    async def grant_permission(self, call: Call, request: Any) -> bytes:
        permission = Permission(request.perm.key, request.perm.range_end, request.perm.permType)
        return await self._change(
            call,
            ("permission.grant", f"{request.name} {_range(permission.key, permission.end)}"),
            lambda accounts: changes.grant_permission(accounts, request.name, permission),
        )

    async def revoke_permission(self, call: Call, request: Any) -> bytes:
        return await self._change(
            call,
            ("permission.revoke", f"{request.role} {_range(request.key, request.range_end)}"),
            lambda accounts: changes.revoke_permission(
                accounts, request.role, request.key, request.range_end
            ),
        )

    # --------------------------------------------------------------------------------------------- inside

    def _require_admin(self, call: Call) -> None:
        self._gate.authority.require_admin(self._gate.user_of(call))

    async def _change(self, call: Call, deed: tuple[str, str], change: Change) -> bytes:
        """``deed``: the action and its subject, for the audit log."""
        self._require_admin(call)
        address = call.peer.address.rpartition(":")[0]
        actor = Actor(user=self._gate.user_of(call), address=address, via="etcd")
        await self._table.change(change, Deed(actor, *deed))
        return await self._header()

    async def _answer(self, response: Any) -> bytes:
        body: bytes = response.SerializeToString()
        return await self._header() + body

    async def _header(self) -> bytes:
        return self._node.header((await self._node.store.status()).revision)


def _range(key: bytes, end: bytes) -> str:
    return "..".join(part.decode("utf-8", "backslashreplace") for part in (key, end) if part)


async def _hashed(password: str) -> Password:
    return await loop.in_thread(passwords.hashed, password, rng.new_salt(passwords.SALT_BYTES))
