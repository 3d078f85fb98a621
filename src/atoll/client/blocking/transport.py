# Generated from src/atoll/client/transport.py by `python3 dev.py generate`; edit that file instead.
"""How a client reaches nodes' API over connections. Inside a node's own process: ``atoll.client.local``.

Rule: where several nodes are given, one that does not answer, or cannot do it now (503), is passed over for the next,
and the next request begins with the one that answered. A write whose answer did not come is not tried elsewhere: it
may have been carried out.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Protocol

from atoll.errors import AtollError, Code
from atoll.runtime.http_client_blocking import SYSTEM_TRUST, HttpAnswer, HttpRequest, Trust, open_answer

STATUS_UNAVAILABLE = 503


class Transport(Protocol):
    def open(self, request: HttpRequest) -> contextlib.AbstractContextManager[HttpAnswer]:
        """Send ``request``; inside the context its answer can be read."""


class HttpTransport:
    """``urls`` as in ``http://127.0.0.1:7070`` or ``unix:PATH``, several with commas between them."""

    def __init__(self, urls: str, trust: Trust = SYSTEM_TRUST) -> None:
        self._urls = [url.strip() for url in urls.split(",") if url.strip()]
        self._trust = trust
        self._at = 0
        if not self._urls:
            raise AtollError(
                Code.INVALID, "no node was named; expected http://HOST:PORT[,http://HOST:PORT...]"
            )

    @contextlib.contextmanager
    def open(self, request: HttpRequest) -> Iterator[HttpAnswer]:
        with contextlib.ExitStack() as stack:
            yield self._first_answer(stack, request)

    def _first_answer(self, stack: contextlib.ExitStack, request: HttpRequest) -> HttpAnswer:
        left = len(self._urls)
        while True:
            left -= 1
            try:
                answer = stack.enter_context(open_answer(self._urls[self._at], request, self._trust))
            except AtollError as error:
                if error.code is not Code.UNAVAILABLE or not left:
                    raise
            else:
                if answer.status != STATUS_UNAVAILABLE or not left:
                    return answer
                stack.close()
            self._at = (self._at + 1) % len(self._urls)
