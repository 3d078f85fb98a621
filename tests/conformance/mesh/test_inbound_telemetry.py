"""What a sidecar tells of real requests: its access log, and traces and logs at an OpenTelemetry collector."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from atoll.planes.mesh.model.policies import Policies
from atoll.planes.mesh.model.world import Choices, world_of
from atoll.resources.mesh.clients import Client, Inbound
from atoll.resources.mesh.clients import Kind as ClientKind
from atoll.resources.mesh.documents.kinds import Kind
from atoll.resources.mesh.services import Protocol
from tests.conformance.mesh import fixed
from tests.conformance.mesh.backends import Backends, Reply, Seen
from tests.conformance.mesh.collector import Collector
from tests.conformance.mesh.documents import document
from tests.peers.ports import free_pairs
from tests.waiting import wait_until

pytestmark = pytest.mark.peers

TRACE = "00-{}-00f067aa0ba902b7-01"
CASES: Mapping[str, dict[str, Any]] = {
    "default": {},
    "untraced": {"tracing": [{"disableSpanReporting": True}]},
    "tagged": {
        "tracing": [
            {
                "randomSamplingPercentage": 100.0,
                "customTags": {
                    "user": {"header": {"name": "x-user", "defaultValue": "nobody"}},
                    "team": {"literal": {"value": "shop"}},
                },
            }
        ]
    },
    "unlogged": {"accessLogging": [{"disabled": True}]},
    "only-file": {"accessLogging": [{"providers": [{"name": "envoy"}]}]},
    "failures": {
        "accessLogging": [{"filter": {"expression": "response.code >= 500 || response.code == 418"}}]
    },
    "client-side": {"accessLogging": [{"match": {"mode": "CLIENT"}, "disabled": True}]},
    "stream": {},
}
PORTS: dict[str, int] = {}


@dataclasses.dataclass(frozen=True)
class Seeing:
    collector: Collector
    log: Path

    def logged(self, path: str) -> list[dict[str, Any]]:
        text = fixed.log_lines(self.log, 0)
        return [line for line in text if line.get("path") == path]

    def wait_logged(self, path: str) -> dict[str, Any]:
        return wait_until(lambda: self.logged(path), fixed.WITHIN_S, f"{path} in the access log")[0]


@pytest.fixture(scope="module", autouse=True)
def seeing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seeing]:
    folder = tmp_path_factory.mktemp("sidecars")
    PORTS.update(zip(CASES, free_pairs(len(CASES), 1), strict=True))
    documents = [
        document(Kind.TELEMETRY, name, {"selector": {"matchLabels": {"app": name}}, **spec})
        for name, spec in CASES.items()
    ]

    def behave(seen: Seen) -> Reply:
        return Reply(status=int(seen.headers.get("x-status", "200")))

    with Collector() as collector, Backends() as backends:
        choices = Choices(
            access_log=str(folder / "access.log"), otlp=f"127.0.0.1:{collector.port}", trace_percent=0
        )
        world = world_of({}, choices).with_policies(Policies(documents))
        app = backends.add("app")
        app.behave = behave
        inbound = {name: Inbound(port, app.port) for name, port in PORTS.items()}
        inbound["stream"] = Inbound(PORTS["stream"], app.ports["tcp"], Protocol.TCP)
        clients = [
            Client(ClientKind.SIDECAR, name, "default", address="127.0.0.1", inbound=(one,))
            for name, one in inbound.items()
        ]
        with fixed.sidecars(folder, world, clients):
            yield Seeing(collector, folder / "access.log")


def ask(name: str, path: str, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
    """``path`` is this request's name in everything that is told of it."""
    assert fixed.get(PORTS[name], path, {"x-status": str(status), **(headers or {})}).status == status


def test_the_access_log_tells_of_a_request(seeing: Seeing) -> None:
    ask("default", "/told", 404, {"x-request-id": "b2f6a9e4-0000-4000-8000-000000000001"})
    line = seeing.wait_logged("/told")
    assert line["response_code"] == 404
    assert line["method"] == "GET"
    assert line["route_name"] == "default"
    assert line["upstream_cluster"] == f"inbound|{PORTS['default']}||"
    assert line["request_id"] == "b2f6a9e4-0000-4000-8000-000000000001"
    assert line["response_code_details"] == "via_upstream"


def test_the_access_log_tells_of_a_connection(seeing: Seeing) -> None:
    assert fixed.say(PORTS["stream"], "hello") == "app hello"

    def found() -> list[dict[str, Any]]:
        lines = fixed.log_lines(seeing.log, 0)
        return [line for line in lines if line.get("upstream_cluster") == f"inbound|{PORTS['stream']}||"]

    line = wait_until(found, fixed.WITHIN_S, "the connection in the access log")[0]
    assert (line["bytes_received"], line["bytes_sent"]) == (6, 10)


def test_logs_reach_the_collector_as_well(seeing: Seeing) -> None:
    ask("default", "/collected", 503)

    def found() -> list[dict[str, str]]:
        return [record for record in seeing.collector.records if record.get("path") == "/collected"]

    record = wait_until(found, fixed.WITHIN_S, "the record at the collector")[0]
    assert record["response_code"] == "503"
    assert record["resource.service.name"] == "default.default"


def test_logs_are_off_filtered_and_for_one_provider_as_documents_say(seeing: Seeing) -> None:
    ask("unlogged", "/unlogged")
    ask("failures", "/well")
    ask("failures", "/teapot", 418)
    ask("failures", "/broken", 500)
    ask("client-side", "/server-side")
    ask("only-file", "/only-file")
    for path in ("/teapot", "/broken", "/server-side", "/only-file"):
        seeing.wait_logged(path)
    wait_until(
        lambda: any(record.get("path") == "/broken" for record in seeing.collector.records),
        fixed.WITHIN_S,
        "the failure at the collector",
    )
    assert not seeing.logged("/unlogged")
    assert not seeing.logged("/well")
    assert not [record for record in seeing.collector.records if record.get("path") == "/only-file"]


def spans(seeing: Seeing, trace: str) -> list[dict[str, str]]:
    return [span for span in seeing.collector.spans if span["trace_id"] == trace]


def test_a_request_that_its_caller_traces_is_traced_with_what_the_mesh_knows(seeing: Seeing) -> None:
    trace = "a" * 32
    ask("tagged", "/traced", headers={"traceparent": TRACE.format(trace)})
    span = wait_until(lambda: spans(seeing, trace), fixed.WITHIN_S, "the span at the collector")[0]
    assert span["resource.service.name"] == "tagged.default"
    assert span["mesh.route"] == "default"
    assert (span["user"], span["team"]) == ("nobody", "shop")


def test_tracing_is_sampled_and_switched_off_by_documents(seeing: Seeing) -> None:
    """The default share is 0 here; a request without a context of its own is traced where a document says 100."""
    ask("untraced", "/untraced", headers={"traceparent": TRACE.format("b" * 32)})
    ask("default", "/unsampled")
    ask("tagged", "/sampled", headers={"x-user": "alice"})
    found = wait_until(
        lambda: [span for span in seeing.collector.spans if span.get("user") == "alice"],
        fixed.WITHIN_S,
        "the sampled span",
    )
    assert found
    assert not spans(seeing, "b" * 32)
    assert not [span for span in seeing.collector.spans if span["resource.service.name"] == "default.default"]
