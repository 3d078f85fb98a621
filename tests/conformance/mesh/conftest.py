"""What the matrix's tests share: a control plane, backends, and one client of each class, for all tests of a worker.

Rule: whatever is shared is never changed in a way that another test could see; a ``Case`` has services of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.conformance.mesh.backends import Backends
from tests.conformance.mesh.callers import make_caller
from tests.conformance.mesh.case import Case, Rig
from tests.conformance.mesh.plane import ControlPlane
from tests.conformance.mesh.rig import Caller, ClientClass


@pytest.fixture(scope="session")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with ExitStack() as stack:
        plane = stack.enter_context(ControlPlane())
        backends = stack.enter_context(Backends())
        made: dict[ClientClass, Caller] = {}

        def caller(client: ClientClass) -> Caller:
            if client not in made:
                made[client] = make_caller(client, plane, tmp_path_factory.mktemp("caller"))
                stack.callback(made[client].close)
            return made[client]

        yield Rig(plane, backends, caller)


@pytest.fixture(params=list(ClientClass), ids=lambda each: each.name.lower())
def case(request: pytest.FixtureRequest, rig: Rig) -> Iterator[Case]:
    one = Case(rig, request.param)
    yield one
    one.close()
