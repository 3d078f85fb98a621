"""grpcio (C core), its blocking API: all four kinds of call, and everything a call can meet."""

from __future__ import annotations

import gzip
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

from atoll.runtime.grpc_call import Limits
from atoll.wire.grpc.status import Status
from atoll.wire.http2 import limits as http2_limits
from tests.conformance.grpc_server.echo import EchoServer
from tests.peers.certificates import CLIENT_URI, make_certificates
from tests.waiting import wait_until

pytestmark = pytest.mark.peers
WITHIN_S = 20.0


@pytest.fixture
def server() -> Iterator[EchoServer]:
    with EchoServer() as running:
        yield running


@pytest.fixture
def channel(server: EchoServer) -> Iterator[grpc.Channel]:
    with open_channel(server.target) as opened:
        yield opened


def open_channel(target: str, *options: tuple[str, Any]) -> grpc.Channel:
    # A channel of its own connection: grpcio shares connections between channels otherwise.
    own = ("grpc.use_local_subchannel_pool", 1)
    large = ("grpc.max_receive_message_length", -1)
    return grpc.insecure_channel(target, options=(own, large, *options))


def path(name: str) -> str:
    return f"/atoll.test.Echo/{name}"


def unary(channel: grpc.Channel, name: str, message: bytes = b"", **more: Any) -> bytes:
    answer: bytes = channel.unary_unary(path(name))(message, timeout=WITHIN_S, **more)
    return answer


@pytest.mark.parametrize("name", ["Echo", "Later"])
@pytest.mark.parametrize("size", [0, 1, 16_379, 16_384, 70_000, 4_194_304])
def test_unary(channel: grpc.Channel, name: str, size: int) -> None:
    message = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    assert unary(channel, name, message) == message


def test_an_answer_larger_than_every_window_arrives(channel: grpc.Channel) -> None:
    assert unary(channel, "Pour", b"40000000") == b"x" * 40_000_000


def test_client_streaming(channel: grpc.Channel) -> None:
    messages = [b"m" * size for size in (0, 1, 100, 70_000)] * 50
    answer = channel.stream_unary(path("Collect"))(iter(messages), timeout=WITHIN_S)
    assert answer == b"200 %d" % sum(map(len, messages))


def test_server_streaming(channel: grpc.Channel) -> None:
    answers = list(channel.unary_stream(path("Spread"))(b"300 10000", timeout=WITHIN_S))
    assert answers == [b"%d" % (at % 10) * 10_000 for at in range(300)]


def test_server_streaming_by_callbacks_waits_for_the_client(
    server: EchoServer, channel: grpc.Channel
) -> None:
    call = channel.unary_stream(path("Push"))(b"", timeout=WITHIN_S)
    wait_until(lambda: server.service.held_up, WITHIN_S, "the windows to stop the server")
    assert server.grpc.stats.sent_bytes < 30_000_000
    assert list(call) == [b"%d" % (at % 10) * 20_000 for at in range(2_000)]
    assert dict(call.trailing_metadata())["x-end"] == "yes"


def test_bidirectional_streaming(channel: grpc.Channel) -> None:
    messages = [b"%d" % at * (at % 50) for at in range(2_000)]
    assert list(channel.stream_stream(path("Bidi"))(iter(messages), timeout=WITHIN_S)) == messages


def test_many_calls_at_once_on_one_connection(server: EchoServer, channel: grpc.Channel) -> None:
    echo = channel.unary_unary(path("Later"))
    calls = [echo.future(b"%d" % at, timeout=WITHIN_S) for at in range(1_000)]
    assert [call.result() for call in calls] == [b"%d" % at for at in range(1_000)]
    with ThreadPoolExecutor(8) as pool:
        sizes = list(pool.map(lambda at: len(unary(channel, "Pour", b"%d" % at)), range(0, 800_000, 10_000)))
    assert sizes == list(range(0, 800_000, 10_000))
    assert server.ask(lambda: server.grpc.stats.connections_open) == 1


def test_compressed_messages_are_understood(channel: grpc.Channel) -> None:
    message = b"compress me " * 10_000
    assert unary(channel, "Echo", message, compression=grpc.Compression.Gzip) == message


@pytest.mark.parametrize("name", ["Never", "Wait"])
def test_a_deadline_ends_the_call_on_both_sides(server: EchoServer, channel: grpc.Channel, name: str) -> None:
    unary(channel, "Echo")  # connects, so that the time is the call's alone
    with pytest.raises(grpc.RpcError) as caught:
        list(channel.unary_stream(path(name))(b"", timeout=0.5))
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    wait_until(lambda: server.ask(lambda: server.service.seen) == [name], WITHIN_S, f"{name} to be cancelled")
    ended = server.ask(lambda: server.grpc.stats.calls_open == 0)
    assert ended


def test_a_cancelled_call_is_cancelled_at_the_server(server: EchoServer, channel: grpc.Channel) -> None:
    call = channel.unary_stream(path("Wait"))(b"", timeout=WITHIN_S)
    assert next(call) == b"waiting"
    call.cancel()
    wait_until(lambda: server.ask(lambda: server.service.seen) == ["Wait"], WITHIN_S, "Wait to be cancelled")
    assert server.ask(lambda: server.grpc.stats.calls_ended[path("Wait"), Status.CANCELLED]) == 1


def test_a_channel_that_is_closed_takes_its_calls_back(server: EchoServer) -> None:
    with open_channel(server.target) as channel:
        call = channel.unary_stream(path("Ended"))(b"", timeout=WITHIN_S)
        assert next(call) == b"open"
    wait_until(
        lambda: server.ask(lambda: server.service.seen) == ["reset"], WITHIN_S, "the call to be taken back"
    )


def test_a_handler_can_cut_the_connection(server: EchoServer, channel: grpc.Channel) -> None:
    call = channel.unary_stream(path("Ended"))(b"", timeout=WITHIN_S)
    assert next(call) == b"open"
    with pytest.raises(grpc.RpcError) as caught:
        unary(channel, "Cut")
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    with pytest.raises(grpc.RpcError):
        next(call)
    assert server.ask(lambda: server.service.seen) == ["otherwise"]
    assert unary(channel, "Echo", b"again") == b"again"


def test_a_lost_connection_cancels_its_calls(server: EchoServer) -> None:
    with open_channel(server.target) as channel:
        call = channel.unary_stream(path("Wait"))(b"", timeout=WITHIN_S)
        assert next(call) == b"waiting"
    wait_until(lambda: server.ask(lambda: server.service.seen) == ["Wait"], WITHIN_S, "Wait to be cancelled")
    wait_until(lambda: server.ask(lambda: server.grpc.stats.connections_open) == 0, WITHIN_S, "the close")


def test_metadata_goes_both_ways(channel: grpc.Channel) -> None:
    sent = (("x-text", "a value"), ("x-data-bin", b"\x00\xff,"), ("x-text", "another"))
    call = channel.unary_stream(path("Metadata"))(b"", timeout=WITHIN_S, metadata=sent)
    assert list(call) == [b"'a value'"]
    assert [pair for pair in call.initial_metadata() if pair[0].startswith("x-")] == list(sent)
    assert [pair for pair in call.trailing_metadata() if pair[0].startswith("x-")] == list(sent)


def test_metadata_above_the_limit_fails_that_call_alone(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        unary(channel, "Echo", b"", metadata=(("x-large", "v" * 20_000),))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert unary(channel, "Echo", b"still here") == b"still here"


REFUSALS = {
    "unknown method": (
        "Nothing",
        b"",
        grpc.StatusCode.UNIMPLEMENTED,
        "unknown method /atoll.test.Echo/Nothing",
    ),
    "error of the table": (
        "Refuse",
        "kein Platz: größer".encode(),
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "kein Platz: größer",
    ),
    "error of the table, later": ("RefuseLater", b"no", grpc.StatusCode.RESOURCE_EXHAUSTED, "no"),
    "error of the table, in a stream": ("RefuseStream", b"no", grpc.StatusCode.RESOURCE_EXHAUSTED, "no"),
    "bug": ("Bug", b"", grpc.StatusCode.INTERNAL, "internal error"),
    "bug in a stream": ("StreamBug", b"", grpc.StatusCode.INTERNAL, "internal error"),
    "message too large": (
        "Echo",
        b"x" * 4_194_305,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "grpc: received message larger than max (4194305 vs. 4194304)",
    ),
}


@pytest.mark.parametrize(("name", "message", "code", "text"), REFUSALS.values(), ids=REFUSALS)
def test_a_failed_call_says_why_and_the_next_one_works(
    channel: grpc.Channel, name: str, message: bytes, code: grpc.StatusCode, text: str
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        list(channel.unary_stream(path(name))(message, timeout=WITHIN_S))
    assert (caught.value.code(), caught.value.details()) == (code, text)
    assert unary(channel, "Echo", b"still here") == b"still here"


def test_a_gzip_bomb_fails_its_call_alone(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        unary(channel, "Echo", b"\0" * 5_000_000, compression=grpc.Compression.Gzip)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert len(gzip.compress(b"\0" * 5_000_000)) < 10_000
    assert unary(channel, "Echo", b"still here") == b"still here"


PINGS_EVERY_100_MS = (
    ("grpc.keepalive_time_ms", 100),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
)


def test_pings_that_come_too_often_end_the_connection(server: EchoServer) -> None:
    with open_channel(server.target, *PINGS_EVERY_100_MS) as channel:
        call = channel.unary_stream(path("Wait"))(b"", timeout=WITHIN_S)
        with pytest.raises(grpc.RpcError) as caught:
            list(call)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "too_many_pings" in caught.value.details()
    assert server.ask(lambda: server.grpc.stats.connection_faults) == {"ENHANCE_YOUR_CALM": 1}


def test_pings_that_the_limits_allow_keep_the_connection() -> None:
    limits = Limits(http2=http2_limits.Limits(ping_interval_s_min=0.01))
    with EchoServer(limits=limits) as server, open_channel(server.target, *PINGS_EVERY_100_MS) as channel:
        call = channel.unary_stream(path("Wait"))(b"", timeout=WITHIN_S)
        assert next(call) == b"waiting"
        before = server.grpc.stats.received_bytes
        wait_until(lambda: server.grpc.stats.received_bytes >= before + 4 * 17, WITHIN_S, "four pings")
        unary(channel, "Release")
        assert list(call) == [b"released"]


def test_a_silent_client_is_pinged_and_lives() -> None:
    limits = Limits(keepalive_interval_s=0.05, keepalive_timeout_s=1.0, handshake_s_max=1.0)
    with EchoServer(limits=limits) as server, open_channel(server.target) as channel:
        call = channel.unary_stream(path("Wait"))(b"", timeout=WITHIN_S)
        assert next(call) == b"waiting"
        before = server.grpc.stats.received_bytes
        wait_until(lambda: server.grpc.stats.received_bytes >= before + 2 * 17, WITHIN_S, "two answers")
        unary(channel, "Release")
        assert list(call) == [b"released"]


def test_a_drain_lets_calls_finish_and_takes_no_new_ones(server: EchoServer, channel: grpc.Channel) -> None:
    call = channel.unary_stream(path("Wait"))(b"", timeout=WITHIN_S)
    assert next(call) == b"waiting"
    server.begin_close(drain_s=WITHIN_S)
    left = server.listener
    wait_until(lambda: refused(server.target), WITHIN_S, "the port to close")
    server.ask(server.service.let_go.set)
    assert list(call) == [b"released"]
    server.close(drain_s=WITHIN_S)
    assert left.connections == 0


def refused(target: str) -> bool:
    with open_channel(target) as channel:
        try:
            unary(channel, "Echo")
        except grpc.RpcError as error:
            return error.code() is grpc.StatusCode.UNAVAILABLE
    return False


def test_a_drain_is_bounded_and_tells_the_rest(server: EchoServer, channel: grpc.Channel) -> None:
    call = channel.unary_stream(path("Wait"))(b"", timeout=WITHIN_S)
    assert next(call) == b"waiting"
    server.close(drain_s=0.2)
    with pytest.raises(grpc.RpcError) as caught:
        list(call)
    assert (caught.value.code(), caught.value.details()) == (
        grpc.StatusCode.UNAVAILABLE,
        "the server is stopping",
    )
    assert server.service.seen == ["Wait"]


def test_a_connection_keeps_its_identity(server: EchoServer, channel: grpc.Channel) -> None:
    first, second = unary(channel, "Who"), unary(channel, "Who")
    assert first == second and first.startswith(b"1|127.0.0.1:")
    with open_channel(server.target) as other:
        assert unary(other, "Who").startswith(b"2|127.0.0.1:")


def test_tls_with_alpn_names_the_client(tmp_path: Path) -> None:
    certificates = make_certificates(tmp_path, client_name="alice")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=certificates.ca)
    context.load_cert_chain(certificates.server_cert, certificates.server_key)
    context.verify_mode = ssl.CERT_OPTIONAL
    with EchoServer(tls=context) as server:
        credentials = grpc.ssl_channel_credentials(
            certificates.ca.read_bytes(),
            certificates.client_key.read_bytes(),
            certificates.client_cert.read_bytes(),
        )
        with grpc.secure_channel(server.target, credentials) as channel:
            assert unary(channel, "Who").decode().split("|")[2:] == ["alice", CLIENT_URI]
            assert unary(channel, "Echo", b"x" * 1_000_000) == b"x" * 1_000_000
        with open_channel(server.target) as plain:
            assert unary(plain, "Who").decode().split("|")[2:] == ["", ""]
