"""Where two documents contradict each other, so that one of them would never take effect.

Rule: pure; each finding is told at the younger document, since the older one holds, and names the other one. Both are
visible to some namespace in common, or there is no contradiction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import product
from typing import Any

from atoll.planes.mesh.model.policies import Policies
from atoll.planes.mesh.policy.references import Finding
from atoll.resources.mesh import hosts
from atoll.resources.mesh.documents.destination_rule import DestinationRule
from atoll.resources.mesh.documents.gateway import Gateway, Server, family_of
from atoll.resources.mesh.documents.kinds import Document, Kind
from atoll.resources.mesh.documents.parts import Fault, Path
from atoll.resources.mesh.documents.reading import Severity
from atoll.resources.mesh.documents.virtual_service import VirtualService


def check(document: Document[Any], others: Iterable[Document[Any]], policies: Policies) -> Iterator[Finding]:
    """What those of ``others`` say against ``document`` that are older and of its kind, and what does not go together with
    other kinds.
    """
    against = _PAIRS.get(document.key.kind, _nothing)
    for other in others:
        if other.key.kind is document.key.kind and other.key != document.key and other.age <= document.age:
            yield from against(document, other, policies)
    if document.key.kind is Kind.DESTINATION_RULE:
        yield from _plain_text_to_strict(document, policies)
    if document.key.kind in (Kind.HTTP_ROUTE, Kind.GRPC_ROUTE):
        yield from _routed_already(document, policies)


def _routed_already(document: Document[Any], policies: Policies) -> Iterator[Finding]:
    """In sidecars a ``VirtualService`` routes a service before any route of the Gateway API, whichever is older."""
    for number, parent in enumerate(document.spec.parentRefs):
        if not parent.is_service:
            continue
        namespace = hosts.namespace_of(parent.namespace) if parent.namespace else document.namespace
        host = f"{parent.name}.{namespace}.svc.{policies.settings.domain}"
        found = policies.virtual_services_for(host, document.namespace)[:1]
        if found and found[0].spec.http:
            message = f"{found[0].key} routes {parent.name} already, and holds"
            fault = Fault(
                ("spec", "parentRefs", number), message, "say all of it in one kind, and delete the other"
            )
            yield Finding(fault, related=found[0].key)


def _nothing(younger: Document[Any], older: Document[Any], policies: Policies) -> Iterator[Finding]:
    """Of kinds whose documents add up."""
    return iter(())


def _common(one: Document[Any], other: Document[Any]) -> bool:
    """Whether some namespace sees both."""
    seen_one, seen_other = (_namespaces(each) for each in (one, other))
    return "*" in seen_one or "*" in seen_other or any(each in seen_other for each in seen_one)


def _namespaces(document: Document[Any]) -> tuple[str, ...]:
    exported: tuple[str, ...] = document.spec.exportTo
    if not exported or "*" in exported:
        return ("*",)
    return tuple(document.namespace if each == "." else hosts.namespace_of(each) for each in exported)


def _virtual_services(
    younger: Document[VirtualService], older: Document[VirtualService], policies: Policies
) -> Iterator[Finding]:
    """In sidecars one document routes a host; gateways put several together."""
    if not (younger.spec.is_for_sidecars and older.spec.is_for_sidecars and _common(younger, older)):
        return
    taken = {
        each: None for name in older.spec.hosts for each in policies.candidates(name, older.namespace)[:1]
    }
    for position, name in enumerate(younger.spec.hosts):
        if policies.candidates(name, younger.namespace)[0] in taken:
            fault = Fault(
                ("spec", "hosts", position),
                f"{older.key} routes {name} already, and holds",
                "add the rules to it, or delete it",
            )
            yield Finding(fault, related=older.key)


def _destination_rules(
    younger: Document[DestinationRule], older: Document[DestinationRule], policies: Policies
) -> Iterator[Finding]:
    """Of one namespace for one host: subsets are put together, anything that both say is said once."""
    same_host = (
        policies.candidates(younger.spec.host, younger.namespace)[0]
        == (policies.candidates(older.spec.host, older.namespace)[0])
    )
    if not same_host or younger.namespace != older.namespace or not _common(younger, older):
        return
    if younger.spec.workloadSelector != older.spec.workloadSelector:
        return
    if younger.spec.trafficPolicy is not None and older.spec.trafficPolicy is not None:
        message = f"{older.key} has a trafficPolicy for this host already, which holds"
        yield Finding(Fault(("spec", "trafficPolicy"), message, "say it in one of them"), related=older.key)
    for position, subset in enumerate(younger.spec.subsets):
        if older.spec.subset(subset.name) is not None:
            message = f"{older.key} has a subset {subset.name!r} already, which holds"
            path: Path = ("spec", "subsets", position, "name")
            yield Finding(Fault(path, message, "give it another name"), related=older.key)


def _plain_text_to_strict(document: Document[DestinationRule], policies: Policies) -> Iterator[Finding]:
    """Calls without the mesh's TLS to where nothing else is taken. Only what holds for whole namespaces is seen."""
    policy = document.spec.trafficPolicy
    if policy is None or policy.tls is None or policy.tls.mode == "ISTIO_MUTUAL":
        return
    host = policies.candidates(document.spec.host, document.namespace)[0]
    inner = host.removesuffix(f".svc.{policies.settings.domain}")
    if inner == host:
        return
    namespace = inner.rpartition(".")[2]
    for each in policies.of_kind(Kind.PEER_AUTHENTICATION):
        wide = each.spec.selector is None or not each.spec.selector.matchLabels
        strict = each.spec.mtls is not None and each.spec.mtls.mode == "STRICT"
        if wide and strict and each.namespace in (namespace, policies.settings.root_namespace):
            message = (
                f"{each.key} takes nothing but the mesh's TLS, and this calls {document.spec.host} without"
            )
            path: Path = ("spec", "trafficPolicy", "tls", "mode")
            fault = Fault(path, message, "write ISTIO_MUTUAL, or leave tls out")
            yield Finding(fault, Severity.WARNING, each.key)
            return


def _one_a_selector(younger: Document[Any], older: Document[Any], policies: Policies) -> Iterator[Finding]:
    """Of kinds of which one holds for a workload: a second one with the same selector never does."""
    if younger.namespace != older.namespace or _choice(younger) != _choice(older):
        return
    chosen = _choice(younger)
    whom = "these workloads" if chosen else f"all of {younger.namespace}"
    path: Path = ("spec",) if not chosen else ("spec", _selector_name(younger))
    fault = Fault(path, f"{older.key} is for {whom} already, and holds", "say it in one of them")
    yield Finding(fault, related=older.key)


def _choice(document: Document[Any]) -> tuple[Any, ...]:
    selector = getattr(document.spec, _selector_name(document))
    labels = getattr(selector, "matchLabels", None) or getattr(selector, "labels", None) or {}
    targets = tuple((each.kind, each.name) for each in getattr(document.spec, "targetRefs", ()))
    return (*sorted(labels.items()), *targets)


def _selector_name(document: Document[Any]) -> str:
    return "workloadSelector" if document.key.kind is Kind.SIDECAR else "selector"


def _gateways(younger: Document[Gateway], older: Document[Gateway], policies: Policies) -> Iterator[Finding]:
    """For a gateway that both select: one port is one protocol, and one host on it is one document's."""
    if not _compatible(younger.spec.selector, older.spec.selector):
        return
    numbered = product(enumerate(younger.spec.servers), older.spec.servers)
    for (position, mine), other in numbered:
        if (mine.port.number, mine.bind) != (other.port.number, other.bind):
            continue
        path: Path = ("spec", "servers", position)
        number = mine.port.number
        if family_of(mine) != family_of(other):
            message = f"{older.key} has port {number} for {other.port.protocol} already"
            fault = Fault((*path, "port"), message, "take another port")
            yield Finding(fault, related=older.key)
        elif shared := _shared_host(mine, other):
            message = f"{older.key} serves {shared} on port {number} already, and holds"
            fault = Fault((*path, "hosts"), message, "take the host out of one of them")
            yield Finding(fault, related=older.key)


def _compatible(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    """Whether there may be a workload that has the labels of both: certain where one says all that the other says."""
    return one.items() <= other.items() or other.items() <= one.items()


def _shared_host(one: Server, other: Server) -> str:
    """A host that stands in both, as it is written; a wildcard and a host in it are told apart by what is longer."""
    names = {_bare(each): None for each in other.hosts}
    return next((each for each in one.hosts if _bare(each) in names), "")


def _bare(host: str) -> str:
    return host.rpartition("/")[2].lower()


_PAIRS: Mapping[Kind, Callable[[Document[Any], Document[Any], Policies], Iterator[Finding]]] = {
    Kind.VIRTUAL_SERVICE: _virtual_services,
    Kind.DESTINATION_RULE: _destination_rules,
    Kind.GATEWAY: _gateways,
    Kind.SIDECAR: _one_a_selector,
    Kind.PEER_AUTHENTICATION: _one_a_selector,
    Kind.TELEMETRY: _one_a_selector,
}
