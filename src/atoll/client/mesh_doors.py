"""The three ways in which a workload reaches a node for its identity.

Rule: a join token goes to nobody whose certificate does not stand under the root that the token pins. The first question to
such a node is asked unverified and carries nothing; what it answers is believed only if its root is the pinned one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from atoll.client.mesh_canaries import MeshReports
from atoll.client.mesh_identity import MeshIdentity
from atoll.client.node import Client
from atoll.client.transport import HttpTransport
from atoll.errors import AtollError, Code
from atoll.resources.mesh.identity import Bundle
from atoll.resources.mesh.join_token import JoinText
from atoll.runtime import tls
from atoll.runtime.http_client import Trust
from atoll.runtime.net import UNIX_SCHEME, Address
from atoll.runtime.tls import Credentials


def by_socket(path: Path) -> MeshIdentity:
    """The node's Unix socket: its peer's uid is the proof."""
    return MeshIdentity(Client(HttpTransport(f"{UNIX_SCHEME}{path}")))


async def by_token(nodes: Sequence[Address], token: JoinText) -> MeshIdentity:
    """Nodes' xDS ports, with ``token`` (which the order carries). Raises DENIED when another mesh answers there."""
    bundle = await _introduced(nodes).bundle()
    pinned = [root for root in tls.certificates_of(bundle.roots) if tls.fingerprint(root) == token.root]
    if not pinned:
        text = f"at {nodes[0]} is another mesh than the one of this join token: its root is not {token.root[:16]}..."
        raise AtollError(Code.DENIED, text)
    return _door(nodes, Credentials(pinned[0]), bundle.control_plane)


def by_certificate(nodes: Sequence[Address], credentials: Credentials, bundle: Bundle) -> MeshIdentity:
    """Nodes' xDS ports, with the certificate that is to be renewed."""
    return _door(nodes, credentials, bundle.control_plane)


def reports(nodes: Sequence[Address], credentials: Credentials, bundle: Bundle) -> MeshReports:
    """The same ports and certificate, for what the workload's proxy served."""
    return MeshReports(_client(nodes, credentials, bundle.control_plane))


def _introduced(nodes: Sequence[Address]) -> MeshIdentity:
    return MeshIdentity(Client(HttpTransport(_urls(nodes), Trust(context=tls.unverified_client()))))


def _door(nodes: Sequence[Address], credentials: Credentials, control_plane: str) -> MeshIdentity:
    return MeshIdentity(_client(nodes, credentials, control_plane))


def _client(nodes: Sequence[Address], credentials: Credentials, control_plane: str) -> Client:
    trust = Trust(context=tls.mesh_client(credentials), spiffe_id=control_plane)
    return Client(HttpTransport(_urls(nodes), trust))


def _urls(nodes: Sequence[Address]) -> str:
    return ",".join(f"https://{node}" for node in nodes)
