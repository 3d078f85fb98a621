"""The small world that random documents are about: a few services by protocol, two clients, a few documents to lean on."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import yaml

from atoll.planes.mesh.model.policies import Policies
from atoll.planes.mesh.model.world import World, world_of
from atoll.resources.mesh.clients import Client, Inbound, Kind, Outbound
from atoll.resources.mesh.documents import reading
from atoll.resources.mesh.documents.kinds import Document
from atoll.resources.mesh.services import Endpoint, Locality, MeshService, Port, Protocol, host_of
from tests import mesh_documents
from tests.mesh_documents import Written

ZONES = (Locality("region-a", "zone-1"), Locality("region-a", "zone-2"), Locality("region-b", "zone-1"))

SIDECAR = Client(
    kind=Kind.SIDECAR,
    service="reviews",
    namespace="default",
    labels={"version": "v1"},
    locality=ZONES[0],
    address="127.0.0.1",
    inbound=(Inbound(19080, 9080), Inbound(19081, 9081, Protocol.TCP, service_port=9081)),
    outbound=(
        Outbound(host_of("mysql", "default", "cluster.local"), 3306, port=13306),
        Outbound(host_of("cache", "default", "cluster.local"), 6379, port=16379),
        Outbound(host_of("secure", "default", "cluster.local"), 443, port=10443),
        Outbound(host_of("orders", "default", "cluster.local"), 20880, port=12088),
        Outbound(host_of("ledger", "default", "cluster.local"), 9090, port=19090),
    ),
)
GATEWAY = Client(
    kind=Kind.GATEWAY,
    service="ingress",
    namespace="default",
    labels={"istio": "ingressgateway"},
    address="127.0.0.1",
)
CLIENTS = (SIDECAR, GATEWAY)

_LEANT_ON = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: lean-reviews}
spec: {host: reviews, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: lean-ratings}
spec: {host: ratings, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: lean-details}
spec: {host: details.other, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: lean-web}
spec: {host: web.test, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: ingress}
spec:
  selector: {app: ingress}
  servers:
  - {port: {number: 8081, protocol: HTTP, name: http}, hosts: ["*"]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: ingress}
spec:
  gatewayClassName: atoll
  listeners:
  - {name: web, port: 8082, protocol: HTTP}
"""


def _service(name: str, port: Port, namespace: str = "default", host: str = "") -> MeshService:
    endpoints = tuple(
        Endpoint(
            f"127.1.{len(name)}.{1 + number}",
            9000,
            labels={"version": f"v{1 + number % 2}", "app": name},
            locality=ZONES[number % len(ZONES)],
            healthy=number != 3,
        )
        for number in range(5)
    )
    return MeshService(
        host or host_of(name, namespace, "cluster.local"), name, namespace, ports=(port,), endpoints=endpoints
    )


SERVICES = (
    _service("reviews", Port(9080, Protocol.HTTP, "http")),
    _service("ratings", Port(9080, Protocol.GRPC, "grpc")),
    _service("details", Port(80, Protocol.HTTP2, "http2"), namespace="other"),
    _service("web", Port(80, Protocol.HTTP, "http"), host="web.test"),
    _service("mysql", Port(3306, Protocol.TCP, "tcp")),
    _service("cache", Port(6379, Protocol.REDIS, "redis")),
    _service("secure", Port(443, Protocol.TLS, "tls")),
    _service("orders", Port(20880, Protocol.DUBBO, "dubbo")),
    _service("ledger", Port(9090, Protocol.THRIFT, "thrift")),
)


def world(endpoint_port: int = 9000) -> World:
    """``endpoint_port``: where all endpoints listen."""
    return world_of({service.host: _at(service, endpoint_port) for service in SERVICES})


def _at(service: MeshService, port: int) -> MeshService:
    moved = tuple(msgspec.structs.replace(each, port=port) for each in service.endpoints)
    return msgspec.structs.replace(service, endpoints=moved)


def leant_on() -> tuple[Document[Any], ...]:
    read = reading.read(_LEANT_ON)
    if read.errors:
        raise AssertionError("; ".join(map(str, read.errors)))
    return tuple(each.document for each in read.documents)


def read(written: Written, certificates: Path) -> reading.Reading:
    """As a file of YAML, which is how documents come."""
    text = yaml.safe_dump(written.content, allow_unicode=True)
    return reading.read(text.replace(mesh_documents.CERTIFICATES, str(certificates)))


def with_documents(base: World, documents: Iterable[Document[Any]]) -> World:
    return base.with_policies(Policies(documents))
