"""Under which names a service is called by a client of some namespace, and which service a name means.

Rule: a name means one service. A short one is looked up in the caller's own namespace first; where two services claim a
name all the same, the first in order of host has it, since a client refuses a route configuration that says it twice.
"""

from __future__ import annotations

from collections.abc import Mapping

from atoll.planes.mesh.model.world import Face


def spellings(face: Face, namespace: str, domain: str) -> list[str]:
    """Names of ``face`` for a caller in ``namespace``, the canonical host first, without ports."""
    service = face.service
    names = [service.host]
    tail = f".{service.namespace}.svc.{domain}"
    if service.host.endswith(tail):
        name = service.host[: -len(tail)]
        names += [f"{name}.{service.namespace}.svc", f"{name}.{service.namespace}"]
        if service.namespace == namespace:
            names.append(name)
    return [*names, *service.aliases, *service.addresses]


def domains(
    faces: Mapping[str, Face], namespace: str, domain: str
) -> Mapping[tuple[str, int], tuple[str, ...]]:
    """The domains of each (host, port) that speaks HTTP. The first such port of a service answers to its bare names."""
    taken: set[str] = set()
    found: dict[tuple[str, int], tuple[str, ...]] = {}
    for host in sorted(faces):
        face = faces[host]
        bare = True
        for port in face.service.ports:
            if not port.protocol.is_http:
                continue
            claimed = []
            for name in spellings(face, namespace, domain):
                claimed += [name] if bare else []
                claimed.append(f"{name}:{port.number}")
            free = [name for name in dict.fromkeys(claimed) if name not in taken]
            taken.update(free)
            found[host, port.number] = tuple(free)
            bare = False
    return found
