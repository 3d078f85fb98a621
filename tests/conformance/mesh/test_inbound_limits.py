"""``LocalRateLimit`` before real requests and connections: how many get through, and which of the limits counts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from atoll.planes.mesh.model.policies import Policies
from atoll.planes.mesh.model.world import Choices, world_of
from atoll.resources.mesh.clients import Client, Inbound
from atoll.resources.mesh.clients import Kind as ClientKind
from atoll.resources.mesh.documents.kinds import Kind
from atoll.resources.mesh.services import Protocol
from tests.conformance.mesh import fixed
from tests.conformance.mesh.backends import Backends
from tests.conformance.mesh.documents import document
from tests.conformance.mesh.rig import GrpcProgram, Request
from tests.peers.envoy import Admin
from tests.peers.ports import free_pairs

pytestmark = pytest.mark.peers

RESOURCE_EXHAUSTED = 8
HOUR = 3600.0  # no bucket is filled again while a test runs
CASES: Mapping[str, dict[str, Any]] = {
    "plain": {"limits": [{"requests": 3, "interval": HOUR}]},
    "status": {"limits": [{"requests": 1, "interval": HOUR, "status": 503}]},
    "burst": {"limits": [{"requests": 1, "burst": 4, "interval": HOUR}]},
    "first-match": {
        "limits": [
            {"requests": 2, "interval": HOUR, "match": {"uri": {"prefix": "/slow"}}},
            {"requests": 1, "interval": HOUR, "match": {"headers": {"x-user": {"exact": "bob"}}}},
            {"requests": 3, "interval": HOUR},
        ]
    },
    "matched-only": {"limits": [{"requests": 1, "interval": HOUR, "match": {"uri": {"exact": "/slow"}}}]},
    "other-port": {"limits": [{"requests": 1, "interval": HOUR, "port": 1}]},
    "dry-run": {"limits": [{"requests": 1, "interval": HOUR}], "dryRun": True},
    "refilled": {"limits": [{"requests": 1, "interval": 0.05}]},
    "connections": {"limits": [{"requests": 2, "interval": HOUR}]},
    "grpc": {"limits": [{"requests": 1, "interval": HOUR}]},
}
PORTS: dict[str, int] = {}


@pytest.fixture(scope="module", autouse=True)
def admin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Admin]:
    folder = tmp_path_factory.mktemp("sidecars")
    PORTS.update(zip(CASES, free_pairs(len(CASES), 1), strict=True))
    documents = [
        document(Kind.LOCAL_RATE_LIMIT, name, {"selector": {"matchLabels": {"app": name}}, **spec})
        for name, spec in CASES.items()
    ]
    world = world_of({}, Choices(access_log="")).with_policies(Policies(documents))
    with Backends() as backends:
        app = backends.add("app")
        inbound = {name: Inbound(port, app.port) for name, port in PORTS.items()}
        inbound["connections"] = Inbound(PORTS["connections"], app.ports["tcp"], Protocol.TCP)
        inbound["grpc"] = Inbound(PORTS["grpc"], app.port, Protocol.GRPC)
        clients = [
            Client(ClientKind.SIDECAR, name, "default", address="127.0.0.1", inbound=(one,))
            for name, one in inbound.items()
        ]
        with fixed.sidecars(folder, world, clients) as started:
            yield started


def asked(name: str, *paths: str, **headers: str) -> list[int]:
    return [fixed.get(PORTS[name], path, headers).status for path in paths]


def test_as_many_pass_as_the_limit_says() -> None:
    assert asked("plain", "/", "/", "/", "/", "/") == [200, 200, 200, 429, 429]


def test_the_refusal_has_the_documents_status_and_the_burst_comes_first() -> None:
    assert asked("status", "/", "/") == [200, 503]
    assert asked("burst", "/", "/", "/", "/", "/") == [200, 200, 200, 200, 429]


def test_a_request_spends_from_the_first_limit_that_matches_it_alone() -> None:
    bob = {"x-user": "bob"}
    assert asked("first-match", "/slow", "/slow?x=1", "/slow/er", **bob) == [200, 200, 429]
    assert asked("first-match", "/", "/", **bob) == [200, 429]
    assert asked("first-match", "/", "/", "/", "/") == [200, 200, 200, 429]


def test_what_no_limit_matches_passes() -> None:
    assert asked("matched-only", "/slow", "/slow?query", "/slower", "/slower", "/") == [
        200,
        429,
        200,
        200,
        200,
    ]
    assert asked("other-port", "/", "/") == [200, 200]


def test_a_limit_on_trial_counts_and_lets_through(admin: Admin) -> None:
    assert asked("dry-run", "/", "/", "/") == [200, 200, 200]
    counted = admin.stats("LocalRateLimit/default/dry-run/0.*")
    limited = [value for name, value in counted.items() if name.endswith("rate_limited")]
    assert limited == [2], counted


def test_a_bucket_is_filled_again(admin: Admin) -> None:
    assert asked("refilled", "/") == [200]
    admin.wait(lambda _: asked("refilled", "/") == [200], "a token to come back")


def test_connections_of_a_byte_stream_are_counted() -> None:
    assert [fixed.say(PORTS["connections"], "hello") for _ in range(3)] == [
        "app hello",
        "app hello",
        "",
    ]


def test_grpc_is_told_that_its_share_is_used_up() -> None:
    program = GrpcProgram()
    try:
        got = program.call(f"127.0.0.1:{PORTS['grpc']}", Request(""), count=2)
    finally:
        program.close()
    assert [answer.status for answer in got] == [0, RESOURCE_EXHAUSTED]
