"""Interception by iptables, in network namespaces that the test makes: the application knows nothing of its sidecar.

Everything of the mesh runs in the namespace ``inside``; ``outside`` has a server that no registry knows of as anything but
an address, and a caller. The application is a user of its own, listens where it always did and dials what it always dialled.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.e2e.atoll import Node, clean_environment
from tests.e2e.sidecars import APPLICATION
from tests.peers.envoy import Admin
from tests.peers.network import Network, network
from tests.peers.processes import Process
from tests.waiting import wait_until

pytestmark = pytest.mark.peers

WITHIN_S = 40.0
APP_UID = 61_234
PYTHON = shutil.which("python3", path="/usr/bin:/bin") or "python3"  # one that every user may run
PORT, BACKEND_PORT = 8080, 8090
ASK = """
import sys, urllib.request
request = urllib.request.Request(sys.argv[1], headers={"host": sys.argv[2]})
with urllib.request.urlopen(request, timeout=10) as answer:
    print(answer.status, answer.read().decode(), answer.headers.get("x-envoy-upstream-service-time", "direct"))
"""


ASK_ON = """
import os, sys, urllib.request
request = urllib.request.Request(sys.argv[1], headers={"host": sys.argv[2]})
count, failed = 0, []
while not os.path.exists(sys.argv[3]):
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            answer.read()
            count += 1
    except OSError as error:
        failed.append(repr(error))
print(count, " ".join(failed[:5]))
"""


class Captured(NamedTuple):
    net: Network
    sidecar: Process
    runtime: Path
    folder: Path

    def ask(self, place: str, url: str, host: str, uid: int = 0) -> str:
        """What a client in the namespace ``place`` gets, as the user ``uid``; or why it gets nothing."""
        user = ["setpriv", "--reuid", str(uid), "--clear-groups"] if uid else []
        line = ["ip", "netns", "exec", self.net.namespace(place), *user, PYTHON, "-c", ASK, url, host]
        done = subprocess.run(line, capture_output=True, text=True, timeout=30)
        return done.stdout.strip() or done.stderr.strip().rpartition("\n")[2]

    def load(self, place: str, url: str, host: str, ended: Path, uid: int = 0) -> subprocess.Popen[str]:
        """Requests, one after the other, until the file ``ended`` is there; then it prints how many, and what failed."""
        user = ["setpriv", "--reuid", str(uid), "--clear-groups"] if uid else []
        line = ["ip", "netns", "exec", self.net.namespace(place), *user, PYTHON, "-c", ASK_ON, url, host]
        return subprocess.Popen([*line, str(ended)], stdout=subprocess.PIPE, text=True)

    def log(self) -> str:
        return self.sidecar.log.read_text()

    def rules(self) -> str:
        line = ["ip", "netns", "exec", self.net.namespace("inside"), "iptables-save", "-t", "nat"]
        return subprocess.run(line, capture_output=True, text=True, timeout=30, check=True).stdout


@pytest.fixture
def captured(tmp_path: Path) -> Iterator[Captured]:
    """A sidecar that serves. ``tmp_path`` and what is in it can be read by the application's user."""
    shared = Path(tempfile.mkdtemp(prefix="cap-"))
    shared.chmod(0o777)
    runtime = shared / "run"
    with network(["inside", "outside"]) as net:
        inside = net.namespace("inside")
        node = Node(tmp_path, namespace=inside)
        backend = _application(tmp_path / "backend", shared, BACKEND_PORT, net.address("outside"))
        server = Process(backend, tmp_path / "backend.log", namespace=net.namespace("outside"))
        sidecar = Process(_sidecar(node, runtime, shared), tmp_path / "sidecar.log", namespace=inside)
        sidecar.env |= clean_environment()
        try:
            server.start()
            node.start()
            _register(node, inside, net.address("outside"))
            _complete(sidecar, node, net.address("inside"))
            sidecar.start()
            made = Captured(net, sidecar, runtime, tmp_path)
            wait_until(lambda: "  registered" in made.log(), WITHIN_S, f"it to serve: {sidecar.log}")
            yield made
        finally:
            for each in (sidecar, node.process, server):
                each.kill()
            shutil.rmtree(shared)


def test_what_callers_and_the_application_dial_goes_through_the_sidecar(captured: Captured) -> None:
    inside, outside = captured.net.address("inside"), captured.net.address("outside")
    admin = Admin(captured.runtime / "admin.sock")
    # inbound: a caller that knows only the application's own port
    assert captured.ask("outside", f"http://{inside}:{PORT}/", "shop").startswith("200 from the application")
    admin.wait(lambda admin: _sum(admin, r"^cluster\.inbound.*upstream_rq_total$") == 1, "it counted inbound")
    # outbound: the application's user dials the service's address as ever
    url = f"http://{outside}:{BACKEND_PORT}/"
    wait_until(
        lambda: captured.ask("inside", url, "backend", APP_UID).startswith("200"), WITHIN_S, "the way out"
    )
    assert _sum(admin, r"^cluster\.outbound.*backend.*upstream_rq_total$") >= 1
    # another user of the namespace is not led anywhere
    before = _sum(admin, r"^cluster\.outbound.*upstream_rq_total$")
    assert captured.ask("inside", url, "backend") == "200 from the application direct"
    assert _sum(admin, r"^cluster\.outbound.*upstream_rq_total$") == before


def test_an_upgrade_of_envoy_loses_nothing_of_what_is_captured(captured: Captured) -> None:
    inside, outside = captured.net.address("inside"), captured.net.address("outside")
    url = f"http://{outside}:{BACKEND_PORT}/"
    wait_until(
        lambda: captured.ask("inside", url, "backend", APP_UID).startswith("200"), WITHIN_S, "the way out"
    )
    ended = captured.runtime.parent / "ended"  # a place that its user may look at
    loads = [
        captured.load("outside", f"http://{inside}:{PORT}/", "shop", ended),
        captured.load("inside", url, "backend", ended, APP_UID),
    ]
    os.kill(captured.sidecar.pid, signal.SIGHUP)
    wait_until(lambda: "proxy ended" in captured.log(), WITHIN_S, "the old proxy to be gone")
    ended.touch()
    for each in loads:
        told = each.communicate(timeout=30)[0].strip()
        count, _, failed = told.partition(" ")
        assert int(count) > 50 and failed == "", told


def test_the_rules_are_gone_with_the_sidecar(captured: Captured) -> None:
    assert "ATOLL_IN" in captured.rules() and "ATOLL_OUT" in captured.rules()
    captured.sidecar.terminate()
    assert captured.sidecar.wait() == 0
    assert "ATOLL" not in captured.rules()


def test_what_a_killed_sidecar_left_is_removed_by_the_next(captured: Captured) -> None:
    captured.sidecar.kill()
    assert "ATOLL_OUT" in captured.rules()
    before = captured.log().count("  registered")
    captured.sidecar.start()
    wait_until(lambda: captured.log().count("  registered") > before, WITHIN_S, "the next one to serve")
    assert captured.rules().count("-j ATOLL_OUT") == 1
    inside = captured.net.address("inside")
    assert captured.ask("outside", f"http://{inside}:{PORT}/", "shop").startswith("200 from the application")


def _application(notes: Path, shared: Path, port: int, host: str) -> list[str]:
    program = shared / f"application-{port}.py"
    program.write_text(APPLICATION.replace('"127.0.0.1"', repr(host)))
    return [PYTHON, str(program), str(notes), str(port), "0"]


def _sidecar(node: Node, runtime: Path, shared: Path) -> list[str]:
    line = [sys.executable, "-m", "atoll", "sidecar", "--service", "shop", "--port", str(PORT)]
    line += ["--capture", "redirect", "--uid-app", str(APP_UID), "--data", str(node.data)]
    line += ["--runtime", str(runtime), "--envoy-threads", "1", "--address", "0.0.0.0"]
    line += ["--hand-over", "4"]
    return [*line, "--", *_application(shared / "notes", shared, PORT, "127.0.0.1")]


def _complete(sidecar: Process, node: Node, address: str) -> None:
    """What is known only once the node is up goes before the application."""
    found = next(line for line in node.text().splitlines() if line.strip().startswith("xDS")).split()[1]
    at = sidecar.argv.index("--uid-app")
    sidecar.argv[at:at] = ["--xds", found, "--url", node.api, "--advertise", address]


def _register(node: Node, namespace: str, address: str) -> None:
    line = [
        "ip",
        "netns",
        "exec",
        namespace,
        sys.executable,
        "-m",
        "atoll",
        "instance",
        "register",
        "backend",
    ]
    line += [f"{address}:{BACKEND_PORT}", "--url", node.api, "--metadata", f"mesh.ports={BACKEND_PORT}:http"]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60, env=clean_environment())
    assert done.returncode == 0, done.stderr


def _sum(admin: Admin, pattern: str) -> int:
    return sum(admin.stats(pattern.replace("^", "%5E").replace("$", "%24").replace("\\", "%5C")).values())
