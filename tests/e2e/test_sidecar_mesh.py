"""``atoll sidecar`` with a real node: identity, registration, policies, each way of capture."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.meshed import WITHIN_S, Mesh, Workload, mesh
from tests.e2e.sidecars import Load
from tests.peers import envoy
from tests.peers.ports import free_ports
from tests.peers.processes import Process
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
    one = Workload(running, "sockets", "--capture", "unix", "--port", str(free_ports(1)[0]))
    one.process.argv[one.process.argv.index("--") + 1 :] = [sys.executable, "-c", application]
    running.workloads.append(one)
    one.start().wait_log("  registered")
    wait_until(lambda: shop.calls("sockets"), WITHIN_S, "it to be called")
    assert shop.call("sockets").text == "by a socket"
    wait_until(lambda: one.calls("shop"), WITHIN_S, "its way out")
    assert one.call("shop").text == "from the application"


def test_a_stranger_gets_no_identity_of_another_service(running: Mesh, shop: Workload) -> None:
    """Another user of this machine: neither the node's socket nor a sidecar's."""
    line = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", sys.executable, "-c"]
    reach = "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])"
    for place in (running.node.data / "mesh.sock", shop.runtime / "sds.sock"):
        stranger = Process([*line, reach, str(place)], running.folder / "stranger.log")
        stranger.start()
        assert stranger.wait() != 0
    assert "PermissionError" in (running.folder / "stranger.log").read_text()
