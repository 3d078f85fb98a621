"""How a client reaches a node's API: over a connection, or inside the node's own process.

Rule: both ask the same application with the same checks before it; the second spares a node's own console a
connection to itself, and tests a port.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Protocol

from atoll.runtime import http_local
from atoll.runtime.http1 import Application
from atoll.runtime.http_client import HttpAnswer, HttpRequest, open_answer


class Transport(Protocol):
    def open(self, request: HttpRequest) -> contextlib.AbstractAsyncContextManager[HttpAnswer]:
        """Send ``request``; inside the context its answer can be read."""


class HttpTransport:
    """``url`` as in ``http://127.0.0.1:7070``; ``ca_file`` empty: the system's authorities."""

    def __init__(self, url: str, ca_file: str = "") -> None:
        self._url = url
        self._ca_file = ca_file

    def open(self, request: HttpRequest) -> contextlib.AbstractAsyncContextManager[HttpAnswer]:
        return open_answer(self._url, request, self._ca_file)


class LocalTransport:
    """Asks ``application`` directly, as a client would that names ``host``."""

    def __init__(self, application: Application, host: str) -> None:
        self._application = application
        self._host = host

    @contextlib.asynccontextmanager
    async def open(self, request: HttpRequest) -> AsyncIterator[HttpAnswer]:
        yield await http_local.ask(self._application, request, self._host)
