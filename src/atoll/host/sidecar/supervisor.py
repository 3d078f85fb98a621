"""The live part of ``atoll sidecar``: brings facts to the machine, carries its actions out.

Rule: no decision here. What takes time is a background task that ends by a fact; a task that an action makes pointless is
cancelled. Registering goes on until it worked, deregistering until the machine has waited long enough; the two never
overtake each other.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol, TypeAlias

import msgspec

from atoll.errors import AtollError, Code
from atoll.host.sidecar import machine as m
from atoll.host.sidecar import proxy as proxies
from atoll.host.sidecar.admin import INBOUND_ACTIVE, OUTBOUND_ACTIVE, Admin
from atoll.host.sidecar.bootstrap import Wiring, bootstrap
from atoll.host.sidecar.folder import About, Folder
from atoll.host.sidecar.packets import Packets
from atoll.host.sidecar.processes import App, Program
from atoll.host.sidecar.proxy import Generation, Limits, Proxy
from atoll.host.sidecar.reporter import Reporter
from atoll.resources.mesh.traffic import ReportTaken, TrafficReport
from atoll.runtime import disk, loop, probes, streams
from atoll.runtime.children import require_linux
from atoll.runtime.clock import Clock
from atoll.runtime.logs import Log
from atoll.runtime.net import Address
from atoll.runtime.rng import new_token
from atoll.runtime.signals import SENT_ON_PURPOSE, Signals
from atoll.runtime.tasks import Tasks

MARK_BYTES = 16
POLL_S = 0.05
QUIET_S = 0.5  # nothing was under way for so long: drained
AGAIN_FIRST_S = 0.2
AGAIN_MAX_S = 5.0
CLOSE_WITHIN_S = 5.0
EXIT_REFUSED = 78  # of a proxy that was not started at all


class Identity(Protocol):
    """The workload's key and certificate, served as secrets at the runtime folder's socket from ``open`` on."""

    async def open(self) -> str:
        """The SPIFFE id of the control plane. Raises ``AtollError`` where asking again cannot help."""

    async def report(self, report: TrafficReport) -> ReportTaken:
        """Tell the control plane, as the workload. Raises ``AtollError``."""

    async def close(self) -> None: ...


MakeIdentity: TypeAlias = Callable[[Callable[[int], bool]], Identity]
"""Of whether a process, by its number, may have the secrets."""


class Registrar(Protocol):
    """The registry, for the one instance of this sidecar. Both raise ``AtollError`` and may be tried again."""

    async def register(self) -> None:
        """Registered, and kept registered."""

    async def deregister(self) -> None: ...

    async def close(self) -> None: ...


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What to run. ``envoy``: its binary, empty for the environment's own. ``program`` None: a gateway. ``answers_at``:
    where the application answers once it is up, addresses or paths of Unix sockets.
    """

    wiring: Wiring
    folder: Folder
    rules: m.Rules
    limits: Limits = Limits()
    envoy: str = ""
    program: Program | None = None
    answers_at: tuple[Address | str, ...] = ()
    packets: Packets | None = None


class Supervisor:
    """``run`` returns the exit code of ``atoll sidecar``."""

    def __init__(
        self, order: Order, identity: MakeIdentity | None, registrar: Registrar | None, clock: Clock, log: Log
    ) -> None:
        require_linux("atoll sidecar")
        self._order = order
        self._identity = identity(self.is_proxy) if identity is not None else None
        self._registrar = registrar
        self._clock = clock
        self._log = log
        self._machine = m.Machine(order.rules)
        self._facts: loop.Queue[m.Fact] = loop.Queue()
        self._tasks = Tasks(log, self._task_failed)
        self._admin = Admin(order.folder.admin_socket)
        self._proxies: dict[int, Proxy] = {}
        self._generation = Generation(0)
        self._going: dict[str, loop.Future[None]] = {}  # tasks that may become pointless, by what they do
        self._registry = loop.Lock()
        self._app: App | None = None
        self._failure: AtollError | None = None
        self._exit_code: int | None = None

    def is_proxy(self, pid: int) -> bool:
        """Whether the process is an Envoy of this sidecar, to whom its secrets are."""
        return any(each.pid == pid for each in self._proxies.values())

    async def run(self) -> int:
        """Raises ``AtollError`` where it could not even begin."""
        with Signals(SENT_ON_PURPOSE) as signals:
            self._tasks.start("signals", self._hear_signals(signals))
            self._start("preparing", self._prepare())
            try:
                while self._exit_code is None:
                    self._step(await self._next_fact())
            finally:
                await self._clean_up()
        if self._failure is not None:
            raise self._failure
        return self._exit_code

    async def _next_fact(self) -> m.Fact:
        wait_s = self._machine.wake_at_s() - self._clock.now_s()
        return await loop.next_within(self._facts, wait_s) or m.Tick()

    def _step(self, fact: m.Fact) -> None:
        before = self._machine.phase
        self._note(fact)
        actions = self._machine.step(fact, self._clock.now_s())
        if self._machine.phase is not before:
            cause = {"cause": self._machine.cause} if self._machine.cause else {}
            self._log.info(self._machine.phase.value, **cause)
        for action in actions:
            self._act(action)

    def _note(self, fact: m.Fact) -> None:
        """What ends with a fact, whatever it means."""
        match fact:
            case m.ProxyEnded(run, status):
                self._stop(f"proxy {run}")
                self._forget(run, status)
            case m.AppEnded():
                self._stop("app")
                self._app = None

    def _act(self, action: m.Action) -> None:
        match action:
            case m.StartProxy(run, epoch):
                self._start(f"proxy {run}", self._start_proxy(run, epoch))
            case m.SignalProxy(run, kill) if run in self._proxies:
                (self._proxies[run].kill if kill else self._proxies[run].end)()
            case m.StartApp() if self._order.program is not None:
                self._start_app(self._order.program)
            case m.SignalApp(number) if self._app is not None:
                self._app.signal(number)
            case m.KillApp() if self._app is not None:
                self._app.kill()
            case m.Register():
                self._start("registering", self._register())
            case m.Deregister(told):
                self._stop("registering")
                self._start("deregistering", self._deregister(told))
            case m.Drain():
                self._start("draining", self._drain())
            case m.Exit(code):
                self._exit_code = code

    # ------------------------------------------------------------------------------------------- the steps

    async def _prepare(self) -> None:
        order = self._order
        try:
            proxies.find(order.envoy)
            order.folder.make()
            wiring = order.wiring
            if self._identity is not None:
                wiring = msgspec.structs.replace(wiring, control_plane=await self._identity.open())
            written = msgspec.json.encode(bootstrap(wiring, order.folder))
            disk.write_private_file(order.folder.bootstrap, written)
            if order.packets is not None:
                await order.packets.lead()
        except AtollError as error:
            self._failure = error
            self._facts.put_nowait(m.SignalCame(signal.SIGTERM))
            return
        if self._identity is not None:
            reporter = Reporter(self._admin, order.wiring.node, self._identity.report, self._log)
            self._tasks.start("reports", reporter.run(lambda: str(self._generation.run)))
        self._facts.put_nowait(m.Prepared())

    async def _start_proxy(self, run: int, epoch: int) -> None:
        order = self._order
        try:
            binary = proxies.find(order.envoy)
            if epoch == 0:
                order.folder.forget_shared_memory()
                self._generation = Generation(run)
            else:
                self._generation = Generation(self._generation.run, order.folder.base_id())
                await self._check_takeover(binary)
        except AtollError as error:
            self._log.error("proxy not started", run=run, epoch=epoch, cause=error.message)
            self._facts.put_nowait(m.ProxyEnded(run, EXIT_REFUSED))
            return
        line = proxies.arguments(order.folder, order.limits, epoch, self._generation)
        started = Proxy(
            binary,
            epoch,
            self._generation,
            line,
            lambda status: self._facts.put_nowait(m.ProxyEnded(run, status)),
        )
        self._proxies[run] = started
        self._log.info("proxy started", pid=started.pid, epoch=epoch, envoy=binary)
        await started.wait_ready(self._admin, lambda what: self._log.warning("proxy waits", what=what))
        await self._tell_about(epoch)
        self._facts.put_nowait(m.ProxyReady(run))

    async def _check_takeover(self, binary: str) -> None:
        if not self._proxies:
            raise AtollError(Code.UNAVAILABLE, "the proxy that was to be taken over from has just ended")
        newest = self._proxies[max(self._proxies)]
        await proxies.check_takeover(newest.binary, binary, self._order.folder.bootstrap)

    async def _tell_about(self, epoch: int) -> None:
        client = self._order.wiring.client
        version = await self._admin.version()
        self._log.info("proxy ready", epoch=epoch, version=version)
        about = About(
            os.getpid(),
            self._order.wiring.node,
            client.service,
            client.namespace,
            client.kind.value,
            version,
            epoch,
        )
        self._order.folder.write_about(about)

    def _forget(self, run: int, status: int) -> None:
        ended = self._proxies.pop(run, None)
        if ended is None:
            return
        ended.reap()
        self._log.info("proxy ended", pid=ended.pid, epoch=ended.epoch, status=status)

    def _start_app(self, program: Program) -> None:
        self._app = App(
            program, new_token(MARK_BYTES), lambda status: self._facts.put_nowait(m.AppEnded(status))
        )
        self._log.info("application started", pid=self._app.child.pid, program=program.line[0])
        self._start("app", self._wait_app())

    async def _wait_app(self) -> None:
        for place in self._order.answers_at:
            while not await _answers(place):
                await loop.sleep(POLL_S)
        self._facts.put_nowait(m.AppAnswers())

    async def _register(self) -> None:
        if self._registrar is None:
            return
        async with self._registry:
            await self._until_done("registering", self._registrar.register)
        self._log.info("registered")

    async def _deregister(self, told: bool) -> None:
        if self._registrar is not None:
            async with self._registry:
                await self._until_done("deregistering", self._registrar.deregister)
            self._log.info("deregistered")
        if told:
            self._facts.put_nowait(m.Deregistered())

    async def _until_done(self, what: str, call: Callable[[], Awaitable[None]]) -> None:
        again_s = AGAIN_FIRST_S
        while True:
            try:
                await call()
                return
            except AtollError as error:
                self._log.warning(f"{what} failed", cause=error.message, again_s=again_s)
            await loop.sleep(again_s)
            again_s = min(AGAIN_MAX_S, 2 * again_s)

    async def _drain(self) -> None:
        """A request that has not come yet counts for nothing, so it must be quiet for a while."""
        inbound = self._order.rules.has_app
        await self._admin.drain(inbound_only=inbound)
        quiet_s = 0.0
        while quiet_s < QUIET_S:
            active = await self._admin.numbers(INBOUND_ACTIVE if inbound else OUTBOUND_ACTIVE)
            quiet_s = 0.0 if sum(active.values()) else quiet_s + POLL_S
            await loop.sleep(POLL_S)
        self._facts.put_nowait(m.Drained())

    # --------------------------------------------------------------------------------------------- the rest

    async def _hear_signals(self, signals: Signals) -> None:
        while True:
            self._facts.put_nowait(m.SignalCame(await signals.next()))

    def _start(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        self._going[name] = self._tasks.start(name, work)

    def _stop(self, name: str) -> None:
        task = self._going.pop(name, None)
        if task is not None:
            task.cancel()

    def _task_failed(self, name: str, error: BaseException) -> None:
        """A bug, already logged: stop in good order."""
        self._facts.put_nowait(m.SignalCame(signal.SIGTERM))

    async def _clean_up(self) -> None:
        """Nothing is left: in good order there is nothing left to kill here."""
        for each in list(self._proxies.values()):
            each.kill()
        if self._app is not None:
            self._app.kill()
        await self._tasks.stop(CLOSE_WITHIN_S)
        for part, undo in (
            ("packets", self._order.packets.let_go if self._order.packets else None),
            ("registrar", self._registrar.close if self._registrar else None),
            ("identity", self._identity.close if self._identity else None),
        ):
            try:
                if undo is not None:
                    async with loop.bounded(CLOSE_WITHIN_S, f"closing the {part}"):
                        await undo()
            except AtollError as error:
                self._log.warning("not cleaned up", part=part, cause=error.message)
        self._order.folder.remove()


async def _answers(place: Address | str) -> bool:
    """Whether somebody accepts a connection at an address or a Unix socket."""
    try:
        if isinstance(place, Address):
            await probes.tcp(place)
        else:
            (await streams.connect_unix(place, probes.CONNECT_WITHIN_S)).cut()
    except (OSError, probes.ProbeFailed):
        return False
    return True
