"""What documents refer to, and whether it is there: services and their ports, subsets, gateways and their listeners.

Rule: pure; one document at a time against all policies and services; each fault has its path in the document. What may
come later without harm (a selector that selects nobody yet) is a warning, what makes requests fail is an error.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import msgspec

from atoll.planes.mesh.model.policies import Policies
from atoll.resources.mesh import hosts
from atoll.resources.mesh.documents.destination_rule import DestinationRule
from atoll.resources.mesh.documents.http_route import BackendRef, ParentRef
from atoll.resources.mesh.documents.kinds import Document, DocumentKey, Kind
from atoll.resources.mesh.documents.parts import Fault, Path
from atoll.resources.mesh.documents.reading import Severity
from atoll.resources.mesh.documents.service_entry import ServiceEntry
from atoll.resources.mesh.documents.virtual_service import (
    MESH,
    Destination,
    TcpRoute,
    TlsRoute,
    VirtualService,
)
from atoll.resources.mesh.services import MeshService

NAMES_SHOWN_MAX = 8
NAMES_COMPARED_MAX = 300
LENGTHS_APART_MAX = 3


class Finding(msgspec.Struct, frozen=True):
    """``related``: the other document, where two contradict each other."""

    fault: Fault
    severity: Severity = Severity.ERROR
    related: DocumentKey | None = None


class Known(msgspec.Struct, frozen=True):
    """What documents may refer to. ``ports``: by host; an entry's host may begin with ``*`` (``patterns``). ``subsets``: by
    host, of all rules for it. ``suggests``: look for names that are near; not for all documents of a large mesh.
    """

    policies: Policies
    services: Mapping[str, MeshService]
    ports: Mapping[str, tuple[int, ...]]
    patterns: tuple[str, ...]
    subsets: Mapping[str, tuple[str, ...]]
    suggests: bool = True

    def host_of(self, name: str, namespace: str) -> str:
        """The host that ``name`` stands for; empty where there is none."""
        for candidate in self.policies.candidates(name, namespace):
            if candidate in self.ports:
                return candidate
        for candidate in self.policies.candidates(name, namespace):
            for pattern in self.patterns:
                if hosts.matches(pattern, candidate):
                    return pattern
        return ""


def known(policies: Policies, services: Mapping[str, MeshService]) -> Known:
    ports = {host: tuple(port.number for port in each.ports) for host, each in services.items()}
    for service in services.values():
        for alias in service.aliases:
            ports.setdefault(alias, ports[service.host])
    for entry in policies.service_entries():
        spec: ServiceEntry = entry.spec
        for host in spec.hosts:
            numbers = tuple(port.number for port in spec.ports)
            ports[host.lower()] = (*ports.get(host.lower(), ()), *numbers)
    subsets: dict[str, tuple[str, ...]] = {}
    for each in policies.of_kind(Kind.DESTINATION_RULE):
        rule: DestinationRule = each.spec
        for host in policies.candidates(rule.host, each.namespace):
            subsets[host] = (*subsets.get(host, ()), *(subset.name for subset in rule.subsets))
    patterns = tuple(host for host in ports if host.startswith("*"))
    return Known(policies, services, ports, patterns, subsets)


def check(document: Document[Any], there: Known) -> Iterator[Finding]:
    """What is wrong with what ``document`` refers to."""
    examine = _CHECKS.get(document.key.kind)
    if examine is not None:
        yield from examine(document, there)


# ------------------------------------------------------------------------------------------- destinations


def _destination(
    destination: Destination, document: Document[Any], there: Known, path: Path
) -> Iterator[Finding]:
    host = there.host_of(destination.host, document.namespace)
    if not host:
        yield Finding(_no_service(destination.host, document.namespace, there, (*path, "host")))
        return
    if destination.port is not None:
        yield from _port(destination.port.number, host, there, (*path, "port", "number"))
    if destination.subset:
        yield from _subset(destination, host, there, (*path, "subset"))


def _no_service(name: str, namespace: str, there: Known, path: Path) -> Fault:
    """With the name of one of that is near, or with what to do."""
    close = _near_services(name, namespace, there) if there.suggests else []
    advice = f"did you mean {close[0]}?" if close else "register it, write a ServiceEntry, or force it"
    return Fault(path, f"there is no service {name!r}", advice)


def _near_services(name: str, namespace: str, there: Known) -> list[str]:
    short = [_short(host, namespace, there.policies.settings.domain) for host in there.ports]
    elsewhere = [each for each in short if each.startswith(f"{name}.") and each.count(".") == 1]
    return elsewhere or _close(name, short) or _close(name, there.ports)


def _close(name: str, known_names: Iterable[str]) -> list[str]:
    """The nearest of those that are about as long: comparing with all of a large mesh would take too long."""
    near = [each for each in known_names if abs(len(each) - len(name)) <= LENGTHS_APART_MAX]
    return difflib.get_close_matches(name, near[:NAMES_COMPARED_MAX], 1, 0.7)


def _short(host: str, namespace: str, domain: str) -> str:
    inner = host.removesuffix(f".svc.{domain}")
    return inner.removesuffix(f".{namespace}") if inner != host else host


def _port(number: int, host: str, there: Known, path: Path) -> Iterator[Finding]:
    ports = there.ports[host]
    if ports and number not in ports:
        listed = ", ".join(str(each) for each in ports[:NAMES_SHOWN_MAX])
        yield Finding(
            Fault(
                path,
                f"{host} has no port {number}",
                f"it has {listed}; a service's ports are in its metadata, mesh.ports",
            )
        )


def _subset(destination: Destination, host: str, there: Known, path: Path) -> Iterator[Finding]:
    """In any rule for this host."""
    names = there.subsets.get(host, ())
    if destination.subset in names:
        return
    missing = f"{destination.host} has no subset {destination.subset!r}"
    close = difflib.get_close_matches(destination.subset, names, 1, 0.5)
    if close:
        advice = f"did you mean {close[0]}?"
    elif names:
        advice = f"there are {', '.join(names[:NAMES_SHOWN_MAX])}"
    else:
        advice = f"write a DestinationRule for {destination.host} with that subset"
    yield Finding(Fault(path, missing, advice))


# ------------------------------------------------------------------------------------------------ by kind


def _virtual_service(document: Document[VirtualService], there: Known) -> Iterator[Finding]:
    spec = document.spec
    for number, rule in enumerate(spec.http):
        at: Path = ("spec", "http", number)
        for position, target in enumerate(rule.route):
            yield from _destination(
                target.destination, document, there, (*at, "route", position, "destination")
            )
        if rule.mirror is not None:
            yield from _destination(rule.mirror, document, there, (*at, "mirror"))
        for position, mirror in enumerate(rule.mirrors):
            yield from _destination(
                mirror.destination, document, there, (*at, "mirrors", position, "destination")
            )
    streams: tuple[tuple[str, tuple[TlsRoute | TcpRoute, ...]], ...] = (("tls", spec.tls), ("tcp", spec.tcp))
    for kind, rules in streams:
        for number, stream in enumerate(rules):
            for position, each in enumerate(stream.route):
                path: Path = ("spec", kind, number, "route", position, "destination")
                yield from _destination(each.destination, document, there, path)
    yield from _gateway_names(spec.gateways, document, there, ("spec", "gateways"))
    for number, rule in enumerate(spec.http):
        for position, match in enumerate(rule.match):
            for name in match.gateways:
                if name not in (spec.gateways or (MESH,)):
                    fault = Fault(
                        ("spec", "http", number, "match", position, "gateways"),
                        f"{name!r} is not among the gateways of the document",
                        "name it in spec.gateways as well",
                    )
                    yield Finding(fault)


def _gateway_names(
    names: tuple[str, ...], document: Document[Any], there: Known, path: Path
) -> Iterator[Finding]:
    for position, name in enumerate(names):
        if name == MESH:
            continue
        namespace, slash, short = name.rpartition("/")
        space = hosts.namespace_of(namespace) if slash else document.namespace
        if there.policies.get(DocumentKey(Kind.GATEWAY, space, short)) is not None:
            continue
        every = there.policies.of_kind(Kind.GATEWAY)
        close = difflib.get_close_matches(name, [each.name for each in every], 1, 0.6)
        known_names = [f"{each.namespace}/{each.name}" for each in every]
        advice = (
            f"did you mean {next(each for each in known_names if each.endswith('/' + close[0]))}?"
            if close
            else "write the Gateway first, as NAMESPACE/NAME where it is of another namespace"
        )
        yield Finding(Fault((*path, position), f"there is no Gateway {space}/{short}", advice))


def _destination_rule(document: Document[DestinationRule], there: Known) -> Iterator[Finding]:
    spec = document.spec
    host = there.host_of(spec.host, document.namespace)
    if "*" in spec.host:
        return
    if not host:
        fault = _no_service(spec.host, document.namespace, there, ("spec", "host"))
        yield Finding(fault, Severity.WARNING)
        return
    service = there.services.get(host)
    for number, subset in enumerate(spec.subsets):
        endpoints = service.endpoints if service is not None else ()
        if endpoints and not any(_has(subset.labels, each.labels) for each in endpoints):
            fault = Fault(
                ("spec", "subsets", number, "labels"),
                f"no instance of {spec.host} has these labels now",
                "give instances them as metadata, or correct them",
            )
            yield Finding(fault, Severity.WARNING)


def _has(wanted: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    return all(labels.get(name) == value for name, value in wanted.items())


def _sidecar(document: Document[Any], there: Known) -> Iterator[Finding]:
    for number, listener in enumerate(document.spec.egress):
        for position, each in enumerate(listener.hosts):
            namespace, _, name = each.partition("/")
            if namespace in ("~",) or "*" in name:
                continue
            space = document.namespace if namespace in (".", "*") else namespace
            if not there.host_of(name, space):
                path: Path = ("spec", "egress", number, "hosts", position)
                yield Finding(_no_service(name, space, there, path), Severity.WARNING)


def _route(document: Document[Any], there: Known) -> Iterator[Finding]:
    """Of the Gateway API, HTTP or gRPC."""
    for number, parent in enumerate(document.spec.parentRefs):
        yield from _parent(parent, document, there, ("spec", "parentRefs", number))
    for number, rule in enumerate(document.spec.rules):
        at: Path = ("spec", "rules", number)
        for position, backend in enumerate(rule.backendRefs):
            yield from _backend(backend, document, there, (*at, "backendRefs", position))
        for position, each in enumerate(rule.filters):
            if each.requestMirror is not None:
                path = (*at, "filters", position, "requestMirror", "backendRef")
                yield from _backend(each.requestMirror.backendRef, document, there, path)


def _backend(backend: BackendRef, document: Document[Any], there: Known, path: Path) -> Iterator[Finding]:
    namespace = hosts.namespace_of(backend.namespace) if backend.namespace else document.namespace
    host = there.host_of(f"{backend.name}.{namespace}.svc", namespace)
    if not host:
        yield Finding(_no_service(backend.name, namespace, there, (*path, "name")))
    elif backend.port is not None:
        yield from _port(backend.port, host, there, (*path, "port"))


def _parent(parent: ParentRef, document: Document[Any], there: Known, path: Path) -> Iterator[Finding]:
    namespace = hosts.namespace_of(parent.namespace) if parent.namespace else document.namespace
    if parent.is_service:
        host = there.host_of(f"{parent.name}.{namespace}.svc", namespace)
        if not host:
            yield Finding(_no_service(parent.name, namespace, there, (*path, "name")))
        elif parent.port is not None:
            yield from _port(parent.port, host, there, (*path, "port"))
        return
    gateway = there.policies.get(DocumentKey(Kind.KUBERNETES_GATEWAY, namespace, parent.name))
    if gateway is None:
        message = f"there is no Gateway {namespace}/{parent.name} of the Gateway API"
        yield Finding(Fault((*path, "name"), message, "write the Gateway first"))
        return
    listeners = gateway.spec.listeners
    names = [each.name for each in listeners]
    if parent.sectionName and parent.sectionName not in names:
        message = f"{namespace}/{parent.name} has no listener {parent.sectionName!r}"
        yield Finding(Fault((*path, "sectionName"), message, f"it has {', '.join(names)}"))
    allowed = [document.key in _attached(there, gateway, name, document.key.kind) for name in names]
    if parent.sectionName in ("", *names) and not any(allowed):
        message = f"no listener of {namespace}/{parent.name} lets this route attach itself"
        advice = "set allowedRoutes: {namespaces: {from: All}} at the listener, or move the route"
        yield Finding(Fault(path, message, advice))


def _attached(there: Known, gateway: Document[Any], listener: str, kind: Kind) -> list[DocumentKey]:
    if kind is Kind.HTTP_ROUTE:
        return [each.key for each in there.policies.http_routes_of(gateway, listener)]
    return [each.key for each in there.policies.grpc_routes_of(gateway, listener)]


def _attachments(document: Document[Any], there: Known) -> Iterator[Finding]:
    """What a policy is attached to, and whether its selector chooses anybody."""
    for number, target in enumerate(document.spec.targetRefs):
        path: Path = ("spec", "targetRefs", number, "name")
        if target.kind == "Service":
            if not there.host_of(f"{target.name}.{document.namespace}.svc", document.namespace):
                yield Finding(_no_service(target.name, document.namespace, there, path))
        elif (
            there.policies.get(DocumentKey(Kind.KUBERNETES_GATEWAY, document.namespace, target.name)) is None
        ):
            message = f"there is no Gateway {document.namespace}/{target.name} of the Gateway API"
            yield Finding(Fault(path, message, "write the Gateway first"))
    yield from _selects_nobody(document, there)


def _selects_nobody(document: Document[Any], there: Known) -> Iterator[Finding]:
    """A warning where there are workloads in the namespace and none has the labels: gateways and clients that are no
    service are not known here.
    """
    selector = document.spec.selector
    if selector is None or not selector.matchLabels or document.namespace == _root(there):
        return
    workloads = [
        {"app": service.name, **service.labels, **endpoint.labels}
        for service in there.services.values()
        if service.namespace == document.namespace
        for endpoint in service.endpoints
    ]
    if workloads and not any(selector.selects(labels) for labels in workloads):
        fault = Fault(
            ("spec", "selector", "matchLabels"),
            "no instance of a service in this namespace has these labels now",
            "correct them, or start the workload with them",
        )
        yield Finding(fault, Severity.WARNING)


def _root(there: Known) -> str:
    return there.policies.settings.root_namespace


_CHECKS: Mapping[Kind, Callable[[Document[Any], Known], Iterator[Finding]]] = {
    Kind.VIRTUAL_SERVICE: _virtual_service,
    Kind.DESTINATION_RULE: _destination_rule,
    Kind.SIDECAR: _sidecar,
    Kind.HTTP_ROUTE: _route,
    Kind.GRPC_ROUTE: _route,
    Kind.AUTHORIZATION_POLICY: _attachments,
    Kind.REQUEST_AUTHENTICATION: _attachments,
    Kind.TELEMETRY: _attachments,
    Kind.LOCAL_RATE_LIMIT: _attachments,
    Kind.PEER_AUTHENTICATION: _selects_nobody,
}
