"""The plan of a client's outbound side: everything but load assignments.

Rule: made of the client, the faces of services and the mesh-wide choices; while these are the same objects the plan is the
same object, and a change of endpoints never gets here.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping

import msgspec

from atoll.planes.mesh.model.snapshot import Resource
from atoll.planes.mesh.model.world import World
from atoll.planes.mesh.policy.compiler import names
from atoll.planes.mesh.policy.compiler.memo import Memo
from atoll.planes.mesh.policy.compiler.outbound import clusters, hosts, listeners, routes
from atoll.planes.mesh.policy.compiler.outbound.routes import VirtualHost
from atoll.planes.mesh.policy.compiler.outbound.targets import Target, Targets
from atoll.planes.mesh.policy.compiler.parts import by_name
from atoll.resources.mesh.clients import Client


class Plan(msgspec.Struct, frozen=True):
    """``virtual_hosts``: those of services, in the order of their hosts; what refuses the others is not among them."""

    targets: Targets
    clusters: Mapping[str, Resource]
    routes: Mapping[str, Resource]
    listeners: Mapping[str, Resource]
    virtual_hosts: tuple[VirtualHost, ...] = ()
    problems: tuple[str, ...] = ()


class View(msgspec.Struct, frozen=True):
    """What of a client its outbound side depends on; hashable, so that clients that differ in other things share."""

    namespace: str
    http_port: int
    http_path: str


def plan_for(world: World, client: Client, memo: Memo) -> Plan:
    view = View(client.namespace, client.http_port, client.http_path)
    return memo.piece(("plan", view), (world.faces, world.choices), lambda: _plan(world, client, memo))


def _plan(world: World, client: Client, memo: Memo) -> Plan:
    domains = hosts.domains(world.faces, client.namespace, world.choices.domain)
    targets: list[Target] = []
    made: list[Resource] = []
    virtual: list[VirtualHost] = []
    for host in sorted(world.faces):
        face = world.faces[host]
        for port in face.service.ports:
            target = Target(host, port.number)
            targets.append(target)
            make = functools.partial(clusters.cluster, target, face, world.choices)
            made.append(memo.piece(("cluster", target), (face, world.choices), make))
            called = domains.get((host, port.number))
            if called:
                virtual.append(routes.to_service(names.virtual_host(host, port.number), called, target.name))
    return Plan(
        Targets(tuple(targets)),
        by_name(made),
        by_name([routes.configuration(names.HTTP_ROUTES, [*virtual, routes.refused()])]),
        by_name([listeners.http(client)]),
        tuple(virtual),
    )
