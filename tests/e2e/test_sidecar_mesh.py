"""``atoll sidecar`` with a real node: identity, registration, policies, each way of capture."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from atoll.cli.main import EXIT_CODES
from atoll.errors import Code
from tests.e2e.atoll import run
from tests.e2e.meshed import WITHIN_S, Mesh, Workload, mesh
from tests.e2e.sidecars import Load
from tests.peers import envoy
from tests.peers.ports import free_ports
from tests.waiting import wait_until

pytestmark = pytest.mark.peers


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    with mesh(tmp_path_factory.mktemp("mesh")) as made:
        yield made


@pytest.fixture(scope="module")
def shop(running: Mesh) -> Workload:
    """Who calls the others."""
    return running.start("shop")


@pytest.mark.parametrize("form", [[], ["--sotw"]], ids=["incremental", "state of the world"])
def test_a_service_is_called_by_its_name_with_the_meshs_tls(
    running: Mesh, shop: Workload, form: list[str]
) -> None:
    reviews = running.start("reviews", "--version", "v1", *form)
    wait_until(lambda: shop.calls("reviews"), WITHIN_S, "reviews to be called")
    assert shop.call("reviews.default.svc.cluster.local").text == "from the application"
    reviews.wait_log("spiffe://cluster.local/ns/default/sa/shop")
    reviews.process.terminate()
    assert reviews.process.wait() == 0


def test_who_is_registered_comes_and_goes_in_order(running: Mesh, shop: Workload) -> None:
    """Under load: callers meet no instance that cannot answer, on its way in and on its way out."""
    first = running.start("stock")
    wait_until(lambda: shop.calls("stock"), WITHIN_S, "stock to be called")
    with Load(shop.http_port, host="stock") as load:
        second = running.start("stock")
        wait_until(lambda: first.port and str(second.port) in running.instances("stock"), WITHIN_S, "two")
        seen = load.total
        wait_until(lambda: load.total > seen + 100, WITHIN_S, "load on both")
        first.process.terminate()
        assert first.process.wait() == 0
        assert str(first.port) not in running.instances("stock")
        seen = load.total
        wait_until(lambda: load.total > seen + 100, WITHIN_S, "load on the second")
    assert load.failed == []
    second.process.terminate()
    assert second.process.wait() == 0


def test_an_instance_whose_proxy_stays_away_leaves_the_registry(running: Mesh, tmp_path: Path) -> None:
    """Its Envoy cannot be started any more; the application goes on, nobody is sent to it."""
    binary = tmp_path / "envoy"
    binary.symlink_to(envoy.program())
    one = running.start("orders", "--envoy", str(binary))
    assert str(one.port) in running.instances("orders")
    binary.unlink()
    os.kill(one.proxy_pids()[-1], signal.SIGKILL)
    one.wait_log("  deregistered")
    assert str(one.port) not in running.instances("orders") and "ends" not in one.noted()
    binary.symlink_to(envoy.program())
    one.wait_log("  registered", 2)
    assert str(one.port) in running.instances("orders")


def test_a_sidecar_elsewhere_comes_in_by_a_join_token_that_is_good_once(
    running: Mesh, shop: Workload, tmp_path: Path
) -> None:
    """It has no socket of a node. Whoever shows the token again gets nothing, and its application never starts."""
    made = run("mesh", "token", "joined", "--url", f"unix:{running.node.data / 'mesh.sock'}")
    assert made.returncode == 0, made.stderr
    token = tmp_path / "token"
    token.write_text(made.stdout)
    nowhere = ["--enrol-at", str(tmp_path / "nowhere")]
    one = running.start("joined", "--join", str(token), *nowhere)
    wait_until(lambda: shop.calls("joined"), WITHIN_S, "it to be called")
    again = running.begin("joined", "--join", str(token), *nowhere)
    assert again.process.wait(WITHIN_S) == EXIT_CODES[Code.DENIED], again.log()
    assert again.noted() == [] and one.process.running


def test_everything_by_unix_sockets(running: Mesh, shop: Workload) -> None:
    """The application listens and calls at sockets of the runtime folder alone."""
    application = (
        "import http.server, os, socketserver\n"
        "class Handler(http.server.BaseHTTPRequestHandler):\n"
        "    def do_GET(self):\n"
        "        self.send_response(200); self.end_headers(); self.wfile.write(b'by a socket')\n"
        "    def address_string(self):\n"
        "        return 'unix'\n"
        "class Server(socketserver.UnixStreamServer):\n"
        "    pass\n"
        "Server(os.environ['ATOLL_APP_SOCKET'], Handler).serve_forever()\n"
    )
    one = Workload(
        running, "sockets", "--capture", "unix", "--hand-over", "3", "--port", str(free_ports(1)[0])
    )
    one.process.argv[one.process.argv.index("--") + 1 :] = [sys.executable, "-c", application]
    running.workloads.append(one)
    one.start().wait_log("  registered")
    wait_until(lambda: shop.calls("sockets"), WITHIN_S, "it to be called")
    assert shop.call("sockets").text == "by a socket"
    wait_until(lambda: one.calls("shop"), WITHIN_S, "its way out")
    assert one.call("shop").text == "from the application"
    way_out = str(one.runtime / "http.sock")
    with Load(shop.http_port, host="sockets") as inward, Load(0, "/", 2, way_out, "shop") as outward:
        upgraded(one, lambda: min(inward.total, outward.total))
    assert inward.failed == [] and outward.failed == []


def test_a_long_tcp_connection_outlives_an_upgrade_of_both_proxies(running: Mesh) -> None:
    """For as long as they hand over; new connections go through the new ones at once."""
    port, app_port, local = free_ports(3)
    echo = Workload(running, "echo", "--hand-over", "30", "--port", f"{port}:{app_port}/tcp")
    echo.process.argv[echo.process.argv.index("--") + 1 :] = [sys.executable, "-c", ECHO, str(app_port)]
    running.workloads.append(echo)
    echo.start().wait_log("  registered")
    caller = running.start("caller", "--hand-over", "30", "--no-register", "--out", f"echo:{port}={local}")
    wait_until(lambda: _echoes(local), WITHIN_S, "the echo to be reached")
    with socket.create_connection(("127.0.0.1", local), 10) as long, long.makefile("rwb", 0) as line:
        for count, one in enumerate((echo, caller)):
            line.write(b"before %d\n" % count)
            assert line.readline() == b"before %d\n" % count
            one.signal(signal.SIGHUP)
            one.wait_log("proxy ready", 2)
            line.write(b"after %d\n" % count)
            assert line.readline() == b"after %d\n" % count
            assert _echoes(local)
    for one in (caller, echo):
        one.process.terminate()
        assert one.process.wait() is not None


ECHO = """
import socketserver, sys
class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        while line := self.rfile.readline():
            self.wfile.write(line)
class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True
Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def _echoes(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 5) as one, one.makefile("rwb", 0) as line:
            line.write(b"hello\n")
            return bool(line.readline() == b"hello\n")
    except OSError:
        return False


def upgraded(one: Workload, total: Callable[[], int]) -> None:
    """Let ``one`` run a new Envoy, and so many requests before it, beside it and after it."""
    for count, step in enumerate(("proxy started", "proxy ready", "proxy ended")):
        seen = total()
        if not count:
            wait_until(lambda: total() > 50, WITHIN_S, "requests before")
            one.signal(signal.SIGHUP)
        one.wait_log(step, 1 if step == "proxy ended" else 2)
        wait_until(lambda seen=seen: total() > seen + 50, WITHIN_S, f"requests after {step}")  # type: ignore[misc]
