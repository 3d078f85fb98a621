"""Dubbo's providers in a ZooKeeper, one way: what is registered there is called from the mesh, and nothing is written.

Rule: while there is no session, what was told last stands and is marked ``stale``; when there is one again, everything is
looked at again. A ZooKeeper that is away at the start tells nothing yet and keeps nobody from starting.
"""

from __future__ import annotations

from msgspec.structs import replace

from atoll.planes.mesh.model import dubbo
from atoll.planes.mesh.service.sources import Sink
from atoll.resources.mesh.services import MeshService
from atoll.runtime import loop
from atoll.runtime.logs import Log
from atoll.runtime.zookeeper import ZooKeeper

ROOT = "/dubbo"
PROVIDERS = "providers"
INTERFACES_MAX = 50_000
_NOT_INTERFACES = frozenset(("config", "mapping", "metadata"))  # Dubbo keeps these beside them


class ZooKeeperSource:
    """``place``: ``HOST:PORT[,HOST:PORT...][/ROOT]``."""

    name = dubbo.SOURCE

    def __init__(self, place: str, domain: str) -> None:
        hosts, slash, root = place.partition("/")
        self._root = "/" + root.strip("/") if slash and root.strip("/") else ROOT
        self._domain = domain
        self._zookeeper = ZooKeeper(hosts)
        self._followed: dict[str, str] = {}  # interface by the path of its providers
        self._told: dict[str, MeshService] = {}  # by interface
        self._sink: Sink | None = None
        self._log = Log("mesh")

    async def start(self, sink: Sink) -> None:
        """Raises INVALID for hosts that cannot be read."""
        self._sink = sink
        self._zookeeper.start(self._heard, self._state)
        self._zookeeper.follow(self._root)

    async def run(self) -> None:
        try:
            await loop.Event().wait()
        finally:
            await self._zookeeper.stop()

    def _state(self, connected: bool) -> None:
        if connected:
            self._log.info("the ZooKeeper answers", hosts=self._zookeeper.hosts)
            return
        self._log.warning("the ZooKeeper is away; what it said last stands", hosts=self._zookeeper.hosts)
        self._tell({interface: replace(each, stale=True) for interface, each in self._told.items()})

    def _heard(self, path: str, children: tuple[str, ...]) -> None:
        interface = self._followed.get(path)
        if interface is not None:
            self._tell({interface: dubbo.service_of(interface, children, self._domain)})
        elif path == self._root:
            self._heard_interfaces(children)

    def _heard_interfaces(self, children: tuple[str, ...]) -> None:
        found = [name for name in children if name not in _NOT_INTERFACES][:INTERFACES_MAX]
        wanted = {f"{self._root}/{name}/{PROVIDERS}": name for name in found}
        for path in [path for path in self._followed if path not in wanted]:
            self._zookeeper.forget(path)
            gone = self._told.pop(self._followed.pop(path), None)
            if gone is not None and self._sink is not None:
                self._sink({gone.host: None})
        for path, interface in wanted.items():
            if path not in self._followed:
                self._followed[path] = interface
                self._zookeeper.follow(path)

    def _tell(self, services: dict[str, MeshService]) -> None:
        changed = {name: each for name, each in services.items() if self._told.get(name) != each}
        self._told |= changed
        if changed and self._sink is not None:
            self._sink({each.host: each for each in changed.values()})
