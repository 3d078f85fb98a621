"""Inbound listeners: one a port of the workload, or one for all where connections are captured.

Rule: a listener of captured connections takes the ports that the workload has named and no others; a port that nobody
named is closed, not open to whoever finds it.

What authorisation asks of HTTP comes with the route configuration: a changed listener closes connections, a changed route
configuration holds from the next request on, whichever connection it comes by.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from envoy.config.core.v3 import base_pb2
from envoy.config.listener.v3 import listener_components_pb2 as components
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_components_pb2 as route_components
from envoy.config.route.v3 import route_pb2
from envoy.extensions.filters.listener.original_dst.v3 import original_dst_pb2
from envoy.type.v3 import range_pb2

from atoll.planes.mesh.model.snapshot import Resource, Type
from atoll.planes.mesh.model.world import Choices
from atoll.planes.mesh.policy.compiler import http, messages, names, telemetry
from atoll.planes.mesh.policy.compiler.inbound import chains, limits
from atoll.planes.mesh.policy.compiler.inbound.chains import Mode
from atoll.planes.mesh.policy.compiler.inbound.governing import Governing
from atoll.planes.mesh.policy.compiler.protocols import streams
from atoll.planes.mesh.policy.compiler.security import authorization, called, tokens
from atoll.planes.mesh.policy.compiler.security.tokens import KeySource
from atoll.resources.mesh import proxy
from atoll.resources.mesh.clients import Client, Inbound

ORIGINAL_DESTINATION = "envoy.filters.listener.original_dst"
_EVERYWHERE = "0.0.0.0"
_PORTS_END = 65_536


class Entry(msgspec.Struct, frozen=True):
    """A port of the workload. ``numbers``: by which documents know it, its own first."""

    inbound: Inbound
    numbers: tuple[int, ...]
    mode: Mode


class Context(msgspec.Struct, frozen=True):
    """What all listeners of a workload share."""

    client: Client
    choices: Choices
    governing: Governing
    key_clusters: Mapping[KeySource, str]


def explicit(entry: Entry, context: Context) -> Resource:
    """The listener of one port."""
    name = names.inbound_listener(entry.inbound.port)
    message = _listener(name, context.client.address, entry.inbound.port)
    message.listener_filters.extend(chains.listener_filters([entry.mode]))
    message.filter_chains.extend(_chains(name, entry, context, 0))
    if chains.waits_for_silent(entry.mode, entry.inbound.protocol):
        _let_silent_pass(message)
    return _sealed(message, [entry], context)


def captured(entries: Sequence[Entry], context: Context) -> Resource:
    """The listener of all ports, to which iptables redirects."""
    message = _listener(names.VIRTUAL_INBOUND, _EVERYWHERE, proxy.INBOUND_CAPTURE_PORT)
    original = messages.packed(original_dst_pb2.OriginalDst())
    message.listener_filters.append(
        components.ListenerFilter(name=ORIGINAL_DESTINATION, typed_config=original)
    )
    inspectors = chains.listener_filters([entry.mode for entry in entries])
    for inspector in inspectors:
        _keep_off(inspector, [entry.inbound.port for entry in entries if entry.mode is not Mode.PERMISSIVE])
    message.listener_filters.extend(inspectors)
    for entry in entries:
        port = entry.inbound.port
        message.filter_chains.extend(_chains(names.inbound_listener(port), entry, context, port))
    if any(chains.waits_for_silent(entry.mode, entry.inbound.protocol) for entry in entries):
        _let_silent_pass(message)
    return _sealed(message, entries, context)


def _listener(name: str, address: str, port: int) -> Any:
    return listener_pb2.Listener(
        name=name, address=messages.socket_address(address, port), traffic_direction=base_pb2.INBOUND
    )


def _let_silent_pass(message: Any) -> None:
    message.listener_filters_timeout.CopyFrom(messages.duration(chains.SILENT_S))
    message.continue_on_listener_filters_timeout = True


def _keep_off(inspector: Any, ports: Sequence[int]) -> None:
    """Connections to ``ports`` are not looked into."""
    predicates = [
        components.ListenerFilterChainMatchPredicate(
            destination_port_range=range_pb2.Int32Range(start=port, end=port + 1)
        )
        for port in ports
    ]
    if len(predicates) == 1:
        inspector.filter_disabled.CopyFrom(predicates[0])
    elif predicates:
        inspector.filter_disabled.or_match.rules.extend(predicates)


def _chains(name: str, entry: Entry, context: Context, destination_port: int) -> list[Any]:
    filters = (_http if entry.inbound.protocol.is_http else _stream)(name, entry, context)
    return chains.chains(name, entry.mode, entry.inbound.protocol, filters, destination_port)


def _http(name: str, entry: Entry, context: Context) -> list[Any]:
    """Who it is comes before what it may, and what it may before how much: what is refused spends nothing."""
    governing = context.governing
    filters = [
        *tokens.http_filters(governing.tokens, context.key_clusters),
        *authorization.http_seats(),
        *limits.http_filters(governing.limits, entry.numbers),
    ]
    connection = http.Connection(
        http.Direction.INBOUND,
        name,
        names.inbound_routes(entry.inbound.port),
        tuple(filters),
        _observed(context),
    )
    return [http.connection_manager(connection)]


def _stream(name: str, entry: Entry, context: Context) -> list[Any]:
    governing = context.governing
    clusters = [(names.inbound_cluster(entry.inbound.port), 1)]
    return [
        *authorization.network_filters(governing.authorization, _place(entry, context), name),
        *limits.network_filters(governing.limits, entry.numbers),
        streams.proxy_to(name, clusters, _observed(context).access_logs),
    ]


def _place(entry: Entry, context: Context) -> authorization.Place:
    return authorization.Place(context.choices.trust_domain, called.Port(entry.numbers))


def _observed(context: Context) -> telemetry.Observed:
    said = [document.spec for document in context.governing.telemetry]
    return telemetry.observed(said, telemetry.SERVER, context.client, context.choices)


def routes(entry: Entry, context: Context) -> Resource:
    """All to the application, without a time limit: the caller's own holds."""
    port = entry.inbound.port
    route = route_components.Route(
        name=names.DEFAULT_ROUTE,
        match=route_components.RouteMatch(prefix="/"),
        route=route_components.RouteAction(cluster=names.inbound_cluster(port), timeout=messages.duration(0)),
    )
    host = route_components.VirtualHost(name=names.inbound_routes(port), domains=["*"], routes=[route])
    message = route_pb2.RouteConfiguration(
        name=names.inbound_routes(port),
        virtual_hosts=[host],
        validate_clusters=messages.boolean(False),
        typed_per_filter_config=authorization.http_rules(
            context.governing.authorization, _place(entry, context)
        ),
    )
    refers = ((Type.CLUSTER, names.inbound_cluster(port)),)
    return messages.sealed(Type.ROUTE, message, refers, context.governing.names_of_authorization)


def _sealed(message: Any, entries: Sequence[Entry], context: Context) -> Resource:
    clusters = [names.inbound_cluster(entry.inbound.port) for entry in entries]
    clusters += context.key_clusters.values()
    tables = [names.inbound_routes(entry.inbound.port) for entry in entries if entry.inbound.protocol.is_http]
    refers = (*((Type.CLUSTER, one) for one in clusters), *((Type.ROUTE, one) for one in tables))
    is_http = len(tables) == len(entries)
    shaped = context.governing.names_of_others if is_http else context.governing.names
    return messages.sealed(Type.LISTENER, message, refers, shaped)
