"""Enrolment and bundles over HTTP: for workloads, at the node's Unix socket and at its xDS port.

Rule: the gate lets everybody in here; who asks is decided from the connection (uid, certificate) and the join token, by
``policy.enrolment``. Bundles are public: they hold certificates of roots.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec

from atoll.planes.mesh.service.identity.authority import Authority
from atoll.resources.actor import Actor
from atoll.resources.mesh.identity import (
    BUNDLE_PATH,
    BUNDLES_PATH,
    CSR_BYTES_MAX,
    ENROL_PATH,
    Bundle,
    EnrolOrder,
    Issued,
)
from atoll.runtime.http_api import Asked, Endpoint
from atoll.runtime.peer import Peer

VIA = "mesh"
BODY_BYTES_MAX = 2 * CSR_BYTES_MAX


class IdentityApi:
    """``certified``: connections here show certificates of the mesh. Elsewhere (the node's API may ask for those of another
    authority) what a certificate says is no proof.
    """

    def __init__(self, authority: Authority, node_id: str, *, certified: bool) -> None:
        self._authority = authority
        self._node_id = node_id
        self._certified = certified

    def endpoints(self) -> list[Endpoint]:
        return [
            Endpoint(
                "POST",
                ENROL_PATH,
                "Sign a workload's certificate.",
                self.enrol,
                Issued,
                body=EnrolOrder,
                open_to_all=True,
                body_bytes_max=BODY_BYTES_MAX,
            ),
            Endpoint("GET", BUNDLE_PATH, "Whom to trust.", self.bundle, Bundle, open_to_all=True),
            Endpoint(
                "GET",
                BUNDLES_PATH,
                "Whom to trust: now, at each change, and every 20 s.",
                self.bundles,
                Bundle,
                streams=True,
                open_to_all=True,
            ),
        ]

    async def enrol(self, asked: Asked) -> Issued:
        peer = asked.caller.peer or Peer(asked.caller.address)
        if not self._certified:
            peer = msgspec.structs.replace(peer, spiffe_id="", certificate_serial="")
        user = peer.spiffe_id or ("" if peer.uid is None else f"uid {peer.uid}")
        actor = Actor(user, peer.address, VIA, self._node_id)
        return await self._authority.issuing.enrol(asked.body, peer, actor)

    async def bundle(self, asked: Asked) -> Bundle:
        return self._authority.issuing.bundle()

    async def bundles(self, asked: Asked) -> AsyncIterator[Bundle]:
        async for bundle in self._authority.bundles():
            yield bundle
