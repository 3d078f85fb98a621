"""Which connections a port takes: the mesh's TLS, plain text, an application's own TLS, by mode and by protocol."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from atoll.planes.mesh.model.policies import Policies
from atoll.planes.mesh.model.world import Choices, world_of
from atoll.resources.mesh.clients import Client, Inbound
from atoll.resources.mesh.clients import Kind as ClientKind
from atoll.resources.mesh.documents.kinds import Kind
from atoll.resources.mesh.services import Protocol
from tests.conformance.mesh import fixed
from tests.conformance.mesh.backends import Backends
from tests.conformance.mesh.documents import document
from tests.conformance.mesh.workloads import Authority, SecretService, client_context, spiffe
from tests.peers.ports import free_pairs

pytestmark = pytest.mark.peers

MODES = ("STRICT", "PERMISSIVE", "DISABLE")
CASES = [(kind, mode) for kind in ("http", "tcp") for mode in MODES]
GREETING, OWN_TLS = ("greeting", "PERMISSIVE"), ("own", "PERMISSIVE")
PORTS: dict[tuple[str, str], int] = {}


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def peer(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    folder = tmp_path_factory.mktemp("peer")
    return client_context(folder, authority, authority.issue(spiffe("caller")), "istio", "http/1.1")


@pytest.fixture(scope="module", autouse=True)
def reviews(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One workload whose ports differ in their mode."""
    folder = tmp_path_factory.mktemp("sidecar")
    every = [*CASES, GREETING, OWN_TLS]
    PORTS.update(zip(every, free_pairs(len(every), 1), strict=True))
    modes = {str(port): {"mode": mode} for (_, mode), port in PORTS.items()}
    spec = {"selector": {"matchLabels": {"app": "reviews"}}, "portLevelMtls": modes}
    world = world_of({}, Choices(access_log=str(folder / "access.log")))
    world = world.with_policies(Policies([document(Kind.PEER_AUTHENTICATION, "by-port", spec)]))
    own = fixed.server_context(folder, authority.issue(dns=("own.host",)))

    def serve_own_tls(connection: socket.socket) -> None:
        with own.wrap_socket(connection, server_side=True) as stream:
            stream.sendall(b"own " + stream.recv(64))

    with (
        Backends() as backends,
        fixed.application(lambda connection: connection.sendall(b"220 ready\n")) as greeting,
        fixed.application(serve_own_tls) as own_tls,
    ):
        app = backends.add("app")
        inbound = tuple(
            Inbound(port, app.port) if kind == "http" else Inbound(port, app.ports["tcp"], Protocol.TCP)
            for kind, port in [(case[0], PORTS[case]) for case in CASES]
        )
        inbound += (
            Inbound(PORTS[GREETING], greeting, Protocol.TCP),
            Inbound(PORTS[OWN_TLS], own_tls, Protocol.TLS),
        )
        client = Client(ClientKind.SIDECAR, "reviews", "default", address="127.0.0.1", inbound=inbound)
        with (
            SecretService(authority, authority.issue(spiffe("reviews"))) as secrets,
            fixed.sidecar(folder, world, client, secrets.path),
        ):
            yield


@pytest.mark.parametrize(
    ("mode", "plain", "mutual"), [("STRICT", 0, 200), ("PERMISSIVE", 200, 200), ("DISABLE", 200, 0)]
)
def test_http_by_mode(mode: str, plain: int, mutual: int, peer: ssl.SSLContext) -> None:
    port = PORTS["http", mode]
    assert fixed.get(port).status == plain
    assert fixed.get(port, tls=peer).status == mutual


@pytest.mark.parametrize("mode", ["STRICT", "PERMISSIVE"])
def test_a_caller_needs_a_certificate_of_the_mesh(mode: str, authority: Authority, tmp_path: Path) -> None:
    nobody = client_context(tmp_path, authority, None, "istio")
    stranger = client_context(tmp_path, authority, Authority("other").issue(spiffe("caller")), "istio")
    for context in (nobody, stranger):
        assert fixed.get(PORTS["http", mode], tls=context).status == 0
        assert fixed.say(PORTS["tcp", mode], "hello", context) == ""


def test_the_application_is_told_who_calls(peer: ssl.SSLContext) -> None:
    echo = fixed.get(
        PORTS["http", "PERMISSIVE"], headers={"x-forwarded-client-cert": "URI=spiffe://forged"}, tls=peer
    ).echo
    last = echo["headers"]["x-forwarded-client-cert"].split(",")[-1]
    assert f"URI={spiffe('caller')}" in last
    plain = fixed.get(
        PORTS["http", "PERMISSIVE"], headers={"x-forwarded-client-cert": "URI=spiffe://forged"}
    ).echo
    assert "x-forwarded-client-cert" not in plain["headers"]


@pytest.mark.parametrize(
    ("mode", "plain", "mutual"),
    [("STRICT", "", "app hello"), ("PERMISSIVE", "app hello", "app hello"), ("DISABLE", "app hello", "")],
)
def test_byte_streams_by_mode(mode: str, plain: str, mutual: str, peer: ssl.SSLContext) -> None:
    port = PORTS["tcp", mode]
    assert fixed.say(port, "hello") == plain
    assert fixed.say(port, "hello", peer) == mutual


def test_an_applications_own_tls_passes_a_permissive_port_unopened(
    authority: Authority, tmp_path: Path
) -> None:
    """Its client does not offer ``istio``, so that it meets the application's certificate, not the sidecar's."""
    context = client_context(tmp_path, authority, None)
    context.check_hostname = True
    assert fixed.say(PORTS[OWN_TLS], "hello", context, "own.host") == "own hello"


def test_an_application_that_speaks_first_is_heard_on_a_permissive_port() -> None:
    """Its client says nothing by which its connection could be told apart."""
    assert fixed.say(PORTS[GREETING], "") == "220 ready"
