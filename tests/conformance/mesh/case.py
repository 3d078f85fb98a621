"""One row of the matrix with one class of client: a service of its own, documents about it, requests, and what came back.

Rule: every case has services that no other case has, so that nothing that a client learnt before (ejected endpoints, open
connections, routes) plays a part, and none has to wait until another's are gone. Documents name hosts as ``{reviews}``.
What must become true is waited for within a bound; a configuration's effect is a request's answer, never an ACK.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from atoll.planes.mesh.policy.compiler.grpc.differences import Differs
from atoll.resources.mesh.services import Endpoint, MeshService, Port, Protocol
from tests.conformance.mesh.backends import Backend, Backends
from tests.conformance.mesh.plane import ControlPlane
from tests.conformance.mesh.rig import Answer, Caller, ClientClass, EnvoyCaller, Request
from tests.waiting import wait_until

T = TypeVar("T")

HTTP_PORT, GRPC_PORT = 9080, 9090
EFFECT_WITHIN_S = 10.0
_numbers = itertools.count(1)


@dataclasses.dataclass(frozen=True)
class Rig:
    """What all cases of one worker share. ``callers`` are made at first use."""

    plane: ControlPlane
    backends: Backends
    callers: Callable[[ClientClass], Caller]


class Case:
    """``client``: the class. ``difference``: what it was seen to do otherwise, in words."""

    def __init__(self, rig: Rig, client: ClientClass) -> None:
        self.rig = rig
        self.client = client
        self.difference = ""
        self.caller = rig.callers(client)
        self.names: dict[str, str] = {}
        self._backends: list[str] = []
        self._documents: list[str] = []
        self._services: dict[str, None] = {}

    @property
    def is_grpc(self) -> bool:
        return self.client is ClientClass.GRPCIO

    # -------------------------------------------------------------------------------------------- the mesh

    def backend(self, name: str) -> Backend:
        """A backend of this case's own; ``Answer.backend`` has its short name."""
        backend = self.rig.backends.add(f"{name}.{next(_numbers)}")
        self._backends.append(backend.name)
        return backend

    def backend_at(self, name: str, path: Path) -> Backend:
        """The same at a Unix socket."""
        backend = self.rig.backends.at_path(f"{name}.{next(_numbers)}", path)
        self._backends.append(backend.name)
        return backend

    def named(self, name: str) -> str:
        """The own name of the service ``name``; documents know it as ``{name}``. A service whose documents come before
        itself is in force with its first answer.
        """
        return self.names.setdefault(name, f"{name}-{next(_numbers)}")

    def service(self, name: str, *endpoints: Endpoint, ports: Sequence[Port] = ()) -> str:
        """The service ``name``, whose own name is given back."""
        own = self.named(name)
        spoken = tuple(ports) or (
            Port(HTTP_PORT, Protocol.HTTP, "http"),
            Port(GRPC_PORT, Protocol.GRPC, "grpc"),
        )
        host = own_host(own)
        self.rig.plane.services({host: MeshService(host, own, "default", spoken, endpoints)})
        return own

    def versions(self, *names: str, service: str = "reviews") -> list[Backend]:
        """A backend for each, as endpoints of ``service`` with the label ``version``."""
        made = [self.backend(name) for name in names]
        self.service(service, *(endpoint(each, version=name) for each, name in zip(made, names, strict=True)))
        return made

    def apply(self, text: str) -> None:
        """Documents in YAML, with ``{reviews}`` for the service of that name."""
        for name, own in self.names.items():
            text = text.replace("{" + name + "}", own)
        self.rig.plane.apply(text)
        self._documents.append(text)

    def change(self, services: Mapping[str, MeshService | None], text: str) -> None:
        """Services by host and documents, in one change of the world. What is left of them is taken away at the end."""
        self.rig.plane.change(services, text)
        self._documents.append(text)
        for host in services:
            self._services[host] = None

    def close(self) -> None:
        refused = self.rig.plane.refusals()
        for text in self._documents:
            self.rig.plane.delete(text)
        gone = [*self._services, *map(own_host, self.names.values())]
        self.rig.plane.services(dict.fromkeys(gone))
        for name in self._backends:
            self.rig.backends.stop(name)
        assert not refused, refused

    # ------------------------------------------------------------------------------------------ requests

    def ask(
        self, service: str = "reviews", count: int = 1, parallel: int = 1, **request: Any
    ) -> list[Answer]:
        """As the application of this class: over HTTP through its sidecar, or by gRPC's own client."""
        port = GRPC_PORT if self.is_grpc else HTTP_PORT
        asked = Request(f"{self.names[service]}:{port}", **request)
        return self._named(self.caller.ask(asked, count, parallel))

    def ask_grpc(self, service: str = "reviews", count: int = 1, **request: Any) -> list[Answer]:
        """By gRPC whatever the class: through the sidecar, or by gRPC's own client."""
        asked = Request(f"{self.names[service]}:{GRPC_PORT}", **request)
        ask = self.caller.ask_grpc if isinstance(self.caller, EnvoyCaller) else self.caller.ask
        return self._named(ask(asked, count))

    def reaches(self, backend: str, service: str = "reviews", **request: Any) -> list[Answer]:
        """Waits until a request is answered by ``backend``; then asks once more."""
        self.until(lambda: self.ask(service, **request)[0].backend == backend, f"{backend} to answer")
        return self.ask(service, **request)

    def until(self, condition: Callable[[], T | None], what: str) -> T:
        return wait_until(condition, EFFECT_WITHIN_S, f"{what}, with {self.client}")

    def _named(self, answers: list[Answer]) -> list[Answer]:
        return [dataclasses.replace(each, backend=each.backend.partition(".")[0]) for each in answers]

    # ---------------------------------------------------------------------------------------- differences

    def differs(self, difference: Differs) -> bool:
        """Whether this client does it otherwise; what it does instead is then for the test to assert."""
        if self.is_grpc:
            self.difference = difference.value.here
        return self.is_grpc


def own_host(name: str) -> str:
    """The canonical host of a service."""
    return f"{name}.default.svc.cluster.local"


def endpoint(backend: Backend, **labels: str) -> Endpoint:
    return Endpoint("127.0.0.1", backend.port, labels=labels)
