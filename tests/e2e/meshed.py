"""A small mesh of processes: one node, and ``atoll sidecar`` before applications that answer with what they are.

Rule: everything is what a user starts; the node's policies come from documents that a test applies. An application answers
its own name and its version, so that a test sees who served it; ``/slow/SECONDS`` as in ``tests.e2e.sidecars``.
"""

from __future__ import annotations

import http.client
import os
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.e2e.atoll import Node, clean_environment
from tests.e2e.sidecars import APPLICATION
from tests.peers.envoy import Admin, UnixHttp
from tests.peers.ports import free_ports
from tests.peers.processes import Process
from tests.waiting import wait_until

WITHIN_S = 40.0


class Answer(NamedTuple):
    status: int
    text: str
    headers: dict[str, str]


class Workload:
    """One ``atoll sidecar`` with its application. ``options`` go before ``--``."""

    def __init__(self, mesh: Mesh, service: str, *options: str) -> None:
        self.service = service
        self.port, self.app_port, self.http_port = free_ports(3)
        self.runtime = Path(tempfile.mkdtemp(prefix="sc-"))
        self.notes = mesh.folder / f"{self.runtime.name}.notes"
        self.admin = Admin(self.runtime / "admin.sock")
        application = [sys.executable, "-c", APPLICATION, str(self.notes), str(self.app_port), "0"]
        line = [sys.executable, "-m", "atoll", "sidecar", "--service", service, *mesh.where, "--runtime"]
        line += [str(self.runtime), "--envoy-threads", "1", *options]
        if "--port" not in options and "--no-register" not in options:
            line += ["--port", f"{self.port}:{self.app_port}"]
        if "--capture" not in options:
            line += ["--http-port", str(self.http_port)]
        log = mesh.folder / f"{self.runtime.name}.log"
        self.process = Process([*line, "--", *application], log, env=clean_environment())

    def start(self) -> Workload:
        self.process.start()
        return self

    def log(self) -> str:
        return self.process.log.read_text() if self.process.log.exists() else ""

    def wait_log(self, pattern: str, count: int = 1, within_s: float = WITHIN_S) -> None:
        def found() -> bool:
            return len(re.findall(pattern, self.log())) >= count or not self.process.running

        wait_until(found, within_s, f"{pattern} {count} times: {self.process.log}")
        if len(re.findall(pattern, self.log())) < count:
            raise AssertionError(f"ended with {self.process.returncode}: {self.log()}")

    def noted(self) -> list[str]:
        """What the application noted, without the times."""
        lines = self.notes.read_text().splitlines() if self.notes.exists() else []
        return [line.partition(" ")[2] for line in lines]

    def proxy_pids(self) -> list[int]:
        return [int(pid) for pid in re.findall(r"proxy started .*?pid=(\d+)", self.log())]

    def call(self, host: str, path: str = "/", within_s: float = 20.0) -> Answer:
        """An HTTP request of its application to a service of the mesh, through its proxy."""
        socket = self.runtime / "http.sock"
        connection = (
            UnixHttp(socket, within_s)
            if socket.exists()
            else http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=within_s)
        )
        try:
            connection.request("GET", path, headers={"host": host})
            answer = connection.getresponse()
            return Answer(answer.status, answer.read().decode(), dict(answer.getheaders()))
        finally:
            connection.close()

    def calls(self, host: str, path: str = "/") -> bool:
        """Whether a call is answered by 200."""
        try:
            return self.call(host, path).status == 200
        except (OSError, http.client.HTTPException):
            return False

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.process.pid, number)

    def end(self) -> None:
        self.process.kill()
        shutil.rmtree(self.runtime, ignore_errors=True)


class Mesh:
    """``node`` serves; workloads end with it."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.folder = folder
        self.node = Node(folder, *arguments)
        self.workloads: list[Workload] = []

    @property
    def xds(self) -> str:
        found = re.search(r"xDS\s+(\S+)", self.node.text())
        assert found is not None, self.node.text()
        return found[1]

    @property
    def where(self) -> list[str]:
        """The options by which a sidecar finds the node."""
        return ["--xds", self.xds, "--url", self.node.api, "--data", str(self.node.data)]

    def begin(self, service: str, *options: str) -> Workload:
        one = Workload(self, service, *options)
        self.workloads.append(one)
        return one.start()

    def start(self, service: str, *options: str) -> Workload:
        """Returns when it serves and is registered."""
        one = self.begin(service, *options)
        one.wait_log("  registered|  serving" if "--no-register" in options else "  registered")
        return one

    def instances(self, service: str) -> str:
        return self.node.run("instance", "list", service).stdout

    def apply(self, text: str) -> None:
        """Policy documents (YAML)."""
        file = self.folder / "documents.yaml"
        file.write_text(text)
        done = self.node.run("apply", "-f", str(file))
        assert done.returncode == 0, done.stderr

    def renew_certificates(self) -> None:
        """Let every workload renew its certificate now."""
        connection = UnixHttp(self.node.data / "mesh.sock")
        try:
            connection.request("POST", "/v1/mesh/authority/renew", headers={"host": "localhost"})
            answer = connection.getresponse()
            assert answer.status == 200, answer.read()
        finally:
            connection.close()


@contextmanager
def mesh(folder: Path, *arguments: str) -> Iterator[Mesh]:
    """A mesh for the length of a block."""
    made = Mesh(folder, *arguments)
    made.node.start()
    try:
        yield made
    finally:
        for one in made.workloads:
            one.end()
        made.node.process.kill()
