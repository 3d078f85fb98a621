"""Redis, Thrift, Dubbo and byte streams between two applications: through the caller's sidecar, the mesh's TLS and the
called one's sidecar, with calls balanced one by one where Envoy has a filter for the protocol.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from atoll.planes.mesh.model.policies import Policies
from atoll.planes.mesh.model.world import Choices, world_of
from atoll.resources.mesh.clients import Client, Inbound, Outbound
from atoll.resources.mesh.clients import Kind as ClientKind
from atoll.resources.mesh.documents.kinds import Kind
from atoll.resources.mesh.services import Endpoint, MeshService, Port, Protocol
from tests.conformance.mesh import backend_streams, fixed
from tests.conformance.mesh.backends import Backends
from tests.conformance.mesh.documents import document
from tests.conformance.mesh.workloads import Authority, SecretService, spiffe
from tests.peers.envoy import Admin
from tests.peers.ports import free_pairs

pytestmark = pytest.mark.peers

PROTOCOLS = (Protocol.REDIS, Protocol.THRIFT, Protocol.DUBBO, Protocol.TCP)
NUMBERS = {protocol: 1000 + position for position, protocol in enumerate(PROTOCOLS)}
CALLER: dict[Protocol, int] = {}
WEIGHTED: dict[Protocol, int] = {}
CALLED: dict[str, dict[Protocol, int]] = {"a": {}, "b": {}}
HOST, SPLIT = "echo.default.svc.cluster.local", "split.default.svc.cluster.local"


@pytest.fixture(scope="module", autouse=True)
def admin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Admin]:
    """Two instances of ``echo``, each behind a sidecar that takes the mesh's TLS alone, and a caller."""
    folder, authority = tmp_path_factory.mktemp("sidecars"), Authority()
    free = iter(free_pairs(4 * len(PROTOCOLS), 1))
    for table in (CALLER, WEIGHTED, *CALLED.values()):
        table.update({protocol: next(free) for protocol in PROTOCOLS})
    with Backends() as backends:
        apps = {name: backends.add(name) for name in CALLED}
        endpoints = tuple(
            Endpoint(
                "127.0.0.1",
                ports[Protocol.TCP],
                ports={NUMBERS[protocol]: ports[protocol] for protocol in PROTOCOLS},
                labels={"version": name},
                mutual_tls=True,
                account="echo",
            )
            for name, ports in CALLED.items()
        )
        ports = tuple(Port(NUMBERS[protocol], protocol) for protocol in PROTOCOLS)
        services = {
            host: MeshService(host, host.split(".")[0], "default", ports, endpoints) for host in (HOST, SPLIT)
        }
        subsets = [{"name": name, "labels": {"version": name}} for name in CALLED]
        legs = [
            {"destination": {"host": SPLIT, "subset": name}, "weight": w}
            for name, w in (("a", 0), ("b", 100))
        ]
        world = world_of(services, Choices(access_log="")).with_policies(
            Policies(
                [
                    document(Kind.PEER_AUTHENTICATION, "strict", {"mtls": {"mode": "STRICT"}}),
                    document(Kind.DESTINATION_RULE, "versions", {"host": SPLIT, "subsets": subsets}),
                    document(Kind.VIRTUAL_SERVICE, "shares", {"hosts": [SPLIT], "tcp": [{"route": legs}]}),
                ]
            )
        )
        called = [
            Client(
                ClientKind.SIDECAR,
                "echo",
                "default",
                address="127.0.0.1",
                inbound=tuple(
                    Inbound(ports[protocol], apps[name].ports[protocol.value], protocol)
                    for protocol in PROTOCOLS
                ),
            )
            for name, ports in CALLED.items()
        ]
        outbound = [Outbound(HOST, NUMBERS[protocol], CALLER[protocol]) for protocol in PROTOCOLS]
        outbound += [Outbound(SPLIT, NUMBERS[protocol], WEIGHTED[protocol]) for protocol in PROTOCOLS]
        caller = Client(ClientKind.SIDECAR, "caller", "default", outbound=tuple(outbound))
        with (
            SecretService(authority, authority.issue(spiffe("echo"))) as secrets,
            fixed.sidecars(folder, world, [*called, caller], secrets.path) as started,
        ):
            yield started


def answers(port: int, request: bytes, count: int) -> list[bytes]:
    """To ``count`` times ``request``, one after the other on one connection."""
    found = []
    with socket.create_connection(("127.0.0.1", port), fixed.WITHIN_S) as stream:
        for _ in range(count):
            stream.sendall(request)
            found.append(stream.recv(4096))
    return found


REDIS_GET = b"*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n"
REQUESTS = {
    Protocol.REDIS: (REDIS_GET, b"$5\r\n%s:key\r\n"),
    Protocol.THRIFT: (backend_streams.thrift_call("ping"), b"%s:ping"),
    Protocol.DUBBO: (backend_streams.dubbo_call("demo.Hello", "say"), b"\x91\x01%s"),
}


@pytest.mark.parametrize("protocol", REQUESTS)
def test_calls_of_one_connection_are_balanced_one_by_one(protocol: Protocol) -> None:
    request, reply = REQUESTS[protocol]
    got = answers(CALLER[protocol], request, 40)
    of = {name: sum(reply % name.encode() in each for each in got) for name in CALLED}
    assert sum(of.values()) == 40, got
    assert min(of.values()) > 5, of


def test_a_byte_stream_stays_where_it_began() -> None:
    got = answers(CALLER[Protocol.TCP], b"hello\n", 4)
    assert len(set(got)) == 1
    assert got[0] in (b"a hello\n", b"b hello\n")


@pytest.mark.parametrize("protocol", REQUESTS)
def test_shares_of_a_virtual_service_hold_for_calls(protocol: Protocol) -> None:
    request, reply = REQUESTS[protocol]
    got = answers(WEIGHTED[protocol], request, 4)
    assert [reply % b"b" in each for each in got] == [True] * 4, got


def test_redis_answers_for_several_keys_and_refuses_what_it_does_not_know() -> None:
    several = b"*3\r\n$4\r\nMGET\r\n$1\r\nx\r\n$1\r\ny\r\n"
    got = answers(CALLER[Protocol.REDIS], several, 1)[0]
    assert got.startswith(b"*2\r\n$3\r\n")
    unknown = answers(CALLER[Protocol.REDIS], b"*1\r\n$9\r\nSUBSCRIBE\r\n", 1)[0]
    assert unknown.startswith(b"-")


def test_envoy_counts_by_command_and_method(admin: Admin) -> None:
    answers(CALLER[Protocol.REDIS], REDIS_GET, 1)
    assert admin.stat(f"redis.{HOST}.command.get.total") > 0
    answers(CALLER[Protocol.THRIFT], REQUESTS[Protocol.THRIFT][0], 1)
    assert admin.stat(f"thrift.{HOST}.response_success") > 0
    answers(CALLER[Protocol.DUBBO], REQUESTS[Protocol.DUBBO][0], 1)
    assert admin.stat(f"dubbo.{HOST}.response_success") > 0
