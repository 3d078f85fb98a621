"""Under which names a service is called by a client of some namespace.

Rule: a name means one service. A short one is the service of the caller's own namespace; where two services claim a name
all the same, the first in order of host has it, since a client refuses a route configuration that says it twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from atoll.planes.mesh.model.world import Face
from atoll.planes.mesh.policy.compiler.routing.virtual_hosts import Called


def spellings(face: Face, namespace: str, domain: str) -> list[str]:
    """Names of ``face`` for a caller in ``namespace``, the canonical host first, without ports."""
    service = face.service
    names = [service.host]
    tail = f".{service.namespace}.svc.{domain}"
    if service.host.endswith(tail) and "*" not in service.host:  # a short * would catch everything
        name = service.host[: -len(tail)]
        names += [f"{name}.{service.namespace}.svc", f"{name}.{service.namespace}"]
        if service.namespace == namespace:
            names.append(name)
    return [*names, *service.aliases, *service.addresses]


def by_host(faces: Mapping[str, Face], others: Iterable[str], namespace: str, domain: str) -> list[Called]:
    """Each HTTP port of each service, and the hosts that only documents know (``others``), with the domains that lead
    there whatever port they were called at. The first such port of a service answers to its bare names.
    """
    taken: set[str] = set()
    found = []
    for host, face in faces.items():
        bare = True
        for port in face.service.ports:
            if port.protocol.is_http:
                claimed = []
                for name in spellings(face, namespace, domain):
                    claimed += [name] if bare else []
                    claimed.append(f"{name}:{port.number}")
                found.append(Called(host, port.number, _free(claimed, taken)))
                bare = False
    for host in others:
        port_number = _PORT_OF_OTHERS
        found.append(Called(host, port_number, _free([host, f"{host}:{port_number}"], taken)))
    return [called for called in found if called.domains]


def by_port(
    faces: Mapping[str, Face], others: Iterable[str], namespace: str, domain: str
) -> Mapping[int, list[Called]]:
    """The same for traffic that is captured: at which port a request was made is known, and told apart by that."""
    taken: dict[int, set[str]] = {}
    found: dict[int, list[Called]] = {}
    for host, face in faces.items():
        for port in face.service.ports:
            if port.protocol.is_http:
                claimed = []
                for name in spellings(face, namespace, domain):
                    claimed += [name, f"{name}:{port.number}"]
                here = taken.setdefault(port.number, set())
                found.setdefault(port.number, []).append(Called(host, port.number, _free(claimed, here)))
    for host in others:
        here = taken.setdefault(_PORT_OF_OTHERS, set())
        claimed = [host, f"{host}:{_PORT_OF_OTHERS}"]
        found.setdefault(_PORT_OF_OTHERS, []).append(Called(host, _PORT_OF_OTHERS, _free(claimed, here)))
    return {port: [called for called in found[port] if called.domains] for port in sorted(found)}


_PORT_OF_OTHERS = 80


def _free(claimed: list[str], taken: set[str]) -> tuple[str, ...]:
    free = tuple(name for name in dict.fromkeys(claimed) if name not in taken)
    taken.update(free)
    return free
