# Generated from src/atoll/client/registry.py by `python3 dev.py generate`; edit that file instead.
"""The registry for applications: configuration and services that stay readable when every node is away.

    with open_registry("http://a:7070,http://b:7070", Options(cache=Path("cache"))) as registry:
        settings = registry.follow_config("shop.yaml")
        registry.register(InstanceOrder("shop", "10.0.0.5", 8080))
        payments = registry.follow_service("payments")
        ... settings.value.content ... payments.value.instances ...

Rule: what is followed is in memory and always answers at once; one long-lived answer of a node keeps it new. When no node
answers, the last known state stands, across a restart of the application as well (``Options.cache``). A registration is
renewed by beats, on whichever node answers, and made again where it was forgotten.

The doubt: a client that is cut off from every node serves what it last saw, however old. ``Followed.fresh`` tells a
snapshot, ``Hosts.stale`` and ``ConfigTold.stale`` a node that is itself cut off; what to do then is the application's.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from atoll.client.blocking.followed import Followed
from atoll.client.blocking.node import Client, Lines
from atoll.client.blocking.session import SessionTransport
from atoll.client.blocking.transport import HttpTransport, Transport
from atoll.client.snapshots import Snapshots
from atoll.errors import AtollError, Code, Reason
from atoll.resources.naming_api import Beating, Hosts, InstanceAsked, InstanceOrder
from atoll.resources.node import Done
from atoll.resources.records import NOTHING
from atoll.resources.service import DEFAULT_GROUP
from atoll.resources.watch_api import (
    ALIVE_EVERY_S,
    ConfigFollowed,
    ConfigTold,
    ServiceFollowed,
    Told,
    WatchOrder,
)
from atoll.runtime import blocking as loop
from atoll.runtime.blocking_background import Background, Work
from atoll.runtime.clock import BootClock
from atoll.runtime.http_client_blocking import Trust
from atoll.runtime.logs import Log

T = TypeVar("T")

SILENCE_S_MAX = 3 * ALIVE_EVERY_S  # of a stream; then another node is asked
BACK_OFF_S_MIN = 0.2
BACK_OFF_S_MAX = 10.0
BEAT_EVERY_S = 5.0  # unless a node asks for more
BEAT_AGAIN_S = 1.0  # after one that no node took
CLOSE_WITHIN_S = 5.0

_FINAL = (Code.INVALID, Code.DENIED, Code.NOT_FOUND)  # asking again cannot help


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """``cache``: the folder of snapshots, None for none. ``token``: the node's API token; or ``user`` and ``password``.
    ``client``: what this application instance is called over restarts. ``first_within_s``: how long to wait for a node
    before a snapshot is taken.
    """

    namespace: str = ""
    app: str = ""
    client: str = ""
    tag: str = ""
    labels: Mapping[str, str] = NOTHING
    cache: Path | None = None
    token: str = ""
    user: str = ""
    password: str = ""
    ca_file: str = ""
    first_within_s: float = 5.0


@contextlib.contextmanager
def open_registry(urls: str, options: Options | None = None) -> Iterator[Registry]:
    """A ``Registry`` for the length of a block. ``urls``: of the nodes, with commas between them."""
    registry = Registry(urls, options or Options())
    try:
        yield registry
    finally:
        registry.close()


class Registry:
    """What one application follows and registers. Close it, so that what it registered is gone at once."""

    def __init__(self, urls: str, options: Options) -> None:
        transport: Transport = HttpTransport(urls, Trust(options.ca_file))
        if options.user:
            transport = SessionTransport(transport, options.user, options.password)
        self.client = Client(transport, options.token)
        self._options = options
        self._log = Log("registry client")
        self._snapshots = Snapshots(options.cache, self._log)
        self._background = Background(self._log)
        self._lock = threading.Lock()  # for the three tables; held for a moment
        self._configs: dict[ConfigFollowed, Followed[ConfigTold]] = {}
        self._services: dict[ServiceFollowed, Followed[Hosts]] = {}
        self._registered: dict[InstanceAsked, InstanceOrder] = {}
        self._lines: Lines[Told] | None = None
        self._outdated = loop.Event()  # the stream does not follow what it should
        self._refusal: AtollError | None = None
        self._beat_every_s = BEAT_EVERY_S
        self._ending = loop.Event()
        self._started: set[str] = set()
        self._failures = 0  # streams in a row that no node served

    def follow_config(self, data_id: str, group: str = DEFAULT_GROUP) -> Followed[ConfigTold]:
        """The configuration, kept new; its ``content`` is None where there is none. Raises UNAVAILABLE when no node
        answers and there is no snapshot, DENIED and INVALID as the nodes say.
        """
        wanted = ConfigFollowed(data_id, group, self._options.namespace)
        with self._lock:
            followed = self._configs.setdefault(wanted, Followed())
        try:
            snapshot = self._snapshots.read(ConfigTold, *_config_names(wanted))
            self._first(followed, snapshot, f"configuration {group}/{data_id}")
        except AtollError:
            with self._lock:
                self._configs.pop(wanted, None)
            raise
        return followed

    def follow_service(
        self, name: str, group: str = DEFAULT_GROUP, clusters: str = "", healthy_only: bool = False
    ) -> Followed[Hosts]:
        """The instances that this application may use, kept new. Raises as ``follow_config``."""
        wanted = ServiceFollowed(name, group, self._options.namespace, clusters, healthy_only)
        with self._lock:
            followed = self._services.setdefault(wanted, Followed())
        try:
            snapshot = self._snapshots.read(Hosts, *_service_names(wanted))
            self._first(followed, snapshot, f"service {group}/{name}")
        except AtollError:
            with self._lock:
                self._services.pop(wanted, None)
            raise
        return followed

    def register(self, order: InstanceOrder) -> InstanceAsked:
        """Register an instance and keep it registered until ``deregister`` or ``close``; a persistent one stays until
        somebody removes it. Raises as the nodes say.
        """
        order = msgspec.structs.replace(order, namespace=order.namespace or self._options.namespace)
        name = _instance(order)
        beating = self.client.post("/v1/instance", order, Beating)
        if order.ephemeral:
            with self._lock:
                self._registered[name] = order
                self._beat_every_s = min(self._beat_every_s, beating.interval_s)
            self._start("beats", self._beat)
        return name

    def deregister(self, name: InstanceAsked) -> None:
        """``name`` is what ``register`` gave."""
        with self._lock:
            self._registered.pop(name, None)
        self.client.send("DELETE", "/v1/instance", None, Done, name)

    def close(self) -> None:
        """Let everything go: registrations first. A node that does not answer forgets them by itself."""
        with self._lock:
            names = list(self._registered)
            self._ending.set()
        try:
            for name in names:
                self.deregister(name)
        except AtollError as error:
            self._log.warning("instance not deregistered", error=error.message)
        for followed in self._everything():
            followed.end()
        self._renew_stream()
        self._background.stop(CLOSE_WITHIN_S)

    # -------------------------------------------------------------------------------------- following

    def _first(self, followed: Followed[T], snapshot: T | None, what: str) -> None:
        """Wait until ``followed`` has a value: from a node, or ``snapshot`` when none answers in time."""
        if followed.value is not None:
            return
        self._refusal = None
        self._failures = 0
        self._renew_stream()
        self._start("following", self._follow)
        clock = BootClock()
        within_s = self._options.first_within_s
        until_s = clock.now_s() + within_s
        while not followed.known_within(until_s - clock.now_s()):
            if self._refusal is not None:
                raise self._refusal
            if snapshot is not None and (self._failures or clock.now_s() >= until_s):
                self._log.warning("no node answers, a snapshot is used", what=what)
                followed.put(snapshot, fresh=False)
            elif clock.now_s() >= until_s:
                text = f"{what}: no node answered within {within_s:g} s, and there is no snapshot of it"
                raise AtollError(Code.UNAVAILABLE, text, reason=Reason.TIMEOUT, retry_after_s=1.0)

    def _renew_stream(self) -> None:
        self._outdated.set()
        lines = self._lines
        if lines is not None:
            lines.cut()

    def _follow(self) -> None:
        while not self._ending.is_set():
            self._outdated.clear()
            try:
                if self._follow_once():
                    self._failures = 0
                    continue
            except AtollError as error:
                if self._outdated.is_set():
                    continue
                self._failed(error)
            back_off_s = min(BACK_OFF_S_MAX, BACK_OFF_S_MIN * 2 ** min(self._failures, 10))
            loop.wait_event(self._outdated, back_off_s)

    def _follow_once(self) -> bool:
        """One stream, to its end; whether a node said anything in it."""
        heard = False
        try:
            with self.client.stream("/v1/watch", Told, self._order(), SILENCE_S_MAX) as lines:
                self._lines = lines
                if self._outdated.is_set():
                    return True
                for told in lines.every():
                    heard = True
                    self._take(told)
        except AtollError:
            if not heard:
                raise
        finally:
            self._lines = None
        return heard

    def _order(self) -> WatchOrder:
        with self._lock:
            configs = tuple(
                msgspec.structs.replace(wanted, md5=_md5(followed))
                for wanted, followed in self._configs.items()
            )
            services = tuple(self._services)
        options = self._options
        return WatchOrder(configs, services, options.client, options.app, options.tag, options.labels)

    def _take(self, told: Told) -> None:
        if told.config is not None:
            config = told.config
            wanted = ConfigFollowed(config.data_id, config.group, config.namespace)
            if wanted in self._configs:
                self._configs[wanted].put(config, fresh=True)
                loop.in_thread(self._snapshots.write, config, *_config_names(wanted))
        if told.service is not None and told.service.of in self._services:
            self._services[told.service.of].put(told.service.hosts, fresh=True)
            names = _service_names(told.service.of)
            loop.in_thread(self._snapshots.write, told.service.hosts, *names)

    def _everything(self) -> list[Followed[Any]]:
        with self._lock:
            return [*self._configs.values(), *self._services.values()]

    def _failed(self, error: AtollError) -> None:
        self._log.warning("the nodes cannot be followed", error=error.message)
        self._failures += 1
        if error.code in _FINAL:
            self._refusal = error
        for followed in self._everything():
            followed.give_up()

    # ------------------------------------------------------------------------------------ registrations

    def _beat(self) -> None:
        wait_s = self._beat_every_s
        while not self._ending.is_set():
            loop.wait_event(self._ending, wait_s)
            with self._lock:
                due = list(self._registered.items())
            wait_s = self._beat_every_s
            for name, order in due:
                if not self._ending.is_set():
                    wait_s = min(wait_s, self._beat_once(name, order))

    def _beat_once(self, name: InstanceAsked, order: InstanceOrder) -> float:
        """Renew one registration, or make it again; seconds until the next beat."""
        try:
            beating = self.client.send("PUT", "/v1/instance/beat", None, Beating, name)
            if not beating.known and name in self._registered:
                beating = self.client.post("/v1/instance", order, Beating)
        except AtollError as error:
            self._log.warning("no node took a beat", service=name.name, error=error.message)
            return BEAT_AGAIN_S
        return beating.interval_s

    def _start(self, name: str, work: Work) -> None:
        with self._lock:
            if name in self._started or self._ending.is_set():
                return
            self._started.add(name)
        self._background.start(name, work)


def _instance(order: InstanceOrder) -> InstanceAsked:
    return InstanceAsked(
        order.name, order.ip, order.port, order.cluster, order.group, order.namespace, order.ephemeral
    )


def _md5(followed: Followed[ConfigTold]) -> str:
    """Of what a node told; a snapshot is asked for anew."""
    return followed.value.md5 if followed.value is not None and followed.fresh else ""


def _config_names(wanted: ConfigFollowed) -> tuple[str, ...]:
    return ("config", wanted.namespace, wanted.group, wanted.data_id)


def _service_names(wanted: ServiceFollowed) -> tuple[str, ...]:
    suffix = "healthy" if wanted.healthy_only else ""
    return ("service", wanted.namespace, wanted.group, wanted.name, wanted.clusters, suffix)
