"""``atoll gateway`` with a real node: what Gateway documents say, its metrics, its end."""

from __future__ import annotations

import json
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.atoll import clean_environment
from tests.e2e.meshed import WITHIN_S, Mesh, Workload, mesh
from tests.peers.envoy import Admin
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
    return running.start("shop")


def test_a_gateway_serves_what_documents_say(running: Mesh, shop: Workload) -> None:
    port, metrics = free_ports(2)
    running.apply(GATEWAY.format(port=port))
    runtime = Path(tempfile.mkdtemp(prefix="gw-"))
    line = [sys.executable, "-m", "atoll", "gateway", *running.where, "--runtime", str(runtime)]
    line += ["--label", "istio=ingressgateway", "--metrics", f"127.0.0.1:{metrics}"]
    gateway = Process(line, running.folder / "gateway.log", env=clean_environment())
    gateway.start()
    try:
        wait_until(lambda: _gets(port, "shop.example.com"), WITHIN_S, f"the gateway: {gateway.log}")
        told = urllib.request.urlopen(f"http://127.0.0.1:{metrics}/metrics", timeout=10).read().decode()
        assert "envoy_server_live 1" in told or "envoy_server_state" in told
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(f"http://127.0.0.1:{metrics}/quitquitquit", timeout=10)
        wait_until((runtime / "sidecar.json").exists, WITHIN_S, "what it tells this machine of itself")
        assert json.loads((runtime / "sidecar.json").read_text())["kind"] == "gateway"
        assert Admin(runtime / "admin.sock").ready()
        gateway.terminate()
        assert gateway.wait() == 0
    finally:
        gateway.kill()


GATEWAY = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: border, namespace: default}}
spec:
  selector: {{istio: ingressgateway}}
  servers:
  - port: {{number: {port}, name: http, protocol: HTTP}}
    hosts: ["shop.example.com"]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: border, namespace: default}}
spec:
  hosts: ["shop.example.com"]
  gateways: [border]
  http:
  - route:
    - destination: {{host: shop}}
"""


def _gets(port: int, host: str) -> bool:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/", headers={"host": host})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return bool(answer.read() == b"from the application")
    except OSError:
        return False
