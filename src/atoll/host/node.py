"""A node: settings, store, planes and listeners, started in order and stopped in the reverse order.

Rule: ready means that everything that was asked for answers; whatever cannot start stops the start, with the reason,
and what had been started before is stopped again. A background task that fails later stops the node.
"""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import atoll
from atoll.errors import AtollError, Code
from atoll.host import catalog, meters
from atoll.host.api import Api
from atoll.host.leader import Compactor, Leader
from atoll.host.settings import DECLARED, Resolved
from atoll.host.state import State
from atoll.resources.actor import Actor
from atoll.runtime import disk, loop, tls
from atoll.runtime.clock import BootClock
from atoll.runtime.grpc_server import GrpcServer
from atoll.runtime.http1 import Application, Http1Server
from atoll.runtime.http_api import application
from atoll.runtime.http_guard import Gate
from atoll.runtime.listener import listen
from atoll.runtime.logs import Log
from atoll.runtime.rng import new_token, system_rng
from atoll.runtime.tasks import Tasks
from atoll.store import migration
from atoll.store.accounts import AccountsTable, Deed
from atoll.store.audit import AuditWriter
from atoll.store.ephemeral import EphemeralTable, Identity
from atoll.store.peers import Member, Peers

TOKEN_FILE = "api-token"  # noqa: S105 - a name
ROOT_PASSWORD_FILE = "root-password"  # noqa: S105 - a name
NODE_ID_FILE = "node-id"
NODE_ID_BYTES = 12
STARTS_FILE = "node-starts"
FREE_BYTES_LOW = 256 * 1024 * 1024
TASKS_STOP_WITHIN_S = 2.0
MIGRATION_ASKED_WITHIN_S = 3.0
DRAIN_S_MAX = 1.0  # for calls in flight when the node stops


class Node:
    """``start`` returns when the node is ready; ``ended`` is set when it is time to stop. ``started_s``: boot clock.

    ``pages``: applications that answer single paths of the API's port, to be set before ``start``.
    """

    def __init__(self, resolved: Resolved, started_s: float) -> None:
        self.settings = resolved.settings
        self.clock = BootClock()
        self.started_s = started_s
        self.state = State(resolved, self.clock.wall_s(), remarks=list(resolved.remarks))
        self.log = Log("node")
        self.ended = loop.Event()
        self.failure = ""
        self.tasks = Tasks(Log("task"), self._task_failed)
        self.token = ""
        self.pages: Mapping[str, Application] = {}
        self.application: Application | None = None
        self._undo: list[tuple[str, Callable[[float], Awaitable[None]]]] = []

    async def start(self) -> None:
        """Raises ``AtollError``; nothing is left running then."""
        for part in ("store", "planes", "listeners"):
            self.state.health.expect(part)
        try:
            await self._start()
        except AtollError:
            await self.stop()
            raise

    async def _start(self) -> None:
        self._prepare_data()
        await self._open_store()
        await self._start_planes()
        self._listen()
        self.state.ready_after_s = self.clock.now_s() - self.started_s
        self.state.metrics.gauge("atoll_start_seconds", "From the start of the process to ready.").set(
            self.state.ready_after_s
        )
        self.log.info("ready", after_s=round(self.state.ready_after_s, 3), store=self.state.opened.url)

    async def stop(self) -> None:
        """In the reverse order of the start; each part gets what is left of ``stop_within_s``."""
        self.state.health.expect("listeners", "stopping")
        until_s = self.clock.now_s() + self.settings.stop_within_s
        while self._undo:
            what, undo = self._undo.pop()
            left_s = max(0.1, until_s - self.clock.now_s())
            try:
                async with loop.bounded(left_s + 1.0, f"stopping {what}"):
                    await undo(left_s)
            except AtollError as error:
                self.log.warning("not stopped in order", part=what, error=error.message)
        self.log.info("stopped")

    # ------------------------------------------------------------------------------------ the parts

    def _prepare_data(self) -> None:
        data = self.settings.data
        disk.make_private_folder(data)
        free = disk.free_bytes(data)
        if free < FREE_BYTES_LOW:
            self._remark(
                f"only {free // 1_048_576} MiB are free in {data}; at none, writes are refused, reads go on"
            )
        if self.settings.auth:
            self.token = _secret(data / TOKEN_FILE)

    async def _open_store(self) -> None:
        self.state.store = await loop.in_thread(catalog.open_store, self.settings)
        self._undo.append(("store", self._close_store))
        self.state.opened.on_stop(loop.call_from_thread(self._store_stopped))
        if self.state.opened.embedded is None:
            await self._refuse_unfinished()
        self.state.health.ready("store")

    async def _refuse_unfinished(self) -> None:
        """A cluster to which a migration was interrupted is no store yet (a file says so when it is opened)."""
        try:
            async with loop.bounded(
                MIGRATION_ASKED_WITHIN_S, "asking the cluster for an unfinished migration"
            ):
                await migration.require_finished(self.state.opened.store)
        except AtollError as error:
            if error.code is Code.CONFLICT:
                raise
            self._remark(f"whether a migration to the store was finished is not known: {error.message}")

    async def _close_store(self, within_s: float) -> None:
        await loop.in_thread(self.state.opened.close)

    async def _start_planes(self) -> None:
        self._undo.append(("tasks", self._stop_tasks))
        identity = _identity(self.settings.data)
        audit = AuditWriter(self.clock, system_rng(), identity.node)
        context = catalog.Context(
            self.settings,
            self.state.opened,
            self.clock,
            self.state.metrics,
            self.tasks,
            Peers(Member(identity.node, identity.incarnation, release=atoll.__version__)),
            self._ephemeral(identity),
            await self._open_accounts(audit),
            audit,
        )
        self.state.planes = await catalog.start_planes(context)
        self._undo += [(plane.name, plane.stop) for plane in self.state.planes]
        self._start_leader()
        self.state.health.ready("planes")

    def _ephemeral(self, identity: Identity) -> EphemeralTable:
        table = EphemeralTable(identity, self.clock)
        self.tasks.start("ephemeral table", table.run())
        return table

    def _start_leader(self) -> None:
        """Leader-only jobs: the host's own, and those of planes."""
        opened, chosen = self.state.opened, self.settings
        jobs = [job for plane in self.state.planes for job in plane.jobs]
        if chosen.store_compact_cluster and chosen.store_compact_after_s and opened.embedded is None:
            jobs.append(Compactor(opened.store, self.clock, chosen.store_compact_after_s).job())
        node_id = f"{platform.node()}-{os.getpid()}"
        self.state.leader = Leader(node_id, jobs, self.clock, self._task_failed)
        self.state.leader.start(opened.driver)
        self._undo.append(("leader-only jobs", self.state.leader.stop))

    async def _open_accounts(self, audit: AuditWriter) -> AccountsTable:
        """The accounts, asked for from now on if ``auth`` says so; a user root is made if there is none."""
        accounts = await catalog.open_accounts(self.state.opened, audit)
        self.tasks.start("accounts", accounts.run())
        if self.settings.auth:
            password = _secret(self.settings.data / ROOT_PASSWORD_FILE)
            await accounts.ensure_enabled(password, Deed(Actor(via="node"), "auth.enable", "root"))
        return accounts

    async def _stop_tasks(self, within_s: float) -> None:
        await self.tasks.stop(min(within_s, TASKS_STOP_WITHIN_S))

    def _listen(self) -> None:
        self._undo.append(("listeners", self._close_listeners))
        faces = [face for plane in self.state.planes for face in plane.faces]
        servers = [(face, *self._servers(face)) for face in faces]
        meters.show_grpc(self.state.metrics, {face.name: grpc.stats for face, grpc, _ in servers if grpc})
        for face, grpc, http in servers:
            for field in face.listens:
                self._open(field, grpc, http, face)
        self.application = self._api()
        self._open("listen_api", http=Http1Server(self.application, self.clock))
        addresses = {f"listen_{name}": each.address for name, each in self.state.listeners.items()}
        for plane in self.state.planes:
            plane.listening(addresses)
        self.state.health.ready("listeners")

    def _servers(self, face: catalog.Face) -> tuple[GrpcServer | None, Http1Server | None]:
        grpc, http = face.grpc, None
        if face.http is not None:
            http = Http1Server(face.http, self.clock, limits=face.http_limits)
        if grpc is None:
            return None, http
        return GrpcServer(grpc.routes, errors=grpc.errors, clock=self.clock, limits=grpc.limits), http

    def _open(
        self,
        field: str,
        grpc: GrpcServer | None = None,
        http: Http1Server | None = None,
        face: catalog.Face | None = None,
    ) -> None:
        own = face is not None and face.tls is not None
        secure = face.tls if face is not None and own else self._tls()
        listener = listen(
            self.settings.address(field), DECLARED[field].flag, grpc=grpc, http1=http, tls=secure
        )
        if secure is not None and (face is None or face.only_tls or not own):
            listener.require_tls()
        self.state.listeners[field.removeprefix("listen_")] = listener

    def _tls(self) -> tls.ServerTls | None:
        """The node's, for faces that have none of their own."""
        chosen = self.settings
        if not chosen.tls_certificate:
            return None
        return tls.ServerTls(tls.server_context(chosen.tls_certificate, chosen.tls_key, chosen.tls_client_ca))

    async def _close_listeners(self, within_s: float) -> None:
        """All at once. Watches and the like have no end of their own, so nobody is waited for for long."""
        within_s = min(within_s, DRAIN_S_MAX)
        for plane in self.state.planes:
            plane.leave()
        await loop.gather(*(each.close(within_s) for each in self.state.listeners.values()))

    def _api(self) -> Application:
        endpoints = [
            *Api(self.state).endpoints(),
            *(each for plane in self.state.planes for each in plane.endpoints),
        ]
        sessions = next((plane.sessions for plane in self.state.planes if plane.sessions), None)
        gate = Gate(self.settings.address("listen_api"), self.token, sessions)
        return application(endpoints, gate, Log("api"), atoll.__version__, self.pages)

    def _store_stopped(self, error: AtollError) -> None:
        """Nobody knows what the disk holds now; the next start reads it. So the node ends and does not linger."""
        self.log.error("the store stopped", cause=error.message)
        self.state.health.expect("store", error.message)
        self.failure = f"the store stopped: {error.message}"
        self.ended.set()

    def _task_failed(self, name: str, error: BaseException) -> None:
        self.failure = f"the background task {name!r} failed: {error}"
        self.ended.set()

    def _remark(self, text: str) -> None:
        self.state.remarks.append(text)
        self.log.warning(text)


def _identity(data: Path) -> Identity:
    """This run of this node: an id that is drawn once, and the number of its start."""
    node = _kept(data / NODE_ID_FILE, new_token(NODE_ID_BYTES))
    path = data / STARTS_FILE
    starts = int(_kept(path, "0")) + 1
    disk.write_private_file(path, b"%d\n" % starts)
    return Identity(node, starts)


def _secret(path: Path) -> str:
    """A secret that is made at the first start with ``--auth``."""
    return _kept(path, new_token())


def _kept(path: Path, fresh: str) -> str:
    """What ``path`` in the data folder holds; ``fresh``, which is kept there from now on, where it holds nothing."""
    with contextlib.suppress(FileNotFoundError):
        kept = path.read_text().strip()
        if kept:
            return kept
    disk.write_private_file(path, fresh.encode() + b"\n")
    return fresh
