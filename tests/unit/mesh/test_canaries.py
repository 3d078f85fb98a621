"""Canaries of policy in a store: one at a time, promoted with its documents or not at all, over when somebody was faster."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest

from atoll.errors import AtollError, Code
from atoll.planes.mesh.model import canary_view
from atoll.planes.mesh.model.world import world_of
from atoll.planes.mesh.policy import compiler
from atoll.planes.mesh.policy.compiler import Memo
from atoll.planes.mesh.service import canaries as service
from atoll.planes.mesh.service.canaries import Canaries
from atoll.planes.mesh.service.documents import Documents
from atoll.planes.mesh.service.push import Push
from atoll.planes.mesh.service.traffic import Traffic
from atoll.resources.actor import Actor
from atoll.resources.mesh.canary import (
    CANCELLED,
    PROMOTED,
    ROLLED_BACK,
    Canary,
    CanaryMove,
    CanaryOrder,
    CanaryPlan,
)
from atoll.resources.mesh.document_api import ApplyOrder, DocumentName, FileText
from atoll.resources.mesh.services import MeshService
from atoll.runtime import loop
from atoll.runtime.clock import BootClock
from atoll.runtime.logs import Log
from atoll.runtime.metrics import Metrics
from atoll.runtime.tasks import Tasks
from atoll.store.api import RESERVED_PREFIX, Put, Store
from atoll.store.memory import open_memory
from atoll.store.peers import Member, Peers
from atoll.store.shell import StoreShell

ANN = Actor("ann")
HOST = "reviews.default.svc.cluster.local"
SERVICES = {HOST: MeshService(HOST, "reviews", "default")}


def route(timeout: str) -> tuple[FileText, ...]:
    text = f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: reviews}}
spec:
  hosts: [reviews]
  http: [{{timeout: {timeout}, route: [{{destination: {{host: reviews}}}}]}}]
"""
    return (FileText("route.yaml", text),)


@dataclass
class Node:
    store: Store
    documents: Documents
    canaries: Canaries
    audited: list[tuple[str, str]] = field(default_factory=list)

    async def begin(self, name: str = "one", timeout: str = "3s") -> None:
        await self.canaries.begin(ANN, CanaryOrder(name, route(timeout)))

    def timeout(self) -> str:
        shown = self.documents.get(DocumentName("VirtualService", "reviews"))
        return str(shown.content["spec"]["http"][0]["timeout"])

    def state(self, name: str = "one") -> str:
        return self.canaries.view.get(name).state


def on_a_node(scenario: Callable[[Node], Awaitable[None]]) -> None:
    failed: list[BaseException] = []

    async def run() -> None:
        store = StoreShell(open_memory())
        audited: list[tuple[str, str]] = []

        def audit(actor: Actor, action: str, subject: str, before: str, after: str) -> Put:
            audited.append((action, subject))
            return Put(RESERVED_PREFIX + f"audit/{len(audited)}".encode())

        documents = Documents(store, audit, lambda: SERVICES)
        memo = Memo()
        push = Push(lambda world, client: compiler.compile(world, client, memo), BootClock(), Metrics())
        push.world_changed(world_of(SERVICES), 0.0)
        parts = service.Parts(
            store=store,
            documents=documents,
            push=push,
            traffic=Traffic(),
            compile=lambda world, client: compiler.compile(world, client, memo),
            peers=Peers(Member("n1", 1)),
            clock=BootClock(),
            audit=audit,
        )
        node = Node(store, documents, Canaries(parts), audited)
        tasks = Tasks(Log("test"), lambda name, error: failed.append(error))
        await documents.follower.load()
        await node.canaries.following.load()
        tasks.start("documents", documents.follower.follow())
        tasks.start("canaries", node.canaries.following.follow())
        await scenario(node)
        await tasks.stop(1.0)
        await store.close()

    loop.run(run())
    assert not failed


def test_a_canary_changes_nothing_until_it_is_promoted() -> None:
    async def scenario(node: Node) -> None:
        await node.documents.apply(ANN, ApplyOrder(route("9s")))
        await node.begin()
        assert node.timeout() == "9s"
        shown = await node.canaries.move(ANN, CanaryMove("one", "promote", "it is late"))
        assert shown.canary.state == PROMOTED and node.timeout() == "3s"
        assert shown.canary.decisions[-1].why == "it is late"
        assert sorted(node.audited[-2:]) == [
            ("mesh-canary.promote", "one"),
            ("mesh-document.changed", "VirtualService/default/reviews"),
        ]

    on_a_node(scenario)


def test_one_runs_at_a_time_and_a_name_is_used_once() -> None:
    async def scenario(node: Node) -> None:
        await node.begin()
        with pytest.raises(AtollError, match="canary 'one' runs"):
            await node.begin("two")
        await node.canaries.move(ANN, CanaryMove("one", "cancel"))
        assert node.state() == CANCELLED
        with pytest.raises(AtollError, match="was a canary 'one' already"):
            await node.begin()
        with pytest.raises(AtollError, match="'one' is over: cancelled"):
            await node.canaries.move(ANN, CanaryMove("one", "promote"))
        await node.begin("two")
        assert [each.name for each in node.canaries.every()] == ["two", "one"]

    on_a_node(scenario)


def test_what_two_nodes_begin_at_once_is_one() -> None:
    """Both decide on a view without a canary; the store takes one of them."""

    async def scenario(node: Node) -> None:
        empty = node.canaries.view
        writes = [canary_view.begin(empty, Canary(name=name, changes=())) for name in ("one", "two")]
        await node.store.commit(writes[0].guards, writes[0].operations)
        with pytest.raises(AtollError) as caught:
            await node.store.commit(writes[1].guards, writes[1].operations)
        assert caught.value.code is Code.CONFLICT

    on_a_node(scenario)


def test_no_data_holds() -> None:
    async def scenario(node: Node) -> None:
        await node.begin()
        verdict = await node.canaries.judge(node.canaries.view.get("one"))
        assert verdict.action == "hold" and "no data" in verdict.why
        assert (await node.canaries.shown("one")).canary.is_running

    on_a_node(scenario)


def test_a_document_that_somebody_else_changed_ends_it() -> None:
    async def scenario(node: Node) -> None:
        await node.begin()
        await node.documents.apply(ANN, ApplyOrder(route("7s")))
        with pytest.raises(AtollError, match="VirtualService/default/reviews was changed by somebody else"):
            await node.canaries.move(ANN, CanaryMove("one", "promote"))
        await node.canaries.judge(node.canaries.view.get("one"))
        assert node.state() == ROLLED_BACK and node.timeout() == "7s"

    on_a_node(scenario)


@pytest.mark.parametrize(
    ("order", "says"),
    [
        (CanaryOrder("x", route("3s"), CanaryPlan(share_percent=0)), "share_percent"),
        (CanaryOrder("x", (FileText("f.yaml", "kind: VirtualService"),)), "apiVersion"),
        (CanaryOrder("x", ()), "in force already"),
    ],
)
def test_what_cannot_be_tried_is_refused(order: CanaryOrder, says: str) -> None:
    async def scenario(node: Node) -> None:
        with pytest.raises(AtollError, match=says):
            await node.canaries.begin(ANN, order)
        assert node.canaries.every() == []

    on_a_node(scenario)
