"""Peers that stall, hoard, or say nothing: each costs the server a bounded amount, and the next client is served."""

from __future__ import annotations

import resource
import socket
import ssl
from pathlib import Path

from atoll.runtime.grpc_call import Limits
from atoll.wire.grpc import message
from atoll.wire.http2 import frames
from atoll.wire.http2 import limits as http2_limits
from atoll.wire.http2.frames import END_STREAM, PREFACE, ErrorCode, Setting
from tests.conformance.grpc_server.echo import EchoServer
from tests.peers.certificates import make_certificates
from tests.unit import http2_peers as peers
from tests.waiting import wait_until

WITHIN_S = 20.0
GREETING = PREFACE + frames.settings({})


def connect(server: EchoServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.listener.address.port), timeout=WITHIN_S)


def call(stream_id: int, name: str, body: bytes = b"", flags: int = END_STREAM) -> bytes:
    head = tuple((n, f"/atoll.test.Echo/{name}".encode() if n == b":path" else v) for n, v in peers.GRPC)
    return peers.headers(stream_id, head) + peers.data(stream_id, message.encode(body), flags)


def read_until(client: socket.socket, wanted: bytes) -> bytes:
    answer = b""
    while wanted not in answer:
        piece = client.recv(65_536)
        assert piece, f"closed before {wanted!r} came: {answer!r}"
        answer += piece
    return answer


def assert_served(server: EchoServer) -> None:
    with connect(server) as client:
        client.sendall(GREETING + call(1, "Echo", b"still here"))
        read_until(client, b"still here")


def closed_by_server(client: socket.socket) -> bool:
    """Read to the end; true once it has come."""
    try:
        while client.recv(65_536):
            pass
    except ConnectionResetError:
        pass
    return True


def test_who_says_nothing_or_half_a_greeting_is_closed_in_time(tmp_path: Path) -> None:
    certificates = make_certificates(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificates.server_cert, certificates.server_key)
    for tls in (None, context):
        with EchoServer(limits=Limits(handshake_s_max=0.2), tls=tls) as server:
            for said in (b"", PREFACE[:7], PREFACE, b"\x16", b"\x16\x03\x01\x02\x00\x01"):
                with connect(server) as client:
                    client.sendall(said)
                    assert closed_by_server(client)
            assert server.ask(lambda: server.listener.connections) == 0


def test_http1_is_told_where_only_grpc_is_served() -> None:
    with EchoServer(web=False) as server, connect(server) as client:
        client.sendall(b"GET /health HTTP/1.1\r\nhost: a\r\n\r\n")
        assert read_until(client, b"only gRPC").startswith(b"HTTP/1.1 503")
        assert closed_by_server(client)


def test_a_greeting_in_single_bytes_is_understood() -> None:
    with EchoServer() as server, connect(server) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in GREETING + call(1, "Echo", b"byte by byte"):
            client.sendall(bytes((byte,)))
        read_until(client, b"byte by byte")


def test_connections_above_the_limit_are_closed_and_room_is_used_again() -> None:
    with EchoServer(limits=Limits(connections_max=2)) as server:
        first, second, third = (connect(server) for _ in range(3))
        for client in (first, second):
            client.sendall(GREETING + call(1, "Echo", b"in"))
            read_until(client, b"in")
        third.sendall(GREETING)
        assert closed_by_server(third)
        first.close()
        wait_until(lambda: server.grpc.stats.connections_open == 1, WITHIN_S, "the first to be gone")
        assert_served(server)
        second.close()
        third.close()


def test_who_does_not_read_holds_little_and_is_cut_off() -> None:
    limits = Limits(write_stall_s_max=3.0)
    with EchoServer(limits=limits) as server, connect(server) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        wide = frames.settings({Setting.INITIAL_WINDOW_SIZE: 2**31 - 1}) + frames.window_update(0, 2**30)
        before = resident_bytes()
        client.sendall(PREFACE + wide + b"".join(call(s, "Spread", b"20000 50000") for s in range(1, 33, 2)))
        wait_until(lambda: server.service.held_up >= 16, WITHIN_S, "all 16 streams to wait")
        assert_served(server)
        wait_until(lambda: server.grpc.stats.connections_open == 0, WITHIN_S, "the stalled one to be cut")
        assert server.ask(lambda: server.grpc.stats.calls_open) == 0
        assert resident_bytes() - before < 100_000_000  # of 16 GB that were asked for


def test_a_window_that_stays_shut_costs_a_bounded_amount() -> None:
    limits = Limits(http2=http2_limits.Limits(held_bytes_max=8_000_000))
    with EchoServer(limits=limits) as server, connect(server) as client:
        before = resident_bytes()
        shut = PREFACE + frames.settings({Setting.INITIAL_WINDOW_SIZE: 0})
        client.sendall(shut + b"".join(call(s, "Pour", b"1000000") for s in range(1, 401, 2)))
        wait_until(lambda: server.grpc.stats.calls_started == 200, WITHIN_S, "all calls to be taken")
        assert resident_bytes() - before < 60_000_000  # of 200 MB
        assert_served(server)


def test_unfinished_messages_of_one_connection_are_bounded() -> None:
    limits = Limits(backlog_bytes_max=1_000_000)
    with EchoServer(limits=limits) as server, connect(server) as client:
        client.sendall(GREETING)
        part = message.encode(b"x" * 200_000)[:150_000]
        for stream_id in range(1, 21, 2):
            opening = call(stream_id, "Echo", flags=0)[:-14]
            pieces = [part[at : at + 16_000] for at in range(0, len(part), 16_000)]
            client.sendall(opening + b"".join(peers.data(stream_id, piece) for piece in pieces))
        read_until(client, b"too many bytes of requests waiting")
        assert_served(server)


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def test_a_connection_that_is_lost_ends_its_calls_without_the_clients_word() -> None:
    with EchoServer() as server:
        with connect(server) as client:
            client.sendall(GREETING + call(1, "Ended"))
            read_until(client, b"open")
        seen = wait_until(lambda: server.ask(lambda: list(server.service.seen)), WITHIN_S, "the call to end")
        assert seen == ["otherwise"]
        with connect(server) as client:
            client.sendall(GREETING + call(1, "Ended"))
            read_until(client, b"open")
            client.sendall(frames.rst_stream(1, ErrorCode.CANCEL))
            wait_until(
                lambda: server.ask(lambda: server.service.seen[1:]) == ["reset"], WITHIN_S, "the reset"
            )
