# Generated from src/atoll/client/session.py by `python3 dev.py generate`; edit that file instead.
"""A transport on which a user is logged in, and logged in again when the token has ended.

Rule: one request is sent again at most once, and only after a refusal of its token, which did nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace

import msgspec

from atoll.client.blocking.transport import Transport
from atoll.errors import AtollError, Code, Reason
from atoll.resources.access_api import LoginOrder, Session
from atoll.runtime.http_client_blocking import HttpAnswer, HttpRequest

STATUS_TOKEN_REFUSED = 401
LOGIN_PATH = "/v1/login"


class SessionTransport:
    """``transport`` with the token that ``user`` gets at login."""

    def __init__(self, transport: Transport, user: str, password: str) -> None:
        self._transport = transport
        self._login = LoginOrder(user, password)
        self._token = ""

    @contextlib.contextmanager
    def open(self, request: HttpRequest) -> Iterator[HttpAnswer]:
        with contextlib.ExitStack() as stack:
            fresh = not self._token
            answer = stack.enter_context(self._transport.open(self._with_token(request)))
            if answer.status == STATUS_TOKEN_REFUSED and not fresh:
                stack.close()
                self._token = ""
                again = self._with_token(request)
                answer = stack.enter_context(self._transport.open(again))
            yield answer

    def _with_token(self, request: HttpRequest) -> HttpRequest:
        if not self._token:
            self._token = self._new_token()
        return replace(request, headers={**request.headers, "authorization": f"Bearer {self._token}"})

    def _new_token(self) -> str:
        request = HttpRequest("POST", LOGIN_PATH, {}, msgspec.json.encode(self._login))
        with self._transport.open(request) as answer:
            content = answer.body()
            if answer.status != 200:
                text = f"user {self._login.user!r} cannot log in: the node answered {answer.status}"
                raise AtollError(Code.DENIED, text, reason=Reason.INVALID_CREDENTIALS)
            return msgspec.json.decode(content, type=Session).token
