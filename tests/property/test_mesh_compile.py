"""The compiler over random changes of services and documents: what it remembers changes nothing but its time.

Rule: after each change every client is compiled with the memo that saw all changes before, and with an empty one.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from atoll.planes.mesh.model.policies import EMPTY, Policies
from atoll.planes.mesh.model.world import World, world_of
from atoll.planes.mesh.policy import compiler
from atoll.planes.mesh.policy.compiler import Memo
from atoll.resources.mesh.clients import Capture, Client, Kind
from atoll.resources.mesh.services import MeshService
from atoll.wire.xds.snapshot import Type
from tests import mesh_documents
from tests.conformance.mesh import fuzz_world
from tests.mesh_documents import Written

CLIENTS = (
    *fuzz_world.CLIENTS,
    msgspec.structs.replace(fuzz_world.SIDECAR, kind=Kind.GRPC),
    Client(Kind.SIDECAR, "web", "other", capture=Capture.REDIRECT, locality=fuzz_world.ZONES[2]),
    Client(Kind.SIDECAR, "web", "default", uses=("reviews", "mysql")),
)
CHANGES_MAX = 6


@st.composite
def changed_services(draw: st.DrawFn) -> tuple[str, MeshService | None]:
    """One that is gone, or with some of its endpoints, some of them with a sidecar."""
    service = draw(st.sampled_from(fuzz_world.SERVICES))
    if draw(st.integers(0, 9)) == 0:
        return service.host, None
    endpoints = [
        msgspec.structs.replace(each, mutual_tls=draw(st.booleans()))
        for each in service.endpoints
        if draw(st.booleans())
    ]
    return service.host, msgspec.structs.replace(service, endpoints=tuple(endpoints))


def _applied(world: World, change: tuple[str, MeshService | None] | Written) -> World:
    if not isinstance(change, Written):
        host, service = change
        return world.with_services({host: service})
    reading = fuzz_world.read(change, Path("certificates"))
    if reading.errors:
        return world
    return world.with_policies(
        world.policies.with_changes({each.document.key: each.document for each in reading.documents})
    )


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
@given(st.lists(st.one_of(changed_services(), mesh_documents.documents()), min_size=1, max_size=CHANGES_MAX))
def test_what_is_remembered_changes_nothing(changes: list[tuple[str, MeshService | None] | Written]) -> None:
    memo = Memo()
    world = world_of({one.host: one for one in fuzz_world.SERVICES}, policies=Policies(fuzz_world.leant_on()))
    bare = world.with_policies(EMPTY)
    for change in changes:
        world = _applied(world, change)
        for client in CLIENTS:
            compiler.compile(
                bare, client, memo
            )  # another world in between, as while a change of policy is tried
            remembered = compiler.compile(world, client, memo)
            fresh = compiler.compile(world, client, Memo())
            assert remembered == fresh
            assert not [text for text in fresh.problems if "which is not there" in text or "twice" in text]


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(changed_services(), min_size=1, max_size=CHANGES_MAX))
def test_a_world_is_what_its_services_are_whatever_came_before(
    changes: list[tuple[str, MeshService | None]],
) -> None:
    world = world_of({one.host: one for one in fuzz_world.SERVICES})
    for host, service in changes:
        world = world.with_services({host: service})
    anew = world_of(world.services)
    assert dict(world.faces) == dict(anew.faces)
    for client in CLIENTS:
        one, other = (compiler.compile(each, client, Memo()) for each in (world, anew))
        assert all(one.snapshot.of(kind) == other.snapshot.of(kind) for kind in Type)
