"""What stands before every operation: the gate against foreign pages, what is switched off, limits, permissions.

Rule: ``enter`` is passed by every request before its operation runs, and decides by the entry and by credentials alone.

Source: Nacos 3.1, ``nacos.core.api.compatibility.*`` (which versions answer); the carriers of a token are those of all
its versions: parameter ``accessToken``, header ``accessToken``, ``Authorization: Bearer``, or a name and a password.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from atoll.access.grants import Resource, console
from atoll.errors import AtollError, Code
from atoll.planes.registry.frontends.nacos_http.call import Call
from atoll.planes.registry.model.switches import Switches
from atoll.planes.registry.policy.control import Control
from atoll.planes.registry.service.accounts import Accounts
from atoll.planes.registry.service.guard import NOBODY, Credentials, Guard, Principal
from atoll.planes.registry.settings import HttpCompatibility
from atoll.runtime.clock import Clock
from atoll.runtime.http_guard import Gate
from atoll.wire.nacos.catalog.entry import Entry, Surface

TRAFFIC_RETRY_S = 5.0
_BEARER = "bearer "
_TRAFFIC = ("instance.", "service.", "catalog.", "cluster.update")


_SETTINGS: Mapping[Surface, str] = {
    Surface.CLIENT: "registry.nacos_http_client",
    Surface.ADMIN: "registry.nacos_http_admin",
    Surface.CONSOLE: "registry.nacos_http_console",
}


class Doors:
    """``gate`` knows the address that is listened on."""

    def __init__(self, gate: Gate, guard: Guard, accounts: Accounts, control: Control, clock: Clock) -> None:
        self.gate = gate
        self.guard = guard
        self.compatibility = HttpCompatibility()
        self.node = ""
        self.stale: Callable[[], bool] = bool  # whether the store is away
        self.switches: Callable[[], Switches] = Switches
        self._accounts = accounts
        self._control = control
        self._clock = clock

    def closed(self, entry: Entry) -> str:
        """The setting that switches this entry off; empty: it is on."""
        if not entry.path.startswith(("/v1/", "/v2/")):
            return ""
        chosen = self.compatibility
        on = {Surface.CLIENT: chosen.client, Surface.ADMIN: chosen.admin, Surface.CONSOLE: chosen.console}
        return "" if on[entry.surface] else _SETTINGS[entry.surface]

    def limited(self, call: Call) -> int:
        """The status with which an operator has this path answered, by the switch limitedUrlMap; 0: it is not limited.

        Prefixes count, as with Nacos; but not for the switches, which have to be reached to end it.
        """
        if not call.entry.operation.startswith(_TRAFFIC):
            return 0
        for prefix, status in self.switches().limited_urls.items():
            if call.path.startswith(prefix):
                return status
        return 0

    async def enter(self, call: Call) -> None:
        """Count the call, find out who asks, and check the permission of its entry. Raises DENIED, EXHAUSTED."""
        point = call.entry.point
        if point:
            self._control.require(point, self._clock.now_s())
        if call.entry.operation.startswith(_TRAFFIC):
            self._require_traffic(call.entry)
        call.node = self.node
        permit = call.entry.permit
        if permit.on == "open":
            return
        call.principal = await self._principal(call)
        if permit.on == "each":
            self.guard.require_known(call.principal)
        elif permit.on in ("config", "naming"):
            self.guard.require(call.principal, call.resource(permit.on), permit.action)
        else:
            self.guard.require(call.principal, console(permit.on.removeprefix("console/")), permit.action)

    def _require_traffic(self, entry: Entry) -> None:
        """An operator may close naming for reads, writes or both, by a switch; the switches themselves stay open."""
        status = self.switches().overridden_server_status.upper()
        if status in ("", "UP") or status == ("READ_ONLY" if entry.verb == "GET" else "WRITE_ONLY"):
            return
        text = f"server is {status}now, please try again later!"
        raise AtollError(Code.UNAVAILABLE, text, retry_after_s=TRAFFIC_RETRY_S)

    def require(self, call: Call, resource: Resource, action: str) -> None:
        """For one of several things that a call touches. Raises DENIED."""
        self.guard.require(call.principal, resource, action)

    async def _principal(self, call: Call) -> Principal:
        if not self.guard.enabled:
            return NOBODY
        given = credentials(call)
        if given.token:
            return self.guard.principal_of(given.token)
        return await self._accounts.identify(given)


def credentials(call: Call) -> Credentials:
    """What ``call`` carries; a token counts before a password."""
    token = call.text("accessToken") or call.header(b"accesstoken")
    if not token:
        authorization = call.header(b"authorization")
        if authorization[: len(_BEARER)].lower() == _BEARER:
            token = authorization[len(_BEARER) :].strip()
    return Credentials(token, call.text("username"), call.text("password"), call.peer[0])
