"""What a proxyless gRPC application gets: the resources of a sidecar in the same place, narrowed to what gRPC understands.

Rule: nothing is decided here anew. Which services are seen, how they are routed and balanced is the outbound part's plan,
compiled from the same documents for the same place; each piece of it is narrowed (``routes``, ``clusters``), and what is
lost on the way is told as a problem of the client and listed in the reference (``differences``). A feature that becomes
expressible in gRPC is added in one place.

A narrowed piece is remembered with the piece that it was made of, so that a change costs what it costs a sidecar.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping

import msgspec
from envoy.config.route.v3 import route_components_pb2 as components

from atoll.planes.mesh.model.world import World
from atoll.planes.mesh.policy.compiler import names
from atoll.planes.mesh.policy.compiler.grpc import clusters, listeners, routes, servers
from atoll.planes.mesh.policy.compiler.grpc.differences import Differs
from atoll.planes.mesh.policy.compiler.memo import Memo
from atoll.planes.mesh.policy.compiler.outbound import assignments, planning
from atoll.planes.mesh.policy.compiler.outbound.planning import Plan
from atoll.planes.mesh.policy.compiler.outbound.targets import Targets
from atoll.planes.mesh.policy.compiler.parts import Parts, by_name
from atoll.planes.mesh.policy.compiler.routing.virtual_hosts import VirtualHost
from atoll.resources.mesh import proxyless
from atoll.resources.mesh.clients import Client
from atoll.wire.xds.snapshot import Resource, Type


class _Called(msgspec.Struct, frozen=True):
    """One service as it is called: its routes, and a listener for each of its names."""

    routes: routes.Narrowed
    listeners: tuple[Resource, ...]


class _Narrow(msgspec.Struct, frozen=True):
    """``problems`` come with the documents that they are of. ``nowhere``: clusters whose assignment is empty."""

    plan: Plan
    clusters: Mapping[str, Resource]
    routes: Mapping[str, Resource]
    listeners: Mapping[str, Resource]
    targets: Targets
    nowhere: tuple[str, ...]
    problems: tuple[str, ...]


def parts_for(world: World, client: Client, memo: Memo) -> tuple[Parts, Parts]:
    """What it calls, and what it serves."""
    certificates = proxyless.CERTIFICATES in client.extensions
    served = servers.parts_for(world, client, certificates, memo)
    return _calls(world, client, certificates, memo), served


def _calls(world: World, client: Client, certificates: bool, memo: Memo) -> Parts:
    plan = planning.plan_for(world, client, memo)
    make = functools.partial(_narrow, plan, world, certificates, memo)
    narrow = memo.piece(("grpc plan", certificates, client.namespace), (plan,), make)
    endpoints = functools.partial(_endpoints, narrow.targets, narrow.nowhere)
    return Parts(narrow.clusters, narrow.listeners, narrow.routes, narrow.problems, endpoints)


def _endpoints(
    targets: Targets, nowhere: tuple[str, ...], world: World, memo: Memo
) -> Mapping[str, Resource]:
    wide = assignments.for_targets(targets, world, memo)
    empty = {name: clusters.nobody(name) for name in nowhere}
    name = ("grpc assignments", targets, nowhere)
    return memo.following(name, wide, lambda before: {**_assignments(wide, before), **empty})


def _narrow(plan: Plan, world: World, certificates: bool, memo: Memo) -> _Narrow:
    made: dict[str, clusters.Narrowed] = {}
    for name, given in plan.clusters.items():
        face = world.faces.get(names.host_of_cluster(name))
        caller = clusters.Caller(certificates, face is not None and face.mutual_tls_only)
        make = functools.partial(clusters.cluster, given, caller)
        made[name] = memo.piece(("grpc cluster", name, caller), (given,), make)
    kept = {name: one.resource for name, one in made.items()}
    found = {target.name for each in plan.targets.by_host.values() for target in each}
    by_eds = [name for name, one in kept.items() if any(kind is Type.ENDPOINTS for kind, _ in one.refers)]
    called = [
        memo.piece(("grpc routes", host.body, host.documents), (), functools.partial(_called, host))
        for host in plan.virtual_hosts
    ]
    told = [(one.differs, plan.clusters[name].documents) for name, one in made.items()]
    told += [(one.routes.differs, one.routes.resource.documents) for one in called]
    return _Narrow(
        plan,
        kept,
        by_name([one.routes.resource for one in called]),
        by_name([listener for one in called for listener in one.listeners]),
        plan.targets,
        tuple(name for name in by_eds if name not in found),
        (*plan.problems, *_problems(told)),
    )


def _called(host: VirtualHost) -> _Called:
    message = components.VirtualHost.FromString(host.body)
    narrowed = routes.configuration(message.name, message, host.documents)
    dialled = [domain for domain in message.domains if "*" not in domain]
    return _Called(narrowed, tuple(listeners.client(name, message.name) for name in dialled))


def _problems(told: Iterable[tuple[tuple[Differs, ...], tuple[str, ...]]]) -> tuple[str, ...]:
    """What no document asked for is the mesh's default, which the reference tells of."""
    texts = {
        f"{document} asks for what gRPC does otherwise: {differs.text}"
        for found, documents in told
        for document in documents
        for differs in found
    }
    return tuple(sorted(texts))


def _assignments(
    wide: Mapping[str, Resource], before: tuple[Mapping[str, Resource], Mapping[str, Resource]] | None
) -> Mapping[str, Resource]:
    known: Mapping[str, Resource] = before[1] if before is not None else {}
    origin: Mapping[str, Resource] = before[0] if before is not None else {}
    return {
        name: known[name] if origin.get(name) is one else clusters.assignment(one)
        for name, one in wide.items()
    }
