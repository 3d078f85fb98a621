"""The matrix: which services a client knows, and how soon."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from atoll.planes.mesh.policy.compiler.grpc.differences import Differs
from atoll.resources.mesh.clients import Client, Kind
from atoll.resources.mesh.services import Endpoint, Port, Protocol
from tests.conformance.mesh.callers import HERE, caller_for
from tests.conformance.mesh.case import GRPC_PORT, HTTP_PORT, Case, endpoint, own_host
from tests.conformance.mesh.matrix import row
from tests.conformance.mesh.rig import Answer, Caller, Request, backends_of

pytestmark = pytest.mark.peers

UNKNOWN = (502, 14, 4)
"""What a call to nobody is answered: by an Envoy, by gRPC, by gRPC that still waits."""


def asked(caller: Caller, case: Case, service: str) -> Answer:
    port = GRPC_PORT if case.is_grpc else HTTP_PORT
    return caller.ask(Request(f"{case.names[service]}:{port}", within_s=1.0))[0]


@pytest.fixture
def other(case: Case, tmp_path: Path) -> Iterator[Any]:
    """``other(uses=...)``: a further client of the class, besides the one that all tests share."""
    made: list[Caller] = []

    def make(**told: Any) -> Caller:
        kind = Kind.GRPC if case.is_grpc else Kind.SIDECAR
        client = Client(kind, told.pop("service", "other"), "default", locality=HERE, **told)
        made.append(caller_for(client, case.client, case.rig.plane, tmp_path))
        return made[-1]

    yield make
    for each in made:
        each.close()


@row("Discovery", "a service is called by every spelling of its name")
def test_spellings(case: Case) -> None:
    case.versions("v1")
    case.reaches("v1")
    own, port = case.names["reviews"], GRPC_PORT if case.is_grpc else HTTP_PORT
    for name in (own, f"{own}.default", f"{own}.default.svc", own_host(own)):
        assert case.caller.ask(Request(f"{name}:{port}"))[0].ok, name
    bare = (
        own if not case.is_grpc else f"{own}:{port}"
    )  # the bare name is the first port's, which speaks HTTP
    assert case.caller.ask(Request(bare))[0].ok


@row("Discovery", "a host that the mesh does not know is refused")
def test_unknown(case: Case) -> None:
    (answer,) = case.caller.ask(Request("nobody.example:9080", within_s=1.0))
    assert answer.status in UNKNOWN and not answer.backend


@row("Discovery", "a service that comes later is found by who asked before")
def test_later(case: Case) -> None:
    case.names["reviews"] = own = f"later-{case.client.name.lower().replace('_', '-')}"
    assert not asked(case.caller, case, "reviews").ok
    v1 = case.backend("v1")
    case.service("reviews", endpoint(v1))
    assert case.names["reviews"] == own
    case.reaches("v1")


@row("Discovery", "a client that declares what it uses is told of nothing else")
def test_declared(case: Case, other: Any) -> None:
    case.versions("v1")
    case.versions("v1", service="details")
    caller = other(uses=(own_host(case.names["reviews"]),))
    case.until(lambda: asked(caller, case, "reviews").ok, "the declared service to answer")
    assert asked(caller, case, "details").status in UNKNOWN


@row("Discovery", "Sidecar: egress hosts")
def test_sidecar_document(case: Case, other: Any) -> None:
    case.versions("v1")
    case.versions("v1", service="details")
    case.apply(
        """
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: "{reviews}"}
spec:
  workloadSelector: {labels: {app: "{reviews}-caller"}}
  egress:
  - hosts: ["./{reviews}.default.svc.cluster.local"]
"""
    )
    caller = other(service=f"{case.names['reviews']}-caller")
    case.until(lambda: asked(caller, case, "reviews").ok, "the named service to answer")
    assert asked(caller, case, "details").status in UNKNOWN


@row("Discovery", "exportTo: routes of another namespace that are not exported do not hold")
def test_export(case: Case) -> None:
    case.versions("v1")
    case.apply(
        """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: "{reviews}", namespace: elsewhere}
spec:
  hosts: ["{reviews}.default.svc.cluster.local"]
  exportTo: ["."]
  http:
  - fault: {abort: {httpStatus: 500}}
    route: [{destination: {host: "{reviews}.default.svc.cluster.local"}}]
"""
    )
    case.reaches("v1")
    assert all(each.ok for each in case.ask(count=10))


@row("Discovery", "ServiceEntry with addresses")
def test_entry_static(case: Case) -> None:
    v1 = case.backend("v1")
    case.names["reviews"] = own = f"static-{v1.port}.example"
    case.apply(
        entry(
            own, f"STATIC\n  endpoints: [{{address: 127.0.0.1, ports: {{http: {v1.port}, grpc: {v1.port}}}}}]"
        )
    )
    case.reaches("v1")


@row("Discovery", "ServiceEntry by DNS")
def test_entry_dns(case: Case) -> None:
    v1 = case.backend("v1")
    case.names["reviews"] = own = f"dns-{v1.port}.example"
    case.apply(
        entry(own, f"DNS\n  endpoints: [{{address: localhost, ports: {{http: {v1.port}, grpc: {v1.port}}}}}]")
    )
    case.reaches("v1")


def entry(host: str, resolution: str) -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: "{host}"}}
spec:
  hosts: ["{host}"]
  location: MESH_EXTERNAL
  ports:
  - {{number: {HTTP_PORT}, name: http, protocol: HTTP}}
  - {{number: {GRPC_PORT}, name: grpc, protocol: GRPC}}
  resolution: {resolution}
"""


@row("Discovery", "endpoints at Unix sockets")
def test_unix(case: Case, tmp_path: Path) -> None:
    well = case.backend("well")
    path = tmp_path / "app.sock"
    case.backend_at("well-at-path", path)
    case.service("reviews", Endpoint("", 0, path=str(path)), endpoint(well))
    case.until(lambda: case.ask()[0].ok, "the service to answer")
    found = backends_of(case.ask(count=10))
    assert set(found) == ({"well"} if case.differs(Differs.ADDRESSES) else {"well", "well-at-path"})


@row("Discovery", "ports of one service that speak differently")
def test_ports(case: Case) -> None:
    v1 = case.backend("v1")
    ports = (Port(HTTP_PORT, Protocol.HTTP), Port(GRPC_PORT, Protocol.GRPC))
    case.service(
        "reviews", Endpoint("127.0.0.1", 1, ports={HTTP_PORT: v1.port, GRPC_PORT: v1.port}), ports=ports
    )
    case.reaches("v1")
    assert case.ask_grpc()[0].echo["protocol"] == "grpc"
