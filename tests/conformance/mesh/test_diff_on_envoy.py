"""``diff`` against a real Envoy: what it was given and took makes no difference; what it did not get does."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from atoll.planes.mesh.model.snapshot import Snapshot
from atoll.planes.mesh.policy import compiler, differences
from atoll.planes.mesh.policy.compiler import Memo
from atoll.planes.mesh.policy.explain import dump
from atoll.resources.mesh import node_metadata
from tests.conformance.mesh import fuzz_world
from tests.conformance.mesh.pushing import AdsServer, bootstrap
from tests.peers import envoy
from tests.waiting import wait_until

pytestmark = pytest.mark.peers
# Its inbound ports and listeners of its own would be this machine's.
CLIENT = msgspec.structs.replace(fuzz_world.SIDECAR, inbound=(), outbound=(), http_port=0)


@pytest.fixture
def server() -> Iterator[AdsServer]:
    with tempfile.TemporaryDirectory(prefix="ads-") as folder:
        made = AdsServer(Path(folder) / "ads.sock").start()
        yield made
        made.stop()


def test_an_envoy_has_what_is_intended_until_that_changes(tmp_path: Path, server: AdsServer) -> None:
    world = fuzz_world.with_documents(fuzz_world.world(), fuzz_world.leant_on())
    snapshot = compiler.compile(world, CLIENT, Memo()).snapshot
    node = {"id": node_metadata.node_id(CLIENT, "diff"), "cluster": CLIENT.service}
    with envoy.running(tmp_path, bootstrap(node, server.socket)) as proxy:
        assert server.push(snapshot) == []

        def found(intended: Snapshot) -> list[tuple[str, str, str]]:
            content = proxy.admin.get("/config_dump?include_eds").encode()
            every = differences.differences(intended, dump.resources(content))
            return [(each.type, each.resource, each.actual) for each in every]

        wait_until(lambda: found(snapshot) == [], 20.0, "an Envoy that has what it was given")
        name = next(iter(snapshot.clusters))
        fewer = {key: each for key, each in snapshot.clusters.items() if key != name}
        assert found(msgspec.structs.replace(snapshot, clusters=fewer)) == [("cluster", name, "present")]
