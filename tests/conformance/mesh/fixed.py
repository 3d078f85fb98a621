"""One sidecar as it was compiled, without a control plane: everything stands in its bootstrap.

Rule: a test that changes nothing while it runs needs no control plane; what is compiled meets the real Envoy and real
requests all the same, in a second less.
"""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import json
import socket
import socketserver
import ssl
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from atoll.planes.mesh.model.snapshot import Snapshot
from atoll.planes.mesh.model.world import World
from atoll.planes.mesh.policy.compiler import Memo, compile, names
from atoll.resources.mesh.clients import Client
from tests.conformance.mesh import static_form
from tests.conformance.mesh.workloads import Authority, Identity, SecretService, spiffe
from tests.peers.envoy import Admin, Envoy
from tests.waiting import wait_until

WITHIN_S = 10.0
_SOON = ("--file-flush-interval-msec", "50")  # access logs
_TLS_ALERT = b"\x15\x03"


@dataclasses.dataclass(frozen=True)
class Got:
    """``status`` 0: the connection was closed, or no TLS came about."""

    status: int
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    body: str = ""

    @property
    def echo(self) -> dict[str, Any]:
        return dict(json.loads(self.body))


class Named(NamedTuple):
    """TLS to a server by this name."""

    context: ssl.SSLContext
    sni: str = "any.host"


@contextmanager
def sidecar(folder: Path, world: World, client: Client, secrets_path: str | None = None) -> Iterator[Admin]:
    with sidecars(folder, world, [client], secrets_path) as admin:
        yield admin


@contextmanager
def sidecars(
    folder: Path, world: World, clients: Sequence[Client], secrets_path: str | None = None
) -> Iterator[Admin]:
    """Several workloads in one Envoy, which have different ports but one identity: of the service at ``secrets_path``, or
    one that nobody knows. Their listeners of outbound HTTP are left out.
    """
    compiled = [compile(world, client, Memo()) for client in clients]
    assert [problem for each in compiled for problem in each.problems] == []
    every = [each.snapshot for each in compiled]
    listeners = {name: one for each in every for name, one in each.listeners.items()}
    listeners.pop(names.OUTBOUND_HTTP, None)
    snapshot = Snapshot(
        {name: one for each in every for name, one in each.clusters.items()},
        {name: one for each in every for name, one in each.endpoints.items()},
        listeners,
        {name: one for each in every for name, one in each.routes.items()},
    )
    with ExitStack() as opened:
        if secrets_path is None:
            authority = Authority()
            secrets_path = opened.enter_context(SecretService(authority, authority.issue(spiffe("any")))).path
        bootstrap = static_form.as_json(static_form.bootstrap(snapshot, secrets_path))
        envoy = Envoy(folder, bootstrap, *_SOON)
        opened.callback(envoy.stop)
        yield envoy.start().admin


def get(
    port: int,
    path: str = "/",
    headers: Mapping[str, str] | None = None,
    tls: ssl.SSLContext | Named | None = None,
    method: str = "GET",
) -> Got:
    """One request of HTTP/1.1 on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WITHIN_S)
    try:
        connection.connect()
        if tls is not None:
            context, sni = tls if isinstance(tls, Named) else Named(tls)
            connection.sock = context.wrap_socket(connection.sock, server_hostname=sni)
        connection.request(method, path, headers={"host": "any.host"} | dict(headers or {}))
        answer = connection.getresponse()
        fields = {name.lower(): value for name, value in answer.getheaders()}
        return Got(answer.status, fields, answer.read().decode())
    except (OSError, http.client.HTTPException) as error:
        return Got(0, body=repr(error))
    finally:
        connection.close()


def say(port: int, line: str, tls: ssl.SSLContext | None = None, sni: str = "any.host") -> str:
    """One line over a byte stream (empty: only listen); what comes back, empty: it was closed."""
    with ExitStack() as opened:
        try:
            stream = opened.enter_context(socket.create_connection(("127.0.0.1", port), WITHIN_S))
            if tls is not None:
                stream = opened.enter_context(tls.wrap_socket(stream, server_hostname=sni))
            if line:
                stream.sendall(line.encode() + b"\n")
            answer = opened.enter_context(stream.makefile("rb"))
            got = answer.readline()
            return "" if got.startswith(_TLS_ALERT) else got.decode().strip()
        except OSError:
            return ""


def log_lines(path: Path, count: int) -> list[dict[str, Any]]:
    """The access log, once it has ``count`` lines."""

    def read() -> list[dict[str, Any]] | None:
        text = path.read_text() if path.exists() else ""
        lines = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
        return lines if len(lines) >= count else None

    return wait_until(read, WITHIN_S, f"{count} lines in {path}")


def server_context(folder: Path, identity: Identity) -> ssl.SSLContext:
    """Of an application with a certificate of its own."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile(dir=folder, suffix=".pem") as file:
        file.write(identity.certificate + identity.key)
        file.flush()
        context.load_cert_chain(file.name)
    return context


@contextmanager
def application(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """The port of an application that does ``serve`` with each connection."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError):
                serve(self.request)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()
