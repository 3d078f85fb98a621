"""The registry's own API on a store in memory: the whole plane behind the real gate, asked without a port or with one."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atoll.access import accounts as changes
from atoll.access import passwords
from atoll.client.local import LocalTransport
from atoll.client.node import Client
from atoll.planes.registry import plane
from atoll.planes.registry.plane import Opened
from atoll.resources.actor import Actor
from atoll.runtime import loop
from atoll.runtime.clock import BootClock
from atoll.runtime.http1 import Application, Http1Server
from atoll.runtime.http_api import application
from atoll.runtime.http_guard import Gate
from atoll.runtime.listener import listen
from atoll.runtime.logs import Log
from atoll.runtime.metrics import Metrics
from atoll.runtime.net import Address
from atoll.runtime.rng import new_salt, system_rng
from atoll.runtime.tasks import Tasks
from atoll.store import accounts
from atoll.store.accounts import Deed
from atoll.store.audit import AuditWriter
from atoll.store.ephemeral import EphemeralTable, Identity
from atoll.store.memory import open_memory
from atoll.store.peers import Member, Peers
from atoll.store.shell import StoreShell

ADDRESS = Address("127.0.0.1", 7070)
TOKEN = "the node's own"  # noqa: S105 - of this test
WITHIN_S = 20.0


@dataclass
class Kit:
    """``client`` shows the node's token; ``of(token)`` another, or none."""

    opened: Opened
    app: Application
    accounts: accounts.AccountsTable

    @property
    def client(self) -> Client:
        return self.of(TOKEN)

    def of(self, token: str) -> Client:
        return Client(LocalTransport(self.app, str(ADDRESS)), token)

    async def require_login(self) -> None:
        """Turn authentication on, as an administrator would: user root, role root, enabled."""
        password = passwords.hashed("root's", new_salt(passwords.SALT_BYTES))
        deed = Deed(Actor(via="test"), "auth", "accounts")
        await self.accounts.change(lambda table: changes.add_user(table, changes.ROOT, password), deed)
        await self.accounts.change(lambda table: changes.add_role(table, changes.ROOT), deed)
        await self.accounts.change(lambda table: changes.grant_role(table, changes.ROOT, changes.ROOT), deed)
        await self.accounts.change(changes.enable, deed)

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        """The same on a port; yields the URL."""
        listener = listen(Address("127.0.0.1", 0), "--listen", http1=Http1Server(self.app, BootClock()))
        try:
            yield f"http://{listener.address}"
        finally:
            await listener.close(0.0)


@contextlib.asynccontextmanager
async def open_kit(data: Path) -> AsyncIterator[Kit]:
    failed: list[Any] = []
    tasks = Tasks(Log("test"), lambda name, error: failed.append((name, error)))
    driver, clock = open_memory(), BootClock()
    audit = AuditWriter(clock, system_rng(), "n1")
    table = accounts.open_embedded(driver, audit)
    ephemeral = EphemeralTable(Identity("n1", 1), clock)
    tasks.start("ephemeral table", ephemeral.run())
    ground = plane.Ground(
        store=StoreShell(driver),
        accounts=table,
        audit=audit,
        clock=clock,
        metrics=Metrics(),
        tasks=tasks,
        data=data,
        peers=Peers(Member("n1", 1)),
        ephemeral=ephemeral,
    )
    opened = await plane.open_plane(ground)
    gate = Gate(ADDRESS, TOKEN, opened.user_of)
    try:
        yield Kit(opened, application(opened.endpoints, gate, Log("api"), "1", {}), table)
    finally:
        await opened.close(1.0)
        await tasks.stop(1.0)
        driver.close()
    assert not failed, failed


def run(scenario: Callable[[Kit], Awaitable[None]]) -> None:
    """One scenario on a fresh plane."""

    async def within() -> None:
        with tempfile.TemporaryDirectory(prefix="atoll-rest-") as folder:
            async with loop.bounded(WITHIN_S, "the scenario"), open_kit(Path(folder)) as kit:
                await scenario(kit)

    loop.run(within())
