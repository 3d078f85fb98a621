"""How a node's own console reaches the node's API: the same application with the same checks, without a connection.

Rule: it spares a node a connection to itself, and tests a port; streams without an end do not belong here.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from atoll.runtime import http_local
from atoll.runtime.http1 import Application
from atoll.runtime.http_client import HttpAnswer, HttpRequest


class LocalTransport:
    """Asks ``application`` directly, as a client would that names ``host``."""

    def __init__(self, application: Application, host: str) -> None:
        self._application = application
        self._host = host

    @contextlib.asynccontextmanager
    async def open(self, request: HttpRequest) -> AsyncIterator[HttpAnswer]:
        yield await http_local.ask(self._application, request, self._host)
