"""Calls that are no HTTP: where a connection goes.

Rule: decided when the connection opens, by VirtualServices (``tcp``, and ``tls`` by server name) or else to the service
itself. What a protocol's own filter routes comes from ``protocols``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from atoll.planes.mesh.model.world import Face
from atoll.planes.mesh.policy.compiler import protocols
from atoll.planes.mesh.policy.compiler.protocols.streams import UNBOUNDED, Bounds
from atoll.planes.mesh.policy.compiler.routing import destinations
from atoll.planes.mesh.policy.compiler.routing.scene import Ref, Scene
from atoll.planes.mesh.policy.compiler.telemetry import Observed
from atoll.resources.mesh.documents.kinds import Document
from atoll.resources.mesh.documents.virtual_service import (
    RouteDestination,
    VirtualService,
)
from atoll.resources.mesh.services import Protocol


class Branch(NamedTuple):
    """Connections with one of these server names (none: all others), to these destinations by weight."""

    server_names: tuple[str, ...]
    legs: tuple[tuple[str, int], ...]
    source: str
    bounds: Bounds = UNBOUNDED


def branches(scene: Scene, face: Face, port: int) -> list[Branch]:
    """Of connections to ``port`` of ``face``, the ones with server names first."""
    found: list[Branch] = []
    documents = scene.world.policies.virtual_services_for(face.host, scene.stage.namespace)[:1]
    for document in documents:
        scene.documents[str(document.key)] = None
        found += by_name(scene, document)
        found += by_port(scene, document)
    if not any(not branch.server_names for branch in found):
        ref = Ref(face.host, port)
        scene.refs[ref] = None
        found.append(Branch((), ((ref.cluster, 1),), face.host, _bounds(scene, [ref])))
    return found


def proxy(branch: Branch, protocol: Protocol, observed: Observed) -> Any:
    """Where only a server name tells branches apart it is TLS that is carried, unread."""
    spoken = Protocol.TLS if branch.server_names else protocol
    return protocols.proxy_to(spoken, branch.source, branch.legs, observed.access_logs, branch.bounds)


def by_name(scene: Scene, document: Document[VirtualService]) -> list[Branch]:
    """Of connections that name one of these server names."""
    found = []
    taken: set[str] = set()
    for rule in document.spec.tls:
        names: list[str] = []
        for match in rule.match:
            if scene.concerns(document, match):
                names += [name for name in match.sniHosts if name not in taken]
                taken.update(names)
        if names:
            found.append(_branch(scene, document, rule.route, tuple(names)))
    return found


def by_port(scene: Scene, document: Document[VirtualService]) -> list[Branch]:
    """Of all others: the first rule for this port."""
    for rule in document.spec.tcp:
        if not rule.match or any(scene.concerns(document, match) for match in rule.match):
            return [_branch(scene, document, rule.route, ())]
    return []


def _branch(
    scene: Scene,
    document: Document[VirtualService],
    route: Sequence[RouteDestination],
    server_names: tuple[str, ...],
) -> Branch:
    refs, legs = [], []
    for each in route:
        ref = destinations.resolve(scene, document.key, each.destination)
        weight = 1 if len(route) == 1 else each.weight
        if weight:
            refs.append(ref)
            legs.append((ref.cluster, weight))
    return Branch(server_names, tuple(legs), str(document.key), _bounds(scene, refs))


def _bounds(scene: Scene, refs: Sequence[Ref]) -> Bounds:
    """What the DestinationRule of the first destination says of streams to it."""
    face = scene.face(refs[0].host) if refs else None
    rule = scene.rule(face) if face is not None else None
    if rule is None:
        return UNBOUNDED
    policy = rule.spec.traffic_policy(refs[0].port, refs[0].subset)
    tcp = policy.connectionPool.tcp if policy.connectionPool is not None else None
    by = policy.loadBalancer.consistentHash if policy.loadBalancer is not None else None
    return Bounds(
        idle_s=tcp.idleTimeout if tcp is not None else None,
        lasts_s=tcp.maxConnectionDuration if tcp is not None else None,
        by_source=by is not None and bool(by.useSourceIp),
    )
