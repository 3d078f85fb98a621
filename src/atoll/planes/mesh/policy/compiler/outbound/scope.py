"""Which services a client is told of.

Rule: a service is visible to a namespace where it is exported to it; of those, a client gets what it declared to use, or
else what the ``Sidecar`` document that holds for it names, or else all. What documents route to besides follows from their routes and is not asked here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from atoll.planes.mesh.model.world import Face, World
from atoll.resources.mesh import hosts
from atoll.resources.mesh.clients import Client

_OWN, _ANY = ".", "*"


def visible(world: World, client: Client) -> Mapping[str, Face]:
    """By host, sorted."""
    namespace = hosts.namespace_of(client.namespace)
    exported = {
        host: world.faces[host] for host in sorted(world.faces) if _exports(world.faces[host], namespace)
    }
    if client.uses is not None:
        return _among(exported, _declared(world, client.uses, namespace))
    document = world.policies.sidecar_for(client)
    if document is not None and document.spec.egress:
        named = tuple(host for listener in document.spec.egress for host in listener.hosts)
        return {host: face for host, face in exported.items() if _named(face, named, namespace)}
    return exported


def _exports(face: Face, namespace: str) -> bool:
    entry = face.entry
    if entry is None or not entry.spec.exportTo or _ANY in entry.spec.exportTo:
        return True
    spelled = [entry.namespace if each == _OWN else hosts.namespace_of(each) for each in entry.spec.exportTo]
    return namespace in spelled


def _among(faces: Mapping[str, Face], wanted: Iterable[str]) -> Mapping[str, Face]:
    chosen = frozenset(wanted)
    return {host: face for host, face in faces.items() if host in chosen}


def _declared(world: World, uses: Iterable[str], namespace: str) -> list[str]:
    """A name means the first service that it may stand for, as in documents."""
    found = []
    for name in uses:
        candidates = world.policies.candidates(name, namespace)
        found += [host for host in candidates if host in world.faces][:1]
    return found


def _named(face: Face, named: Iterable[str], namespace: str) -> bool:
    """``NAMESPACE/HOST`` of a Sidecar document; ``.`` is the client's own namespace."""
    for each in named:
        place, _, host = each.partition("/")
        wanted = namespace if place == _OWN else hosts.namespace_of(place)
        if wanted not in (_ANY, face.service.namespace):
            continue
        if hosts.matches(host, face.host) or host in (face.service.name, *face.service.aliases):
            return True
    return False
