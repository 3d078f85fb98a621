"""Outbound listeners: where a workload's calls enter its sidecar.

Rule: routes of HTTP are never written into a listener, they come by RDS: a changed listener would close connections. One
listener takes all HTTP, by Host; a port or Unix socket of its own is for a service that speaks something else, or for an
application that cannot set a Host. Where traffic is captured there is one listener for all of it, which tells destinations
apart by the address that was dialled.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
from envoy.config.core.v3 import address_pb2, base_pb2
from envoy.config.listener.v3 import listener_components_pb2 as components
from envoy.config.listener.v3 import listener_pb2
from envoy.extensions.filters.http.on_demand.v3 import on_demand_pb2
from envoy.extensions.filters.listener.http_inspector.v3 import http_inspector_pb2
from envoy.extensions.filters.listener.original_dst.v3 import original_dst_pb2
from envoy.extensions.filters.listener.tls_inspector.v3 import tls_inspector_pb2

from atoll.planes.mesh.model.snapshot import Resource, Type
from atoll.planes.mesh.policy.compiler import http as connections
from atoll.planes.mesh.policy.compiler import messages, names
from atoll.planes.mesh.policy.compiler.protocols import streams as byte_streams
from atoll.planes.mesh.policy.compiler.telemetry import Observed
from atoll.resources.mesh.clients import Client, Outbound

LOOPBACK: Final = "127.0.0.1"
ANY: Final = "0.0.0.0"  # captured connections come to the address of the workload's network namespace
_TLS_INSPECTOR = "envoy.filters.listener.tls_inspector"
_HTTP_INSPECTOR = "envoy.filters.listener.http_inspector"
_ON_DEMAND = "envoy.filters.http.on_demand"
_DEMAND_S: Final = 5.0
_ORIGINAL_DST = "envoy.filters.listener.original_dst"
_INSPECT_S: Final = 1.0  # how long a client that says nothing first (MySQL) may keep an inspector waiting
_HTTP_SEEN = ("http/1.0", "http/1.1", "h2c")


class Chain(msgspec.Struct, frozen=True):
    """Connections that are treated alike. ``addresses`` empty: to any; ``port`` 0: to any; ``http_only``: those that
    begin as HTTP.
    """

    name: str
    filters: tuple[Any, ...]
    addresses: tuple[str, ...] = ()
    port: int = 0
    server_names: tuple[str, ...] = ()
    http_only: bool = False


class Refers(msgspec.Struct, frozen=True):
    """What listeners lead to."""

    clusters: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()
    documents: tuple[str, ...] = ()

    def as_pairs(self) -> tuple[tuple[Type, str], ...]:
        return (
            *((Type.CLUSTER, name) for name in dict.fromkeys(self.clusters)),
            *((Type.ROUTE, name) for name in dict.fromkeys(self.routes)),
        )


def manager(statistics: str, routes: str, observed: Observed, asks: bool = False) -> Any:
    """HTTP by the route configuration ``routes``. ``asks``: for a cluster that is not there, when a request leads to it."""
    filters = (connections.http_filter(_ON_DEMAND, _on_demand()),) if asks else ()
    return connections.connection_manager(
        connections.Connection(connections.Direction.OUTBOUND, statistics, routes, filters, observed)
    )


def _on_demand() -> Any:
    """A request waits for its cluster as long as a client would for any other resource."""
    demand = on_demand_pb2.OnDemandCds(source=messages.from_ads(), timeout=messages.duration(_DEMAND_S))
    return on_demand_pb2.OnDemand(odcds=demand)


def http(client: Client, observed: Observed, asks: bool) -> Resource:
    """The one listener of outbound HTTP, which goes by Host."""
    message = _listener(names.OUTBOUND_HTTP, _at(client.http_port, client.http_path))
    message.filter_chains.append(
        components.FilterChain(filters=[manager(names.OUTBOUND_HTTP, names.HTTP_ROUTES, observed, asks)])
    )
    return messages.sealed(Type.LISTENER, message, ((Type.ROUTE, names.HTTP_ROUTES),))


def explicit(outbound: Outbound, host: str, chains: Sequence[Chain], refers: Refers) -> Resource:
    """A listener of the workload's own towards one service."""
    name = names.outbound_listener(host, outbound.service_port)
    message = _listener(name, _at(outbound.port, outbound.path))
    _set_chains(message, chains)
    return messages.sealed(Type.LISTENER, message, refers.as_pairs(), refers.documents)


def captured(client: Client, chains: Sequence[Chain], fallback: Chain, refers: Refers) -> Resource:
    """The listener of all connections that are captured. ``fallback``: what takes those that no chain takes."""
    message = _listener(names.VIRTUAL_OUTBOUND, messages.socket_address(ANY, client.http_port))
    message.listener_filters.append(_filter(_ORIGINAL_DST, original_dst_pb2.OriginalDst()))
    _set_chains(message, chains)
    message.default_filter_chain.CopyFrom(_chain(fallback))
    return messages.sealed(Type.LISTENER, message, refers.as_pairs(), refers.documents)


def _listener(name: str, address: address_pb2.Address) -> Any:
    return listener_pb2.Listener(name=name, address=address, traffic_direction=base_pb2.OUTBOUND)


def _at(port: int, path: str) -> address_pb2.Address:
    return messages.pipe_address(path) if path else messages.socket_address(LOOPBACK, port)


def _set_chains(message: Any, chains: Iterable[Chain]) -> None:
    every = list(chains)
    inspected = any(chain.server_names for chain in every)
    sniffed = any(chain.http_only for chain in every)
    if inspected:
        message.listener_filters.append(_filter(_TLS_INSPECTOR, tls_inspector_pb2.TlsInspector()))
    if sniffed:
        message.listener_filters.append(_filter(_HTTP_INSPECTOR, http_inspector_pb2.HttpInspector()))
    if inspected or sniffed:
        message.listener_filters_timeout.CopyFrom(messages.duration(_INSPECT_S))
        message.continue_on_listener_filters_timeout = True
    message.filter_chains.extend(_chain(chain) for chain in every)


def _chain(chain: Chain) -> Any:
    result = components.FilterChain(name=chain.name, filters=chain.filters)
    match = components.FilterChainMatch()
    for address in chain.addresses:
        bits = 128 if ":" in address else 32
        match.prefix_ranges.append(
            address_pb2.CidrRange(address_prefix=address, prefix_len=messages.uint32(bits))
        )
    if chain.port:
        match.destination_port.value = chain.port
    match.server_names.extend(chain.server_names)
    if chain.server_names:
        match.transport_protocol = "tls"
    if chain.http_only:
        match.application_protocols.extend(_HTTP_SEEN)
    if match != components.FilterChainMatch():
        result.filter_chain_match.CopyFrom(match)
    return result


def _filter(name: str, config: Any) -> Any:
    return components.ListenerFilter(name=name, typed_config=messages.packed(config))


def to_cluster(name: str, cluster: str, observed: Observed) -> Chain:
    return Chain(name, (byte_streams.proxy_to(name, [(cluster, 1)], observed.access_logs),))
