"""The backends themselves, before anything is claimed of a mesh by what they say."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.conformance.mesh.backend_streams import dubbo_call, thrift_call
from tests.conformance.mesh.backends import Backend, Backends, Reply
from tests.conformance.mesh.rig import GrpcProgram, Request, http_requests


@pytest.fixture(scope="module")
def backends() -> Iterator[Backends]:
    with Backends() as backends:
        backends.add("v1")
        yield backends


@pytest.fixture
def v1(backends: Backends) -> Backend:
    backends.reset()
    return backends["v1"]


def test_http1_is_echoed(v1: Backend) -> None:
    request = Request("reviews", "/a?b=c", {"x-user": "jason"}, "POST", "body")
    first, second = http_requests("127.0.0.1", v1.port, request, 2)
    assert first.status == 200 and first.backend == "v1"
    assert (first.echo["path"], first.echo["body"], first.echo["protocol"]) == ("/a?b=c", "body", "http/1.1")
    assert second.echo["headers"]["x-user"] == "jason" and second.echo["authority"] == "reviews"
    assert v1.connections == 1


def test_grpc_is_echoed_on_the_same_port_and_fails_as_told(v1: Backend) -> None:
    program = GrpcProgram()
    try:
        request = Request("", headers={"x-user": "jason"}, body="hello")
        (well,) = program.call(f"127.0.0.1:{v1.port}", request)
        v1.behave = lambda seen: Reply(grpc_status=14)
        (badly,) = program.call(f"127.0.0.1:{v1.port}", request)
    finally:
        program.close()
    assert well.ok and well.echo["protocol"] == "grpc" and well.echo["body"] == "hello"
    assert well.echo["headers"]["x-user"] == "jason"
    assert badly.status == 14 and len(v1.seen) == 2


def asked(port: int, data: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        connection.sendall(data)
        return connection.recv(4096)


@pytest.mark.parametrize(
    ("protocol", "data", "expected"),
    [
        ("tcp", b"hello\n", b"v1 hello\n"),
        ("redis", b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n", b"$4\r\nv1:k\r\n"),
        ("thrift", thrift_call("ping"), b"v1:ping"),
        ("dubbo", dubbo_call("com.example.Greeter", "hello"), b"\x02v1"),
    ],
)
def test_streams_are_answered_with_the_name(v1: Backend, protocol: str, data: bytes, expected: bytes) -> None:
    assert expected in asked(v1.ports[protocol], data)
    assert v1.seen[-1].protocol == protocol


def test_a_stopped_backend_refuses(backends: Backends) -> None:
    gone = backends.add("gone")
    backends.stop("gone")
    (answer,) = http_requests("127.0.0.1", gone.port, Request("gone", "/"), 1)
    assert answer.status == -1
