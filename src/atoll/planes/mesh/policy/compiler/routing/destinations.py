"""Which cluster a destination in a document means.

Rule: a destination that is not there does not break the rest of its route: its share of the requests goes to a cluster that
has no endpoint and is answered 503, as in Istio, and the problem is told.
"""

from __future__ import annotations

from typing import Final

from atoll.planes.mesh.model.world import Face
from atoll.planes.mesh.policy.compiler import names
from atoll.planes.mesh.policy.compiler.routing.scene import Ref, Scene
from atoll.resources.mesh.documents.destination_rule import ConsistentHash
from atoll.resources.mesh.documents.kinds import DocumentKey
from atoll.resources.mesh.documents.virtual_service import Destination

MISSING: Final = Ref(names.MISSING, 0)


def resolve(scene: Scene, where: DocumentKey, destination: Destination, needed: bool = False) -> Ref:
    """What ``destination`` means in the document ``where``; ``MISSING`` where it means nothing. ``needed``: nobody will ask
    for it before it is called.
    """
    face = _face(scene, destination.host, where.namespace)
    if face is None:
        return _missing(scene, where, f"there is no service {destination.host!r}")
    asked = destination.port.number if destination.port is not None else None
    port = _port(face, asked, scene.stage.port)
    if port is None:
        there = ", ".join(str(each.number) for each in face.service.ports)
        what = f"no port {asked}" if asked else f"several ports, and not {scene.stage.port}"
        return _missing(scene, where, f"{face.host} has {what}: name one of {there}")
    if destination.subset:
        rule = scene.rule(face)
        if rule is None or rule.spec.subset(destination.subset) is None:
            text = f"no DestinationRule has the subset {destination.subset!r} of {face.host}"
            return _missing(scene, where, text)
    ref = Ref(face.host, port, destination.subset)
    scene.refs[ref] = None
    if needed:
        scene.needed[ref] = None
    return ref


def consistent_hash(scene: Scene, refs: list[Ref]) -> ConsistentHash | None:
    """By what requests are told apart for the first of ``refs`` whose endpoints are chosen so."""
    for ref in refs:
        face = scene.face(ref.host)
        rule = scene.rule(face) if face is not None else None
        if rule is None:
            continue
        balancer = rule.spec.traffic_policy(ref.port, ref.subset).loadBalancer
        if balancer is not None and balancer.consistentHash is not None:
            return balancer.consistentHash
    return None


def _face(scene: Scene, name: str, namespace: str) -> Face | None:
    for candidate in scene.world.policies.candidates(name, namespace):
        face = scene.face(candidate)
        if face is not None:
            return face
    return None


def _port(face: Face, asked: int | None, called: int) -> int | None:
    """The port that a document names; without, the one that was called, or the only one."""
    ports = [port.number for port in face.service.ports]
    if asked is not None:
        return asked if asked in ports else None
    if called in ports:
        return called
    return ports[0] if len(ports) == 1 else None


def _missing(scene: Scene, where: DocumentKey, text: str) -> Ref:
    scene.problem(f"{where}: {text}")
    scene.refs[MISSING] = scene.needed[MISSING] = None
    return MISSING
