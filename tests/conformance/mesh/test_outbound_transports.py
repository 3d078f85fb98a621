"""How connections are made: the mesh's TLS, TLS to the outside, byte streams, Unix sockets, listeners of one service."""

from __future__ import annotations

import http.server
import json
import socket
import socketserver
import ssl
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from atoll.planes.mesh.model.world import Choices
from atoll.planes.mesh.policy.compiler import names
from atoll.resources.mesh.clients import Client, Outbound
from atoll.resources.mesh.clients import Kind as ClientKind
from atoll.resources.mesh.documents.kinds import Document, Kind
from atoll.resources.mesh.services import Endpoint, MeshService, Port, Protocol
from tests.conformance.mesh.backends import Backends
from tests.conformance.mesh.calling import DOMAIN, Sidecar, at, known, service, sidecar
from tests.conformance.mesh.documents import document
from tests.conformance.mesh.rig import Request, http_requests
from tests.conformance.mesh.workloads import Authority, Identity, client_context, spiffe
from tests.peers.envoy import UnixHttp
from tests.peers.ports import free_ports

pytestmark = pytest.mark.peers


class TlsServer:
    """HTTP over TLS that tells what TLS told it: the peer's identity, the server name, the protocol that was selected."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.names: list[str] = []
        context.sni_callback = lambda sock, name, _: self.names.append(name or "")
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                sock: Any = self.connection
                peer = sock.getpeercert() or {}
                said = {
                    "backend": "tls",
                    "peer": [value for _, value in peer.get("subjectAltName", ())],
                    "sni": server.names[-1],
                    "alpn": sock.selected_alpn_protocol(),
                }
                body = json.dumps(said).encode()
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                """Nobody reads it."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self.port: int = self._server.server_address[1]

    def __enter__(self) -> TlsServer:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def server_context(folder: Path, identity: Identity, peers: Authority | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile(dir=folder, suffix=".pem") as file:
        file.write(identity.certificate + identity.key)
        file.flush()
        context.load_cert_chain(file.name)
    if peers is not None:
        context.load_verify_locations(cadata=peers.pem.decode())
        context.verify_mode = ssl.CERT_REQUIRED
    context.set_alpn_protocols(["istio", "http/1.1"])
    return context


class Scenery(msgspec.Struct):
    proxy: Sidecar
    folder: Path
    authority: Authority
    stranger: Authority
    stream_port: int
    tls_port: int
    http_port: int
    pipe: str


@pytest.fixture(scope="module")
def scenery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scenery]:
    folder = tmp_path_factory.mktemp("transports")
    authority, stranger = Authority(), Authority("stranger")
    with ExitStack() as opened:
        backends = opened.enter_context(Backends())
        for name in ("v1", "v2"):
            backends.add(name)
        own = server_context(folder, authority.issue(spiffe("bank")), authority)
        other = server_context(folder, authority.issue(spiffe("thief")), authority)
        outside = server_context(folder, stranger.issue(dns=("api.example",)), None)
        servers = [opened.enter_context(TlsServer(each)) for each in (own, other, outside)]
        roots = folder / "roots.pem"
        roots.write_bytes(stranger.pem)
        sockets = opened.enter_context(tempfile.TemporaryDirectory(prefix="pipe-"))
        inner, pipe = f"{sockets}/app", f"{sockets}/out"
        opened.enter_context(_application(inner))
        ports = free_ports(4)
        client = Client(
            ClientKind.SIDECAR,
            "web",
            "default",
            http_port=ports[0],
            outbound=(
                Outbound("lines", 6000, port=ports[1]),
                Outbound("secure", 6443, port=ports[2]),
                Outbound("bank", 80, port=ports[3]),
                Outbound("plain", 80, path=pipe),
            ),
        )
        services = _services(backends, [server.port for server in servers], inner)
        choices = Choices(access_log="", system_roots=str(roots))
        with sidecar(folder, client, known(services, _documents(folder), choices), authority) as proxy:
            assert proxy.problems == ()
            yield Scenery(proxy, folder, authority, stranger, ports[1], ports[2], ports[3], pipe)


def _services(backends: Backends, tls_ports: list[int], inner: str) -> list[MeshService]:
    bank, thief, outside = tls_ports

    def lines(name: str, version: str) -> Endpoint:
        return at(backends[name].ports["tcp"], version)

    return [
        service("bank", at(bank, mutual_tls=True)),
        service("mixed", at(bank, mutual_tls=True, account="bank"), at(backends["v2"].port)),
        service("robbed", at(thief, mutual_tls=True)),
        service("forced", at(bank, account="bank")),
        service("open", at(backends["v1"].port, mutual_tls=True)),
        service("plain", Endpoint("", 0, path=inner)),
        service("lines", lines("v1", "v1"), lines("v2", "v2"), port=6000, protocol=Protocol.TCP),
        MeshService(
            f"secure.{DOMAIN}",
            "secure",
            "default",
            ports=(Port(6443, Protocol.TLS),),
            endpoints=(at(bank),),
        ),
        MeshService("api.example", "api", "outer", endpoints=(at(outside),), external=True),
        MeshService("other.example", "other", "outer", endpoints=(at(outside),), external=True),
        service("vault", at(outside), port=7000, protocol=Protocol.TCP),
    ]


def _documents(folder: Path) -> list[Document[Any]]:
    def rule(host: str, policy: dict[str, Any], subsets: list[dict[str, Any]] | None = None) -> Document[Any]:
        spec = {"host": host, "trafficPolicy": policy, "subsets": subsets or []}
        return document(Kind.DESTINATION_RULE, host.replace(".", "-"), spec)

    split = [{"destination": {"host": "lines", "subset": name}, "weight": 50} for name in ("v1", "v2")]
    by_name = {
        "match": [{"sniHosts": ["vault.example", "*.vault.example"]}],
        "route": [{"destination": {"host": "vault", "port": {"number": 7000}}}],
    }
    return [
        rule("forced", {"tls": {"mode": "ISTIO_MUTUAL"}}),
        rule("open", {"tls": {"mode": "DISABLE"}}),
        rule("api.example", {"tls": {"mode": "SIMPLE"}}),
        rule("other.example", {"tls": {"mode": "SIMPLE"}}),
        rule("lines", {}, [{"name": name, "labels": {"version": name}} for name in ("v1", "v2")]),
        document(Kind.VIRTUAL_SERVICE, "lines", {"hosts": ["lines"], "tcp": [{"route": split}]}),
        document(Kind.VIRTUAL_SERVICE, "secure", {"hosts": ["secure"], "tls": [by_name]}),
    ]


class _UnixHandler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.wfile.write(b'HTTP/1.0 200 OK\r\ncontent-type: application/json\r\n\r\n{"backend": "unix"}')

    def address_string(self) -> str:
        return "unix"

    def log_message(self, format: str, *args: Any) -> None:
        """Nobody reads it."""


class _UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    pass


@contextmanager
def _application(path: str) -> Iterator[None]:
    """HTTP at a Unix socket."""
    with _UnixServer(path, _UnixHandler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


def test_a_peer_with_a_sidecar_is_called_by_the_meshs_tls(scenery: Scenery) -> None:
    echo = scenery.proxy.once("bank").echo
    assert echo["peer"] == [spiffe("web")]
    assert echo["sni"] == f"outbound_.80_._.bank.{DOMAIN}"
    assert echo["alpn"] in ("istio", "http/1.1")
    assert scenery.proxy.once("forced").echo["peer"] == [spiffe("web")]


def test_endpoints_of_both_kinds_are_called_each_its_own_way(scenery: Scenery) -> None:
    seen = {answer.backend for answer in scenery.proxy.ask("mixed", count=20)}
    assert seen == {"tls", "v2"}


def test_a_peer_with_anothers_identity_is_refused(scenery: Scenery) -> None:
    assert scenery.proxy.once("robbed").status == 503
    assert _refused_names(scenery, f"robbed.{DOMAIN}") > 0


def test_the_meshs_tls_is_off_where_a_document_says_so(scenery: Scenery) -> None:
    assert scenery.proxy.once("open").backend == "v1"


def test_tls_to_the_outside_is_made_for_the_host_that_was_asked_for(scenery: Scenery) -> None:
    echo = scenery.proxy.once("api.example").echo
    assert (echo["sni"], echo["peer"]) == ("api.example", [])
    assert scenery.proxy.once("other.example").status == 503
    assert _refused_names(scenery, "other.example") > 0


def _refused_names(scenery: Scenery, host: str) -> int:
    """How many peers of ``host`` were refused for the name in their certificate."""
    cluster = names.outbound_cluster(host, 80)
    return scenery.proxy.admin.stat(f"cluster.{cluster}.ssl.fail_verify_san")


def _say(port: int, line: str) -> str:
    with socket.create_connection(("127.0.0.1", port), 5.0) as stream:
        stream.sendall(line.encode() + b"\n")
        return stream.makefile().readline().split()[0]


def test_streams_are_shared_by_weight(scenery: Scenery) -> None:
    said = [_say(scenery.stream_port, "hello") for _ in range(40)]
    assert {*said} == {"v1", "v2"}


def test_tls_is_carried_by_its_server_name(scenery: Scenery) -> None:
    """End to end: whose certificate a client sees tells where it came to."""
    identity = scenery.authority.issue(spiffe("web"))
    bank = client_context(scenery.folder, scenery.authority, identity)
    vault = client_context(scenery.folder, scenery.stranger, identity)
    for context, name in ((bank, "any.example"), (vault, "vault.example"), (vault, "a.vault.example")):
        with (
            socket.create_connection(("127.0.0.1", scenery.tls_port), 5.0) as raw,
            context.wrap_socket(raw, server_hostname=name) as stream,
        ):
            assert stream.getpeercert()


def test_a_listener_of_one_service_asks_for_no_host(scenery: Scenery) -> None:
    (answer,) = http_requests("127.0.0.1", scenery.http_port, Request("whatever", "/"), 1)
    assert answer.backend == "tls"


def test_unix_sockets_on_both_sides(scenery: Scenery) -> None:
    assert scenery.proxy.once("plain").backend == "unix"
    connection = UnixHttp(scenery.pipe)
    connection.request("GET", "/x", headers={"host": "whatever"})
    assert json.loads(connection.getresponse().read())["backend"] == "unix"
    connection.close()
