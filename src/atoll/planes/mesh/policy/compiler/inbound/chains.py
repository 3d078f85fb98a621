"""Filter chains of a port of the workload: which connections it takes, and what is asked of them.

Rule: a connection is told apart by its first bytes, before anything is decided: the mesh's TLS, an application's own, or
none. What is asked after that is the same on every chain; without the mesh's TLS there is just no identity to ask for.

    STRICT      the mesh's TLS alone
    PERMISSIVE  the mesh's TLS and plain text (HTTP); the mesh's TLS and anything else (byte streams)
    DISABLE     whatever comes, without TLS of the mesh

A chain is found by one condition after the other, without going back: TLS that is not the mesh's needs a chain that says
TLS, since the mesh's own has taken that branch.

An application that speaks first (MySQL, SMTP) sends nothing to tell it apart by: a byte stream on a PERMISSIVE port waits
``SILENT_S`` for its client's first bytes and then takes it for plain text. STRICT and DISABLE do not wait.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Any

from envoy.config.listener.v3 import listener_components_pb2 as components
from envoy.extensions.filters.listener.tls_inspector.v3 import tls_inspector_pb2

from atoll.planes.mesh.policy.compiler import messages
from atoll.planes.mesh.policy.compiler.security import tls
from atoll.resources.mesh import proxy
from atoll.resources.mesh.services import Protocol

TLS_INSPECTOR = "envoy.filters.listener.tls_inspector"
SILENT_S = 1.0
_TLS = "tls"


class Mode(enum.StrEnum):
    """Of Istio's ``PeerAuthentication``."""

    STRICT = "STRICT"
    PERMISSIVE = "PERMISSIVE"
    DISABLE = "DISABLE"


def chains(
    name: str, mode: Mode, protocol: Protocol, filters: Sequence[Any], destination_port: int = 0
) -> list[Any]:
    """``destination_port``: where the listener takes several ports, the one that these chains are for."""
    made = []
    if mode is not Mode.DISABLE:
        match = _match(destination_port)
        if mode is Mode.PERMISSIVE:
            match.transport_protocol = _TLS
            match.application_protocols.extend(() if protocol.is_http else (proxy.MESH_ALPN,))
        made.append(_chain(f"{name}_mutual", match, filters, tls.mesh_downstream(_selected(protocol))))
    if mode is Mode.DISABLE:
        made.append(_chain(f"{name}_plain", _match(destination_port), filters, None))
    if mode is Mode.PERMISSIVE:
        match = _match(destination_port)
        match.transport_protocol = "raw_buffer"
        made.append(_chain(f"{name}_plain", match, filters, None))
    if mode is Mode.PERMISSIVE and not protocol.is_http:
        match = _match(destination_port)
        match.transport_protocol = _TLS
        made.append(_chain(f"{name}_own_tls", match, filters, None))
    return made


def listener_filters(modes: Sequence[Mode]) -> list[Any]:
    """What looks at a connection's first bytes, where anything depends on them."""
    return [tls_inspector()] if Mode.PERMISSIVE in modes else []


def tls_inspector() -> Any:
    inspector = messages.packed(tls_inspector_pb2.TlsInspector())
    return components.ListenerFilter(name=TLS_INSPECTOR, typed_config=inspector)


def waits_for_silent(mode: Mode, protocol: Protocol) -> bool:
    """Whether a client may be one that says nothing before it was spoken to."""
    return mode is Mode.PERMISSIVE and not protocol.is_http


def _match(destination_port: int) -> Any:
    match = components.FilterChainMatch()
    if destination_port:
        match.destination_port.value = destination_port
    return match


def _chain(name: str, match: Any, filters: Sequence[Any], socket: Any) -> Any:
    return components.FilterChain(
        name=name, filter_chain_match=match, filters=filters, transport_socket=socket
    )


def _selected(protocol: Protocol) -> tuple[str, ...]:
    """What the server selects from the client's offer, the best first."""
    return ("h2", "http/1.1", proxy.MESH_ALPN) if protocol.is_http else (proxy.MESH_ALPN,)
