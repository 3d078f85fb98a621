"""Clients of the mesh's control plane: who a proxy or a proxyless application is, and what it wants to know.

Rule: a ``Client`` is all that compiling for it may depend on, and nothing that two replicas of one service differ in: two
connections with equal ``Client`` values are served the same bytes (``ConnectionId`` tells them apart).
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

import msgspec

from atoll.resources.mesh.services import Locality, Protocol
from atoll.resources.records import NOTHING


class Kind(enum.StrEnum):
    """What compiles differently."""

    SIDECAR = "sidecar"  # an Envoy beside one workload
    GATEWAY = "gateway"  # an Envoy at the border
    GRPC = "grpc"  # a proxyless gRPC application


class Capture(enum.StrEnum):
    """How a workload's traffic gets into its sidecar."""

    PORTS = "ports"  # explicit local ports
    UNIX = "unix"  # Unix sockets
    REDIRECT = "redirect"  # iptables, in a network namespace of the workload


class Inbound(msgspec.Struct, frozen=True):
    """One port that the sidecar listens on for its workload, and where the workload answers (``app_path``: at a Unix
    socket instead).
    """

    port: int
    app_port: int
    protocol: Protocol = Protocol.HTTP
    app_path: str = ""
    service_port: int = 0  # the port's number in documents; 0: the service's first


class Outbound(msgspec.Struct, frozen=True):
    """A listener of the workload's own towards one service: at ``port`` of the loopback address or at the Unix socket
    ``path``. What speaks HTTP needs none: the sidecar's one HTTP listener goes by Host.
    """

    host: str
    service_port: int
    port: int = 0
    path: str = ""


class Client(msgspec.Struct, frozen=True):
    """``uses``: hosts that it declared to call; None: whatever its namespace's ``Sidecar`` documents and the observed
    dependencies allow. ``address``: where its inbound ports listen. ``http_port`` / ``http_path``: the listener of its
    outbound HTTP. ``has_identity``: its agent serves it a key and certificate of the mesh.
    """

    kind: Kind
    service: str  # name of its service, which is its service account as well
    namespace: str
    labels: Mapping[str, str] = NOTHING
    locality: Locality = Locality()
    capture: Capture = Capture.PORTS
    address: str = "0.0.0.0"
    inbound: tuple[Inbound, ...] = ()
    outbound: tuple[Outbound, ...] = ()
    http_port: int = 15001
    http_path: str = ""
    uses: tuple[str, ...] | None = None
    has_identity: bool = True
    cluster: str = ""  # the name of its site, for weights between sites
    extensions: frozenset[str] = frozenset()  # what its build can do besides, by name


class ConnectionId(msgspec.Struct, frozen=True):
    """One run of one client. ``node``: its ``node.id``, ``KIND~SERVICE.NAMESPACE~INSTANCE``."""

    node: str
    connection: int


def spiffe_id(trust_domain: str, namespace: str, account: str) -> str:
    """Istio's form, so that its documents name principals unchanged (without the scheme)."""
    return f"spiffe://{trust_domain}/ns/{namespace}/sa/{account}"
