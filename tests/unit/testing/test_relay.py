"""The relay, between a plain socket and an echo server."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from atoll.testing.relay import Relay
from tests.waiting import wait_until

TIMEOUT_S = 10.0


@pytest.fixture
def echo_port() -> Iterator[int]:
    """A server that sends back what it gets, until its clients end."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve(client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            while data := client.recv(4096):
                client.sendall(data)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()

    accepting = threading.Thread(target=accept, daemon=True)
    accepting.start()
    yield server.getsockname()[1]
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    accepting.join(TIMEOUT_S)


@pytest.fixture
def relay(echo_port: int) -> Iterator[Relay]:
    with Relay("127.0.0.1", echo_port) as relay:
        yield relay


def connect(relay: Relay) -> socket.socket:
    host, _, port = relay.address.partition(":")
    client = socket.create_connection((host, int(port)), TIMEOUT_S)
    client.settimeout(TIMEOUT_S)
    return client


def receive(client: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = client.recv(count - len(data))
        assert part, f"ended after {data!r}"
        data += part
    return data


def test_bytes_pass_both_ways_in_order(relay: Relay) -> None:
    sent = bytes(range(256)) * 4_000
    with connect(relay) as client:
        sender = threading.Thread(target=client.sendall, args=(sent,))
        sender.start()
        assert receive(client, len(sent)) == sent
        sender.join(TIMEOUT_S)
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""


def test_a_delay_is_felt_once_each_way(relay: Relay) -> None:
    relay.delay_s = 0.1
    with connect(relay) as client:
        begin_s = time.monotonic()
        client.sendall(b"ping")
        assert receive(client, 4) == b"ping"
        assert time.monotonic() - begin_s >= 0.2


def test_held_bytes_arrive_after_the_release(relay: Relay) -> None:
    with connect(relay) as client:
        client.sendall(b"a")
        assert receive(client, 1) == b"a"
        relay.hold()
        client.sendall(b"b")
        client.settimeout(0.2)
        with pytest.raises(TimeoutError):
            client.recv(1)
        client.settimeout(TIMEOUT_S)
        relay.release()
        assert receive(client, 1) == b"b"


def test_requests_pass_while_only_answers_are_held(relay: Relay) -> None:
    with connect(relay) as client:
        relay.hold(answers_only=True)
        client.sendall(b"a")
        client.settimeout(0.2)
        with pytest.raises(TimeoutError):
            client.recv(1)
        client.settimeout(TIMEOUT_S)
        relay.release()
        assert receive(client, 1) == b"a"


def test_a_cut_is_a_reset_and_new_connections_work(relay: Relay) -> None:
    with connect(relay) as client:
        client.sendall(b"a")
        assert receive(client, 1) == b"a"
        relay.cut()
        with pytest.raises(ConnectionError):
            client.recv(1)
    with connect(relay) as client:
        client.sendall(b"b")
        assert receive(client, 1) == b"b"
    assert relay.connections_count == 2


def test_a_cut_after_so_many_bytes_delivers_these_and_no_more(relay: Relay) -> None:
    relay.cut_after(3)
    with connect(relay) as client:
        client.sendall(b"abcdef")
        got = b""
        with contextlib.suppress(ConnectionError):
            while part := client.recv(10):
                got += part
        assert b"abc".startswith(got)  # a reset may overtake what it follows
    with connect(relay) as client:
        client.sendall(b"abcdef")
        assert receive(client, 6) == b"abcdef"


def test_refused_connections_are_accepted_again_on_the_same_port(relay: Relay) -> None:
    address = relay.address
    relay.refuse()
    with pytest.raises(ConnectionRefusedError):
        connect(relay)
    relay.accept()
    assert relay.address == address
    with connect(relay) as client:
        client.sendall(b"a")
        assert receive(client, 1) == b"a"


def test_a_target_that_is_gone_is_a_reset() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    with Relay("127.0.0.1", port) as relay, pytest.raises(ConnectionError), connect(relay) as client:
        client.recv(1)


def test_closing_ends_its_threads(echo_port: int) -> None:
    with Relay("127.0.0.1", echo_port) as relay, connect(relay) as client:
        client.sendall(b"a")
        assert receive(client, 1) == b"a"
        relay.hold()

    def ended() -> bool:
        return not [thread for thread in threading.enumerate() if thread.name.startswith("relay")]

    wait_until(ended, TIMEOUT_S, "the relay's threads to end")
