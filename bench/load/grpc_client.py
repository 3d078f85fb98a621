"""A blocking gRPC load client on one connection: streams that are opened, fed, and read as fast as Python can.

Rule: it must not be what is measured, so it keeps no header table, grants every window at once, and takes apart
nothing but lengths. The doubt: it trusts a server to open its windows again before a stream's 64 KiB of requests
are used up, which holds as long as little is in flight.
"""

from __future__ import annotations

import socket
from collections import deque

import hpack

from bench.load import framing

READ_BYTES_MAX = 1 << 18
TIMEOUT_S = 30.0
REFILL_BYTES = 1 << 28


class Refused(Exception):
    """The server ended a stream or the connection; the text has its reason."""


class GrpcClient:
    """``receive`` returns ``(stream, message)`` in the order of arrival."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), TIMEOUT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.sendall(framing.opening())
        self._frames = framing.FrameReader()
        self._messages: dict[int, framing.MessageReader] = {}
        self._ready: deque[tuple[int, bytes]] = deque()
        self._next_stream = 1
        self._unrefilled_bytes = 0
        self._headers = hpack.Encoder()
        self._decoder = hpack.Decoder()

    def open(self, path: str, *messages: bytes, end: bool = False) -> int:
        """Start a call with its first messages; ``end``: there are no more. Returns the stream."""
        stream = self._next_stream
        self._next_stream += 2
        self._messages[stream] = framing.MessageReader()
        head = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "localhost")]
        head += [("te", "trailers"), ("content-type", "application/grpc")]
        block = self._headers.encode(head)
        start = framing.frame(framing.HEADERS, framing.END_HEADERS, stream, block)
        self._socket.sendall(start + self._data(stream, messages, end))
        return stream

    def send(self, stream: int, *messages: bytes) -> None:
        self._socket.sendall(self._data(stream, messages, False))

    def call(self, path: str, message: bytes) -> bytes:
        """One unary call, alone on the connection."""
        stream = self.open(path, message, end=True)
        while True:
            answered, answer = self.receive()
            if answered == stream:
                return answer

    def receive(self) -> tuple[int, bytes]:
        """The next message of any stream; ``Refused`` when a call failed."""
        while not self._ready:
            data = self._socket.recv(READ_BYTES_MAX)
            if not data:
                raise Refused("the server closed the connection")
            for kind, flags, stream, payload in self._frames.feed(data):
                self._take(kind, flags, stream, payload)
        return self._ready.popleft()

    def close(self) -> None:
        self._socket.close()

    def _data(self, stream: int, messages: tuple[bytes, ...], end: bool) -> bytes:
        payload = b"".join(framing.message(each) for each in messages)
        return framing.frame(framing.DATA, framing.END_STREAM if end else 0, stream, payload)

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == framing.DATA:
            self._ready.extend((stream, each) for each in self._messages[stream].feed(payload))
            self._refill(len(payload))
        elif kind == framing.HEADERS:
            self._check(payload)
        elif kind == framing.SETTINGS and not flags & framing.ACK:
            self._socket.sendall(framing.frame(framing.SETTINGS, framing.ACK, 0, b""))
        elif kind == framing.PING and not flags & framing.ACK:
            self._socket.sendall(framing.frame(framing.PING, framing.ACK, 0, payload))
        elif kind in (framing.RST_STREAM, framing.GOAWAY):
            raise Refused(f"frame {kind} on stream {stream}: {payload!r}")

    def _check(self, block: bytes) -> None:
        fields = dict(self._decoder.decode(block, raw=True))
        if fields.get(b"grpc-status", b"0") != b"0":
            raise Refused(f"status {fields[b'grpc-status']!r}: {fields.get(b'grpc-message')!r}")

    def _refill(self, size_bytes: int) -> None:
        self._unrefilled_bytes += size_bytes
        if self._unrefilled_bytes > REFILL_BYTES:
            self._socket.sendall(framing.window_update(0, self._unrefilled_bytes))
            self._unrefilled_bytes = 0
