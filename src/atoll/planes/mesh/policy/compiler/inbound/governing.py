"""What governs a workload's inbound side: the documents in force for it, found once.

Rule: the only place of the inbound compiler that asks ``Policies``; all else works on what is found here, and is made anew
only where one of these documents changes.
"""

from __future__ import annotations

from typing import Any

import msgspec

from atoll.planes.mesh.model.policies import PeerModes, Policies
from atoll.resources.mesh.clients import Client
from atoll.resources.mesh.documents.authorization_policy import AuthorizationPolicy
from atoll.resources.mesh.documents.kinds import Document
from atoll.resources.mesh.documents.rate_limit import LocalRateLimit
from atoll.resources.mesh.documents.request_authentication import RequestAuthentication
from atoll.resources.mesh.documents.telemetry import Telemetry


class Governing(msgspec.Struct, frozen=True):
    peers: PeerModes = PeerModes()
    tokens: tuple[Document[RequestAuthentication], ...] = ()
    authorization: tuple[Document[AuthorizationPolicy], ...] = ()
    limits: tuple[Document[LocalRateLimit], ...] = ()
    telemetry: tuple[Document[Telemetry], ...] = ()

    @property
    def groups(self) -> tuple[tuple[Document[Any], ...], ...]:
        return (self.peers.documents, self.tokens, self.authorization, self.limits, self.telemetry)

    @property
    def documents(self) -> tuple[Document[Any], ...]:
        return tuple(document for group in self.groups for document in group)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(str(document.key) for document in self.documents)

    @property
    def names_of_authorization(self) -> tuple[str, ...]:
        return tuple(str(document.key) for document in self.authorization)

    @property
    def names_of_others(self) -> tuple[str, ...]:
        """Of what shapes a listener of HTTP: all but authorisation, which comes with its routes."""
        rules = self.names_of_authorization
        return tuple(name for name in self.names if name not in rules)


def of(policies: Policies, client: Client) -> Governing:
    workload = policies.workload(client)
    return Governing(
        policies.peer_modes(workload),
        policies.request_authentications(workload),
        policies.authorization_policies(workload),
        policies.rate_limits(workload),
        policies.telemetries(workload),
    )
