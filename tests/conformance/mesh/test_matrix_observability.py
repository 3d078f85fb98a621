"""The matrix: what is told of the traffic, wired by one setting of the mesh."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from atoll.planes.mesh.model.world import Choices
from atoll.planes.mesh.policy.compiler.grpc.differences import Differs
from tests.conformance.mesh.backends import Backends
from tests.conformance.mesh.callers import make_caller
from tests.conformance.mesh.case import HTTP_PORT, Case, Rig, own_host
from tests.conformance.mesh.collector import Collector
from tests.conformance.mesh.matrix import row
from tests.conformance.mesh.plane import ControlPlane
from tests.conformance.mesh.rig import Caller, ClientClass, EnvoyCaller
from tests.conformance.mesh.test_matrix_resilience import route, up
from tests.waiting import wait_until

pytestmark = pytest.mark.peers

FLUSHED_WITHIN_S = 25.0  # Envoy writes its log every 10 s


@dataclasses.dataclass(frozen=True)
class Watched(Rig):
    """A rig whose mesh tells everything. ``log``: the access log of all its Envoys."""

    log: Path
    collector: Collector


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    log = tmp_path_factory.mktemp("log") / "access.log"
    with ExitStack() as stack:
        collector = stack.enter_context(Collector())
        choices = Choices(access_log=str(log), otlp=f"127.0.0.1:{collector.port}", trace_percent=100.0)
        plane = stack.enter_context(ControlPlane(choices))
        backends = stack.enter_context(Backends())
        made: dict[ClientClass, Caller] = {}

        def caller(client: ClientClass) -> Caller:
            if client not in made:
                made[client] = make_caller(client, plane, tmp_path_factory.mktemp("caller"))
                stack.callback(made[client].close)
            return made[client]

        yield Watched(plane, backends, caller, log, collector)


def told_of(case: Case, path: str) -> list[dict[str, str]]:
    """Lines of the access log about requests for ``path``."""
    assert isinstance(case.rig, Watched)
    lines = case.rig.log.read_text().splitlines() if case.rig.log.exists() else []
    return [line for line in map(json.loads, lines) if line.get("path") == path]


def spans_of(case: Case) -> list[dict[str, str]]:
    assert isinstance(case.rig, Watched)
    own = case.names["reviews"]
    return [span for span in case.rig.collector.spans if own in str(span)]


@row("Observability", "access log, with the document that decided")
def test_access_log(case: Case) -> None:
    path = f"/atoll.test.Logged/{case.client.name.title().replace('_', '')}"
    up(case, route("timeout: 30s"))
    assert case.ask(path=path)[0].ok
    if case.differs(Differs.TELEMETRY):
        assert not told_of(case, path)
        return
    line = wait_until(lambda: told_of(case, path), FLUSHED_WITHIN_S, f"{path} in the access log")[0]
    assert line["route_name"].startswith(f"VirtualService/default/{case.names['reviews']}/0@")
    assert line["upstream_cluster"].endswith(f"||{case.names['reviews']}.default.svc.cluster.local")


@row("Observability", "traces by OpenTelemetry")
def test_traces(case: Case) -> None:
    (v1,) = up(case, route("timeout: 30s"))
    assert case.ask()[0].ok
    parent = v1.seen[-1].headers.get("traceparent", "")
    if case.differs(Differs.TELEMETRY):
        assert not parent and not spans_of(case)
        return
    trace = parent.split("-")[1]
    wait_until(lambda: trace in {span["trace_id"] for span in spans_of(case)}, FLUSHED_WITHIN_S, "the span")


@row("Observability", "metrics for Prometheus")
def test_metrics(case: Case) -> None:
    up(case, route("timeout: 30s"))
    case.ask(count=5)
    if case.differs(Differs.TELEMETRY):
        assert not isinstance(case.caller, EnvoyCaller)  # nobody who could be asked
        return
    assert isinstance(case.caller, EnvoyCaller)
    text = case.caller.envoy.admin.get("/stats/prometheus?filter=upstream_rq_total")
    cluster = f'mesh_cluster="outbound|{HTTP_PORT}||{own_host(case.names["reviews"])}"'
    counted = [
        line
        for line in text.splitlines()
        if line.startswith("envoy_cluster_upstream_rq_total{") and cluster in line
    ]
    assert counted and int(counted[0].rsplit(" ", 1)[1]) >= 5, text[:2000]
    route_name = f'mesh_route="VirtualService/default/{case.names["reviews"]}/0@'
    assert any(
        line.startswith("envoy_vhost_route_upstream_rq_total{") and route_name in line
        for line in text.splitlines()
    )
