"""The HTTP side of a backend: HTTP/1 by h11, HTTP/2 and gRPC by h2, on one port.

Rule: one request, one ``Reply``. A gRPC call (content type ``application/grpc``) is answered by one message that is the
echo, whatever the method: bytes are its messages, so that a client needs no generated code.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h11

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_READ_BYTES = 65_536
_GRPC = "application/grpc"


@dataclass(frozen=True)
class Seen:
    """One request as it arrived. ``protocol``: ``http/1.1``, ``h2``, ``grpc``, or that of the port."""

    protocol: str
    path: str
    method: str = ""
    authority: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True)
class Reply:
    """``status``: of HTTP. ``grpc_status``: of gRPC; not 0: no message. ``reset``: cut the stream instead. ``content``:
    instead of the echo.
    """

    status: int = 200
    grpc_status: int = 0
    delay_s: float = 0.0
    reset: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes | None = None

    async def wait(self) -> None:
        """A slow backend is one of the things to be tested."""
        if self.delay_s:
            await asyncio.sleep(self.delay_s)


Answer: TypeAlias = Callable[[Seen], tuple[Reply, bytes]]


def ECHO(seen: Seen) -> Reply:
    """What a backend does unless a test says otherwise."""
    return Reply()


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: Answer) -> None:
    """One connection, to its end."""
    first = await reader.read(_READ_BYTES)
    while first and len(first) < len(_PREFACE) and _PREFACE.startswith(first):
        first += await reader.read(_READ_BYTES)
    if first.startswith(_PREFACE):
        await _Http2(reader, writer, answer).run(first)
    elif first:
        await _http1(first, reader, writer, answer)


async def _http1(
    first: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: Answer
) -> None:
    wire = h11.Connection(h11.SERVER)
    wire.receive_data(first)
    while True:
        request, body = None, b""
        while not isinstance(event := wire.next_event(), h11.EndOfMessage):
            if event is h11.NEED_DATA:
                wire.receive_data(await reader.read(_READ_BYTES))
            elif isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            else:
                return
        assert request is not None
        reply, echo = answer(_seen_by_http1(request, body))
        await reply.wait()
        if reply.reset:
            writer.transport.abort()
            return
        content = echo if reply.content is None else reply.content
        headers = {"content-type": "application/json", "content-length": str(len(content))}
        fields = list((headers | dict(reply.headers)).items())
        writer.write(wire.send(h11.Response(status_code=reply.status, headers=fields)) or b"")
        if request.method != b"HEAD":
            writer.write(wire.send(h11.Data(data=content)) or b"")
        writer.write(wire.send(h11.EndOfMessage()) or b"")
        await writer.drain()
        if wire.our_state is not h11.DONE or wire.their_state is not h11.DONE:
            return
        wire.start_next_cycle()


def _seen_by_http1(request: h11.Request, body: bytes) -> Seen:
    headers = {name.decode(): value.decode() for name, value in request.headers}
    target, method = request.target.decode(), request.method.decode()
    return Seen("http/1.1", target, method, headers.get("host", ""), headers, body)


@dataclass
class _Stream:
    headers: dict[str, str]
    body: bytes = b""


class _Http2:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: Answer) -> None:
        self._reader, self._writer, self._answer = reader, writer, answer
        settings = h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        self._wire = h2.connection.H2Connection(config=settings)
        self._streams: dict[int, _Stream] = {}
        self._answering: dict[int, asyncio.Task[None]] = {}

    async def run(self, data: bytes) -> None:
        self._wire.initiate_connection()
        try:
            while data:
                for event in self._wire.receive_data(data):
                    self._on(event)
                self._flush()
                data = await self._reader.read(_READ_BYTES)
        finally:
            for task in list(self._answering.values()):
                task.cancel()

    def _on(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.RequestReceived):
            self._streams[event.stream_id] = _Stream({str(name): str(value) for name, value in event.headers})
        elif isinstance(event, h2.events.DataReceived):
            if event.stream_id in self._streams:
                self._streams[event.stream_id].body += event.data
            self._wire.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            task = asyncio.ensure_future(self._respond(event.stream_id, self._streams.pop(event.stream_id)))
            self._answering[event.stream_id] = task
            task.add_done_callback(functools.partial(self._answered, event.stream_id))
        elif isinstance(event, h2.events.StreamReset):
            self._streams.pop(event.stream_id, None)
            if event.stream_id in self._answering:
                self._answering.pop(event.stream_id).cancel()

    def _answered(self, stream: int, task: asyncio.Task[None]) -> None:
        self._answering.pop(stream, None)

    async def _respond(self, stream: int, request: _Stream) -> None:
        is_grpc = request.headers.get("content-type", "").startswith(_GRPC)
        headers = request.headers
        path, method, authority = (headers.pop(f":{name}", "") for name in ("path", "method", "authority"))
        body = request.body[5:] if is_grpc else request.body
        seen = Seen("grpc" if is_grpc else "h2", path, method, authority, headers, body)
        reply, echo = self._answer(seen)
        await reply.wait()
        content = echo if reply.content is None else reply.content
        try:
            if reply.reset:
                self._wire.reset_stream(stream, h2.errors.ErrorCodes.INTERNAL_ERROR)
            elif is_grpc:
                self._send_grpc(stream, reply, content)
            else:
                fields = {":status": str(reply.status), "content-type": "application/json"}
                self._wire.send_headers(stream, list((fields | dict(reply.headers)).items()))
                self._wire.send_data(stream, content, end_stream=True)
        except h2.exceptions.ProtocolError:
            return  # the client took it back meanwhile
        self._flush()

    def _send_grpc(self, stream: int, reply: Reply, content: bytes) -> None:
        fields = {":status": str(reply.status), "content-type": _GRPC} | dict(reply.headers)
        self._wire.send_headers(stream, list(fields.items()))
        if not reply.grpc_status:
            self._wire.send_data(stream, b"\0" + len(content).to_bytes(4, "big") + content)
        self._wire.send_headers(stream, [("grpc-status", str(reply.grpc_status))], end_stream=True)

    def _flush(self) -> None:
        self._writer.write(self._wire.data_to_send())
