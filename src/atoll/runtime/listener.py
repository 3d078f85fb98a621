"""One listening socket for TLS, HTTP/2 without TLS and HTTP/1: told apart by the first bytes.

Rule: the first byte of a TLS client is 22 (a handshake record, RFC 8446, 5.1) and is looked at without taking it;
an HTTP/2 client begins with its preface (RFC 9113, 3.4), which no HTTP/1 request can be. Under TLS, ALPN offers
both, and the preface decides as well.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from pathlib import Path
from typing import Protocol, cast

from atoll.runtime import net
from atoll.runtime.grpc_protocol import Http2Protocol
from atoll.runtime.grpc_server import GrpcServer
from atoll.runtime.http1 import Http1Protocol, Http1Server
from atoll.runtime.logs import Log
from atoll.runtime.net import Address
from atoll.runtime.tls import ServerTls
from atoll.wire.http2.frames import PREFACE

_TLS_HANDSHAKE = b"\x16"
_ACCEPTS_A_TURN_MAX = 64
_ACCEPT_PAUSE_S = 1.0
_CUT_S_MAX = 1.0
_NOT_THIS_WAY = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain\r\nconnection: close\r\n\r\n"
    b"this port has no room for you, or serves only gRPC, which is HTTP/2\n"
)
_OUT_OF_FILES = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))


class Served(Protocol):
    """A connection that has been given to its protocol."""

    def leave(self) -> None:
        """Begin a graceful end."""

    def cut(self) -> None:
        """End now, telling the peer."""

    def abort(self) -> None:
        """End now, without a word."""


class Listener:
    """A bound, accepting socket and its connections. Made by ``listen``."""

    def __init__(
        self,
        sock: socket.socket,
        *,
        grpc: GrpcServer | None,
        http1: Http1Server | None,
        tls: ServerTls | None,
        address: Address | None = None,
    ) -> None:
        self._sock = sock
        self._grpc = grpc
        self._http1 = http1
        self._tls = tls
        self._serves_plain = True
        self._log = Log("listen")
        self._loop = asyncio.get_running_loop()
        self._greeting: set[asyncio.Transport] = set()  # no protocol has them yet
        self._adopting: dict[asyncio.Task[None], _Greeter] = {}
        self._peeking: dict[int, tuple[socket.socket, asyncio.TimerHandle]] = {}
        self._served: set[Served] = set()
        self._emptied = asyncio.Event()
        self._greeting_s_max = grpc.limits.handshake_s_max if grpc else 10.0
        self.address = address or net.bound_address(sock)
        self._loop.add_reader(sock, self._accept)

    def require_tls(self) -> None:
        """From now on close whoever comes without TLS."""
        self._serves_plain = False

    @property
    def connections(self) -> int:
        return len(self._served)

    async def close(self, within_s: float) -> None:
        """Accept no more, let calls in flight finish for at most ``within_s``, then cut what is left. Idempotent."""
        if not self._closed:
            self._stop_accepting()
        for served in list(self._served):
            served.leave()
        if not await self._wait_empty(within_s):
            for served in list(self._served):
                served.cut()
            if not await self._wait_empty(_CUT_S_MAX):
                for served in list(self._served):
                    served.abort()
                await self._wait_empty(_CUT_S_MAX)

    @property
    def _closed(self) -> bool:
        return self._sock.fileno() < 0

    def _stop_accepting(self) -> None:
        self._loop.remove_reader(self._sock)
        self._sock.close()
        for descriptor in list(self._peeking):
            self._drop_peeking(descriptor)
        for task, greeter in self._adopting.items():
            if not greeter.connected:  # otherwise it has its transport, and is ended like all others
                task.cancel()
        for transport in list(self._greeting):
            transport.abort()

    async def _wait_empty(self, within_s: float) -> bool:
        self._emptied.clear()
        if not self._served:
            return True
        try:
            async with asyncio.timeout(within_s):
                await self._emptied.wait()
        except TimeoutError:
            return False
        return True

    # ---------------------------------------------------------------------------------------------- accept

    def _accept(self) -> None:
        for _ in range(_ACCEPTS_A_TURN_MAX):
            try:
                sock, _ = self._sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _OUT_OF_FILES:
                    raise
                self._pause_accepting(error)
                return
            sock.setblocking(False)
            if sock.family != socket.AF_UNIX:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is None:
                self._start(sock, None)
            else:
                self._peek(sock)

    def _pause_accepting(self, error: OSError) -> None:
        """Out of file descriptors: the client waits in the backlog; spinning would not help it."""
        self._log.error("cannot accept connections", error, pause_s=_ACCEPT_PAUSE_S)
        self._loop.remove_reader(self._sock)
        self._loop.call_later(_ACCEPT_PAUSE_S, self._resume_accepting)

    def _resume_accepting(self) -> None:
        if not self._closed:
            self._loop.add_reader(self._sock, self._accept)

    def _peek(self, sock: socket.socket) -> None:
        """Wait for the first byte and look at it, leaving it where it is."""
        late = self._loop.call_later(self._greeting_s_max, self._drop_peeking, sock.fileno())
        self._peeking[sock.fileno()] = (sock, late)
        self._loop.add_reader(sock, self._on_first_byte, sock, late)

    def _on_first_byte(self, sock: socket.socket, late: asyncio.TimerHandle) -> None:
        try:
            first = sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return
        except OSError:
            first = b""
        self._loop.remove_reader(sock)
        late.cancel()
        del self._peeking[sock.fileno()]
        is_tls = first[:1] == _TLS_HANDSHAKE
        context = self._tls.context if is_tls and self._tls is not None else None
        if not first or (context is None and (is_tls or not self._serves_plain)):
            sock.close()
        else:
            self._start(sock, context)

    def _drop_peeking(self, descriptor: int) -> None:
        sock, late = self._peeking.pop(descriptor)
        late.cancel()
        self._loop.remove_reader(sock)
        sock.close()

    def _start(self, sock: socket.socket, tls: ssl.SSLContext | None) -> None:
        greeter = _Greeter(self)
        task = self._loop.create_task(self._adopt(sock, tls, greeter))
        self._adopting[task] = greeter

        def adopted(_: asyncio.Task[None]) -> None:
            del self._adopting[task]
            if not greeter.connected:  # failed, or cancelled, perhaps before its first step
                sock.close()

        task.add_done_callback(adopted)

    async def _adopt(self, sock: socket.socket, tls: ssl.SSLContext | None, greeter: _Greeter) -> None:
        timeout_s = self._greeting_s_max if tls else None
        try:
            await self._loop.connect_accepted_socket(
                lambda: greeter, sock, ssl=tls, ssl_handshake_timeout=timeout_s
            )
        except (OSError, TimeoutError) as error:  # ssl.SSLError is an OSError
            self._log.info("connection ended before it began", why=str(error))

    # ------------------------------------------------------------------------------- for the greeter

    def greet(self, transport: asyncio.Transport) -> asyncio.TimerHandle:
        self._greeting.add(transport)
        if self._closed:
            transport.abort()
        return self._loop.call_later(self._greeting_s_max, transport.abort)

    def greeted(self, transport: asyncio.Transport) -> None:
        self._greeting.discard(transport)

    def choose(self, is_http2: bool) -> asyncio.Protocol | None:
        """The protocol for a connection, or None where this listener does not serve that kind."""
        if self._closed:
            return None
        served: Http2Protocol | Http1Protocol
        if is_http2 and self._grpc is not None:
            if self._is_full(self._grpc.stats.connections_open, self._grpc.limits.connections_max):
                return None
            served = Http2Protocol(self._grpc, self._forget)
        elif not is_http2 and self._http1 is not None:
            if self._is_full(self._http1.connections_open, self._http1.limits.connections_max):
                return None
            served = Http1Protocol(self._http1, self._forget)
        else:
            return None
        self._served.add(served)
        return served

    def _is_full(self, connections: int, connections_max: int) -> bool:
        full = connections >= connections_max
        if full:
            self._log.warning("too many connections", connections_max=connections_max)
        return full

    def _forget(self, served: Served) -> None:
        self._served.discard(served)
        if not self._served:
            self._emptied.set()


class _Greeter(asyncio.Protocol):
    """Has a new connection until its first bytes say who shall have it."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._transport: asyncio.Transport
        self._late: asyncio.TimerHandle
        self._seen = b""
        self.connected = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.connected = True
        self._transport = cast(asyncio.Transport, transport)
        self._late = self._listener.greet(self._transport)

    def data_received(self, data: bytes) -> None:
        self._seen += data
        if len(self._seen) < len(PREFACE) and PREFACE.startswith(self._seen):
            return
        self._end()
        protocol = self._listener.choose(self._seen.startswith(PREFACE))
        if protocol is None:
            if b" HTTP/1." in self._seen:
                self._transport.write(_NOT_THIS_WAY)
            self._transport.close()
            return
        self._transport.set_protocol(protocol)
        protocol.connection_made(self._transport)
        protocol.data_received(self._seen)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end()

    def _end(self) -> None:
        self._late.cancel()
        self._listener.greeted(self._transport)


def listen(
    address: Address,
    option: str,
    *,
    grpc: GrpcServer | None = None,
    http1: Http1Server | None = None,
    tls: ServerTls | None = None,
) -> Listener:
    """Bind ``address`` and serve; must be called on the running loop. ``option`` names the setting that moves the
    address, for the error's text. A connection of a kind that is not given here is closed. With ``tls``, clients
    may come with and without it; its ALPN is set here. Raises ``AtollError``: IN_USE, DENIED, INVALID.
    """
    if tls is not None:
        tls.offer((["h2"] if grpc else []) + (["http/1.1"] if http1 else []))
    sock = net.listen(address, option)
    return Listener(sock, grpc=grpc, http1=http1, tls=tls)


def listen_unix(
    path: Path, mode: int, *, grpc: GrpcServer | None = None, http1: Http1Server | None = None
) -> Listener:
    """The same at a Unix socket; ``mode`` says who may connect. Handlers are told the peer's uid and process."""
    sock = net.listen_unix(path, mode)
    return Listener(sock, grpc=grpc, http1=http1, tls=None, address=Address(f"{net.UNIX_SCHEME}{path}", 0))
