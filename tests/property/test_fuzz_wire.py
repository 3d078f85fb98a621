"""Mutated conversations against the HTTP/2 and gRPC readers, and against a live server.

What must hold of each case: nothing but the documented outcomes (a ``ConnectionFault`` with its code in GOAWAY, a reset
of a stream with its code, a gRPC status); what is kept and what is answered stays in proportion to what was sent; and
the next client is served. A failure names its seed: ``Mutator(...).case(SEED)`` is the case.
"""

from __future__ import annotations

import resource
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from atoll.runtime.grpc_call import Limits as CallLimits
from atoll.wire.grpc import request
from atoll.wire.grpc.message import MessageFault, MessageReader
from atoll.wire.grpc.request import Head
from atoll.wire.grpc.status import Status, trailers
from atoll.wire.http2 import frames
from atoll.wire.http2.connection import ServerConnection
from atoll.wire.http2.facts import (
    DataReceived,
    Fact,
    Failed,
    RequestStarted,
    StreamReset,
    TrailersReceived,
)
from atoll.wire.http2.frames import ErrorCode, FrameType
from atoll.wire.http2.limits import Limits
from fuzz.mutator import Mutator, corpus
from tests.conformance.grpc_server.echo import EchoServer
from tests.soaking import SoakReport
from tests.unit import http2_peers as peers
from tests.waiting import wait_until

SIZE_MAX = 100_000
LIMITS = Limits(resets_burst_max=50, controls_burst_max=200)
HEAD = ((b":status", b"200"), (b"content-type", b"application/grpc"))
RESIDENT_GROWTH_BYTES_MAX = 64 * 2**20


class PureEcho:
    """The readers and an echo on top of them, without I/O; counts what it keeps."""

    def __init__(self) -> None:
        self.connection = ServerConnection(LIMITS)
        self.readers: dict[int, MessageReader] = {}
        self.outcomes: dict[str, int] = {}
        self.read_bytes = 0
        self.written = bytearray()

    def feed(self, piece: bytes, now_s: float) -> None:
        self.read_bytes += len(piece)
        for fact in self.connection.receive(piece, now_s):
            self.take(fact)
        self.written += self.connection.take_output()
        for fact in self.connection.pump():
            self.take(fact)
        self.check()

    def take(self, fact: Fact) -> None:
        if isinstance(fact, RequestStarted):
            head = request.parse(fact.fields, LIMITS.header_list_bytes_max)
            if isinstance(head, Head):
                self.readers[fact.stream_id] = MessageReader(SIZE_MAX, head.encoding)
            else:
                self.end(fact.stream_id, head.status)
        elif isinstance(fact, DataReceived):
            self.take_data(fact)
        elif isinstance(fact, TrailersReceived):
            self.end(fact.stream_id, Status.OK)
        elif isinstance(fact, StreamReset):
            self.readers.pop(fact.stream_id, None)
            self.count(f"reset {ErrorCode(fact.code).name}" if not fact.by_peer else "reset by peer")
        elif isinstance(fact, Failed):
            self.readers.clear()
            self.count(f"goaway {fact.code.name}")

    def take_data(self, fact: DataReceived) -> None:
        reader = self.readers.get(fact.stream_id)
        if reader is None:
            return
        try:
            messages = reader.feed(fact.data)
        except MessageFault as fault:
            self.end(fact.stream_id, fault.status)
            return
        self.connection.acknowledge(fact.stream_id, len(fact.data))
        assert all(len(message) <= SIZE_MAX for message in messages)
        if fact.ended:
            self.connection.respond(fact.stream_id, HEAD, b"".join(messages)[:1_000], trailers(Status.OK))
            del self.readers[fact.stream_id]
            self.count("answered")

    def end(self, stream_id: int, status: Status) -> None:
        self.readers.pop(stream_id, None)
        self.connection.send_headers(stream_id, HEAD + trailers(status, "no"), end=True)
        self.count(status.name)

    def count(self, outcome: str) -> None:
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1

    def check(self) -> None:
        connection = self.connection
        assert connection.streams_open <= LIMITS.streams_max
        assert sum(reader.buffered_bytes for reader in self.readers.values()) <= self.read_bytes
        assert len(self.written) <= 2_000 + 12 * self.read_bytes, "it answers much more than it was sent"
        for kind, _, _, payload in peers.sent(bytes(self.written)):
            assert kind <= FrameType.CONTINUATION
            if kind == FrameType.GOAWAY:
                assert int.from_bytes(payload[4:8], "big") in set(ErrorCode)
        if connection.failed:
            assert connection.receive(frames.ping(b"12345678"), 0.0) == [] and connection.streams_open == 0


class Named:
    """Adds the case's seed to whatever is raised inside."""

    def __init__(self, case_seed: int) -> None:
        self.case_seed = case_seed

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None:
            error.add_note(f"fuzz seed {self.case_seed}")


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@pytest.mark.parametrize("name", corpus())
def test_what_real_clients_sent_is_served(name: str) -> None:
    echo = PureEcho()
    echo.feed(corpus()[name], 0.0)
    assert not echo.connection.failed
    assert (
        set(echo.outcomes) <= {"answered", "OK", "UNKNOWN", "RESOURCE_EXHAUSTED", "reset by peer"}
        and echo.outcomes
    )


@pytest.mark.soak("fuzz-wire", few=3_000, full=60_000, chunk=10_000)
def test_the_readers_end_every_mutated_conversation_as_documented(
    rounds: int, seed: int, soak_report: SoakReport
) -> None:
    mutator = Mutator(list(corpus().values()))
    outcomes: dict[str, int] = {}
    before_bytes = resident_bytes()
    for case_seed in range(seed, seed + rounds):
        case = mutator.case(case_seed)
        echo = PureEcho()
        with Named(case_seed):
            for step, piece in enumerate(mutator.pieces(case, case_seed)):
                echo.feed(piece, step * 0.1)
        for outcome in echo.outcomes:
            outcomes[outcome] = outcomes.get(outcome, 0) + 1
    assert resident_bytes() - before_bytes < RESIDENT_GROWTH_BYTES_MAX
    documented = {f"goaway {code.name}" for code in ErrorCode} | {f"reset {code.name}" for code in ErrorCode}
    documented |= {status.name for status in Status} | {"answered", "reset by peer"}
    assert set(outcomes) <= documented
    wanted = {"answered", "goaway PROTOCOL_ERROR", "goaway COMPRESSION_ERROR", "goaway ENHANCE_YOUR_CALM"}
    assert rounds < 1_000 or wanted <= set(outcomes), "the cases no longer reach what they should"
    soak_report.row("HTTP/2 and gRPC readers, mutated conversations", rounds=rounds, figures=outcomes)


@pytest.fixture(scope="module")
def server() -> Iterator[EchoServer]:
    with EchoServer(limits=CallLimits(http2=LIMITS, message_bytes_max=SIZE_MAX)) as running:
        yield running


@pytest.mark.soak("fuzz-wire", few=300, full=5_000)
def test_a_live_server_outlives_every_mutated_conversation(
    server: EchoServer,
    rounds: int,
    seed: int,
    soak_report: SoakReport,
    caplog: pytest.LogCaptureFixture,
) -> None:
    mutator = Mutator(list(corpus().values()))
    address = ("127.0.0.1", server.listener.address.port)
    before_bytes = resident_bytes()
    for case_seed in range(seed, seed + rounds):
        with socket.create_connection(address, timeout=20) as client:
            try:
                for piece in mutator.pieces(mutator.case(case_seed), case_seed):
                    client.sendall(piece)
            except OSError:
                pass  # the server has closed: that is its right
        if case_seed % 100 == 0:
            assert served(address), f"the server does not answer after fuzz seed {case_seed}"
    assert served(address)
    wait_until(lambda: server.grpc.stats.connections_open == 0, 20, "all connections to be closed")
    assert server.ask(lambda: server.grpc.stats.calls_open) == 0
    assert resident_bytes() - before_bytes < RESIDENT_GROWTH_BYTES_MAX
    errors = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert not errors, errors[:3]
    faults: dict[str, Any] = dict(server.grpc.stats.connection_faults)
    soak_report.row("live server, mutated conversations", rounds=rounds, figures=faults)


def served(address: tuple[str, int]) -> bool:
    """One honest unary call on a fresh connection."""
    body = b"\0\0\0\0\5hello"
    path = ((b":path", b"/atoll.test.Echo/Echo"),)
    head = tuple(pair for pair in peers.GRPC if pair[0] != b":path") + path
    head = tuple(sorted(head, key=lambda pair: pair[0][:1] != b":"))
    with socket.create_connection(address, timeout=20) as client:
        client.sendall(frames.PREFACE + frames.settings({}) + peers.headers(1, head) + peers.data(1, body, 1))
        answer = b""
        while piece := client.recv(65_536):
            answer += piece
            if b"grpc-status\x010" in answer:
                return body in answer
    return False
