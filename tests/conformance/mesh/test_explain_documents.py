"""``explain`` against the access log of a real Envoy that has what Atoll compiled of random policy documents.

Rule: nothing of what is compiled is changed but the access log's form. Delays are made short; documents that ask for TLS of
somebody who speaks none are left out, since what a peer speaks is in no configuration.
"""

from __future__ import annotations

import contextlib
import http.client
import random
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import hypothesis
import msgspec
import pytest
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from google.protobuf import json_format
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from atoll.planes.mesh.model.snapshot import Snapshot, Type, resource
from atoll.planes.mesh.policy import compiler, explain
from atoll.planes.mesh.policy.compiler import Memo
from atoll.planes.mesh.policy.explain.config import of_snapshot
from atoll.resources.mesh import node_metadata
from atoll.resources.mesh.clients import Client, Inbound
from atoll.resources.mesh.documents.kinds import Kind
from atoll.resources.mesh.explanations import Direction, Request
from tests import mesh_documents
from tests.conformance.mesh import explained, fuzz_world
from tests.conformance.mesh.pushing import AdsServer, bootstrap
from tests.conformance.mesh.random_config import echo_listener
from tests.mesh_documents import Written
from tests.peers import envoy
from tests.peers.envoy import UnixHttp
from tests.peers.ports import free_ports
from tests.soaking import SoakReport

pytestmark = pytest.mark.peers

KINDS = (
    Kind.VIRTUAL_SERVICE,
    Kind.DESTINATION_RULE,
    Kind.HTTP_ROUTE,
    Kind.GRPC_ROUTE,
    Kind.AUTHORIZATION_POLICY,
    Kind.REQUEST_AUTHENTICATION,
    Kind.LOCAL_RATE_LIMIT,
)
REQUESTS_A_ROUND = 12
WARM_WITHIN_S = 30.0
HOSTS = ("reviews", "reviews.default", "ratings", "details.other", "web.test", "a.web.test", "nobody")
VALUES = ("alpha", "canary", "x-user", "v1", "100%", "")


class Stand:
    """A sidecar of ``reviews`` that takes its configuration from the test, before backends that echo."""

    def __init__(self, folder: Path, server: AdsServer, admin: envoy.Admin, ports: tuple[int, int]) -> None:
        self.server = server
        self.admin = admin
        self.inbound_port, self.echo_port = ports
        self.http_path = server.socket.with_name("http.sock")
        self.log = explained.Log(folder / "access.log")
        self.memo = Memo()
        self._pushes = 0
        self.leant_on = fuzz_world.leant_on()
        self.world = fuzz_world.world(self.echo_port)
        self.client: Client = msgspec.structs.replace(
            fuzz_world.SIDECAR,
            http_path=str(self.http_path),
            http_port=0,
            outbound=(),
            inbound=(Inbound(self.inbound_port, self.echo_port, service_port=9080),),
        )

    def compile(self, written: list[Written]) -> Snapshot | None:
        readings = [fuzz_world.read(each, Path("unused")) for each in written]
        if any(reading.errors for reading in readings):
            return None
        documents = {each.key: each.document for reading in readings for each in reading.documents}
        leant_on = {each.key: each for each in self.leant_on}
        world = fuzz_world.with_documents(self.world, {**leant_on, **documents}.values())
        return compiler.compile(world, self.client, self.memo).snapshot

    def push(self, snapshot: Snapshot) -> None:
        """Until it is in effect: what warms is acknowledged and not yet used, and a worker turns to it between two
        connections.
        """
        assert self.server.push(with_log(snapshot, self.log.path)) == []
        self.admin.wait(_is_warm, "nothing to be warming", WARM_WITHIN_S)
        self._pushes += 1
        inbound = Request("reviews", direction=Direction.INBOUND, port=self.inbound_port)
        self.ask({f"turn-{self._pushes}": Request("reviews"), f"turn-in-{self._pushes}": inbound})

    def ask(self, requests: Mapping[str, Request]) -> dict[str, dict[str, Any]]:
        """The lines of the access log."""
        for id, request in requests.items():
            inbound = request.direction is Direction.INBOUND
            connection = (
                http.client.HTTPConnection("127.0.0.1", self.inbound_port, timeout=10)
                if inbound
                else UnixHttp(self.http_path)
            )
            sender = explained.Sender(connection)
            sender.send(request, id)
            sender.close()
        return self.log.wait(list(requests))


@contextlib.contextmanager
def _standing(folder: Path) -> Iterator[Stand]:
    inbound_port, echo_port = free_ports(2)
    with contextlib.ExitStack() as stack:
        sockets = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ads-")))
        server = AdsServer(sockets / "ads.sock").start()
        stack.callback(server.stop)
        node = {"id": node_metadata.node_id(fuzz_world.SIDECAR, "explained"), "cluster": "reviews"}
        config = bootstrap(node, server.socket)
        config["static_resources"]["listeners"] = [echo_listener(echo_port)]
        proxy = envoy.Envoy(folder, config, *explained.FLUSH)
        stack.callback(proxy.stop)
        stand = Stand(folder, server, proxy.admin, (inbound_port, echo_port))
        proxy.begin()
        first = stand.compile([])
        assert first is not None and server.push(with_log(first, stand.log.path)) == []
        proxy.wait_ready()
        yield stand


def _is_warm(admin: envoy.Admin) -> bool:
    stats = admin.stats("warming")
    return not (
        stats["cluster_manager.warming_clusters"] or stats["listener_manager.total_listeners_warming"]
    )


@pytest.mark.timeout(1800)
@pytest.mark.soak("fuzz-mesh", few=12, full=600)
def test_explanations_of_compiled_documents_agree_with_the_access_log(
    tmp_path: Path, rounds: int, seed: int, soak_report: SoakReport
) -> None:
    ends: Counter[str] = Counter()
    rng = random.Random(seed)
    with _standing(tmp_path) as stand:

        @hypothesis.seed(seed)
        @settings(
            max_examples=rounds,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate],
        )
        @given(st.lists(mesh_documents.documents(KINDS), min_size=1, max_size=3))
        def agree(written: list[Written]) -> None:
            quick = [_quick(each) for each in written if not _asks_for_tls(each.content)]
            snapshot = stand.compile(quick)
            if snapshot is None:
                ends["refused documents"] += 1
                return
            stand.push(snapshot)
            first = sum(ends.values())
            requests = {f"{seed}-{first + each}": _request(rng, stand) for each in range(REQUESTS_A_ROUND)}
            lines = stand.ask(requests)
            for id, request in requests.items():
                found = explain.explain(of_snapshot(snapshot), request)
                wrong = explained.disagreements(found, lines[id])
                assert not wrong, (
                    f"{wrong}\n{request}\n{found}\n{lines[id]}\n{[each.content for each in quick]}"
                )
                ends[f"{found.outcome} {found.flags or found.status or ''}".strip()] += 1

        agree()
    refused = ends.pop("refused documents", 0)
    soak_report.row(
        "explanations over compiled random documents agree with the access log",
        rounds=ends.total(),
        figures={"documents refused": refused, **dict(sorted(ends.items()))},
    )
    assert ends.total() >= REQUESTS_A_ROUND * rounds * 0.8


def with_log(snapshot: Snapshot, path: Path) -> Snapshot:
    """The same, but that connection managers log as the comparison reads."""
    listeners = {}
    for name, one in snapshot.listeners.items():
        listener = Listener.FromString(one.body)
        for item in (item for chain in listener.filter_chains for item in chain.filters):
            if item.typed_config.Is(HttpConnectionManager.DESCRIPTOR):
                manager = HttpConnectionManager.FromString(item.typed_config.value)
                del manager.access_log[:]
                json_format.ParseDict(explained.access_log(path), manager.access_log.add())
                item.typed_config.Pack(manager)
        body = listener.SerializeToString(deterministic=True)
        listeners[name] = resource(Type.LISTENER, name, body)
    return msgspec.structs.replace(snapshot, listeners=listeners)


def _quick(written: Written) -> Written:
    return Written(written.kind, _shortened(written.content))


def _shortened(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: "2ms"
            if key == "fixedDelay"
            else "5s"
            if key in ("timeout", "request") and isinstance(inner, str)
            else _shortened(inner)
            for key, inner in value.items()
        }
    return [_shortened(inner) for inner in value] if isinstance(value, list) else value


def _asks_for_tls(value: Any) -> bool:
    if isinstance(value, dict):
        return "tls" in value or any(_asks_for_tls(inner) for inner in value.values())
    return isinstance(value, list) and any(_asks_for_tls(inner) for inner in value)


def _request(rng: random.Random, stand: Stand) -> Request:
    path = rng.choice((*mesh_documents.PATHS, "/apis", "/v1/x/x", "/index.html", "/api/v1/users"))
    path += rng.choice(("", "", "?alpha=alpha", "?x-user=v1&beta"))
    headers = [
        (rng.choice(mesh_documents.HEADER_NAMES), rng.choice(VALUES)) for _ in range(rng.randint(0, 3))
    ]
    if rng.random() < 0.2:
        headers.append(("content-type", "application/grpc"))
    if rng.random() < 0.2:
        headers += [("origin", rng.choice(("alpha", "http://x"))), ("access-control-request-method", "GET")]
    inbound = rng.random() < 0.4
    return Request(
        host=rng.choice(HOSTS),
        path=path,
        method=rng.choice(("GET", "GET", "POST", "OPTIONS")),
        headers=tuple(headers),
        direction=Direction.INBOUND if inbound else Direction.OUTBOUND,
        port=stand.inbound_port if inbound else 0,
    )
