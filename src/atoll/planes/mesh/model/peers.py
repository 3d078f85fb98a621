"""What callers have to know of their peers' policy: at which ports a sidecar speaks no TLS of the mesh.

Rule: a ``PeerAuthentication`` of mode DISABLE is the server's to say and the caller's to follow; it becomes part of what the
endpoint is, so that a caller's cluster never depends on it. Every other mode takes the mesh's TLS.
"""

from __future__ import annotations

from typing import Any

import msgspec

from atoll.planes.mesh.model.policies import Policies, Workload
from atoll.resources.mesh.documents.kinds import Document, Kind
from atoll.resources.mesh.services import Endpoint, MeshService

_OFF = "DISABLE"


class Plain:
    """The documents that turn TLS off somewhere, and all others that may turn it on again; compared by these."""

    def __init__(self, policies: Policies) -> None:
        every: tuple[Document[Any], ...] = policies.of_kind(Kind.PEER_AUTHENTICATION)
        self.documents = every if any(_turns_off(one) for one in every) else ()
        self._policies = policies

    def applied(self, service: MeshService) -> MeshService:
        """``service`` with the plain ports of its endpoints; itself where there are none."""
        if not self.documents or not any(endpoint.mutual_tls for endpoint in service.endpoints):
            return service
        endpoints = tuple(self._endpoint(service, endpoint) for endpoint in service.endpoints)
        changed = any(one is not other for one, other in zip(endpoints, service.endpoints, strict=True))
        return msgspec.structs.replace(service, endpoints=endpoints) if changed else service

    def _endpoint(self, service: MeshService, endpoint: Endpoint) -> Endpoint:
        if not endpoint.mutual_tls:
            return endpoint
        labels = {"app": service.name, **endpoint.labels}
        modes = self._policies.peer_modes(Workload(service.namespace, service.name, labels))
        plain = tuple(
            port.number
            for port in service.ports
            if modes.ports.get(endpoint.port_of(port.number), modes.of_port(port.number)) == _OFF
        )
        return msgspec.structs.replace(endpoint, plain_ports=plain) if plain else endpoint


def _turns_off(document: Document[Any]) -> bool:
    spec = document.spec
    modes = [spec.mtls.mode] if spec.mtls is not None else []
    return _OFF in [*modes, *(one.mode for one in spec.portLevelMtls.values())]
