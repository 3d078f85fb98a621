"""The node's API, typed: one method an endpoint.

Rule: answers are values of ``resources``; failures are the ``AtollError`` that the node meant. A node that does not
answer is UNAVAILABLE, a write without an answer is UNKNOWN.
"""

from __future__ import annotations

import contextlib
import enum
from collections.abc import AsyncIterator
from typing import Any, Generic, TypeVar
from urllib.parse import urlencode

import msgspec

from atoll.client.transport import Transport
from atoll.errors import AtollError, Code, Reason
from atoll.resources.node import CompactOrder, Done, Leases, Node, SettingValue, StoreStatus
from atoll.runtime.http_client import HttpAnswer, HttpRequest

T = TypeVar("T")


class _ErrorBody(msgspec.Struct, frozen=True):
    code: str
    message: str
    reason: str = "other"
    retry_after_s: float | None = None
    facts: dict[str, int | str] = {}


class _ErrorAnswer(msgspec.Struct, frozen=True):
    error: _ErrorBody


class Client:
    """``token`` is the node's API token, where it asks for one."""

    def __init__(self, transport: Transport, token: str = "") -> None:
        self._transport = transport
        self._headers = {"authorization": f"Bearer {token}"} if token else {}

    async def node(self) -> Node:
        return await self.get("/v1/node", Node)

    async def settings(self) -> list[SettingValue]:
        return await self.get("/v1/settings", list[SettingValue])

    async def store(self) -> StoreStatus:
        return await self.get("/v1/store", StoreStatus)

    async def leases(self) -> Leases:
        return await self.get("/v1/leases", Leases)

    async def logs(self) -> list[str]:
        return await self.get("/v1/logs", list[str])

    async def compact(self, revision: int = 0) -> Done:
        return await self.post("/v1/store/compact", CompactOrder(revision), Done)

    async def defragment(self) -> Done:
        return await self.post("/v1/store/defragment", None, Done)

    async def metrics(self) -> bytes:
        return await self.whole("/metrics")

    # ------------------------------------------------------------------ for the parts that planes add

    async def get(self, path: str, kind: type[T], fields: msgspec.Struct | None = None, **query: str) -> T:
        """``fields``: the endpoint's struct of query fields, or its names with their text."""
        return await self._ask(self._request("GET", _target(path, fields, query)), kind)

    async def post(self, path: str, body: Any, kind: type[T], fields: msgspec.Struct | None = None) -> T:
        return await self.send("POST", path, body, kind, fields)

    async def send(
        self, method: str, path: str, body: Any, kind: type[T], fields: msgspec.Struct | None = None
    ) -> T:
        """``body``: a value, ``bytes`` as they are, or None."""
        content = body if isinstance(body, bytes) else b"" if body is None else msgspec.json.encode(body)
        return await self._ask(self._request(method, _target(path, fields, {}), content), kind)

    @contextlib.asynccontextmanager
    async def stream(
        self, path: str, kind: type[T], body: Any = None, within_s: float | None = None
    ) -> AsyncIterator[Lines[T]]:
        """A stream of values; ``within_s`` bounds each wait for bytes. With ``body`` it is asked for by POST."""
        method, content = ("GET", b"") if body is None else ("POST", msgspec.json.encode(body))
        async with self._transport.open(self._request(method, path, content, within_s)) as answer:
            await _raise_failure(answer)
            yield Lines(answer, kind)

    async def lines(self, path: str, kind: type[T], **query: str) -> AsyncIterator[T]:
        """A stream of values, until the node ends it or the caller stops reading. Raises an error in the stream."""
        request = self._request("GET", _target(path, None, query), within_s=None)
        async with self._transport.open(request) as answer:
            await _raise_failure(answer)
            async for item in Lines(answer, kind).every():
                yield item

    async def whole(self, path: str, fields: msgspec.Struct | None = None) -> bytes:
        """An answer that is not JSON."""
        async with self._transport.open(self._request("GET", _target(path, fields, {}))) as answer:
            await _raise_failure(answer)
            return await answer.body()

    def _request(
        self, method: str, target: str, body: bytes = b"", within_s: float | None = 60.0
    ) -> HttpRequest:
        return HttpRequest(method, target, self._headers, body, within_s)

    async def _ask(self, request: HttpRequest, kind: type[T]) -> T:
        async with self._transport.open(request) as answer:
            await _raise_failure(answer)
            return _decode(await answer.body(), kind)


class Lines(Generic[T]):
    """The values of a stream. ``cut`` ends it for whoever reads it."""

    def __init__(self, answer: HttpAnswer, kind: type[T]) -> None:
        self._answer = answer
        self._kind = kind

    async def every(self) -> AsyncIterator[T]:
        parts: list[bytes] = []
        async for part in self._answer.parts:
            *lines, rest = part.split(b"\n")
            for line in lines:
                yield _decode_line(b"".join([*parts, line]), self._kind)
                parts.clear()
            parts.append(rest)

    def cut(self) -> None:
        self._answer.cut()


def _target(path: str, fields: msgspec.Struct | None, query: dict[str, str]) -> str:
    """``path`` with its query; fields that have their default are left out."""
    if fields is not None:
        pairs = {name: getattr(fields, name) for name in fields.__struct_fields__}
        kept = {name: value for name, value in pairs.items() if value != _default(fields, name)}
        query = {name: _text(value) for name, value in kept.items()}
    return f"{path}?{urlencode(query)}" if query else path


def _default(fields: msgspec.Struct, name: str) -> Any:
    defaults = dict(
        zip(reversed(fields.__struct_fields__), reversed(fields.__struct_defaults__), strict=False)
    )
    return defaults.get(name, msgspec.UNSET)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value.value if isinstance(value, enum.Enum) else value)


async def _raise_failure(answer: HttpAnswer) -> None:
    if 200 <= answer.status < 300:
        return
    content = await answer.body()
    try:
        body = msgspec.json.decode(content, type=_ErrorAnswer).error
        code, reason = Code(body.code), Reason(body.reason)
    except (msgspec.MsgspecError, ValueError) as error:
        text = content[:200].decode("utf-8", "replace")
        message = f"the node answered {answer.status}: {text}; its log has the details"
        raise AtollError(Code.UNAVAILABLE, message) from error
    raise AtollError(code, body.message, reason=reason, retry_after_s=body.retry_after_s, facts=body.facts)


def _decode(content: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(content, type=kind)
    except msgspec.MsgspecError as error:
        message = (
            f"the node's answer is not what this release expects ({error}); is the node another release?"
        )
        raise AtollError(Code.INVALID, message) from error


def _decode_line(line: bytes, kind: type[T]) -> T:
    if line.startswith(b'{"error":'):
        body = _decode(line, _ErrorAnswer).error
        raise AtollError(Code(body.code), body.message, reason=Reason(body.reason), facts=body.facts)
    return _decode(line, kind)
