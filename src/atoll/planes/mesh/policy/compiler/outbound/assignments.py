"""Load assignments: the endpoints of each cluster, by locality.

Rule: the only part that depends on endpoints. A change of one service makes its own assignments anew and copies one
mapping; clients with the same targets share the mapping as well.

An endpoint that a source calls unhealthy stays in the list, marked: the client's panic threshold decides whether it is
called when nothing else is left. A weight of 0 takes it out.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence

from envoy.config.core.v3 import base_pb2, health_check_pb2
from envoy.config.endpoint.v3 import endpoint_components_pb2 as components
from envoy.config.endpoint.v3 import endpoint_pb2
from google.protobuf import struct_pb2

from atoll.planes.mesh.model.snapshot import Resource, Type
from atoll.planes.mesh.model.world import World
from atoll.planes.mesh.policy.compiler import messages
from atoll.planes.mesh.policy.compiler.memo import Memo
from atoll.planes.mesh.policy.compiler.outbound import localities
from atoll.planes.mesh.policy.compiler.outbound.targets import Target, Targets
from atoll.resources.mesh.services import Endpoint, Locality, MeshService

TLS_MODE = "atoll_tls"  # in the metadata by which a cluster picks an endpoint's transport
MUTUAL = "mutual"


def for_targets(targets: Targets, world: World, memo: Memo) -> Mapping[str, Resource]:
    """The assignments of ``targets``, by cluster name."""
    return memo.following(
        ("assignments", targets), world.services, lambda before: _changed(world, targets, memo, before)
    )


def _changed(
    world: World,
    targets: Targets,
    memo: Memo,
    before: tuple[Mapping[str, MeshService], Mapping[str, Resource]] | None,
) -> Mapping[str, Resource]:
    if before is None:
        known: dict[str, Resource] = {}
        hosts: Iterable[str] = targets.by_host
    else:
        known = dict(before[1])
        hosts = [host for host in memo.differing(before[0], world.services) if host in targets.by_host]
        if not hosts:
            return before[1]
    for host in hosts:
        service = world.services.get(host)
        for target in targets.by_host[host]:
            known[target.name] = memo.piece(
                ("assignment", target), (service,), functools.partial(assignment, target, service)
            )
    return known


def assignment(target: Target, service: MeshService | None) -> Resource:
    """Of ``service``; None: of nobody."""
    message = endpoint_pb2.ClusterLoadAssignment(cluster_name=target.name)
    endpoints = service.endpoints if service is not None else ()
    chosen = [endpoint for endpoint in endpoints if belongs(endpoint, target)]
    port = target.ref.port
    if target.spread is None:
        groups = _by_locality(chosen, [0] * len(chosen))
        message.endpoints.extend(_group(*where, found, port) for where, found in groups)
    elif target.spread.shares:
        groups = _by_locality(chosen, [0] * len(chosen))
        weights = localities.shares([locality for (_, locality), _ in groups], target.spread)
        for (priority, locality), found in groups:
            if locality in weights:
                group = _group(priority, locality, found, port)
                group.load_balancing_weight.value = weights[locality]
                message.endpoints.append(group)
    else:
        groups = _by_locality(chosen, localities.priorities(chosen, target.spread))
        message.endpoints.extend(_group(*where, found, port) for where, found in groups)
    return messages.sealed(Type.ENDPOINTS, message)


def _by_locality(
    endpoints: Sequence[Endpoint], priorities: Sequence[int]
) -> list[tuple[tuple[int, Locality], list[Endpoint]]]:
    found: dict[tuple[int, Locality], list[Endpoint]] = {}
    for endpoint, priority in zip(endpoints, priorities, strict=True):
        found.setdefault((priority, endpoint.locality), []).append(endpoint)
    return sorted(found.items(), key=lambda item: item[0])


def belongs(endpoint: Endpoint, target: Target) -> bool:
    labels = endpoint.labels
    if not endpoint.path and not endpoint.port_of(target.ref.port):
        return False
    return endpoint.weight > 0 and all(labels.get(name) == value for name, value in target.labels)


def _group(
    priority: int, locality: Locality, endpoints: list[Endpoint], port: int
) -> components.LocalityLbEndpoints:
    group = components.LocalityLbEndpoints(
        load_balancing_weight=messages.uint32(sum(endpoint.weight for endpoint in endpoints)),
        priority=priority,
    )
    group.locality.SetInParent()  # gRPC refuses a group without one, even where it says nothing
    group.locality.MergeFrom(
        base_pb2.Locality(region=locality.region, zone=locality.zone, sub_zone=locality.sub_zone)
    )
    group.lb_endpoints.extend(member(endpoint, port) for endpoint in endpoints)
    return group


def member(endpoint: Endpoint, port: int) -> components.LbEndpoint:
    if endpoint.path:
        address = messages.pipe_address(endpoint.path)
    else:
        address = messages.socket_address(endpoint.address, endpoint.port_of(port))
    member = components.LbEndpoint(
        endpoint=components.Endpoint(address=address),
        load_balancing_weight=messages.uint32(endpoint.weight),
    )
    if not endpoint.healthy:
        member.health_status = health_check_pb2.UNHEALTHY
    if endpoint.mutual_tls and port not in endpoint.plain_ports:
        member.metadata.CopyFrom(_MUTUAL_TLS)
    return member


_MUTUAL_TLS = base_pb2.Metadata(
    filter_metadata={
        "envoy.transport_socket_match": struct_pb2.Struct(
            fields={TLS_MODE: struct_pb2.Value(string_value=MUTUAL)}
        )
    }
)
