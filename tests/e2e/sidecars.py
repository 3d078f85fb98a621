"""``atoll sidecar`` in a process of its own, with what its proxy is to serve, and an application that says what it saw.

Rule: the resources are written out here, not compiled: these tests are about the launcher. The application is a small HTTP
server that appends what happens to it to a file, one line each, with the time.
"""

from __future__ import annotations

import http.client
import os
import re
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.e2e.atoll import clean_environment
from tests.peers.ads import Ads, Resource
from tests.peers.envoy import Admin, UnixHttp
from tests.peers.ports import free_ports
from tests.peers.processes import Process
from tests.waiting import wait_until

WITHIN_S = 40.0
_TYPE = "type.googleapis.com/"
_HCM = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_ROUTER = "envoy.extensions.filters.http.router.v3.Router"

# argv: the file that takes its notes, the port, seconds before it listens. Paths: /slow/SECONDS answers so much later.
APPLICATION = """
import http.server, os, signal, socketserver, sys, threading, time
notes, port, delay_s = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
def note(text):
    with open(notes, "a") as file:
        file.write(f"{time.monotonic():.6f} {text}\\n")
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet, or the peer's delayed acknowledgement costs 40 ms a call
    def do_GET(self):
        if self.path.startswith("/slow/"):
            note("slow begins")
            time.sleep(float(self.path.rpartition("/")[2]))
            note("slow ends")
        if self.path == "/environment":
            body = "\\n".join(f"{k}={v}" for k, v in os.environ.items()).encode()
        else:
            body = b"from the application"
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *arguments):
        pass
class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    request_queue_size = 128
def told(number, frame):
    note(f"signal {number}")
    if number == signal.SIGTERM:
        note("ends")
        os._exit(int(os.environ.get("EXIT_CODE", "0")))
for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP):
    signal.signal(number, told)
note(f"starts {os.getpid()} {os.getuid()}")
time.sleep(delay_s)
server = Server(("127.0.0.1", port), Handler)
note("listens")
server.serve_forever()
"""


def inbound_listener(port: int, *, host: str = "127.0.0.1") -> Resource:
    """A listener for callers that sends everything to the application's cluster ``inbound|PORT||``."""
    routes = [{"match": {"prefix": "/"}, "route": {"cluster": f"inbound|{port}||", "timeout": "60s"}}]
    return _listener(f"inbound_{port}", _address(host, port), routes, "INBOUND")


def outbound_listener(address: Resource, cluster: str) -> Resource:
    routes = [{"match": {"prefix": "/"}, "route": {"cluster": cluster, "timeout": "60s"}}]
    return _listener("outbound_http", address, routes, "OUTBOUND")


def cluster(name: str, host: str, port: int) -> Resource:
    endpoints = [{"endpoint": {"address": _address(host, port)}}]
    return {
        "@type": f"{_TYPE}envoy.config.cluster.v3.Cluster",
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
    }


def _listener(name: str, address: Resource, routes: list[Any], direction: str) -> Resource:
    manager = {
        "@type": _TYPE + _HCM,
        "stat_prefix": name,
        "http_filters": [{"name": "router", "typed_config": {"@type": _TYPE + _ROUTER}}],
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
    }
    return {
        "@type": f"{_TYPE}envoy.config.listener.v3.Listener",
        "name": name,
        "address": address,
        "traffic_direction": direction,
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }


def _address(host: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}


class Sidecar:
    """``atoll sidecar`` before the application above. ``options`` go before ``--``."""

    def __init__(
        self,
        folder: Path,
        ads: Ads,
        *options: str,
        delay_s: float = 0.0,
        program: Sequence[str] = (),
    ) -> None:
        self.port, self.app_port = free_ports(2)
        self.notes = folder / "notes"
        self.runtime = Path(tempfile.mkdtemp(prefix="sc-"))
        application = [sys.executable, "-c", APPLICATION, str(self.notes), str(self.app_port), str(delay_s)]
        line = [sys.executable, "-m", "atoll", "sidecar", "--service", "shop"]
        line += ["--port", f"{self.port}:{self.app_port}", "--xds", f"127.0.0.1:{ads.port}", "--sotw"]
        line += ["--insecure-xds", "--runtime", str(self.runtime), "--envoy-threads", "1", *options]
        if "--url" not in options:
            line.append("--no-register")
        self.process = Process(
            [*line, "--", *(program or application)],
            folder / "sidecar.log",
            env=clean_environment(),
        )
        self.admin = Admin(self.runtime / "admin.sock")

    def resources(self) -> list[Resource]:
        return [inbound_listener(self.port), cluster(f"inbound|{self.port}||", "127.0.0.1", self.app_port)]

    def log(self) -> str:
        return self.process.log.read_text() if self.process.log.exists() else ""

    def phases(self) -> list[str]:
        return re.findall(
            r"sidecar   (warming|starting|serving|leaving|draining|stopping|closing|done) ", self.log()
        )

    def wait_phase(self, phase: str) -> None:
        wait_until(
            lambda: phase in self.phases() or not self.process.running, WITHIN_S, f"{phase}: {self.log()}"
        )
        if not self.process.running and phase not in self.phases():
            raise AssertionError(f"ended with {self.process.returncode}: {self.log()}")

    def wait_log(self, pattern: str, count: int = 1) -> None:
        wait_until(
            lambda: len(re.findall(pattern, self.log())) >= count, WITHIN_S, f"{pattern}: {self.log()}"
        )

    def noted(self) -> list[str]:
        """What the application noted, without the times."""
        return (
            [line.partition(" ")[2] for line in self.notes.read_text().splitlines()]
            if self.notes.exists()
            else []
        )

    def proxy_pids(self) -> list[int]:
        return [int(pid) for pid in re.findall(r"proxy started .*?pid=(\d+)", self.log())]

    def app_pid(self) -> int:
        return int(re.findall(r"application started .*?pid=(\d+)", self.log())[-1])

    def get(self, path: str = "/", within_s: float = 10.0) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=within_s)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.process.pid, number)

    def end(self) -> None:
        self.process.kill()


class Load:
    """Requests without a pause over ``connections`` kept-alive connections, until ``stop``. A request that a server closed
    the idle connection on before it answered anything is sent again on a new one, as every HTTP client does for a GET.
    """

    def __init__(
        self, port: int = 0, path: str = "/", connections: int = 4, socket_path: str = "", host: str = "shop"
    ) -> None:
        self.answers: dict[int, int] = {}
        self.errors: list[str] = []
        self._port, self._path, self._socket_path, self._host = port, path, socket_path, host
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run) for _ in range(connections)]

    def __enter__(self) -> Load:
        for each in self._threads:
            each.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._stop.set()
        for each in self._threads:
            each.join()

    @property
    def total(self) -> int:
        return sum(self.answers.values()) + len(self.errors)

    @property
    def failed(self) -> list[str]:
        """Whatever was not a 200."""
        wrong = [f"{count} times {status}" for status, count in self.answers.items() if status != 200]
        return [*self.errors, *wrong]

    def _run(self) -> None:
        connection, used = self._connect(), 0
        while not self._stop.is_set():
            try:
                keep = self._ask(connection)
                used += 1
            except (OSError, http.client.HTTPException) as error:
                gone = isinstance(error, ConnectionError)  # RemoteDisconnected is one
                if not (gone and used):
                    self._failed(error)
                keep = False
            if not keep:
                connection.close()
                connection, used = self._connect(), 0
        connection.close()

    def _ask(self, connection: http.client.HTTPConnection) -> bool:
        """Whether the connection may be used again."""
        connection.request("GET", self._path, headers={"host": self._host})
        answer = connection.getresponse()
        answer.read()
        with self._lock:
            self.answers[answer.status] = self.answers.get(answer.status, 0) + 1
        return not answer.will_close

    def _failed(self, error: Exception) -> None:
        with self._lock:
            self.errors.append(f"{time.monotonic():.3f} {error!r}")

    def _connect(self) -> http.client.HTTPConnection:
        if self._socket_path:
            return UnixHttp(self._socket_path)
        return http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
