"""Which listener a request arrives at, and which of its filter chains takes the connection.

Rule: Envoy's matching of chains: one criterion after the other (port, address, server name, transport, application
protocol, source), each time only the most specific chains go on, and nothing goes back.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import Any, TypeAlias

import msgspec
from envoy.config.core.v3.base_pb2 import INBOUND, OUTBOUND

from atoll.planes.mesh.policy.explain.config import Config
from atoll.planes.mesh.policy.explain.facts import Facts
from atoll.planes.mesh.policy.explain.matching import network
from atoll.resources.mesh.explanations import Direction, Request

# How well a chain's criterion fits: None: not at all, 0: it has none.
Fit: TypeAlias = Callable[[Any, Facts], int | None]


def listener(config: Config, request: Request) -> tuple[Any | None, str]:
    """The listener at which the request arrives, and why it is that one; None: where it was looked for."""
    every = sorted(config.listeners.every(), key=lambda one: str(one.name))
    for one in every:
        if one.HasField("api_listener") and one.name in (request.host, f"{request.host}:{request.port}"):
            return one, f"a proxyless client asks for it by its target, {one.name}"
    wanted = int(INBOUND) if request.direction is Direction.INBOUND else int(OUTBOUND)
    mine = [one for one in every if _direction(one) == wanted and not one.HasField("api_listener")]
    if request.port:
        return _by_port(mine, request)
    if wanted == OUTBOUND:
        by_host = [one for one in mine if one.name == "outbound_http" or len(mine) == 1]
        if by_host:
            return by_host[0], "outbound HTTP without a port of its own goes by Host"
        return _by_port(mine, msgspec.structs.replace(request, port=_port_of(request)))
    if mine:
        return mine[0], "it is the first of the workload's ports; tell the port for another one"
    return None, "the proxy has no inbound listener"


def _direction(one: Any) -> int:
    if one.traffic_direction:
        return int(one.traffic_direction)
    named = one.name.startswith(("inbound", "virtual_inbound", "virtualInbound", "gateway"))
    return int(INBOUND if named else OUTBOUND)


def _port_of(request: Request) -> int:
    """Of its URL, which is where a gateway is called at."""
    _, colon, port = request.host.rpartition(":")
    if colon and port.isdigit():
        return int(port)
    return 443 if request.scheme == "https" else 80


def _by_port(mine: list[Any], request: Request) -> tuple[Any | None, str]:
    named = [one for one in mine if one.name.endswith(f"_{request.host}_{request.port}")]
    if named:
        return named[0], f"it is the listener for port {request.port} of {request.host}"
    bound = [one for one in mine if one.address.socket_address.port_value == request.port]
    if bound:
        return bound[0], f"it listens on port {request.port}"
    caught = [one for one in mine if one.HasField("use_original_dst") and one.use_original_dst.value]
    if caught:
        return caught[0], f"no listener has port {request.port}: it takes what is intercepted"
    return None, f"no {request.direction} listener has port {request.port}"


def chain(one: Any, facts: Facts) -> tuple[Any | None, str]:
    """The filter chain for the connection, None: it is closed."""
    left = list(one.filter_chains)
    for name, fit in _CRITERIA:
        fits = [(value, each) for each in left if (value := fit(each.filter_chain_match, facts)) is not None]
        if not fits:
            left, missed = [], name
            break
        best = max(value for value, _ in fits)
        left = [each for value, each in fits if value == best]
    else:
        missed = ""
    if left:
        return left[0], match_text(left[0].filter_chain_match)
    if one.HasField("default_filter_chain"):
        return one.default_filter_chain, "no other chain matches: it is the default one"
    return None, f"no filter chain matches{f' by {missed}' if missed else ''}"


def match_text(match: Any) -> str:
    """What a chain wants, for people."""
    parts = [f"{name.replace('_', ' ')} {_text(value)}" for name, value in _wanted(match)]
    return f"it takes {', '.join(parts)}" if parts else "it takes every connection"


def _wanted(match: Any) -> list[tuple[str, Any]]:
    return [(field.name, value) for field, value in match.ListFields()]


def _text(value: Any) -> str:
    if isinstance(value, (str, int)):
        return str(value)
    if hasattr(value, "value"):
        return str(value.value)
    return " or ".join(str(network(each)) if hasattr(each, "prefix_len") else str(each) for each in value)


def _port(match: Any, facts: Facts) -> int | None:
    if not match.HasField("destination_port"):
        return 0
    return 1 if match.destination_port.value == facts.port else None


def _destination(match: Any, facts: Facts) -> int | None:
    return _ranges(match.prefix_ranges, facts.destination_address)


def _server_name(match: Any, facts: Facts) -> int | None:
    if not match.server_names:
        return 0
    name = facts.server_name.lower()
    best = None
    for wanted in match.server_names:
        if wanted == name:
            return len(name) + 1_000
        if wanted.startswith("*.") and name.endswith(wanted[1:]):
            best = max(best or 0, len(wanted))
    return best


def _transport(match: Any, facts: Facts) -> int | None:
    if not match.transport_protocol:
        return 0
    return 1 if match.transport_protocol == ("tls" if facts.tls else "raw_buffer") else None


def _application(match: Any, facts: Facts) -> int | None:
    """A sidecar of the mesh offers what the other one's chain for the mesh wants; nobody else does."""
    if not match.application_protocols:
        return 0
    return 1 if facts.principal else None


def _direct_source(match: Any, facts: Facts) -> int | None:
    return _ranges(match.direct_source_prefix_ranges, facts.source_address)


def _source_type(match: Any, facts: Facts) -> int | None:
    if not match.source_type:
        return 0
    local = ipaddress.ip_address(facts.source_address or "127.0.0.1").is_loopback
    return 1 if local == (match.source_type == 1) else None


def _source(match: Any, facts: Facts) -> int | None:
    return _ranges(match.source_prefix_ranges, facts.source_address)


def _ranges(ranges: Any, address: str) -> int | None:
    if not ranges:
        return 0
    if not address:
        return None
    ip = ipaddress.ip_address(address)
    found = [1 + each.prefixlen for each in map(network, ranges) if ip in each]
    return max(found, default=None)


_CRITERIA: tuple[tuple[str, Fit], ...] = (
    ("destination port", _port),
    ("destination address", _destination),
    ("server name", _server_name),
    ("transport protocol", _transport),
    ("application protocol", _application),
    ("source address of the connection", _direct_source),
    ("source type", _source_type),
    ("source address", _source),
)
