"""What the mesh's conformance tests stand on: clients by class that make real requests, behind one interface.

Rule: a test says what it asks and what must come back, not how its client is made; a client of every class takes the same
``Request`` and gives the same ``Answer``. ``Answer.status`` is HTTP's for an Envoy asked over HTTP and gRPC's otherwise.

    envoy = EnvoyCaller(folder, plane.xds_port, client, delta=True)     # the application behind its sidecar
    grpc = GrpcCaller(folder, plane.xds_port, client)                  # the application is the client
    grpc.ask(Request("reviews:9080", metadata), count=100)
"""

from __future__ import annotations

import dataclasses
import enum
import http.client
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

from atoll.host.sidecar import bootstrap
from atoll.resources.mesh import proxyless
from tests.peers import envoy
from tests.peers.envoy import Envoy

ECHO_METHOD = "/atoll.test.Echo/Say"
_APP = Path(__file__).with_name("grpc_app.py")
_PARALLEL = 4


class ClientClass(enum.StrEnum):
    """The columns of the matrix."""

    ENVOY_SOTW = "Envoy, state of the world"
    ENVOY_DELTA = "Envoy, delta"
    GRPCIO = "grpcio"


@dataclasses.dataclass(frozen=True)
class Request:
    """``host``: as the application names the service, with its port for gRPC. ``path``: of HTTP, or gRPC's method."""

    host: str
    path: str = ECHO_METHOD
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    method: str = "GET"
    body: str = ""
    within_s: float = 5.0


@dataclasses.dataclass(frozen=True)
class Answer:
    """``status``: 0 or 200 for well, -1 for no answer at all. ``echo``: what the backend said that it was asked."""

    status: int
    backend: str = ""
    echo: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    took_s: float = 0.0
    text: str = ""

    @property
    def ok(self) -> bool:
        return self.status in (0, 200)


class Caller(Protocol):
    """One application with its way into the mesh."""

    def ask(self, request: Request, count: int = 1, parallel: int = 1) -> list[Answer]:
        """``count`` times the same."""

    def close(self) -> None:
        """End whatever was started for it."""


def backends_of(answers: Iterable[Answer]) -> Counter[str]:
    """How many each backend answered; what failed counts under its status."""
    return Counter(each.backend if each.ok else f"status {each.status}" for each in answers)


class GrpcProgram:
    """``grpc_app.py`` as a process. ``bootstrap`` None: it knows no control plane."""

    def __init__(
        self, bootstrap: Mapping[str, Any] | None = None, env: Mapping[str, str] | None = None
    ) -> None:
        told = {} if bootstrap is None else {"GRPC_XDS_BOOTSTRAP_CONFIG": json.dumps(bootstrap)}
        self._process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", sys.executable, str(_APP)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **told, **(env or {})},
        )

    def do(self, what: str, **details: Any) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": what, **details}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, f"the gRPC application ended with {self._process.wait()} when it was asked to {what}"
        return dict(json.loads(line))

    def call(self, target: str, request: Request, **details: Any) -> list[Answer]:
        asked = {
            "target": target,
            "method": request.path,
            "metadata": list(request.headers.items()),
            "message": request.body,
            "within_s": request.within_s,
        }
        return [_answer_of_grpc(each) for each in self.do("call", **asked, **details)["answers"]]

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


def _answer_of_grpc(said: Mapping[str, Any]) -> Answer:
    echo = said.get("echo", {})
    text = said.get("text") or ""
    return Answer(said["code"], echo.get("backend", ""), echo, said["headers"], said["took_s"], text)


def grpc_bootstrap(xds_port: int, node: Mapping[str, Any]) -> dict[str, Any]:
    """Of a client on this machine that trusts its control plane as it is."""
    server = {
        "server_uri": f"127.0.0.1:{xds_port}",
        "channel_creds": [{"type": "insecure"}],
        "server_features": ["xds_v3"],
    }
    return {
        "xds_servers": [server],
        "node": dict(node),
        "server_listener_resource_name_template": proxyless.SERVER,
    }


class GrpcCaller:
    """A proxyless gRPC application."""

    def __init__(self, bootstrap: Mapping[str, Any], *, secure: bool = False) -> None:
        self.program = GrpcProgram(bootstrap)
        self._secure = secure

    def ask(self, request: Request, count: int = 1, parallel: int = 1) -> list[Answer]:
        target = f"xds:///{request.host}"
        return self.program.call(target, request, count=count, parallel=parallel, secure=self._secure)

    def close(self) -> None:
        self.program.close()


class EnvoyCaller:
    """An application beside an Envoy that listens for its outbound HTTP at ``http_port``. ``ask`` speaks HTTP/1,
    ``ask_grpc`` gRPC, through the same listener.
    """

    def __init__(self, folder: Path, bootstrap: Mapping[str, Any], http_port: int, *arguments: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.envoy = Envoy(folder, bootstrap, *arguments)
        self.http_port = http_port
        self._program: GrpcProgram | None = None
        try:
            self.envoy.start()
        except AssertionError:
            self.envoy.stop()
            raise

    def ask(self, request: Request, count: int = 1, parallel: int = 1) -> list[Answer]:
        if parallel == 1:
            return http_requests("127.0.0.1", self.http_port, request, count)
        with ThreadPoolExecutor(parallel) as pool:
            one = [pool.submit(http_requests, "127.0.0.1", self.http_port, request, 1) for _ in range(count)]
            return [answer for each in one for answer in each.result()]

    def ask_grpc(self, request: Request, count: int = 1, parallel: int = 1) -> list[Answer]:
        self._program = self._program or GrpcProgram()
        details = {"authority": request.host, "count": count, "parallel": parallel}
        return self._program.call(f"127.0.0.1:{self.http_port}", request, **details)

    def close(self) -> None:
        if self._program is not None:
            self._program.close()
        self.envoy.stop()


def http_requests(address: str, port: int, request: Request, count: int) -> list[Answer]:
    """``count`` requests on one connection where the server lets it be."""
    connection = http.client.HTTPConnection(address, port, timeout=request.within_s)
    try:
        return [_one_http(connection, request) for _ in range(count)]
    finally:
        connection.close()


def _one_http(connection: http.client.HTTPConnection, request: Request) -> Answer:
    headers = {"host": request.host} | dict(request.headers)
    began_s = time.monotonic()
    try:
        connection.request(request.method, request.path, request.body or None, headers)
        got = connection.getresponse()
        content = got.read()
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        return Answer(-1, took_s=time.monotonic() - began_s, text=repr(error))
    took_s = time.monotonic() - began_s
    fields = {name.lower(): value for name, value in got.getheaders()}
    echo = _echo(content) if fields.get("content-type") == "application/json" else {}
    return Answer(got.status, echo.get("backend", ""), echo, fields, took_s, "" if echo else content.decode())


def _echo(content: bytes) -> dict[str, Any]:
    return dict(json.loads(content)) if content else {}


def envoy_bootstrap(xds_port: int, node: Mapping[str, Any], client: ClientClass) -> dict[str, Any]:
    """With the statistics' labels of a real sidecar."""
    told = envoy.ads_bootstrap(node, xds_port, delta=client is ClientClass.ENVOY_DELTA)
    return {**told, "stats_config": bootstrap.STATS}


def close_all(callers: Sequence[Caller]) -> None:
    for each in callers:
        each.close()
