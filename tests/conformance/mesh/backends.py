"""Services for the mesh to route to: each answers with what it was asked, so that a test sees what arrived where.

Rule: nothing here is Atoll's: HTTP/1 by h11, HTTP/2 and gRPC by h2, the others by hand, so that a fault of the mesh's own
code cannot hide in the peer that should show it. One port of a backend speaks HTTP/1, HTTP/2 and gRPC (told apart by the
first bytes), the others one protocol each. Handlers run on the loop of one thread; ``seen`` may be read from any.

    with Backends() as backends:
        v1 = backends.add("v1")
        v1.behave = lambda seen: Reply(status=503)
        ...
        assert v1.seen[-1].path == "/reviews"
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import threading
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import uvloop

from tests.conformance.mesh import backend_http, backend_streams
from tests.conformance.mesh.backend_http import ECHO, Answer, Reply, Seen

T = TypeVar("T")
_WITHIN_S = 10.0

Connected = Callable[[asyncio.StreamReader, asyncio.StreamWriter, Answer], Awaitable[None]]
PROTOCOLS: Mapping[str, Connected] = {
    "tcp": backend_streams.lines,
    "redis": backend_streams.redis,
    "thrift": backend_streams.thrift,
    "dubbo": backend_streams.dubbo,
}

__all__ = ["Backend", "Backends", "Reply", "Seen"]


@dataclass
class Backend:
    """``port``: HTTP of any version. ``ports``: one for each of ``PROTOCOLS``. ``behave`` decides what a request gets;
    the default echoes it.
    """

    name: str
    port: int = 0
    ports: dict[str, int] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)
    behave: Callable[[Seen], Reply] = ECHO
    connections: int = 0  # that were ever opened

    def answer(self, seen: Seen) -> tuple[Reply, bytes]:
        """What ``seen`` gets, and the echo of it."""
        self.seen.append(seen)
        echo = {
            "backend": self.name,
            "protocol": seen.protocol,
            "method": seen.method,
            "authority": seen.authority,
            "path": seen.path,
            "headers": seen.headers,
            "body": seen.body.decode("utf-8", "replace"),
        }
        return self.behave(seen), json.dumps(echo).encode()

    def reset(self) -> None:
        """As it was when it was made, for the next test."""
        self.behave = ECHO
        self.seen.clear()


class Backends:
    """All backends of a test module, on one thread. Use as a context manager."""

    def __init__(self) -> None:
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="backends")
        self._loop: asyncio.AbstractEventLoop
        self._stop: asyncio.Event
        self._servers: dict[str, list[asyncio.Server]] = {}
        self._open: set[asyncio.Task[None]] = set()
        self.by_name: dict[str, Backend] = {}

    def __enter__(self) -> Backends:
        self._thread.start()
        assert self._ready.wait(_WITHIN_S), "the backends did not start"
        return self

    def __exit__(self, *exc: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(_WITHIN_S)
        assert not self._thread.is_alive(), "the backends did not stop"

    def __getitem__(self, name: str) -> Backend:
        return self.by_name[name]

    def add(self, name: str, secure: ssl.SSLContext | None = None) -> Backend:
        """A backend that listens on loopback, on ports of its own. ``secure``: of one more, ``tls``, which speaks lines."""
        return self._on_loop(self._add(name, secure))

    def add_https(self, name: str, certificate: Path, key: Path) -> Backend:
        """A backend that speaks HTTP of any version inside TLS."""
        secure = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        secure.load_cert_chain(certificate, key)
        return self._on_loop(self._add_https(name, secure))

    def at_path(self, name: str, path: Path) -> Backend:
        """A backend that listens at a Unix socket, for HTTP of any version."""
        return self._on_loop(self._add_at(name, path))

    def stop(self, name: str) -> None:
        """Refuse connections from now on, and cut those that are open."""
        self._on_loop(self._end(name))

    def reset(self) -> None:
        for backend in self.by_name.values():
            backend.reset()

    def seen_by(self) -> dict[str, int]:
        """How many requests each has seen."""
        return {name: len(backend.seen) for name, backend in self.by_name.items()}

    def _on_loop(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_WITHIN_S)

    async def _add(self, name: str, secure: ssl.SSLContext | None) -> Backend:
        backend = self.by_name[name] = Backend(name)
        self._servers[name] = []
        backend.port = await self._listen(backend, backend_http.serve)
        for protocol, connected in PROTOCOLS.items():
            backend.ports[protocol] = await self._listen(backend, connected)
        if secure is not None:
            backend.ports["tls"] = await self._listen(backend, backend_streams.lines, secure)
        return backend

    async def _add_https(self, name: str, secure: ssl.SSLContext) -> Backend:
        backend = self.by_name[name] = Backend(name)
        self._servers[name] = []
        backend.port = await self._listen(backend, backend_http.serve, secure)
        return backend

    async def _add_at(self, name: str, path: Path) -> Backend:
        backend = self.by_name[name] = Backend(name)
        begin = self._beginning(backend, backend_http.serve)
        self._servers[name] = [await asyncio.start_unix_server(begin, str(path))]
        return backend

    async def _listen(
        self, backend: Backend, connected: Connected, secure: ssl.SSLContext | None = None
    ) -> int:
        server = await asyncio.start_server(self._beginning(backend, connected), "127.0.0.1", 0, ssl=secure)
        self._servers[backend.name].append(server)
        port: int = server.sockets[0].getsockname()[1]
        return port

    def _beginning(self, backend: Backend, connected: Connected) -> Callable[[Any, Any], Awaitable[None]]:
        async def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            task.set_name(backend.name)
            self._open.add(task)
            backend.connections += 1
            try:
                with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                    await connected(reader, writer, backend.answer)
            except asyncio.CancelledError:
                writer.transport.abort()
            finally:
                self._open.discard(task)
                writer.close()

        return begin

    async def _end(self, name: str) -> None:
        for server in self._servers.pop(name, []):
            server.close()
        mine = [task for task in self._open if task.get_name() == name]
        for task in mine:
            task.cancel()
        await asyncio.gather(*mine, return_exceptions=True)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self._ready.set()
        await self._stop.wait()
        for name in list(self._servers):
            await self._end(name)
