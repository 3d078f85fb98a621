# Generated from src/atoll/runtime/http_client.py by `python3 dev.py generate`; edit that file instead.
"""A small HTTP/1.1 client for Atoll's own API: one request a connection, streamed or whole, over TCP or a Unix socket.

Rule: everything that can go wrong on the way is an ``AtollError`` (UNAVAILABLE before the request was written,
UNKNOWN for a write whose answer did not come); an HTTP status is the caller's to judge.

Source: RFC 9112, by ``h11``.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import h11

from atoll.errors import AtollError, Code, Reason
from atoll.runtime import blocking_streams as streams
from atoll.runtime.net import UNIX_SCHEME
from atoll.runtime.peer import spiffe_id_of

CONNECT_WITHIN_S = 5.0


@dataclass(frozen=True)
class HttpRequest:
    """``target`` is path and query. ``within_s`` bounds each wait for bytes, None: no bound (streams)."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes = b""
    within_s: float | None = 30.0


@dataclass
class HttpAnswer:
    """Read ``body`` to its end or leave the ``open`` block; both close the connection. ``cut`` ends a stream for
    whoever reads it.
    """

    status: int
    headers: dict[str, str]
    parts: Iterator[bytes]
    cut: Callable[[], None]

    def body(self) -> bytes:
        return b"".join([part for part in self.parts])


@dataclass(frozen=True)
class Trust:
    """``ca_file`` empty: the system's authorities. ``context`` instead: what the mesh gives; ``spiffe_id``: whom the server's
    certificate must name then (empty: not looked at, and nothing secret may be sent).
    """

    ca_file: str = ""
    context: ssl.SSLContext | None = None
    spiffe_id: str = ""


SYSTEM_TRUST = Trust()


@contextlib.contextmanager
def open_answer(base_url: str, request: HttpRequest, trust: Trust = SYSTEM_TRUST) -> Iterator[HttpAnswer]:
    """Send ``request`` to ``base_url`` (http, https, or ``unix:PATH``) and yield its answer once the head is there."""
    try:
        stream, host = _connect(base_url, trust)
    except OSError as error:
        message = f"no node answers at {base_url}: {_reason(error)}; is `atoll up` running?"
        raise AtollError(Code.UNAVAILABLE, message, retry_after_s=1.0) from error
    try:
        if trust.spiffe_id and spiffe_id_of(stream.certificate()) != trust.spiffe_id:
            shown = spiffe_id_of(stream.certificate()) or "no identity"
            raise AtollError(Code.DENIED, f"{base_url} is {shown}, and not {trust.spiffe_id}")
        yield _exchange(stream, request, host)
    finally:
        stream.close()


def _connect(base_url: str, trust: Trust) -> tuple[streams.Stream, str]:
    """A connection, and what is said of it in the Host header."""
    if base_url.startswith(UNIX_SCHEME):
        return streams.connect_unix(base_url.removeprefix(UNIX_SCHEME), CONNECT_WITHIN_S), "localhost"
    url = urlsplit(base_url)
    if url.scheme not in ("http", "https") or not url.hostname:
        raise AtollError(Code.INVALID, f"{base_url!r} is not a node's URL; expected http://HOST:PORT")
    secure = None
    if url.scheme == "https":
        secure = trust.context or ssl.create_default_context(cafile=trust.ca_file or None)
    port = url.port or (443 if secure else 80)
    return streams.connect(url.hostname, port, secure, CONNECT_WITHIN_S), url.netloc.rpartition("@")[2]


def _exchange(stream: streams.Stream, request: HttpRequest, host: str) -> HttpAnswer:
    wire = h11.Connection(h11.CLIENT)
    headers = {
        "host": host,
        "connection": "close",
        "content-length": str(len(request.body)),
        **request.headers,
    }
    head = h11.Request(method=request.method, target=request.target, headers=list(headers.items()))
    try:
        whole = (wire.send(head) or b"") + (wire.send(h11.Data(request.body)) or b"")
        stream.write(whole + (wire.send(h11.EndOfMessage()) or b""))
        while not isinstance(event := _next_event(wire, stream, request), h11.Response):
            continue
    except OSError as error:
        message = f"{request.method} {request.target}: the connection broke: {_reason(error)}"
        raise AtollError(Code.UNAVAILABLE, message, retry_after_s=1.0) from error
    except AtollError as error:
        if request.method == "GET":
            raise
        raise AtollError(Code.UNKNOWN, f"{error.message}; the request may have been carried out") from error
    answered = {name.decode(): value.decode("latin-1") for name, value in event.headers}
    return HttpAnswer(event.status_code, answered, _parts(wire, stream, request), stream.cut)


def _parts(wire: h11.Connection, stream: streams.Stream, request: HttpRequest) -> Iterator[bytes]:
    while isinstance(event := _next_event(wire, stream, request), h11.Data):
        yield bytes(event.data)


def _next_event(wire: h11.Connection, stream: streams.Stream, request: HttpRequest) -> h11.Event:
    try:
        while (event := wire.next_event()) is h11.NEED_DATA:
            wire.receive_data(stream.read(request.within_s))
    except (OSError, h11.RemoteProtocolError) as error:
        message = f"{request.method} {request.target}: no answer: {_reason(error)}"
        raise AtollError(Code.UNAVAILABLE, message, reason=Reason.TIMEOUT, retry_after_s=1.0) from error
    if isinstance(event, h11.Event):
        return event
    raise AtollError(Code.UNAVAILABLE, f"{request.method} {request.target}: the connection was closed")


def _reason(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "it took too long"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
