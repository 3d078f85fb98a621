"""A gateway's listeners: one a port, with a filter chain for each server whose TLS server names tell it apart.

Rule: a chain serves the hosts of its own server and no others, so that what a client certificate was asked for at one host
cannot be had by naming that host inside another one's connection.

What is asked of a request is the same as at a workload: tokens, authorisation, limits, from the documents that are in force
for the gateway.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from envoy.config.core.v3 import base_pb2
from envoy.config.listener.v3 import listener_components_pb2 as components
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2

from atoll.planes.mesh.model.snapshot import Resource, Type
from atoll.planes.mesh.model.world import World
from atoll.planes.mesh.policy.compiler import http, messages, names, telemetry
from atoll.planes.mesh.policy.compiler.gateway import certificates, routes, servers
from atoll.planes.mesh.policy.compiler.gateway.servers import Entry, Spoken
from atoll.planes.mesh.policy.compiler.inbound import chains, limits
from atoll.planes.mesh.policy.compiler.inbound.governing import Governing
from atoll.planes.mesh.policy.compiler.outbound import streams
from atoll.planes.mesh.policy.compiler.outbound.streams import Branch
from atoll.planes.mesh.policy.compiler.routing import virtual_hosts
from atoll.planes.mesh.policy.compiler.routing.scene import Ref, Scene, Stage
from atoll.planes.mesh.policy.compiler.security import authorization, called, tokens
from atoll.planes.mesh.policy.compiler.security.tokens import KeySource
from atoll.resources.mesh.clients import Client
from atoll.resources.mesh.services import Protocol

_EVERY = "*"


class Context(msgspec.Struct, frozen=True):
    """What all listeners of a gateway share."""

    world: World
    client: Client
    governing: Governing
    key_clusters: dict[KeySource, str]


class Made(msgspec.Struct, frozen=True):
    listener: Resource
    tables: tuple[Resource, ...]
    refs: tuple[Ref, ...]
    problems: tuple[str, ...]


class _Part(msgspec.Struct, frozen=True):
    """What one or several servers add to their listener."""

    chains: tuple[Any, ...]
    tables: tuple[Resource, ...] = ()
    refs: tuple[Ref, ...] = ()
    documents: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


def listener(entries: Sequence[Entry], context: Context) -> Made | None:
    """Of all ``entries``, which share a port and an address. None: nothing would be served there."""
    first = entries[0]
    name = names.gateway_listener(first.port, first.bind)
    parts = _parts(name, entries, context)
    made = [chain for part in parts for chain in part.chains]
    if not made:
        return None
    bind = first.bind or context.client.address or servers.EVERYWHERE
    message = listener_pb2.Listener(
        name=name,
        address=messages.socket_address(bind, servers.listening_port(context.client, first.port)),
        traffic_direction=base_pb2.OUTBOUND,
        filter_chains=made,
    )
    if first.spoken not in (Spoken.HTTP, Spoken.TCP):
        message.listener_filters.append(chains.tls_inspector())
    tables = tuple(table for part in parts for table in part.tables)
    refs = tuple(dict.fromkeys(ref for part in parts for ref in part.refs))
    documents = dict.fromkeys(document for part in parts for document in part.documents)
    refers = [(Type.ROUTE, table.name) for table in tables]
    refers += dict.fromkeys(
        (Type.CLUSTER, ref.cluster) for part in parts if not part.tables for ref in part.refs
    )
    refers += [(Type.CLUSTER, cluster) for cluster in context.key_clusters.values()]
    shaped = (*documents, *context.governing.names)
    problems = tuple(problem for part in parts for problem in part.problems)
    return Made(messages.sealed(Type.LISTENER, message, tuple(refers), shaped), tables, refs, problems)


def _parts(name: str, entries: Sequence[Entry], context: Context) -> list[_Part]:
    if entries[0].spoken is Spoken.HTTP:
        return [_http(name, entries, context, None)]
    if entries[0].spoken is Spoken.TCP:
        return [_tcp(name, entries[0], context)]
    parts: list[_Part] = []
    taken: dict[str, str] = {}
    for entry in entries:
        free = tuple(host for host in entry.hosts if host not in taken)
        doubled = tuple(
            f"{entry.document}: port {entry.port} has {host} from {taken[host]} already"
            for host in entry.hosts
            if host in taken
        )
        taken.update(dict.fromkeys(free, entry.name))
        if free:
            part = _of_server(name, msgspec.structs.replace(entry, hosts=free), context)
            parts.append(msgspec.structs.replace(part, problems=(*part.problems, *doubled)))
        else:
            parts.append(_Part((), problems=doubled))
    return parts


def _of_server(name: str, entry: Entry, context: Context) -> _Part:
    if entry.spoken is Spoken.HTTPS:
        return _http(name, [entry], context, entry)
    if entry.spoken is Spoken.TLS:
        return _ended(name, entry, context)
    return _passed(name, entry, context)


def _http(name: str, entries: Sequence[Entry], context: Context, ends_tls: Entry | None) -> _Part:
    """``ends_tls``: the one server whose TLS ends in this chain; None: the port speaks plain text."""
    served = routes.hosts_of(context.world, context.client, entries)
    table = names.gateway_routes(name, ends_tls.name if ends_tls is not None else "")
    head = route_pb2.RouteConfiguration(
        ignore_port_in_host_matching=True,
        typed_per_filter_config=authorization.http_rules(
            context.governing.authorization, _place(entries[0].port, context)
        ),
    )
    rules = context.governing.names_of_authorization
    configuration = virtual_hosts.configuration(table, served, head, rules)
    chain = _chain(name, [_manager(name, table, entries[0].port, context)], ends_tls, certificates.HTTP_ALPNS)
    return _Part(
        (chain,),
        (configuration,),
        tuple(dict.fromkeys(ref for host in served for ref in host.refs)),
        (*dict.fromkeys(entry.document for entry in entries),),
        tuple(problem for host in served for problem in host.problems),
    )


def _manager(name: str, table: str, port: int, context: Context) -> Any:
    governing = context.governing
    filters = (
        *tokens.http_filters(governing.tokens, context.key_clusters),
        *authorization.http_seats(),
        *limits.http_filters(governing.limits, (port,)),
    )
    connection = http.Connection(http.Direction.GATEWAY, name, table, filters, _observed(context))
    return http.connection_manager(connection)


def _tcp(name: str, entry: Entry, context: Context) -> _Part:
    """All connections of the port, by the first rule that is for it."""
    told, branches = _scene(entry, context), []
    for document in entry.routes:
        told.documents[str(document.key)] = None
        branches += streams.by_port(told, document)
    return _streams(name, entry, told, branches[:1], context)


def _ended(name: str, entry: Entry, context: Context) -> _Part:
    """TLS ends here, and what was in it goes on as a byte stream."""
    told, branches = _scene(entry, context), []
    for document in entry.routes:
        told.documents[str(document.key)] = None
        branches += [*streams.by_name(told, document), *streams.by_port(told, document)]
    first = [branch._replace(server_names=()) for branch in branches[:1]]
    return _streams(name, entry, told, first, context)


def _passed(name: str, entry: Entry, context: Context) -> _Part:
    """TLS is told apart by its server name and goes on unopened."""
    told, branches = _scene(entry, context), []
    taken: set[str] = set()
    for document in entry.routes:
        told.documents[str(document.key)] = None
        for branch in streams.by_name(told, document):
            free = [each for each in servers.meeting(branch.server_names, entry.hosts) if each not in taken]
            taken.update(free)
            if free:
                branches.append(branch._replace(server_names=tuple(free)))
    return _streams(name, entry, told, branches, context)


def _streams(name: str, entry: Entry, told: Scene, branches: Sequence[Branch], context: Context) -> _Part:
    made = []
    for branch in branches:
        filters = [
            *authorization.network_filters(
                context.governing.authorization, _place(entry.port, context), name
            ),
            *limits.network_filters(context.governing.limits, (entry.port,)),
            streams.proxy(branch, Protocol.TCP, _observed(context)),
        ]
        if entry.spoken is Spoken.PASSED:
            chain = _chain(f"{name}|{branch.source}|{branch.server_names[0]}", filters, None, ())
            _match(chain, branch.server_names)
        else:
            ends_tls = entry if entry.spoken is Spoken.TLS else None
            chain = _chain(f"{name}|{branch.source}", filters, ends_tls, ())
        made.append(chain)
    return _Part(tuple(made), (), tuple(told.refs), (entry.document, *told.documents), tuple(told.problems))


def _scene(entry: Entry, context: Context) -> Scene:
    return Scene(context.world, Stage(context.client, entry.port, (entry.gateway,)))


def _chain(name: str, filters: Sequence[Any], ends_tls: Entry | None, alpns: Sequence[str]) -> Any:
    chain = components.FilterChain(name=name, filters=filters)
    if ends_tls is not None and ends_tls.tls is not None:
        chain.name = names.gateway_routes(name, ends_tls.name)
        chain.transport_socket.CopyFrom(certificates.socket(ends_tls.tls, alpns))
        _match(chain, ends_tls.hosts)
    return chain


def _match(chain: Any, hosts: Sequence[str]) -> None:
    """A server that takes every host is found where no other name fits, and without a name."""
    chain.filter_chain_match.transport_protocol = "tls"
    if _EVERY not in hosts:
        chain.filter_chain_match.server_names.extend(hosts)


def _place(port: int, context: Context) -> authorization.Place:
    return authorization.Place(context.world.choices.trust_domain, called.Port((port,)))


def _observed(context: Context) -> telemetry.Observed:
    said = [document.spec for document in context.governing.telemetry]
    return telemetry.observed(said, telemetry.CLIENT, context.client, context.world.choices)
