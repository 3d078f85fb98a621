"""``explain`` against the access log of a real Envoy: random configurations, random requests, read from its config dump."""

from __future__ import annotations

import http.client
import json
import random
from collections import Counter
from pathlib import Path

import pytest

from atoll.planes.mesh.policy.explain import explain
from atoll.planes.mesh.policy.explain.dump import of_dump
from tests.conformance.mesh import explained
from tests.conformance.mesh.random_config import Generator
from tests.peers import envoy
from tests.peers.ports import free_ports
from tests.soaking import SoakReport

pytestmark = pytest.mark.peers
REQUESTS_A_ROUND = 100


@pytest.mark.soak("fuzz-mesh", few=3, full=30, chunk=10)
def test_explanations_agree_with_the_access_log(
    tmp_path: Path, rounds: int, seed: int, soak_report: SoakReport
) -> None:
    ends: Counter[str] = Counter()
    for current in range(seed, seed + rounds):
        folder = tmp_path / str(current)
        folder.mkdir()
        ends += _round(folder, current)
    soak_report.row(
        "explanations of random requests agree with the access log",
        rounds=sum(ends.values()),
        figures=dict(sorted(ends.items())),
    )
    assert len([kind for kind in ends if not kind.startswith("by chance")]) >= 5, ends


def _round(folder: Path, seed: int) -> Counter[str]:
    rng = random.Random(seed)
    (echo_port,) = free_ports(1)
    generator = Generator(rng, echo_port, folder / "access.log")
    log = explained.Log(folder / "access.log")
    with envoy.running(folder, generator.bootstrap(), *explained.FLUSH) as proxy:
        port = explained.port_of(json.loads(proxy.admin.get("/listeners?format=json")), "outbound_http")
        config = of_dump(proxy.admin.get("/config_dump?include_eds").encode())
        sender = explained.Sender(http.client.HTTPConnection("127.0.0.1", port, timeout=10))
        requests = {str(number): generator.request() for number in range(REQUESTS_A_ROUND)}
        for id, request in requests.items():
            sender.send(request, id)
        sender.close()
        lines = log.wait(list(requests))
    ends: Counter[str] = Counter()
    for id, request in requests.items():
        explanation = explain(config, request)
        wrong = explained.disagreements(explanation, lines[id])
        assert not wrong, f"seed {seed}: {wrong}\n{request}\n{explanation}\n{lines[id]}"
        ends[f"{explanation.outcome} {explanation.flags or explanation.status or ''}".strip()] += 1
    return ends
