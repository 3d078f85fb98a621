"""A sidecar is told of a service when it first calls it, and of no other: incremental xDS, on demand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from atoll.planes.mesh.model.world import Choices, Scope
from atoll.resources.mesh import proxy
from atoll.resources.mesh.clients import Client, Kind
from atoll.resources.mesh.services import Port
from tests.conformance.mesh.backends import Backends
from tests.conformance.mesh.callers import envoy_for
from tests.conformance.mesh.calling import at, service
from tests.conformance.mesh.plane import ControlPlane
from tests.conformance.mesh.rig import ClientClass, EnvoyCaller, Request, backends_of
from tests.peers.ports import free_ports
from tests.waiting import wait_until

pytestmark = pytest.mark.peers

CLIENT = Client(Kind.SIDECAR, "web", "default", extensions=frozenset({proxy.ON_DEMAND}))
SPLIT = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: split}
spec:
  hosts: [split]
  http:
  - match: [{uri: {prefix: /mirrored}}]
    route: [{destination: {host: a}}]
    mirrors: [{destination: {host: mirror}}]
  - route:
    - {destination: {host: a}, weight: 50}
    - {destination: {host: b}, weight: 50}
"""
OTHERS = 20  # services that nobody calls


@pytest.fixture(scope="module")
def backends() -> Iterator[Backends]:
    with Backends() as made:
        for name in ("a", "b", "c", "mirror"):
            made.add(name)
        yield made


@pytest.fixture(scope="module")
def plane(backends: Backends) -> Iterator[ControlPlane]:
    with ControlPlane(Choices(access_log="", scope=Scope.CALLED)) as made:
        services = [service(name, at(backends[name].port)) for name in ("a", "b", "c", "mirror")]
        services += [service("split", at(backends["a"].port))]
        services += [service(f"other-{number}", at(1)) for number in range(OTHERS)]
        made.services({one.host: one for one in services})
        made.apply(SPLIT)
        yield made


@pytest.fixture
def caller(plane: ControlPlane, tmp_path: Path) -> Iterator[EnvoyCaller]:
    yield from _caller(plane, tmp_path, ClientClass.ENVOY_DELTA)


def _caller(plane: ControlPlane, folder: Path, form: ClientClass) -> Iterator[EnvoyCaller]:
    (port,) = free_ports(1)
    made = envoy_for(msgspec.structs.replace(CLIENT, http_port=port), form, plane, folder)
    try:
        yield made
        assert plane.refusals() == []
    finally:
        made.close()


def known(caller: EnvoyCaller) -> list[str]:
    """Services whose clusters the proxy has."""
    dumped = caller.envoy.admin.resources("ClustersConfigDump")
    names = [one["cluster"]["name"] for dump in dumped for one in dump.get("dynamic_active_clusters", ())]
    return sorted(name.split("|")[-1].split(".")[0] for name in names)


def test_a_cluster_comes_when_it_is_called(caller: EnvoyCaller) -> None:
    assert known(caller) == ["mirror"]  # for which nobody would ask
    assert caller.ask(Request("a", "/"))[0].backend == "a"
    assert known(caller) == ["a", "mirror"]
    assert caller.ask(Request("b", "/", method="POST", body="with a body"))[0].echo["body"] == "with a body"
    assert known(caller) == ["a", "b", "mirror"]
    assert caller.ask(Request("nobody", "/"))[0].status == 502


def test_what_shares_and_mirrors_requests_is_there(caller: EnvoyCaller, backends: Backends) -> None:
    counts = backends_of(caller.ask(Request("split", "/"), 100))
    assert counts["a"] + counts["b"] == 100
    assert min(counts["a"], counts["b"]) > 20
    backends.reset()
    assert caller.ask(Request("split", "/mirrored"))[0].backend == "a"
    wait_until(lambda: backends["mirror"].seen, 5.0, "the mirrored request")


def test_what_was_asked_for_is_kept_up(caller: EnvoyCaller, plane: ControlPlane, backends: Backends) -> None:
    assert caller.ask(Request("c", "/"))[0].backend == "c"
    moved = service("c", at(backends["b"].port))
    plane.services({moved.host: moved})
    wait_until(lambda: caller.ask(Request("c", "/"))[0].backend == "b", 5.0, "the new endpoint")
    grown = msgspec.structs.replace(moved, ports=(Port(80), Port(81)))
    plane.services({grown.host: grown})
    wait_until(lambda: caller.ask(Request("c:81", "/"))[0].backend == "b", 5.0, "the new port")
    assert not [name for name in known(caller) if name.startswith("other")]
    back = service("c", at(backends["c"].port))
    plane.services({back.host: back})
    wait_until(lambda: caller.ask(Request("c", "/"))[0].backend == "c", 5.0, "the old endpoint")


def test_everybody_has_what_they_shall_have(caller: EnvoyCaller, plane: ControlPlane) -> None:
    caller.ask(Request("a", "/"))
    wait_until(
        lambda: all(status.state == "synced" for status in plane.statuses()), 5.0, "all clients to be synced"
    )


def test_a_client_of_the_whole_state_has_it(plane: ControlPlane, tmp_path: Path) -> None:
    for caller in _caller(plane, tmp_path, ClientClass.ENVOY_SOTW):
        assert caller.ask(Request("a", "/"))[0].backend == "a"
        assert len(known(caller)) == 4 + OTHERS
