"""An HTTP request to an ASGI application of the same process: no socket, the same messages.

Rule: the answer is whole before it is given; streams without an end do not belong here.

Source: the ASGI specification 3.0, HTTP part 2.3.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, MutableMapping
from typing import Any

from atoll.runtime.http1 import Application
from atoll.runtime.http_client import HttpAnswer, HttpRequest


async def ask(application: Application, request: HttpRequest, host: str) -> HttpAnswer:
    """Carry ``request`` to ``application``, which sees ``host`` in its Host header."""
    path, _, query = request.target.partition("?")
    headers = {"host": host, "content-length": str(len(request.body)), **request.headers}
    scope: MutableMapping[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()],
        "client": None,
        "server": None,
    }
    bodies = [request.body]
    parts: list[bytes] = []
    head: MutableMapping[str, Any] = {}

    async def receive() -> MutableMapping[str, Any]:
        if not bodies:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": bodies.pop(), "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            head.update(message)
        else:
            parts.append(message.get("body", b""))

    await application(scope, receive, send)
    answered = {name.decode(): value.decode("latin-1") for name, value in head.get("headers", [])}
    return HttpAnswer(head.get("status", 500), answered, _each(parts), lambda: None)


async def _each(parts: list[bytes]) -> AsyncIterator[bytes]:
    for part in parts:
        yield part
