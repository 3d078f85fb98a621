"""What is seen of the mesh from this node: how its clients stand, why a request goes where it goes, what a proxy has.

Rule: nothing is decided here; the snapshot that a client is served is found and handed to ``policy``. What may take long (a
large config dump) is done beside the loop.
"""

from __future__ import annotations

import msgspec

from atoll.errors import AtollError, Code
from atoll.planes.mesh.model.snapshot import Snapshot
from atoll.planes.mesh.policy import differences, explain
from atoll.planes.mesh.policy.explain import config, dump
from atoll.planes.mesh.service.push import Push
from atoll.planes.mesh.service.sessions import Session
from atoll.resources.mesh.client_status import ClientStatus
from atoll.resources.mesh.clients import Client, Kind
from atoll.resources.mesh.explanations import Difference, Explanation, Request
from atoll.resources.mesh.hosts import namespace_of
from atoll.resources.mesh.seeing_api import DiffOrder, DiffShown, ExplainAnswer, ExplainOrder
from atoll.runtime import loop


class Seeing:
    def __init__(self, push: Push) -> None:
        self._push = push

    def statuses(self, client: str = "") -> list[ClientStatus]:
        """Of those that ``client`` names, by node and connection; empty: of all."""
        every = self._push.statuses()
        return [one for one in every if not client or _is_meant(client, one.node, one.service, one.namespace)]

    async def explain(self, order: ExplainOrder) -> ExplainAnswer:
        """Raises NOT_FOUND, and INVALID where the request cannot be explained."""
        if order.dump is not None:
            found = await loop.in_thread(_explain_dump, msgspec.json.encode(order.dump), order.request)
            return ExplainAnswer(found, order.client)
        node, snapshot = self._intended(order.client)
        return ExplainAnswer(explain.explain(config.of_snapshot(snapshot), order.request), node)

    async def diff(self, order: DiffOrder) -> DiffShown:
        """Raises NOT_FOUND, and INVALID for what is no config dump."""
        node, snapshot = self._intended(order.client)
        found = await loop.in_thread(_differences, snapshot, msgspec.json.encode(order.dump))
        return DiffShown(node, tuple(found))

    def _intended(self, client: str) -> tuple[str, Snapshot]:
        """The newest connection's that is meant, else what a new sidecar of that service would get."""
        for session in reversed(list(self._push.sessions())):
            goal = session.group.goal
            if goal is not None and self._names(client, session):
                return session.who.id.node, goal.snapshot
        return "", self._would_be(client)

    def _names(self, client: str, session: Session) -> bool:
        its = session.group.client
        return _is_meant(client, session.who.id.node, its.service, its.namespace)

    def _would_be(self, client: str) -> Snapshot:
        name, _, namespace = client.partition(".")
        world = self._push.world
        services = world.services.values() if world is not None else ()
        if any(
            (each.name, namespace_of(each.namespace)) == (name, namespace_of(namespace)) for each in services
        ):
            found = self._push.preview(Client(Kind.SIDECAR, name, namespace_of(namespace)))
            if found is not None:
                return found
        text = f"no client {client!r} is connected here, and no service is called so"
        advice = "`atoll mesh status` lists the clients of a node; name one by its node id or its service"
        raise AtollError(Code.NOT_FOUND, f"{text}; {advice}")


def _is_meant(text: str, node: str, service: str, namespace: str) -> bool:
    """``text``: a node id, ``SERVICE`` of the default namespace, or ``SERVICE.NAMESPACE``."""
    name, _, space = text.partition(".")
    return text == node or (name == service and namespace_of(space) == namespace_of(namespace))


def _explain_dump(content: bytes, request: Request) -> Explanation:
    return explain.explain(dump.of_dump(content), request)


def _differences(snapshot: Snapshot, content: bytes) -> list[Difference]:
    return differences.differences(snapshot, dump.resources(content))
