"""The registry and its Nacos API inside the test's own process, on a thread with an event loop.

Rule: the whole plane, put together as a node does it; only the clock can be moved on, so that a test need not wait
twenty seconds to see a silent client asked.

``with Served() as served: Raw(served.address)``
"""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from atoll.access import accounts as changes
from atoll.access import passwords
from atoll.planes.registry import plane
from atoll.planes.registry.plane import Opened
from atoll.planes.registry.service.guard import Credentials
from atoll.planes.registry.settings import Settings
from atoll.resources.accounts import Accounts
from atoll.resources.actor import Actor
from atoll.runtime import loop
from atoll.runtime.clock import BootClock, Clock
from atoll.runtime.grpc_server import GrpcServer
from atoll.runtime.listener import listen
from atoll.runtime.logs import Log
from atoll.runtime.metrics import Metrics
from atoll.runtime.net import Address
from atoll.runtime.rng import new_salt, system_rng
from atoll.runtime.tasks import Tasks
from atoll.store import accounts
from atoll.store.accounts import Deed
from atoll.store.audit import AuditWriter
from atoll.store.embedded import Embedded
from atoll.store.ephemeral import EphemeralTable, Identity
from atoll.store.memory import open_memory
from atoll.store.peers import Member, Peers
from atoll.store.shell import StoreShell

START_WITHIN_S = 30.0
NODE = "n1"

T = TypeVar("T")


class MovedClock(BootClock):
    """The real time, and what was added to it."""

    def __init__(self) -> None:
        self.moved_s = 0.0

    def now_s(self) -> float:
        return super().now_s() + self.moved_s

    def wall_s(self) -> float:
        return super().wall_s() + self.moved_s


class Served:
    """One node's registry on a store in memory. ``errors``: what background tasks failed with; none at the end."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.clock = MovedClock()
        self.address = ""
        self.opened: Opened
        self.server: GrpcServer
        self.accounts: accounts.AccountsTable
        self.errors: list[tuple[str, BaseException]] = []
        self._settings = settings or Settings()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, name="served", daemon=True)

    def __enter__(self) -> Served:
        self._thread.start()
        assert self._started.wait(START_WITHIN_S), "the registry did not start"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()
        self._thread.join(START_WITHIN_S)
        assert not self._thread.is_alive(), "the registry did not stop"
        assert not self.errors, self.errors

    def ask(self, question: Callable[[], T]) -> T:
        """Call ``question`` on the loop's thread."""

        async def answer() -> T:
            return question()

        return self.do(answer())

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Run ``work`` on the loop."""
        return self.begin(work).result(START_WITHIN_S)

    def begin(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def change_accounts(self, change: Callable[[Accounts], Accounts]) -> None:
        self.do(self.accounts.change(change, Deed(Actor(via="test"), "auth", "accounts")))

    def require_login(self) -> str:
        """Turn authentication on; returns a token of the user root."""
        self.add_user(changes.ROOT, role=changes.ROOT)
        self.change_accounts(changes.enable)
        return self.token_of(changes.ROOT)

    def add_user(self, name: str, role: str) -> None:
        """With a role of its own, which may do nothing yet."""
        password = passwords.hashed(f"{name}'s", new_salt(passwords.SALT_BYTES))
        self.change_accounts(lambda table: changes.add_user(table, name, password))
        self.change_accounts(lambda table: changes.add_role(table, role))
        self.change_accounts(lambda table: changes.grant_role(table, name, role))

    def token_of(self, name: str) -> str:
        credentials = Credentials(username=name, password=f"{name}'s", address="127.0.0.1")
        return self.do(self.opened.registry.accounts.login(credentials)).token

    def _run(self) -> None:
        with tempfile.TemporaryDirectory(prefix="atoll-nacos-") as folder:
            loop.run(self._serve(Path(folder)))

    async def _serve(self, data: Path) -> None:
        self._loop = asyncio.get_running_loop()
        stopping = loop.Event()
        self._stop = loop.call_from_thread(stopping.set)
        tasks = Tasks(Log("test"), lambda name, error: self.errors.append((name, error)))
        driver = open_memory()
        self.opened, self.accounts = await open_node(driver, tasks, data, self.clock, self._settings)
        nacos = self.opened.nacos_grpc
        self.server = GrpcServer(nacos.routes, errors=nacos.errors, clock=self.clock, limits=nacos.limits)
        listener = listen(Address("127.0.0.1", 0), "--listen-nacos", grpc=self.server)
        self.address = f"127.0.0.1:{listener.address.port}"
        self._started.set()
        await stopping.wait()
        await listener.close(0.0)
        await self.opened.close(START_WITHIN_S)
        await tasks.stop(START_WITHIN_S)
        driver.close()


async def open_node(
    driver: Embedded, tasks: Tasks, data: Path, clock: Clock, settings: Settings
) -> tuple[Opened, accounts.AccountsTable]:
    """The plane of one node over ``driver``, and its table of accounts."""
    audit = AuditWriter(clock, system_rng(), NODE)
    table = accounts.open_embedded(driver, audit)
    ephemeral = EphemeralTable(Identity(NODE, 1), clock)
    tasks.start("ephemeral table", ephemeral.run())
    ground = plane.Ground(
        store=StoreShell(driver),
        accounts=table,
        audit=audit,
        clock=clock,
        metrics=Metrics(),
        tasks=tasks,
        data=data,
        peers=Peers(Member(NODE, 1)),
        ephemeral=ephemeral,
        settings=settings,
    )
    return await plane.open_plane(ground), table
