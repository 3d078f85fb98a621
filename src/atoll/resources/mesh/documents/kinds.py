"""The kinds of documents, under which names and versions they are accepted, and what a document is besides its kind.

Rule: a kind is in the mesh's API what its row in ``FORMS`` says; a document is told by its ``DocumentKey`` and its
content by ``hash8``, which is in the name of every route that it shapes.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Generic, TypeVar

import msgspec

from atoll.resources.mesh.documents import gateway_api
from atoll.resources.mesh.documents.authorization_policy import AuthorizationPolicy
from atoll.resources.mesh.documents.destination_rule import DestinationRule
from atoll.resources.mesh.documents.gateway import Gateway
from atoll.resources.mesh.documents.gateway_api import KubernetesGateway
from atoll.resources.mesh.documents.grpc_route import GRPCRoute
from atoll.resources.mesh.documents.http_route import HTTPRoute
from atoll.resources.mesh.documents.parts import Part
from atoll.resources.mesh.documents.peer_authentication import PeerAuthentication
from atoll.resources.mesh.documents.rate_limit import LocalRateLimit
from atoll.resources.mesh.documents.request_authentication import RequestAuthentication
from atoll.resources.mesh.documents.service_entry import ServiceEntry
from atoll.resources.mesh.documents.sidecar import Sidecar
from atoll.resources.mesh.documents.telemetry import Telemetry
from atoll.resources.mesh.documents.virtual_service import VirtualService
from atoll.resources.records import NOTHING

NETWORKING = "networking.istio.io"
SECURITY = "security.istio.io"
TELEMETRY = "telemetry.istio.io"
ATOLL = "atoll"

S = TypeVar("S", bound=Part, covariant=True)


class Kind(enum.StrEnum):
    """Two kinds are called Gateway; the Gateway API's bears its group."""

    VIRTUAL_SERVICE = "VirtualService"
    DESTINATION_RULE = "DestinationRule"
    GATEWAY = "Gateway"
    SERVICE_ENTRY = "ServiceEntry"
    SIDECAR = "Sidecar"
    PEER_AUTHENTICATION = "PeerAuthentication"
    REQUEST_AUTHENTICATION = "RequestAuthentication"
    AUTHORIZATION_POLICY = "AuthorizationPolicy"
    TELEMETRY = "Telemetry"
    HTTP_ROUTE = "HTTPRoute"
    GRPC_ROUTE = "GRPCRoute"
    KUBERNETES_GATEWAY = "Gateway.gateway.networking.k8s.io"
    LOCAL_RATE_LIMIT = "LocalRateLimit"


class Form(msgspec.Struct, frozen=True):
    """``name``: as ``kind`` in a document. ``versions``: all that are accepted, the one that is written first."""

    name: str
    group: str
    versions: tuple[str, ...]
    spec: type[Part]
    plural: str
    short: str = ""

    @property
    def api_versions(self) -> tuple[str, ...]:
        return tuple(f"{self.group}/{version}" for version in self.versions)


_NETWORKING = ("v1", "v1beta1", "v1alpha3")
_SECURITY = ("v1", "v1beta1")
_GATEWAY_API = ("v1", "v1beta1", "v1alpha2")

FORMS: Mapping[Kind, Form] = {
    Kind.VIRTUAL_SERVICE: Form(
        "VirtualService", NETWORKING, _NETWORKING, VirtualService, "virtualservices", "vs"
    ),
    Kind.DESTINATION_RULE: Form(
        "DestinationRule", NETWORKING, _NETWORKING, DestinationRule, "destinationrules", "dr"
    ),
    Kind.GATEWAY: Form("Gateway", NETWORKING, _NETWORKING, Gateway, "gateways", "gw"),
    Kind.SERVICE_ENTRY: Form("ServiceEntry", NETWORKING, _NETWORKING, ServiceEntry, "serviceentries", "se"),
    Kind.SIDECAR: Form("Sidecar", NETWORKING, _NETWORKING, Sidecar, "sidecars"),
    Kind.PEER_AUTHENTICATION: Form(
        "PeerAuthentication", SECURITY, _SECURITY, PeerAuthentication, "peerauthentications", "pa"
    ),
    Kind.REQUEST_AUTHENTICATION: Form(
        "RequestAuthentication", SECURITY, _SECURITY, RequestAuthentication, "requestauthentications", "ra"
    ),
    Kind.AUTHORIZATION_POLICY: Form(
        "AuthorizationPolicy", SECURITY, _SECURITY, AuthorizationPolicy, "authorizationpolicies", "ap"
    ),
    Kind.TELEMETRY: Form("Telemetry", TELEMETRY, ("v1", "v1alpha1"), Telemetry, "telemetries", "telemetry"),
    Kind.HTTP_ROUTE: Form("HTTPRoute", gateway_api.GROUP, _GATEWAY_API, HTTPRoute, "httproutes"),
    Kind.GRPC_ROUTE: Form("GRPCRoute", gateway_api.GROUP, ("v1", "v1alpha2"), GRPCRoute, "grpcroutes"),
    Kind.KUBERNETES_GATEWAY: Form(
        "Gateway",
        gateway_api.GROUP,
        _GATEWAY_API,
        KubernetesGateway,
        "gateways.gateway.networking.k8s.io",
        "gtw",
    ),
    Kind.LOCAL_RATE_LIMIT: Form("LocalRateLimit", ATOLL, ("v1",), LocalRateLimit, "localratelimits", "lrl"),
}


class DocumentKey(msgspec.Struct, frozen=True, order=True):
    kind: Kind
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.namespace}/{self.name}"


class Document(msgspec.Struct, Generic[S], frozen=True):
    """``hash8``: of the content (``reading.content_of``), eight hexadecimal digits. ``created``: the store's revision when
    it was made, 0 where it is in no store; of two documents that contradict each other the older one holds.
    """

    key: DocumentKey
    spec: S
    hash8: str
    labels: Mapping[str, str] = NOTHING
    annotations: Mapping[str, str] = NOTHING
    created: int = 0
    revision: int = 0

    @property
    def namespace(self) -> str:
        return self.key.namespace

    @property
    def name(self) -> str:
        return self.key.name

    @property
    def age(self) -> tuple[int, str, str]:
        """Sorts the oldest first; those of one revision by name, as the Gateway API asks."""
        return (self.created, self.key.namespace, self.key.name)
