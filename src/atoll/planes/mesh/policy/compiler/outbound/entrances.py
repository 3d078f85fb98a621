"""Entrances: the listeners by which a workload's calls come, for each way of capturing them, and what they lead to.

Rule: with explicit ports there is the one HTTP listener and those that the workload asked for; with captured traffic one
listener takes everything, by the address that was dialled: first what is addressed to a service's virtual IP, then by port
what speaks HTTP, then what the mesh does not know.

A captured connection to a port at which services speak HTTP may still speak something else to somebody unknown; it is
looked at before, and what is no HTTP is treated as unknown.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from atoll.planes.mesh.model.snapshot import Resource
from atoll.planes.mesh.model.world import Face, Scope, Unknown, World
from atoll.planes.mesh.policy.compiler import names, telemetry
from atoll.planes.mesh.policy.compiler.outbound import clusters, listeners, streams
from atoll.planes.mesh.policy.compiler.outbound.listeners import Chain, Refers
from atoll.planes.mesh.policy.compiler.routing import destinations, scene, virtual_hosts
from atoll.planes.mesh.policy.compiler.routing.scene import Ref, Scene, Stage
from atoll.planes.mesh.policy.compiler.routing.virtual_hosts import Called, VirtualHost
from atoll.planes.mesh.policy.compiler.telemetry import Observed
from atoll.resources.mesh import proxy
from atoll.resources.mesh.clients import Capture, Client, Outbound
from atoll.resources.mesh.services import Port, Protocol

_UNKNOWN = "unknown"  # the chain of captured connections that no other one takes


class Entrances(msgspec.Struct, frozen=True):
    """``tables``: route configurations besides those by Host. ``passes``: some listener leads to the address dialled."""

    listeners: tuple[Resource, ...]
    refs: tuple[Ref, ...] = ()
    tables: tuple[Resource, ...] = ()
    problems: tuple[str, ...] = ()
    passes: bool = False


def of(world: World, client: Client, seen: Mapping[str, Face], observed: Observed) -> Entrances:
    """Of ``client``, which sees the services ``seen``. ``observed``: what is told of its calls."""
    explicit = [_explicit(world, client, one, observed) for one in client.outbound]
    if client.capture is Capture.REDIRECT:
        common = _captured(world, client, seen, observed)
    else:
        common = Entrances((listeners.http(client, observed, asks_by_name(world, client)),))
    every = [common, *explicit]
    return Entrances(
        tuple(one for each in every for one in each.listeners),
        tuple(ref for each in every for ref in each.refs),
        tuple(one for each in every for one in each.tables),
        tuple(problem for each in every for problem in each.problems),
        common.passes,
    )


def asks_by_name(world: World, client: Client) -> bool:
    """Whether ``client`` is sent a cluster when it is first called."""
    return world.choices.scope is Scope.CALLED and proxy.ON_DEMAND in client.extensions


def allows_unknown(world: World, client: Client) -> bool:
    """Whether calls to what the mesh does not know go on as they were dialled."""
    if client.capture is not Capture.REDIRECT:
        return False
    document = world.policies.sidecar_for(client)
    if document is not None and document.spec.outboundTrafficPolicy is not None:
        return bool(document.spec.outboundTrafficPolicy.mode == "ALLOW_ANY")
    return world.choices.unknown is Unknown.ALLOW


def fallback_host(world: World, client: Client) -> VirtualHost:
    """The virtual host of HTTP to hosts that nobody has."""
    if allows_unknown(world, client):
        return virtual_hosts.passed_on(clusters.PASSTHROUGH)
    return virtual_hosts.refused()


def observed_by(world: World, client: Client) -> Observed:
    said = [one.spec for one in world.policies.telemetries(world.policies.workload(client))]
    return telemetry.observed(said, telemetry.CLIENT, client, world.choices)


def _explicit(world: World, client: Client, asked: Outbound, observed: Observed) -> Entrances:
    candidates = world.policies.candidates(asked.host, scene.namespace_of(client))
    face = next((world.faces[host] for host in candidates if host in world.faces), None)
    port = face.service.port(asked.service_port) if face is not None else None
    if face is None or port is None:
        text = f"the listener for {asked.host}:{asked.service_port} has no service to lead to"
        return Entrances((), problems=(text,))
    if port.protocol.is_http:
        return _explicit_http(world, client, asked, face, observed)
    told = Scene(world, Stage(client, port.number))
    chains = [
        Chain(
            f"{face.host}:{port.number}",
            (streams.proxy(branch, port.protocol, observed),),
            server_names=branch.server_names,
        )
        for branch in streams.branches(told, face, port.number)
    ]
    return Entrances(
        (listeners.explicit(asked, face.host, _distinct(chains)[0], _refers(told)),),
        tuple(told.refs),
        problems=tuple(told.problems),
    )


def _explicit_http(
    world: World, client: Client, asked: Outbound, face: Face, observed: Observed
) -> Entrances:
    """Whatever Host a request names, it is for this service."""
    name = names.outbound_listener(face.host, asked.service_port)
    called = Called(face.host, asked.service_port, ("*",))
    made = virtual_hosts.compiled(world, Stage(client, called.port), called)
    chain = Chain(name, (listeners.manager(name, name, observed),))
    return Entrances(
        (listeners.explicit(asked, face.host, [chain], Refers(routes=(name,))),),
        made.refs,
        (virtual_hosts.configuration(name, [made]),),
        made.problems,
    )


def _captured(world: World, client: Client, seen: Mapping[str, Face], observed: Observed) -> Entrances:
    chains: list[Chain] = []
    told_by: list[Scene] = []
    http_ports: dict[int, None] = {}
    for face in seen.values():
        for port in face.service.ports:
            if port.protocol.is_http:
                http_ports[port.number] = None
            else:
                told = Scene(world, Stage(client, port.number))
                chains += _captured_stream(told, face, port, observed)
                told_by.append(told)
    for number in sorted(http_ports):
        name = str(number)
        manager = listeners.manager(f"outbound_{name}", name, observed, asks_by_name(world, client))
        chains.append(Chain(f"http_{name}", (manager,), port=number, http_only=True))
    passes = allows_unknown(world, client)
    nowhere = () if passes else (destinations.MISSING,)
    fallback = clusters.PASSTHROUGH if passes else destinations.MISSING.cluster
    kept, doubled = _distinct(chains)
    refs = tuple(dict.fromkeys((*(ref for told in told_by for ref in told.refs), *nowhere)))
    refers = Refers(
        (*(ref.cluster for ref in refs), fallback),
        tuple(map(str, sorted(http_ports))),
        tuple(dict.fromkeys(document for told in told_by for document in told.documents)),
    )
    return Entrances(
        (listeners.captured(client, kept, listeners.to_cluster(_UNKNOWN, fallback, observed), refers),),
        refs,
        problems=(*(problem for told in told_by for problem in told.problems), *doubled),
        passes=passes,
    )


def _captured_stream(told: Scene, face: Face, port: Port, observed: Observed) -> list[Chain]:
    """By virtual IP where the service has any; else what speaks TLS by its server name, everything else by its port."""
    found = []
    for branch in streams.branches(told, face, port.number):
        server_names = branch.server_names
        if port.protocol is Protocol.TLS and not face.service.addresses and not server_names:
            server_names = (face.host,)
        found.append(
            Chain(
                f"{face.host}:{port.number}",
                (streams.proxy(branch, port.protocol, observed),),
                face.service.addresses,
                port.number,
                server_names,
            )
        )
    return found


def _distinct(chains: list[Chain]) -> tuple[list[Chain], list[str]]:
    """Those that Envoy can tell apart, each with a name of its own, by which it is updated; and what was left out."""
    taken: dict[object, str] = {}
    counts: dict[str, int] = {}
    kept, doubled = [], []
    for chain in chains:
        asked = (chain.addresses, chain.port, chain.server_names, chain.http_only)
        if asked in taken:
            doubled.append(
                f"captured connections to {chain.name} cannot be told from those to {taken[asked]}, which gets them: "
                "give the service an address or a port of its own"
            )
            continue
        taken[asked] = chain.name
        count = counts[chain.name] = counts.get(chain.name, 0) + 1
        name = chain.name if count == 1 else f"{chain.name}#{count}"
        kept.append(msgspec.structs.replace(chain, name=name))
    return kept, doubled


def _refers(told: Scene) -> Refers:
    return Refers(tuple(ref.cluster for ref in told.refs), documents=tuple(told.documents))
