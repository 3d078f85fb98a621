"""The matrix: calls from outside. The gateway is an Envoy of either form; in gRPC's column its caller is a gRPC application
that knows no mesh.
"""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from atoll.resources.mesh.clients import Client, Kind
from tests.conformance.mesh.case import GRPC_PORT, HTTP_PORT, Case, Rig, own_host
from tests.conformance.mesh.matrix import row
from tests.conformance.mesh.rig import Answer, ClientClass, GrpcProgram, Request, http_requests
from tests.conformance.mesh.secured import Workloads
from tests.peers.certificates import Certificates, make_certificates
from tests.peers.ports import free_ports

pytestmark = pytest.mark.peers

SITE = "localhost"  # whom the certificate is of
HIDDEN = "/atoll.test.Hidden/Get"


class Edge:
    """A gateway of its own for each class."""

    def __init__(self, rig: Rig, client: ClientClass, folder: Path, workloads: Workloads) -> None:
        self.name = f"edge-{client.name.lower().replace('_', '-')}"
        self.port, self.secure_port, self.api_port = free_ports(3)
        self.files: Certificates = make_certificates(folder / self.name)
        form = ClientClass.ENVOY_DELTA if client is ClientClass.GRPCIO else client
        told = Client(Kind.GATEWAY, self.name, "default", address="127.0.0.1")
        self.proxy = workloads.sidecar(told, form, rig.plane)
        self.program = GrpcProgram() if client is ClientClass.GRPCIO else None

    def ask(self, port: int, host: str, path: str) -> Answer:
        if self.program is not None:
            request = Request(host, path, within_s=2.0)
            return self.program.call(f"127.0.0.1:{port}", request, authority=host)[0]
        return http_requests("127.0.0.1", port, Request(host, path), 1)[0]

    def ask_securely(self, path: str) -> Answer:
        if self.program is not None:
            details: dict[str, Any] = {"authority": SITE, "roots": str(self.files.ca)}
            return self.program.call(f"localhost:{self.secure_port}", Request(SITE, path), **details)[0]
        trusting = ssl.create_default_context(cafile=str(self.files.ca))
        connection = http.client.HTTPSConnection("localhost", self.secure_port, timeout=5, context=trusting)
        try:
            connection.request("GET", path)
            got = connection.getresponse()
            echo = json.loads(got.read()) if got.status == 200 else {}
            return Answer(got.status, echo.get("backend", "").partition(".")[0], echo)
        except OSError as error:
            return Answer(-1, text=repr(error))
        finally:
            connection.close()

    def close(self) -> None:
        if self.program is not None:
            self.program.close()


@pytest.fixture(scope="module")
def edges(rig: Rig, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("edges")
    made: dict[ClientClass, Edge] = {}
    with ExitStack() as stack:
        workloads = stack.enter_context(Workloads(tmp_path_factory.mktemp("gateways")))

        def edge(client: ClientClass) -> Edge:
            if client not in made:
                made[client] = Edge(rig, client, folder, workloads)
                stack.callback(made[client].close)
            return made[client]

        yield edge


@pytest.fixture
def edge(case: Case, edges: Any) -> Edge:
    found: Edge = edges(case.client)
    case.names["edge"] = found.name
    return found


def reaches(case: Case, edge: Edge, backend: str, host: str, path: str = "/atoll.test.Echo/Say") -> None:
    def asked() -> bool:
        return edge.ask(edge.port, host, path).backend.partition(".")[0] == backend

    case.until(asked, f"{backend} to answer for {host}{path}")


def gateway(servers: str) -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: "{{edge}}"}}
spec:
  selector: {{app: "{{edge}}"}}
  servers:
{servers}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: "{{edge}}"}}
spec:
  hosts: ["*"]
  gateways: ["{{edge}}"]
  http:
  - match: [{{uri: {{prefix: /atoll.test.Echo/}}}}]
    route: [{{destination: {{host: "{{reviews}}", port: {{number: PORT}}}}}}]
"""


def destination(case: Case, text: str) -> str:
    return text.replace("PORT", str(GRPC_PORT if case.is_grpc else HTTP_PORT))


@row("Gateways", "Gateway and VirtualService: by host and path")
def test_gateway(case: Case, edge: Edge) -> None:
    case.versions("v1")
    servers = f"  - {{port: {{number: {edge.port}, name: http, protocol: HTTP}}, hosts: [shop.example]}}"
    case.apply(destination(case, gateway(servers)))
    reaches(case, edge, "v1", "shop.example")
    assert not edge.ask(edge.port, "shop.example", HIDDEN).ok
    assert not edge.ask(edge.port, "other.example", "/atoll.test.Echo/Say").ok


@row("Gateways", "Gateway API: HTTPRoute")
def test_api(case: Case, edge: Edge) -> None:
    case.versions("v1")
    case.apply(
        destination(
            case,
            f"""
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: "{{edge}}"}}
spec:
  gatewayClassName: atoll
  listeners: [{{name: plain, port: {edge.api_port}, protocol: HTTP}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: "{{edge}}"}}
spec:
  parentRefs: [{{name: "{{edge}}"}}]
  hostnames: [shop.example]
  rules:
  - matches: [{{path: {{type: PathPrefix, value: /atoll.test.Echo}}}}]
    backendRefs: [{{name: "{{reviews}}", port: PORT}}]
""",
        )
    )
    echo = "/atoll.test.Echo/Say"
    case.until(lambda: edge.ask(edge.api_port, "shop.example", echo).ok, "the route to lead somewhere")
    assert not edge.ask(edge.api_port, "shop.example", HIDDEN).ok
    assert not edge.ask(edge.api_port, "other.example", echo).ok


@row("Gateways", "HTTPS, and the way there for who comes by HTTP")
def test_https(case: Case, edge: Edge) -> None:
    case.versions("v1")
    tls = (
        f"{{mode: SIMPLE, serverCertificate: {edge.files.server_cert}, privateKey: {edge.files.server_key}}}"
    )
    servers = (
        f"  - {{port: {{number: {edge.secure_port}, name: https, protocol: HTTPS}}, hosts: [{SITE}], tls: {tls}}}\n"
        f"  - {{port: {{number: {edge.port}, name: http, protocol: HTTP}}, hosts: [{SITE}], tls: {{httpsRedirect: true}}}}"
    )
    case.apply(destination(case, gateway(servers)))
    echo = "/atoll.test.Echo/Say"
    case.until(lambda: edge.ask_securely(echo).ok, "an answer over TLS")
    answer = edge.ask(edge.port, SITE, echo)
    assert not answer.ok
    if not case.is_grpc:  # which does not follow
        assert answer.status == 301 and answer.headers["location"] == f"https://{SITE}{echo}"


@row("Gateways", "a service that no gateway names is not reached from outside")
def test_hidden(case: Case, edge: Edge) -> None:
    case.versions("v1")
    case.versions("v2", service="hidden")
    servers = f"  - {{port: {{number: {edge.port}, name: http, protocol: HTTP}}, hosts: ['*']}}"
    case.apply(destination(case, gateway(servers)))
    reaches(case, edge, "v1", "anything.example")
    inside = own_host(case.names["hidden"])
    answer = edge.ask(edge.port, inside, "/atoll.test.Echo/Say")
    assert answer.backend.partition(".")[0] == "v1"  # the host is no way past what the gateway says
