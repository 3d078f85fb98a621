"""Policy documents on a store in memory, for tests: ``with_documents(scenario)`` runs a scenario on a loop of its own.

Rule: everything is real but the audit entry, which is a plain put that tests can read back, and the services, which a test
sets.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import msgspec

from atoll.errors import AtollError, Code
from atoll.planes.mesh.service.documents import Documents
from atoll.resources.actor import Actor
from atoll.resources.mesh.document_api import Applied, ApplyOrder, FileText
from atoll.resources.mesh.services import Endpoint, MeshService, Port, host_of
from atoll.runtime import loop
from atoll.runtime.logs import Log
from atoll.runtime.tasks import Tasks
from atoll.store.api import RESERVED_PREFIX, Cancel, Done, Driver, Put, Request, Txn, Watch, WatchSink
from atoll.store.memory import open_memory
from atoll.store.shell import StoreShell

ANN = Actor("ann", "10.0.0.9", "api", "n1")
AUDIT = RESERVED_PREFIX + b"audit-of-tests"

ROUTE = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
  - route:
    - destination: {host: reviews, subset: v1}
"""
SUBSETS = """\
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec:
  host: reviews
  subsets:
  - {name: v1, labels: {version: v1}}
"""
BOTH = f"{ROUTE}---\n{SUBSETS}"


def service(
    name: str, *versions: str, namespace: str = "default", ports: tuple[int, ...] = (80,)
) -> MeshService:
    endpoints = tuple(
        Endpoint(f"10.0.0.{number}", 8080, labels={"version": version})
        for number, version in enumerate(versions, 1)
    )
    host = host_of(name, namespace, "cluster.local")
    return MeshService(host, name, namespace, tuple(Port(number) for number in ports), endpoints)


def order(*texts: str, force: bool = False, dry_run: bool = False) -> ApplyOrder:
    files = tuple(FileText(f"{number}.yaml", text) for number, text in enumerate(texts, 1))
    return ApplyOrder(files, force=force, dry_run=dry_run)


class Ailing:
    """A store that can be away: ``writes_left`` more transactions succeed, None: all of them."""

    def __init__(self) -> None:
        self.writes_left: int | None = None
        self._driver = open_memory()

    def submit(self, request: Request, done: Done, timeout_s: float | None = None) -> None:
        if isinstance(request, Txn) and self.writes_left is not None:
            if not self.writes_left:
                done(AtollError(Code.UNAVAILABLE, "the store is away", retry_after_s=1.0))
                return
            self.writes_left -= 1
        self._driver.submit(request, done, timeout_s)

    def watch(self, watch: Watch, sink: WatchSink) -> Cancel:
        return self._driver.watch(watch, sink)

    def close(self) -> None:
        self._driver.close()


@dataclass
class Kit:
    """``other``: another node on the same store."""

    store: StoreShell
    documents: Documents
    other: Documents
    services: dict[str, MeshService] = field(default_factory=dict)
    audited: list[tuple[str, ...]] = field(default_factory=list)

    def know(self, *services: MeshService) -> None:
        for each in services:
            self.services[each.host] = each

    async def apply(self, *texts: str, force: bool = False, dry_run: bool = False) -> Applied:
        return await self.documents.apply(ANN, order(*texts, force=force, dry_run=dry_run))


def with_documents(scenario: Callable[[Kit], Awaitable[None]], driver: Driver | None = None) -> None:
    """Run ``scenario`` with two nodes that follow their store, and stop them."""
    failures: list[BaseException] = []

    async def run() -> None:
        store = StoreShell(driver or open_memory())
        tasks = Tasks(Log("test"), lambda name, error: failures.append(error))
        kit: Kit

        def audit(actor: Actor, action: str, subject: str, before: str, after: str) -> Put:
            kit.audited.append((actor.user, action, subject, before, after))
            return Put(AUDIT + str(len(kit.audited)).encode(), msgspec.json.encode(kit.audited[-1]))

        one, other = (Documents(store, audit, lambda: kit.services) for _ in range(2))
        kit = Kit(store, one, other)
        kit.know(service("reviews", "v1", "v2"))
        try:
            for each in (one, other):
                await each.follower.load()
                tasks.start("follow", each.follower.follow())
            await scenario(kit)
        finally:
            await tasks.stop(1.0)
            await store.close()

    loop.run(run())
    assert not failures
