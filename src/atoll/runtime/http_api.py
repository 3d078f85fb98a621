"""A JSON API over HTTP from a table of endpoints; the one place that knows Starlette.

Rule: an endpoint is declared once, with the types of what it takes and gives; routing, decoding, errors and the
OpenAPI document (OpenAPI 3.1) follow from the declaration, so that the document cannot be wrong about the server.

What a query takes is names of text fields, or a frozen struct: fields with their types, defaults and bounds. A query
field that an endpoint does not know is refused, so that a slip of the pen is not an answer to another question.

Errors are ``{"error": {"code", "reason", "message", "retry_after_s", "facts"}}`` with the HTTP status of
``STATUS_OF_REASON`` or ``STATUS``. A bug in a handler is 500 ``internal`` to the caller and a traceback to the operator.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from atoll.errors import AtollError, Code, Reason
from atoll.runtime.http1 import PEER, Application
from atoll.runtime.http_guard import Audience, Caller, Door
from atoll.runtime.logs import Log

BODY_BYTES_MAX = 1_048_576
STATUS = {
    Code.INVALID: 400,
    Code.DENIED: 403,
    Code.NOT_FOUND: 404,
    Code.CONFLICT: 409,
    Code.UNAVAILABLE: 503,
    Code.UNKNOWN: 504,
    Code.EXHAUSTED: 507,
}
STATUS_OF_REASON = {
    Reason.INVALID_TOKEN: 401,
    Reason.CONTENT_TOO_LARGE: 413,
    Reason.RATE_LIMITED: 429,
}
OPENAPI_PATH = "/openapi.json"
_JSON = "application/json"
_LINES = "application/x-ndjson"
_BYTES = "application/octet-stream"
_FAILURES = {
    str(status): {"$ref": "#/components/responses/Failure"}
    for status in sorted({*STATUS.values(), *STATUS_OF_REASON.values()})
}
_CALLER = "atoll.caller"  # where the gate leaves who asks, in an ASGI scope


class ErrorBody(msgspec.Struct, frozen=True):
    code: str
    message: str
    reason: str = "other"
    retry_after_s: float | None = None
    facts: dict[str, int | str] = {}


class ErrorAnswer(msgspec.Struct, frozen=True):
    """What every failure looks like."""

    error: ErrorBody


class Asked(msgspec.Struct, frozen=True):
    """What a handler gets: the query as text, the same as the endpoint's struct (None where it declares names), the
    decoded body (None where the endpoint has none), and who asks.
    """

    query: dict[str, str]
    body: Any = None
    fields: Any = None
    caller: Caller = Caller()

    def field(self, name: str) -> str:
        """Raises INVALID when the query lacks ``name``."""
        if not self.query.get(name):
            raise AtollError(Code.INVALID, f"the query field {name!r} is missing; ask as ?{name}=VALUE")
        return self.query[name]


class Text(msgspec.Struct, frozen=True):
    """An answer that is not JSON."""

    content: bytes
    content_type: str = "text/plain; charset=utf-8"
    status: int = 200


class Endpoint(msgspec.Struct, frozen=True):
    """``handler(Asked)`` answers with a value of type ``answer`` (or a ``Text``); or, with ``streams``, is an
    asynchronous generator of such values (sent as JSON lines), or of bytes where ``answer`` is ``bytes``. ``answer`` is
    ``Text`` where its content type is known only then.
    ``query``: names of text fields that must be there, or a struct. ``body``: a type, or ``bytes`` as they come.
    """

    method: str
    path: str
    summary: str
    handler: Callable[[Any], Any]
    answer: Any
    query: tuple[str, ...] | type[msgspec.Struct] = ()
    body: Any = None
    streams: bool = False
    open_to_all: bool = False  # answered without credentials
    for_users: bool = False  # a user's token will do; the handler asks what this user may
    body_bytes_max: int = BODY_BYTES_MAX

    @property
    def audience(self) -> Audience:
        if self.open_to_all:
            return Audience.ALL
        return Audience.USERS if self.for_users else Audience.OPERATORS

    @property
    def query_names(self) -> tuple[str, ...]:
        return self.query if isinstance(self.query, tuple) else self.query.__struct_encode_fields__


def application(
    endpoints: Sequence[Endpoint], gate: Door, log: Log, version: str, others: Mapping[str, Application]
) -> Application:
    """The ASGI application. ``others`` are applications that answer single paths themselves."""
    document = msgspec.json.encode(openapi(endpoints, version))

    async def describe(_: Request) -> Response:
        return Response(document, media_type=_JSON)

    routes = [Route(each.path, _route(each, log), methods=[each.method]) for each in endpoints]
    routes.append(Route(OPENAPI_PATH, describe, methods=["GET"]))
    handlers = {404: _plain_error, 405: _plain_error, 500: _bug}
    app = Starlette(routes=routes, exception_handlers=handlers)
    audiences = {(each.method, each.path): each.audience for each in endpoints}
    return _guarded({**others}, app, gate, audiences)


def openapi(endpoints: Sequence[Endpoint], version: str) -> dict[str, Any]:
    """The OpenAPI document of ``endpoints``."""
    types = [each.answer for each in endpoints if each.answer not in (bytes, Text)]
    types += [each.body for each in endpoints if each.body not in (None, bytes)]
    types += [each.query for each in endpoints if not isinstance(each.query, tuple)]
    schemas, components = msgspec.json.schema_components(
        [*types, ErrorAnswer], ref_template="#/components/schemas/{name}"
    )
    by_type = dict(zip([*map(repr, types), repr(ErrorAnswer)], schemas, strict=True))
    failure = {_JSON: {"schema": by_type[repr(ErrorAnswer)]}}
    paths: dict[str, dict[str, Any]] = {}
    for each in endpoints:
        paths.setdefault(each.path, {})[each.method.lower()] = _operation(each, by_type, components)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Atoll", "version": version},
        "paths": paths,
        "components": {
            "schemas": components,
            "responses": {"Failure": {"description": "the failure", "content": failure}},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}, {}],
    }


def _operation(each: Endpoint, by_type: dict[str, Any], components: dict[str, Any]) -> dict[str, Any]:
    if each.answer is bytes:
        content: dict[str, Any] = {_BYTES: {}}
    elif each.answer is Text:
        content = {"*/*": {}}
    else:
        content = {_LINES if each.streams else _JSON: {"schema": by_type[repr(each.answer)]}}
    operation: dict[str, Any] = {
        "summary": each.summary,
        "responses": {"200": {"description": "the answer", "content": content}, **_FAILURES},
    }
    if each.query:
        operation["parameters"] = _parameters(each, components)
    if each.body is not None:
        taken = {_BYTES: {}} if each.body is bytes else {_JSON: {"schema": by_type[repr(each.body)]}}
        operation["requestBody"] = {"required": True, "content": taken}
    return operation


def _parameters(each: Endpoint, components: dict[str, Any]) -> list[dict[str, Any]]:
    if isinstance(each.query, tuple):
        text = {"type": "string"}
        return [{"name": name, "in": "query", "required": True, "schema": text} for name in each.query]
    described = components[each.query.__name__]
    required = described.get("required", ())
    return [
        {"name": name, "in": "query", "required": name in required, "schema": schema}
        for name, schema in described["properties"].items()
    ]


def _route(each: Endpoint, log: Log) -> Callable[[Request], Awaitable[Response]]:
    async def handle(request: Request) -> Response:
        try:
            asked = await _asked(request, each)
            if each.streams:
                return await _stream(each, each.handler(asked), log)
            answer = await each.handler(asked)
        except AtollError as error:
            return error_response(error)
        if isinstance(answer, Text):
            return Response(answer.content, answer.status, media_type=answer.content_type)
        return Response(msgspec.json.encode(answer), media_type=_JSON)

    return handle


async def _asked(request: Request, each: Endpoint) -> Asked:
    query = dict(request.query_params)
    if len(query) < len(request.query_params.multi_items()):
        raise AtollError(Code.INVALID, f"{each.path}: a query field is given twice")
    unknown = sorted(query.keys() - set(each.query_names))
    if unknown:
        known = f"it knows {', '.join(each.query_names)}" if each.query_names else "it knows none"
        raise AtollError(Code.INVALID, f"{each.path} has no query field {unknown[0]!r}; {known}")
    fields = None if isinstance(each.query, tuple) else _fields(query, each.query, each.path)
    caller = request.scope[_CALLER]
    address = request.client.host if request.client else caller.peer.address if caller.peer else ""
    caller = msgspec.structs.replace(caller, address=address)
    return Asked(query, await _body(request, each), fields, caller)


def _fields(query: dict[str, str], kind: type[msgspec.Struct], path: str) -> Any:
    try:
        return msgspec.convert(query, kind, strict=False)
    except msgspec.ValidationError as error:
        raise AtollError(Code.INVALID, f"the query is not what {path} takes: {error}") from error


async def _body(request: Request, each: Endpoint) -> Any:
    if each.body is None:
        return None
    parts, size_bytes = [], 0
    async for part in request.stream():
        parts.append(part)
        size_bytes += len(part)
        if size_bytes > each.body_bytes_max:
            message = f"the body has more than {each.body_bytes_max} bytes"
            raise AtollError(Code.INVALID, message, reason=Reason.REQUEST_TOO_LARGE)
    content = b"".join(parts)
    if each.body is bytes:
        return content
    try:
        return msgspec.json.decode(content, type=each.body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise AtollError(Code.INVALID, f"the body is not what {each.path} takes: {error}") from error


async def _stream(each: Endpoint, items: AsyncGenerator[Any, None], log: Log) -> Response:
    """The first item decides whether the answer is a stream or an error; a later error ends it as its last line."""
    first = await anext(items, None)

    async def lines() -> AsyncIterator[bytes]:
        async with contextlib.aclosing(items):
            try:
                if first is not None:
                    yield first if each.answer is bytes else msgspec.json.encode(first) + b"\n"
                async for item in items:
                    yield item if each.answer is bytes else msgspec.json.encode(item) + b"\n"
            except AtollError as error:
                if each.answer is bytes:
                    log.warning("stream broken off", path=each.path, error=error.message)
                    raise
                yield msgspec.json.encode(ErrorAnswer(body_of(error))) + b"\n"

    return StreamingResponse(lines(), media_type=_BYTES if each.answer is bytes else _LINES)


def body_of(error: AtollError) -> ErrorBody:
    facts = dict(error.facts)
    return ErrorBody(error.code.value, error.message, error.reason.value, error.retry_after_s, facts)


def error_response(error: AtollError) -> Response:
    status = STATUS_OF_REASON.get(error.reason, STATUS[error.code])
    response = _failure(status, body_of(error))
    if status == 401:
        response.headers["www-authenticate"] = 'Basic realm="atoll: any user, the API token as password"'
    if error.retry_after_s is not None:
        response.headers["retry-after"] = str(max(1, round(error.retry_after_s)))
    return response


def _failure(status: int, body: ErrorBody) -> Response:
    return Response(msgspec.json.encode(ErrorAnswer(body)), status, media_type=_JSON)


async def _bug(_: Request, error: Exception) -> Response:
    """Starlette raises it again after this answer, and the HTTP server logs its traceback."""
    return _failure(500, ErrorBody("internal", "internal error; the node's log has the details"))


async def _plain_error(request: Request, error: Any) -> Response:
    status: int = error.status_code
    code = "not_found" if status == 404 else "invalid"
    message = f"{request.method} {request.url.path}: {error.detail}; GET {OPENAPI_PATH} lists what there is"
    return _failure(status, ErrorBody(code, message))


def _guarded(
    others: dict[str, Application],
    app: Application,
    gate: Door,
    audiences: Mapping[tuple[str, str], Audience],
) -> Application:
    async def guarded(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            method = "GET" if scope["method"] == "HEAD" else scope["method"]
            audience = audiences.get((method, scope["path"]), Audience.OPERATORS)
            try:
                peer = scope.get(PEER)
                caller = gate.check(scope["headers"], audience, peer)
                scope[_CALLER] = msgspec.structs.replace(caller, peer=peer)
            except AtollError as error:
                await error_response(error)(scope, receive, send)
                return
        await others.get(scope.get("path", ""), app)(scope, receive, send)

    return guarded
