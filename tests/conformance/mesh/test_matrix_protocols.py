"""The matrix: what is spoken. Byte streams and Envoy's own filters enter a sidecar at a port that the workload named."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from atoll.planes.mesh.policy.compiler.grpc.differences import Differs
from atoll.resources.mesh.clients import Client, Kind, Outbound
from atoll.resources.mesh.services import Endpoint, MeshService, Port, Protocol
from tests.conformance.mesh.backend_streams import dubbo_call, thrift_call
from tests.conformance.mesh.backends import Reply
from tests.conformance.mesh.callers import envoy_for
from tests.conformance.mesh.case import GRPC_PORT, HTTP_PORT, Case, Rig, endpoint, own_host
from tests.conformance.mesh.matrix import row
from tests.conformance.mesh.rig import ClientClass, EnvoyCaller, Request, backends_of
from tests.peers.certificates import make_certificates
from tests.peers.ports import free_ports

pytestmark = pytest.mark.peers

STREAMS = {"tcp": 7001, "redis": 7002, "thrift": 7003, "dubbo": 7004, "tls": 7005}
INTERFACE = "com.example.Greeter"
ASKS: dict[str, Callable[[int], bytes]] = {
    "tcp": lambda number: b"hello %d\n" % number,
    "redis": lambda number: b"*2\r\n$3\r\nGET\r\n$3\r\nk%02d\r\n" % number,
    "thrift": lambda number: thrift_call("ping", number),
    "dubbo": lambda number: dubbo_call(INTERFACE, "hello", number),
}


class Speaking:
    """A sidecar with a port for each protocol, and services of these protocols behind two backends."""

    def __init__(self, rig: Rig, client: ClientClass, folder: Path) -> None:
        self.names = {name: f"{name}-{client.name.lower().replace('_', '-')}" for name in STREAMS}
        self.ports = dict(zip(STREAMS, free_ports(len(STREAMS)), strict=True))
        self.rig = rig
        self.caller: EnvoyCaller | None = None
        for name in ASKS:
            self.serve(name, "v1", "v2")
        if client is not ClientClass.GRPCIO:
            outbound = tuple(
                Outbound(own_host(self.names[name]), number, self.ports[name])
                for name, number in STREAMS.items()
            )
            (port,) = free_ports(1)
            told = Client(Kind.SIDECAR, "speaker", "default", http_port=port, outbound=outbound)
            self.caller = envoy_for(told, client, rig.plane, folder)

    def serve(self, name: str, *versions: str) -> None:
        endpoints = []
        for version in versions:
            backend = self.rig.backends.add(f"{version}.{self.names[name]}")
            endpoints.append(Endpoint("127.0.0.1", backend.ports[name], labels={"version": version}))
        self.rig.plane.services(
            {own_host(self.names[name]): service_of(self.names[name], name, tuple(endpoints))}
        )

    def says(self, name: str, number: int = 1) -> bytes:
        """What comes back for one request on a connection of its own; empty: nothing."""
        try:
            with socket.create_connection(("127.0.0.1", self.ports[name]), 5) as connection:
                connection.sendall(ASKS[name](number))
                return connection.recv(4096)
        except OSError:
            return b""

    def close(self) -> None:
        if self.caller is not None:
            self.caller.close()
        self.rig.plane.services({own_host(name): None for name in self.names.values()})


def service_of(own: str, protocol: str, endpoints: tuple[Endpoint, ...]) -> MeshService:
    port = Port(STREAMS[protocol], Protocol(protocol))
    return MeshService(own_host(own), own, "default", (port,), endpoints)


@pytest.fixture(scope="module")
def sidecars(
    rig: Rig, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[ClientClass], Speaking]]:
    made: dict[ClientClass, Speaking] = {}

    def get(client: ClientClass) -> Speaking:
        if client not in made:
            made[client] = Speaking(rig, client, tmp_path_factory.mktemp("speaker"))
        return made[client]

    yield get
    for each in made.values():
        each.close()


class Streams(Case):
    """A case whose client has ports for byte case."""

    speaking: Speaking

    def speaks_it_elsewhere(self, name: str) -> bool:
        """True for gRPC, which has no such target."""
        if not self.differs(Differs.PROTOCOLS):
            return False
        target = f"{self.speaking.names[name]}:{STREAMS[name]}"
        assert not self.caller.ask(Request(target, within_s=0.5))[0].ok
        return True

    def answered(self, name: str, expected: bytes) -> None:
        """Both backends answer, each request by one of them."""
        if self.speaks_it_elsewhere(name):
            return
        self.until(lambda: b"v1" in self.speaking.says(name), f"an answer over {name}")
        said = [self.speaking.says(name, number) for number in range(20)]
        assert all(expected in each for each in said), said
        assert {b"v1" in each for each in said} == {True, False}, said


@pytest.fixture(params=list(ClientClass), ids=lambda each: each.name.lower())
def case(
    request: pytest.FixtureRequest, rig: Rig, sidecars: Callable[[ClientClass], Speaking]
) -> Iterator[Streams]:
    one = Streams(rig, request.param)
    one.speaking = sidecars(request.param)
    one.names.update(one.speaking.names)
    yield one
    one.names.clear()  # the services are all tests'
    one.close()


@row("Protocols", "HTTP/1")
def test_http1(case: Streams) -> None:
    case.versions("v1")
    if case.differs(Differs.PROTOCOLS):
        assert case.reaches("v1")[0].echo["protocol"] == "grpc"
    else:
        assert case.reaches("v1")[0].echo["protocol"] == "http/1.1"


@row("Protocols", "HTTP/2 to the service, HTTP/1 from the caller")
def test_http2(case: Streams) -> None:
    v1 = case.backend("v1")
    case.service(
        "reviews", endpoint(v1), ports=(Port(HTTP_PORT, Protocol.HTTP2), Port(GRPC_PORT, Protocol.GRPC))
    )
    expected = "grpc" if case.differs(Differs.PROTOCOLS) else "h2"
    assert case.reaches("v1")[0].echo["protocol"] == expected


@row("Protocols", "gRPC")
def test_grpc(case: Streams) -> None:
    v1, v2 = case.versions("v1", "v2")
    case.until(lambda: case.ask_grpc()[0].ok, "the service to answer")
    answers = case.ask_grpc(count=20, body="hello", headers={"user": "jason"})
    assert set(backends_of(answers)) == {"v1", "v2"}  # balanced by call, not by connection
    assert {(each.echo["body"], each.echo["headers"]["user"]) for each in answers} == {("hello", "jason")}
    v1.behave = v2.behave = lambda seen: Reply(grpc_status=5)
    assert case.ask_grpc()[0].status == 5


@row("Protocols", "TCP")
def test_tcp(case: Streams) -> None:
    case.answered("tcp", b"hello")


@row("Protocols", "TCP: weighted routes")
def test_tcp_weights(case: Streams) -> None:
    if case.speaks_it_elsewhere("tcp"):
        return
    case.apply(
        """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: "{tcp}"}
spec:
  host: "{tcp}"
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: "{tcp}"}
spec:
  hosts: ["{tcp}"]
  tcp:
  - route:
    - {destination: {host: "{tcp}", subset: v1}, weight: 100}
    - {destination: {host: "{tcp}", subset: v2}, weight: 0}
"""
    )
    says = case.speaking.says
    case.until(lambda: all(b"v1" in says("tcp", number) for number in range(10)), "v1 alone to answer")


@row("Protocols", "Redis")
def test_redis(case: Streams) -> None:
    case.answered("redis", b":k")


@row("Protocols", "Thrift")
def test_thrift(case: Streams) -> None:
    case.answered("thrift", b":ping")


@row("Protocols", "Dubbo")
def test_dubbo(case: Streams) -> None:
    case.answered("dubbo", b"v")


@row("Protocols", "TLS of the application, by server name")
def test_tls(case: Streams, tmp_path: Path) -> None:
    if case.speaks_it_elsewhere("tls"):
        return
    files = make_certificates(tmp_path)
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(files.server_cert, files.server_key)
    backend = case.rig.backends.add(f"v1.{case.names['tls']}", serving)
    own = case.names["tls"]
    ends = Endpoint("127.0.0.1", backend.ports["tls"])
    case.rig.plane.services({own_host(own): service_of(own, "tls", (ends,))})
    asking = ssl.create_default_context(cafile=str(files.ca))

    def said() -> bytes:
        try:
            plain = socket.create_connection(("127.0.0.1", case.speaking.ports["tls"]), 5)
            with plain, asking.wrap_socket(plain, server_hostname="localhost") as secure:
                secure.sendall(b"hello\n")
                return secure.recv(4096)
        except OSError:
            return b""

    assert case.until(said, "an answer over TLS").startswith(b"v1")
