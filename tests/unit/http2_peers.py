"""Two ways to talk to the HTTP/2 machine in tests: python-hyper's h2 as an honest client, and hand-made frames.

Rule: no socket, no clock; bytes go over by lists, and the test says what time it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import h2.config
import h2.connection
import h2.events
import hpack

from atoll.wire.http2 import frames
from atoll.wire.http2.connection import ServerConnection
from atoll.wire.http2.facts import Fact, Failed
from atoll.wire.http2.frames import END_HEADERS, END_STREAM, PREFACE, ErrorCode, FrameType
from atoll.wire.http2.limits import Limits

REQUEST = ((b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/p.S/M"), (b":authority", b"here"))
GRPC = (*REQUEST, (b"te", b"trailers"), (b"content-type", b"application/grpc"))
OK = ((b":status", b"200"),)
END = ((b"grpc-status", b"0"),)


class Wired:
    """A ``ServerConnection`` back to back with an h2 client. ``exchange`` runs until both are silent."""

    def __init__(self, limits: Limits | None = None, **client_settings: int) -> None:
        self.server = ServerConnection(limits or Limits())
        config = h2.config.H2Configuration(client_side=True, header_encoding=None)
        self.client = h2.connection.H2Connection(config)
        self.client.local_settings.update({int(k): v for k, v in client_settings.items()})
        self.client.initiate_connection()
        self.now_s = 0.0
        self.exchange()

    def exchange(self) -> tuple[list[Fact], list[Any]]:
        """What the server and the client learnt, in order."""
        facts: list[Fact] = []
        events: list[Any] = []
        while True:
            to_server = self.client.data_to_send()
            if to_server:
                facts += self.server.receive(to_server, self.now_s)
            if self.server.pending:
                facts += self.server.pump()
            to_client = self.server.take_output()
            if to_client:
                events += self.client.receive_data(to_client)
            if not to_server and not to_client:
                return facts, events

    def request(self, *, end: bool = True) -> int:
        """Open a stream; returns its id. Call ``exchange`` after it."""
        stream_id: int = self.client.get_next_available_stream_id()
        self.client.send_headers(stream_id, list(GRPC), end_stream=end)
        return stream_id


def of_type(kind: type, items: Iterable[Any]) -> list[Any]:
    return [item for item in items if isinstance(item, kind)]


def block(pairs: tuple[tuple[bytes, bytes], ...] = GRPC) -> bytes:
    """A field block that leaves the dynamic table alone, so that tests may send it at any time."""
    encoder = hpack.Encoder()
    return bytes(encoder.encode([hpack.NeverIndexedHeaderTuple(*pair) for pair in pairs], huffman=False))


def headers(stream_id: int, pairs: tuple[tuple[bytes, bytes], ...] = GRPC, flags: int = 0) -> bytes:
    return frames.frame(FrameType.HEADERS, END_HEADERS | flags, stream_id, block(pairs))


def data(stream_id: int, payload: bytes, flags: int = 0) -> bytes:
    return frames.frame(FrameType.DATA, flags, stream_id, payload)


def request(stream_id: int) -> bytes:
    return headers(stream_id, flags=END_STREAM)


def started(limits: Limits | None = None) -> ServerConnection:
    """A connection that has had the preface and first SETTINGS; its own greeting is taken off."""
    connection = ServerConnection(limits or Limits())
    assert connection.receive(PREFACE + frames.settings({}), 0.0) == []
    connection.take_output()
    return connection


def fault_of(facts: list[Fact]) -> ErrorCode | None:
    """The code with which the connection ended, if it did; the fact must be the last one."""
    if not facts or not isinstance(facts[-1], Failed):
        return None
    return facts[-1].code


def sent(output: bytes) -> list[tuple[int, int, int, bytes]]:
    """Frames in ``output``: (type, flags, stream, payload)."""
    found = []
    at = 0
    while at < len(output):
        high, low, kind, flags, stream_id = frames.read_header(output, at)
        length = (high << 8) | low
        found.append((kind, flags, stream_id, output[at + 9 : at + 9 + length]))
        at += 9 + length
    return found
