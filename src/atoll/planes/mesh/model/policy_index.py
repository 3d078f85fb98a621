"""Looking documents up: by the hosts that they are for, by what they are attached to, by who sees them.

Rule: pure functions and frozen indexes; all answers are ordered, the document that decides first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import msgspec

from atoll.resources.mesh import hosts
from atoll.resources.mesh.documents import gateway_api
from atoll.resources.mesh.documents.destination_rule import DestinationRule, Subset
from atoll.resources.mesh.documents.gateway_api import AllowedRoutes, KubernetesGateway
from atoll.resources.mesh.documents.http_route import ParentRef
from atoll.resources.mesh.documents.kinds import Document, DocumentKey
from atoll.resources.mesh.documents.parts import Part
from atoll.resources.mesh.documents.virtual_service import VirtualService

S = TypeVar("S", bound=Part, covariant=True)


class Settings(msgspec.Struct, frozen=True):
    domain: str = hosts.DEFAULT_DOMAIN
    root_namespace: str = hosts.DEFAULT_ROOT_NAMESPACE


DEFAULT_SETTINGS = Settings()


class Effective(msgspec.Struct, Generic[S], frozen=True):
    """What holds, put together of ``documents``, the one that decides first."""

    spec: S
    documents: tuple[Document[S], ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(str(each.key) for each in self.documents)

    @property
    def hash8(self) -> str:
        """Of one document its own; of several that of their hashes."""
        return joined_hash(each.hash8 for each in self.documents)


class HostIndex(Generic[S]):
    """Documents by the hosts, and host patterns, that they are for."""

    def __init__(
        self,
        documents: Sequence[Document[S]],
        hosts_of: Callable[[Document[S]], tuple[str, ...]],
        domain: str,
    ) -> None:
        exact: dict[str, dict[DocumentKey, Document[S]]] = {}
        patterns: dict[str, dict[DocumentKey, Document[S]]] = {}
        for each in documents:
            for name in hosts_of(each):
                for host in hosts.candidates(name, each.namespace, domain):
                    table = patterns if host.startswith("*") else exact
                    table.setdefault(host, {})[each.key] = each
        self._exact = {host: tuple(found.values()) for host, found in exact.items()}
        longest_first = sorted(patterns, key=lambda pattern: (-len(pattern), pattern))
        self._patterns = tuple((pattern, tuple(patterns[pattern].values())) for pattern in longest_first)

    def find(self, host: str) -> tuple[Document[S], ...]:
        """Exact matches first, then by pattern from the longest; each document once."""
        found = {each.key: each for each in self._exact.get(host, ())}
        for pattern, documents in self._patterns:
            if hosts.matches(pattern, host):
                for each in documents:
                    found.setdefault(each.key, each)
        return tuple(found.values())


def joined_hash(hashes: Iterable[str]) -> str:
    every = tuple(hashes)
    if len(every) == 1:
        return every[0]
    return hashlib.blake2b("".join(every).encode(), digest_size=4).hexdigest()


def has_all(wanted: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    return all(labels.get(name) == value for name, value in wanted.items())


def is_visible(document: Document[Any], namespace: str) -> bool:
    """By ``exportTo``: ``*`` or nothing all namespaces, ``.`` the document's own, ``~`` none, or by name."""
    exported: tuple[str, ...] = document.spec.exportTo
    if not exported or "*" in exported:
        return True
    spelled = [document.namespace if each == "." else hosts.namespace_of(each) for each in exported]
    return hosts.namespace_of(namespace) in spelled


def merged_rule(group: Sequence[Document[DestinationRule]]) -> Effective[DestinationRule]:
    """Of rules that are found for one host in one namespace: those for the same host as the first, put together."""
    first = group[0]
    same = [each for each in group if each.spec.host == first.spec.host]
    subsets: dict[str, Subset] = {}
    for each in same:
        for subset in each.spec.subsets:
            subsets.setdefault(subset.name, subset)
    policy = next((each.spec.trafficPolicy for each in same if each.spec.trafficPolicy is not None), None)
    rule = msgspec.structs.replace(first.spec, trafficPolicy=policy, subsets=tuple(subsets.values()))
    return Effective(rule, tuple(same))


def names_gateway(document: Document[VirtualService], gateway: DocumentKey) -> bool:
    """``NAMESPACE/NAME``, or a name of the document's own namespace."""
    for each in document.spec.gateways:
        namespace, slash, name = each.rpartition("/")
        spelled = hosts.namespace_of(namespace) if slash else document.namespace
        if (spelled, name) == (gateway.namespace, gateway.name):
            return True
    return False


def namespace_of_host(host: str, domain: str) -> str:
    """Of a canonical host of the mesh; empty for any other."""
    inner = host.removesuffix(f".svc.{domain}")
    return inner.rpartition(".")[2] if inner != host else ""


def by_parent_host(documents: Sequence[Document[Any]], domain: str) -> dict[str, tuple[Document[Any], ...]]:
    """Routes of the mesh by the canonical host of the services that are their parents."""
    found: dict[str, dict[DocumentKey, Document[Any]]] = {}
    for each in documents:
        for parent in each.spec.parentRefs:
            if parent.is_service:
                namespace = hosts.namespace_of(parent.namespace) if parent.namespace else each.namespace
                host = f"{parent.name}.{namespace}.svc.{domain}"
                found.setdefault(host, {})[each.key] = each
    return {host: tuple(routes.values()) for host, routes in found.items()}


def attached(
    routes: Sequence[Document[Any]], gateway: Document[KubernetesGateway], listener: str
) -> tuple[Document[Any], ...]:
    """Routes with a parent that is this listener, which lets them."""
    found = next((each for each in gateway.spec.listeners if each.name == listener), None)
    if found is None:
        return ()
    return tuple(
        each
        for each in routes
        if any(_is_parent(parent, each, gateway, found) for parent in each.spec.parentRefs)
        and _allows(found.allowedRoutes, each.key, gateway.namespace)
    )


def _is_parent(
    parent: ParentRef,
    route: Document[Any],
    gateway: Document[KubernetesGateway],
    listener: gateway_api.Listener,
) -> bool:
    namespace = hosts.namespace_of(parent.namespace) if parent.namespace else route.namespace
    return (
        not parent.is_service
        and (namespace, parent.name) == (gateway.namespace, gateway.name)
        and parent.sectionName in ("", listener.name)
        and parent.port in (None, listener.port)
    )


def _allows(allowed: AllowedRoutes, route: DocumentKey, gateway_namespace: str) -> bool:
    if allowed.kinds and route.kind.value not in [each.kind for each in allowed.kinds]:
        return False
    rule = allowed.namespaces
    if rule.from_ == "Selector" and rule.selector is not None:
        return has_all(rule.selector.matchLabels, {gateway_api.NAMESPACE_LABEL: route.namespace})
    return rule.from_ == "All" or (rule.from_ == "Same" and route.namespace == gateway_namespace)
