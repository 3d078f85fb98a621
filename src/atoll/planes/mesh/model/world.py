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
from collections.abc import Iterable, Mapping

import msgspec

from atoll.planes.mesh.model.entries import Entry, entries_of
from atoll.planes.mesh.model.peers import Plain
from atoll.planes.mesh.model.policies import EMPTY, Policies
from atoll.resources.mesh.documents.kinds import Document
from atoll.resources.mesh.documents.service_entry import ServiceEntry
from atoll.resources.mesh.services import MeshService, Resolution
from atoll.resources.records import NOTHING


class EmptyEndpoints(enum.StrEnum):
    """What clients get when a source lists no endpoint of a service any more."""

    KEEP_LAST = "keep-last"
    EMPTY = "empty"


class Unknown(enum.StrEnum):
    """Where traffic goes whose destination is no service of the mesh. Istio's ``outboundTrafficPolicy``."""

    ALLOW = "allow-any"  # on to the address that was dialled; only possible where traffic is intercepted
    REFUSE = "registry-only"


class Scope(enum.StrEnum):
    """When a client that can ask for clusters by name is sent those of the services in its scope."""

    ALL = "all"  # at once
    CALLED = (
        "called"  # each when it is first called: what a client is told of follows what it is seen to call
    )


class Choices(msgspec.Struct, frozen=True, kw_only=True):
    """Mesh-wide settings. ``panic_percent``: below this share of healthy endpoints all are called, healthy or not.
    ``access_log``: a file of the proxy's machine, empty: none. ``otlp``: ``HOST:PORT`` of an OpenTelemetry collector, to
    which logs go as well, and traces of ``trace_percent`` of the requests; empty: none. ``system_roots``: a file of the
    proxy's machine with the authorities of the public, for TLS to the outside.
    """

    domain: str = "cluster.local"
    trust_domain: str = "cluster.local"
    root_namespace: str = "istio-system"
    empty_endpoints: EmptyEndpoints = EmptyEndpoints.KEEP_LAST
    unknown: Unknown = Unknown.REFUSE
    scope: Scope = Scope.ALL
    panic_percent: float = 1.0
    connect_timeout_s: float = 2.0
    system_roots: str = "/etc/ssl/certs/ca-certificates.crt"
    access_log: str = "/dev/stdout"
    otlp: str = ""
    trace_percent: float = 1.0
    mutual_tls: bool = True  # off: sidecars call each other in plain text, whatever endpoints say


class Face(msgspec.Struct, frozen=True):
    """A service without its endpoints, but for one that clients look up by DNS: there they are part of how to connect.
    ``accounts``: the service accounts under which it may answer, sorted. ``mutual_tls``: some endpoint of it speaks the
    mesh's TLS; ``mutual_tls_only``: all do, and there are some. ``entry``: the document that tells of it, where one does.
    """

    service: MeshService
    accounts: tuple[str, ...]
    mutual_tls: bool
    mutual_tls_only: bool = False
    localities: bool = False  # whether its endpoints differ in where they are
    entry: Document[ServiceEntry] | None = None

    @property
    def host(self) -> str:
        return self.service.host


def face_of(service: MeshService, entry: Document[ServiceEntry] | None = None) -> Face:
    endpoints = service.endpoints
    accounts = {endpoint.account or service.name for endpoint in endpoints} | {service.name}
    speaks = [endpoint.mutual_tls for endpoint in endpoints]
    shown = endpoints if service.resolution is Resolution.DNS else ()
    return Face(
        msgspec.structs.replace(service, endpoints=shown, stale=False, source=""),
        tuple(sorted(accounts)),
        any(speaks),
        bool(speaks) and all(speaks),
        len({endpoint.locality for endpoint in endpoints}) > 1,
        entry,
    )


_NOWHERE_PLAIN = Plain(EMPTY)


class World(msgspec.Struct, frozen=True, eq=False):
    """Made by ``world_of`` and changed by its methods alone. ``services`` and ``faces``: by host, what sources told of
    (``told``) before what documents tell of (``entries``).
    """

    services: Mapping[str, MeshService]
    faces: Mapping[str, Face]
    choices: Choices
    policies: Policies = EMPTY
    told: Mapping[str, MeshService] = NOTHING
    entries: Mapping[str, Entry] = NOTHING
    plain: Plain = _NOWHERE_PLAIN

    def with_services(self, changed: Mapping[str, MeshService | None]) -> World:
        """``changed``: what a source says now, by host; None: it is gone."""
        told = dict(self.told)
        for host, said in changed.items():
            if said is None:
                told.pop(host, None)
            else:
                told[host] = self._kept(self.told.get(host), said)
        return self._with(msgspec.structs.replace(self, told=told), changed)

    def with_policies(self, policies: Policies) -> World:
        entries = entries_of(policies, self.entries)
        hosts = {**self.entries, **entries}
        plain = Plain(policies)
        if plain.documents == self.plain.documents:
            plain = self.plain
            changed = [host for host in hosts if self.entries.get(host) is not entries.get(host)]
        else:
            changed = [*{**self.told, **hosts}]
        world = msgspec.structs.replace(self, policies=policies, entries=entries, plain=plain)
        return self._with(world, changed)

    def with_choices(self, choices: Choices) -> World:
        return msgspec.structs.replace(self, choices=choices)

    def _kept(self, before: MeshService | None, said: MeshService) -> MeshService:
        """``said`` under the policy for empty lists, as the object that is there where nothing changed. With its last
        endpoints a service keeps its ports as well: a source may know them from its endpoints alone.
        """
        if before is None:
            return said
        if self.choices.empty_endpoints is EmptyEndpoints.KEEP_LAST and not said.endpoints:
            said = msgspec.structs.replace(said, endpoints=before.endpoints, ports=before.ports)
        return before if before == said else said

    def _with(self, world: World, hosts: Iterable[str]) -> World:
        """``world``, in which something was told of ``hosts``, with its services and faces as they are then."""
        services, faces = dict(self.services), dict(self.faces)
        differs = False
        for host in hosts:
            entry = world.entries.get(host)
            service = world.told.get(host) or (entry.service if entry is not None else None)
            if service is None:
                services.pop(host, None)
                differs = faces.pop(host, None) is not None or differs
                continue
            service = world.plain.applied(service)
            if service is services.get(host):
                continue
            services[host] = service
            face = face_of(service, entry.document if entry is not None and host not in world.told else None)
            if face != faces.get(host):
                faces[host] = face
                differs = True
        return msgspec.structs.replace(world, services=services, faces=faces if differs else self.faces)


def world_of(
    services: Mapping[str, MeshService], choices: Choices | None = None, policies: Policies = EMPTY
) -> World:
    return World({}, {}, choices or Choices()).with_policies(policies).with_services(services)
