"""What the xDS frontends have in common: who is at the other end, and Atoll's errors as gRPC's status.

Rule: nobody is served before it was established who it is; ``Visitors`` is asked once a stream, with its first message.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from atoll.errors import AtollError, Code
from atoll.resources.mesh.clients import Client
from atoll.resources.mesh.node_metadata import client_of
from atoll.resources.mesh.services import Locality
from atoll.runtime.grpc_call import Limits
from atoll.runtime.peer import Peer
from atoll.wire.grpc.status import Status
from atoll.wire.http2 import limits as http2_limits
from atoll.wire.xds.messages import Node

HELLO_S_MAX = 15.0
"""From the beginning of a stream to its first message."""

LIMITS = Limits(
    http2=http2_limits.Limits(ping_idle_interval_s_min=10.0, send_buffer_bytes_max=67_108_864),
    connections_max=20_000,
    keepalive_interval_s=30.0,
    write_stall_s_max=60.0,
    ends_with_certificate=True,
)
"""For clients that stay for weeks and mostly say nothing: one whose machine went away is known to be gone in a minute."""

_STATUS: Mapping[Code, Status] = {
    Code.INVALID: Status.INVALID_ARGUMENT,
    Code.NOT_FOUND: Status.NOT_FOUND,
    Code.CONFLICT: Status.ABORTED,
    Code.DENIED: Status.PERMISSION_DENIED,
    Code.EXHAUSTED: Status.RESOURCE_EXHAUSTED,
    Code.UNAVAILABLE: Status.UNAVAILABLE,
}


def status_of(error: AtollError) -> tuple[Status, str]:
    return _STATUS.get(error.code, Status.UNKNOWN), error.message


class Visitors(msgspec.Struct, frozen=True):
    """``prove``: raises DENIED unless a peer is the node of this id. ``complete``: what else the mesh knows of a client that
    says of itself only part.
    """

    prove: Callable[[Peer, str], object]
    complete: Callable[[Client], Client] = lambda client: client

    def client(self, peer: Peer, node: Node | None) -> Client:
        """Raises DENIED; INVALID: it does not say who it is."""
        if node is None or not node.id:
            text = "the first request of an xDS stream must have a node with an id"
            raise AtollError(Code.INVALID, text)
        self.prove(peer, node.id)
        return self.complete(client_of(node.id, node.metadata, Locality(*node.locality)))
