"""The ASGI application of the Nacos HTTP API: read, find, admit, check, operate, answer.

Rule: every request takes the same six steps, and its permission is checked between finding its entry and running its
operation, whatever it is; nothing about a request (its agent, a header, a spelling) leads around a step.

Theory: an operation that needs nothing of the store is a plain function; one that does is a coroutine. Bodies are
held in memory, so all bodies together are bounded, not only each.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, TypeAlias
from urllib.parse import unquote

from atoll.errors import AtollError, Code, Reason
from atoll.planes.registry.frontends.nacos_http import answer, routing
from atoll.planes.registry.frontends.nacos_http.answer import Bare
from atoll.planes.registry.frontends.nacos_http.call import Call
from atoll.planes.registry.frontends.nacos_http.doors import Doors
from atoll.runtime.clock import Clock
from atoll.runtime.http1 import Receive, Send
from atoll.runtime.http_guard import Audience
from atoll.wire.nacos import form
from atoll.wire.nacos.catalog import ENTRIES
from atoll.wire.nacos.catalog.entry import Status

Operation: TypeAlias = Callable[[Call], Any]
Waiting: TypeAlias = Callable[[Call, Receive], Awaitable[Any]]

BODY_BYTES_MAX = 32 * 1024 * 1024
"""A content of 10 MiB, each byte of which may be percent-encoded, and what is sent with it."""
BODIES_BYTES_MAX = 256 * 1024 * 1024
STALE = (b"atoll-stale", b"true")
"""On what was read from the last good view, because the store is away."""
_MULTIPART = b"multipart/form-data"


class NacosHttp:
    """``operations`` answer calls by the name in their entry; ``waiting`` are those that may outlast their client."""

    def __init__(
        self, operations: Mapping[str, Operation], waiting: Mapping[str, Waiting], doors: Doors, clock: Clock
    ) -> None:
        self._operations = operations
        self._waiting = waiting
        self._doors = doors
        self._clock = clock
        self._routes = routing.Routes(ENTRIES)
        self._bodies_bytes = 0
        self.requests: Counter[tuple[str, str]] = Counter()  # by verb and path of the catalog

    def serves(self, operation: str) -> bool:
        """Whether there is something behind the name that an entry has."""
        return operation in self._operations or operation in self._waiting

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        found = await self._answer(scope, receive)
        fields = [
            (b"content-type", found.content_type),
            (b"content-length", b"%d" % len(found.body)),
            *found.fields,
        ]
        await send({"type": "http.response.start", "status": found.status, "headers": fields})
        await send({"type": "http.response.body", "body": found.body})

    async def _answer(self, scope: MutableMapping[str, Any], receive: Receive) -> Bare:
        path = scope["raw_path"].decode("latin-1")
        try:
            self._doors.gate.check(scope["headers"], Audience.ALL)
        except AtollError as error:
            return answer.refusal(403, error.message, path, self._clock.wall_s())
        found = self._routes.find(scope["method"], path)
        if found is None:
            return self._nowhere(scope["method"], path)
        entry = found.entries[-1]
        call = Call(entry, path, scope["headers"], scope["client"])
        try:
            call.fields.update(found.values)
            await self._read(call, scope, receive)
            entry = call.entry = routing.choose(found.entries, call.fields)
            self.requests[entry.verb, entry.path] += 1
            done = await self._operate(call, receive)
            if entry.verb == "GET" and self._doors.stale():
                return done._replace(fields=[*done.fields, STALE])
            return done
        except AtollError as error:
            return answer.failure(entry, error, path, self._clock.wall_s())
        finally:
            self._bodies_bytes -= call.held_bytes

    async def _operate(self, call: Call, receive: Receive) -> Bare:
        entry = call.entry
        closed = self._doors.closed(entry)
        if closed:
            return answer.disabled(entry, closed)
        await self._doors.enter(call)
        limited = self._doors.limited(call)
        if limited:
            return Bare(b"", status=limited)
        if entry.status is Status.ABSENT:
            return answer.absent(entry)
        wait = self._waiting.get(entry.operation)
        if wait is not None:
            return answer.success(entry, await wait(call, receive))
        value = self._operations[entry.operation](call)
        if isinstance(value, Awaitable):
            value = await value
        return answer.success(entry, value)

    def _nowhere(self, verb: str, path: str) -> Bare:
        if self._routes.known(path):
            return answer.refusal(405, f"Request method '{verb}' not supported", path, self._clock.wall_s())
        if routing.inside(path).startswith("/v1/ns/"):
            return Bare(f"no such api:{verb}:{unquote(path)}".encode(), status=501)
        return answer.refusal(404, "No message available", path, self._clock.wall_s())

    async def _read(self, call: Call, scope: MutableMapping[str, Any], receive: Receive) -> None:
        """Read the parameters."""
        fields = call.fields
        form.merge(fields, scope["query_string"])
        if scope["method"] == "GET" and not _has_body(scope["headers"]):
            return
        body = await self._body(call, receive)
        kind = call.header(b"content-type").encode("latin-1")
        if form.is_form(kind):
            form.merge(fields, body)
        elif kind.partition(b";")[0].strip().lower() == _MULTIPART:
            call.files = form.multipart(kind, body, fields)
        else:
            call.body = body

    async def _body(self, call: Call, receive: Receive) -> bytes:
        parts: list[bytes] = []
        while True:
            message = await receive()
            if message["type"] != "http.request":
                raise AtollError(Code.UNAVAILABLE, "the client left", reason=Reason.CLOSED)
            part = message["body"]
            call.held_bytes += len(part)
            self._bodies_bytes += len(part)
            _check_size(call.held_bytes, self._bodies_bytes)
            parts.append(part)
            if not message["more_body"]:
                return b"".join(parts)


def _check_size(size_bytes: int, all_bytes: int) -> None:
    if size_bytes > BODY_BYTES_MAX:
        message = f"a request has at most {BODY_BYTES_MAX} bytes"
        facts = {"size_bytes_max": BODY_BYTES_MAX}
        raise AtollError(Code.INVALID, message, reason=Reason.CONTENT_TOO_LARGE, facts=facts)
    if all_bytes > BODIES_BYTES_MAX:
        message = f"requests under way hold more than {BODIES_BYTES_MAX} bytes; try again later"
        raise AtollError(Code.UNAVAILABLE, message, retry_after_s=1.0)


def _has_body(headers: list[tuple[bytes, bytes]]) -> bool:
    return any(
        (name == b"content-length" and value != b"0") or name == b"transfer-encoding"
        for name, value in headers
    )
