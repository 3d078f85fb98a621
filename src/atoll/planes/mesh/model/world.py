"""The world: all that compiling may depend on besides the client: services, policies, and the mesh-wide choices.

Rule: a world is a value; a change gives a new world that shares what did not change, and *keeps its very objects*. That is
what makes a change cheap: the compiler remembers its pieces by the identity of their inputs.

A service has two sides that change at different speeds. Its endpoints come and go all the time, and concern load
assignments alone. Its ``Face``, all that is true of it besides them, shapes clusters, routes and listeners, and is the
same object before and after a change of endpoints; so is ``World.faces`` as a whole.

``World`` decides as well what an empty list of endpoints means (``Choices.empty_endpoints``): a source that lists none any
more is taken at its word, or its last list is kept, since a list that was lost looks the same as a service that was
stopped, and calling an instance that is gone costs no more than having none to call. Unhealthy instances are no matter of
it: they stay in the list, marked.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

import msgspec

from atoll.planes.mesh.model.policies import EMPTY, Policies
from atoll.resources.mesh.services import MeshService


class EmptyEndpoints(enum.StrEnum):
    """What clients get when a source lists no endpoint of a service any more."""

    KEEP_LAST = "keep-last"
    EMPTY = "empty"


class Unknown(enum.StrEnum):
    """Where traffic goes whose destination is no service of the mesh. Istio's ``outboundTrafficPolicy``."""

    ALLOW = "allow-any"  # on to the address that was dialled; only possible where traffic is intercepted
    REFUSE = "registry-only"


class Choices(msgspec.Struct, frozen=True, kw_only=True):
    """Mesh-wide settings. ``panic_percent``: below this share of healthy endpoints all are called, healthy or not.
    ``access_log``: a file of the proxy's machine, empty: none. ``otlp``: ``HOST:PORT`` of an OpenTelemetry collector, to
    which logs go as well, and traces of ``trace_percent`` of the requests; empty: none.
    """

    domain: str = "cluster.local"
    trust_domain: str = "cluster.local"
    root_namespace: str = "istio-system"
    empty_endpoints: EmptyEndpoints = EmptyEndpoints.KEEP_LAST
    unknown: Unknown = Unknown.REFUSE
    panic_percent: float = 1.0
    connect_timeout_s: float = 2.0
    access_log: str = "/dev/stdout"
    otlp: str = ""
    trace_percent: float = 1.0
    mutual_tls: bool = True  # off: sidecars call each other in plain text, whatever endpoints say


class Face(msgspec.Struct, frozen=True):
    """A service without its endpoints. ``accounts``: the service accounts under which it may answer, sorted.
    ``mutual_tls``: some endpoint of it speaks the mesh's TLS; ``mutual_tls_only``: all do, and there are some.
    """

    service: MeshService
    accounts: tuple[str, ...]
    mutual_tls: bool
    mutual_tls_only: bool = False

    @property
    def host(self) -> str:
        return self.service.host


def face_of(service: MeshService) -> Face:
    accounts = {endpoint.account or service.name for endpoint in service.endpoints} | {service.name}
    bare = msgspec.structs.replace(service, endpoints=(), stale=False, source="")
    speaks = [endpoint.mutual_tls for endpoint in service.endpoints]
    return Face(bare, tuple(sorted(accounts)), any(speaks), bool(speaks) and all(speaks))


class World(msgspec.Struct, frozen=True):
    """Made by ``world_of`` and changed by its methods alone. ``services`` and ``faces``: by host."""

    services: Mapping[str, MeshService]
    faces: Mapping[str, Face]
    choices: Choices
    policies: Policies = EMPTY

    def with_services(self, changed: Mapping[str, MeshService | None]) -> World:
        """``changed``: what a source says now, by host; None: it is gone."""
        services = dict(self.services)
        for host, said in changed.items():
            if said is None:
                services.pop(host, None)
            else:
                services[host] = self._kept(self.services.get(host), said)
        return msgspec.structs.replace(self, services=services, faces=self._faces(services, changed))

    def with_policies(self, policies: Policies) -> World:
        return msgspec.structs.replace(self, policies=policies)

    def with_choices(self, choices: Choices) -> World:
        return msgspec.structs.replace(self, choices=choices)

    def _kept(self, before: MeshService | None, said: MeshService) -> MeshService:
        """``said`` under the policy for empty lists, as the object that is there where nothing changed."""
        keeps = self.choices.empty_endpoints is EmptyEndpoints.KEEP_LAST
        if keeps and before is not None and not said.endpoints:
            said = msgspec.structs.replace(said, endpoints=before.endpoints)
        return before if before == said and before is not None else said

    def _faces(
        self, services: Mapping[str, MeshService], changed: Mapping[str, MeshService | None]
    ) -> Mapping[str, Face]:
        faces = dict(self.faces)
        differs = False
        for host in changed:
            service = services.get(host)
            now = face_of(service) if service is not None else None
            if now == self.faces.get(host):
                continue
            differs = True
            if now is None:
                del faces[host]
            else:
                faces[host] = now
        return faces if differs else self.faces


def world_of(services: Mapping[str, MeshService], choices: Choices | None = None) -> World:
    return World({}, {}, choices or Choices()).with_services(services)
