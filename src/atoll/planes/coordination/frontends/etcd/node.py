"""What all of etcd's services here share: the store, the gate, and how an answer is put into bytes.

One rule: an answer's header is field 1 of every response message, so it is made as bytes and put in front of the
serialized rest; a protobuf message may be concatenated from parts (encoding specification, "Message merging").
That saves the hot path a third of its protobuf work.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from google.protobuf.message import DecodeError

from atoll.errors import AtollError
from atoll.planes.coordination.frontends.etcd.errors import status_of
from atoll.planes.coordination.frontends.etcd.gate import Gate
from atoll.runtime.grpc_call import Call, ErrorTable
from atoll.runtime.grpc_server import Route, streaming, unary, unary_callback
from atoll.store import api
from atoll.store.shell import StoreShell
from atoll.wire.etcd import messages
from atoll.wire.etcd.services import METHODS
from atoll.wire.grpc.status import Status

VERSION = "3.4.23"
"""The etcd whose behaviour this API has, as Status reports it; clients turn features on and off by it."""


class Identity(msgspec.Struct, frozen=True):
    """Who the one member is. The numbers are not 0: clients take 0 for "unknown"."""

    cluster_id: int
    member_id: int
    name: str = "atoll"
    raft_term: int = 1
    client_urls: tuple[str, ...] = ()


class Node:
    """One store served by one member. Lives on the event loop."""

    def __init__(self, identity: Identity, gate: Gate, store: StoreShell) -> None:
        self.identity = identity
        self.gate = gate
        self.store = store
        self._ids = messages.ResponseHeader(
            cluster_id=identity.cluster_id, member_id=identity.member_id
        ).SerializeToString()
        self._term = messages.ResponseHeader(raft_term=identity.raft_term).SerializeToString()
        self._header = (-1, b"")

    def header(self, revision: int) -> bytes:
        """The field ``header`` of any response, in bytes; revision 0 leaves the revision out."""
        if self._header[0] != revision:
            middle = b"\x18" + varint(revision) if revision else b""
            content = self._ids + middle + self._term
            self._header = revision, b"\x0a" + varint(len(content)) + content
        return self._header[1]

    async def read(self, *ranges: api.Range) -> list[api.RangeResult]:
        """``ranges`` at one revision, without asking for permission."""
        result = await self.store.txn(api.Txn((), ranges))
        return [one for one in result.results if isinstance(one, api.RangeResult)]

    def answer(self, call: Call, make: Callable[[Any], bytes]) -> api.Done:
        """A ``done`` that replies to ``call`` with what ``make`` makes of the result, or fails it."""

        def done(outcome: api.Outcome) -> None:
            if isinstance(outcome, AtollError):
                call.fail_error(outcome)
            else:
                call.reply(make(outcome))

        return done


def varint(number: int) -> bytes:
    """``number`` >= 0 in protobuf's base 128."""
    if number < 0x80:
        return bytes((number,))
    groups = bytearray()
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    groups.append(number)
    return bytes(groups)


class Refused(Exception):
    """An answer that no code of Atoll's stands for: this status and this text. Ends that call alone."""

    def __init__(self, status: Status, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


def decoded(method: str, data: bytes) -> Any:
    """The request message of ``Service.Method`` in ``data``. Raises ``Refused``, in grpc-go's words."""
    try:
        return METHODS[method].request.FromString(data)
    except DecodeError as error:
        raise Refused(Status.INTERNAL, f"grpc: error unmarshalling request: {error}") from error


def callback_route(method: str, handler: Callable[[Call, Any], None]) -> tuple[str, Route]:
    """Path and route for ``handler(call, request message)``."""
    parse = METHODS[method].request.FromString

    def handle(call: Call, data: bytes) -> None:
        try:
            request = parse(data)
        except DecodeError as error:
            call.fail(Status.INTERNAL, f"grpc: error unmarshalling request: {error}")
            return
        handler(call, request)

    return METHODS[method].path, unary_callback(handle)


def stream_route(method: str, handler: Callable[[Call], Awaitable[None]]) -> tuple[str, Route]:
    """Path and route for a handler that receives and sends by itself, and decodes by ``decoded``."""

    async def handle(call: Call) -> None:
        try:
            await handler(call)
        except Refused as refused:
            call.fail(refused.status, refused.text)

    return METHODS[method].path, streaming(handle)


def task_route(
    method: str, handler: Callable[[Call, Any], Awaitable[bytes]], errors: ErrorTable = status_of
) -> tuple[str, Route]:
    """Path and route for ``async handler(call, request message) -> response bytes``: for calls that wait."""

    async def handle(call: Call, data: bytes) -> bytes:
        try:
            return await handler(call, decoded(method, data))
        except Refused as refused:
            call.fail(refused.status, refused.text)
        except AtollError as error:
            call.fail(*errors(error))
        return b""  # the call has ended

    return METHODS[method].path, unary(handle)
