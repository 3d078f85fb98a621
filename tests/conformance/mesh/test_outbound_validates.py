"""What the outbound compiler makes, judged by the real Envoy's own validation."""

from __future__ import annotations

from pathlib import Path

import pytest

from atoll.planes.mesh.model.world import world_of
from atoll.planes.mesh.policy.compiler import Memo, compile
from atoll.resources.mesh.clients import Client, Kind
from atoll.resources.mesh.services import Endpoint, Locality, MeshService, Port, Protocol
from tests.conformance.mesh import static_form

pytestmark = pytest.mark.peers

REVIEWS = MeshService(
    "reviews.default.svc.cluster.local",
    "reviews",
    "default",
    ports=(Port(9080), Port(9090, Protocol.GRPC, "grpc")),
    endpoints=(
        Endpoint("127.0.0.1", 4001, labels={"version": "v1"}, locality=Locality("r", "z1"), mutual_tls=True),
        Endpoint("127.0.0.1", 4002, ports={9090: 4003}, healthy=False, locality=Locality("r", "z2")),
        Endpoint("", 0, path="app.sock"),
    ),
)
EMPTY = MeshService("ratings.default.svc.cluster.local", "ratings", "default", addresses=("10.0.0.7",))
CLIENT = Client(Kind.SIDECAR, "productpage", "default")


def test_envoy_takes_services_without_any_document(tmp_path: Path) -> None:
    world = world_of({one.host: one for one in (REVIEWS, EMPTY)})
    compiled = compile(world, CLIENT, Memo())
    assert compiled.problems == ()
    assert len(compiled.snapshot.clusters) == 3
    assert static_form.validate(compiled.snapshot, tmp_path) == ""
