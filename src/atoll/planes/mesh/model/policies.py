"""All policy documents at one revision, and which of them hold for whom.

Rule: immutable; ``with_changes`` gives another value that shares the indexes of the kinds that did not change. Questions
are answered as the documents' specifications say; where two documents contradict each other the oldest holds, and the
answer says which documents it is made of. What routes, clusters and filters follow from them is the compiler's to say.

A *workload* here is whatever a selector may choose: a client of the mesh, or an endpoint of a service.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from atoll.planes.mesh.model import policy_index as index
from atoll.planes.mesh.model.policy_index import Effective, HostIndex, Settings
from atoll.resources.mesh import clients, hosts
from atoll.resources.mesh.documents import gateway_api
from atoll.resources.mesh.documents.authorization_policy import AuthorizationPolicy
from atoll.resources.mesh.documents.destination_rule import DestinationRule
from atoll.resources.mesh.documents.gateway import Gateway
from atoll.resources.mesh.documents.gateway_api import KubernetesGateway
from atoll.resources.mesh.documents.grpc_route import GRPCRoute
from atoll.resources.mesh.documents.http_route import HTTPRoute
from atoll.resources.mesh.documents.kinds import Document, DocumentKey, Kind
from atoll.resources.mesh.documents.peer_authentication import PeerAuthentication
from atoll.resources.mesh.documents.rate_limit import LocalRateLimit
from atoll.resources.mesh.documents.request_authentication import RequestAuthentication
from atoll.resources.mesh.documents.service_entry import ServiceEntry
from atoll.resources.mesh.documents.sidecar import Sidecar
from atoll.resources.mesh.documents.telemetry import Telemetry
from atoll.resources.mesh.documents.virtual_service import VirtualService
from atoll.resources.records import NOTHING


class Workload(msgspec.Struct, frozen=True):
    """``gateways``: the Gateway API's gateways that it is, by name, in its namespace."""

    namespace: str
    service: str
    labels: Mapping[str, str] = NOTHING
    gateways: tuple[str, ...] = ()


class PeerModes(msgspec.Struct, frozen=True):
    """``mode`` and those of ports (DISABLE, PERMISSIVE or STRICT), and the documents that say so."""

    mode: str = "PERMISSIVE"
    ports: Mapping[int, str] = {}
    documents: tuple[Document[PeerAuthentication], ...] = ()

    def of_port(self, port: int) -> str:
        return self.ports.get(port, self.mode)


class Policies:
    """``documents`` by their key. ``settings``: how hosts are spelled, and the namespace of mesh-wide documents."""

    def __init__(
        self, documents: Iterable[Document[Any]] = (), settings: Settings = index.DEFAULT_SETTINGS
    ) -> None:
        self.settings = settings
        self._by_kind: dict[Kind, dict[DocumentKey, Document[Any]]] = {kind: {} for kind in Kind}
        for each in documents:
            self._by_kind[each.key.kind][each.key] = each
        self._kept: dict[Kind, dict[Any, Any]] = {kind: {} for kind in Kind}

    @property
    def documents(self) -> Mapping[DocumentKey, Document[Any]]:
        return {key: each for kind in Kind for key, each in self._by_kind[kind].items()}

    def get(self, key: DocumentKey) -> Document[Any] | None:
        return self._by_kind[key.kind].get(key)

    def of_kind(self, kind: Kind) -> tuple[Document[Any], ...]:
        """The oldest first."""
        found: tuple[Document[Any], ...] = self._once(
            kind, "all", lambda: tuple(sorted(self._by_kind[kind].values(), key=_age))
        )
        return found

    def with_changes(self, changed: Mapping[DocumentKey, Document[Any] | None]) -> Policies:
        """With these put in place of those of their key, None: taken away. Kinds that are not in it stay shared."""
        after = Policies((), self.settings)
        after._by_kind = dict(self._by_kind)
        after._kept = dict(self._kept)
        for kind in Kind:
            of_kind = {key: each for key, each in changed.items() if key.kind is kind}
            if not of_kind:
                continue
            merged = {**self._by_kind[kind], **of_kind}
            after._by_kind[kind] = {key: each for key, each in merged.items() if each is not None}
            after._kept[kind] = {}
        return after

    def candidates(self, name: str, namespace: str) -> tuple[str, ...]:
        """Canonical hosts that ``name`` may stand for in a document of ``namespace``, the likeliest first."""
        return hosts.candidates(name, namespace, self.settings.domain)

    def workload(self, client: clients.Client) -> Workload:
        """``client`` as selectors see it; the label ``app`` is its service unless it says otherwise."""
        names = tuple(each.name for each in self.kubernetes_gateways(client))
        namespace = hosts.namespace_of(client.namespace)
        return Workload(namespace, client.service, {"app": client.service, **client.labels}, names)

    # ------------------------------------------------------------------------------------------ outbound

    def virtual_services_for(self, host: str, namespace: str) -> tuple[Document[VirtualService], ...]:
        """Those for sidecars that a client in ``namespace`` sees and whose hosts ``host`` is in: by its own name before
        by a wildcard, the longer wildcard first, then the oldest. The first one holds.
        """
        return tuple(each for each in self._sidecar_hosts().find(host) if index.is_visible(each, namespace))

    def virtual_services(self, namespace: str) -> tuple[Document[VirtualService], ...]:
        """All for sidecars that a client in ``namespace`` sees, the oldest first."""
        return tuple(
            each
            for each in self.of_kind(Kind.VIRTUAL_SERVICE)
            if each.spec.is_for_sidecars and index.is_visible(each, namespace)
        )

    def destination_rule_for(
        self, host: str, service_namespace: str, client: clients.Client
    ) -> Effective[DestinationRule] | None:
        """Looked for in the client's namespace, then the service's, then the mesh's; in each, one with a selector for
        this client before others, the host itself before wildcards. Several for one host are put together: the policy of
        the oldest that has one, the subsets of all. The same object as long as no rule changes, unless one has a selector.
        """
        found = self._rule_hosts().find(host)
        if not found:
            return None
        client_namespace = hosts.namespace_of(client.namespace)
        if any(each.spec.workloadSelector is not None for each in found):
            return self._rule_for(found, service_namespace, client)
        return self._once(  # type: ignore[no-any-return]
            Kind.DESTINATION_RULE,
            (host, service_namespace, client_namespace),
            lambda: self._rule_for(found, service_namespace, client),
        )

    def _rule_for(
        self, found: tuple[Document[DestinationRule], ...], service_namespace: str, client: clients.Client
    ) -> Effective[DestinationRule] | None:
        client_namespace = hosts.namespace_of(client.namespace)
        labels = self.workload(client).labels
        seen = [each for each in found if index.is_visible(each, client_namespace)]
        for namespace in (client_namespace, service_namespace, self.settings.root_namespace):
            here = [each for each in seen if each.namespace == namespace]
            chosen = [each for each in here if _selects_client(each, client_namespace, labels)]
            for group in (chosen, [each for each in here if each.spec.workloadSelector is None]):
                if group:
                    return index.merged_rule(group)
        return None

    def service_entries(self) -> tuple[Document[ServiceEntry], ...]:
        return self.of_kind(Kind.SERVICE_ENTRY)

    def sidecar_for(self, client: clients.Client) -> Document[Sidecar] | None:
        """The one that selects it, else its namespace's, else the mesh's."""
        workload, root = self.workload(client), self.settings.root_namespace
        every = self.of_kind(Kind.SIDECAR)
        here = [each for each in every if each.namespace == workload.namespace]
        chosen = [each for each in here if _has_labels(each.spec.workloadSelector, workload.labels)]
        plain = [each for each in here if not _has_selector(each.spec.workloadSelector)]
        mesh = [
            each for each in every if each.namespace == root and not _has_selector(each.spec.workloadSelector)
        ]
        return next(iter((*chosen, *plain, *mesh)), None)

    def http_routes_for(self, host: str, namespace: str) -> tuple[Document[HTTPRoute], ...]:
        """Routes of the mesh whose parent is the service ``host``: those of the client's own namespace where it has any
        (its consumer's routes), else those of the service's namespace.
        """
        return self._mesh_routes(Kind.HTTP_ROUTE, host, namespace)

    def grpc_routes_for(self, host: str, namespace: str) -> tuple[Document[GRPCRoute], ...]:
        return self._mesh_routes(Kind.GRPC_ROUTE, host, namespace)

    # ------------------------------------------------------------------------------------------ gateways

    def gateways(self, client: clients.Client) -> tuple[Document[Gateway], ...]:
        """Istio's, whose selector chooses this gateway, the oldest first."""
        if client.kind is not clients.Kind.GATEWAY:
            return ()
        labels = {"app": client.service, **client.labels}
        return tuple(each for each in self.of_kind(Kind.GATEWAY) if index.has_all(each.spec.selector, labels))

    def kubernetes_gateways(self, client: clients.Client) -> tuple[Document[KubernetesGateway], ...]:
        """The Gateway API's that this gateway is, the oldest first."""
        if client.kind is not clients.Kind.GATEWAY:
            return ()
        named = client.labels.get(gateway_api.NAME_LABEL, client.service)
        namespace = hosts.namespace_of(client.namespace)
        every = self.of_kind(Kind.KUBERNETES_GATEWAY)
        return tuple(each for each in every if (each.namespace, each.name) == (namespace, named))

    def virtual_services_of(
        self, gateway: Document[Gateway], client: clients.Client
    ) -> tuple[Document[VirtualService], ...]:
        """Those that name ``gateway``, the oldest first."""
        namespace = hosts.namespace_of(client.namespace)
        return tuple(
            each
            for each in self.of_kind(Kind.VIRTUAL_SERVICE)
            if index.names_gateway(each, gateway.key) and index.is_visible(each, namespace)
        )

    def http_routes_of(
        self, gateway: Document[KubernetesGateway], listener: str
    ) -> tuple[Document[HTTPRoute], ...]:
        """Those that attach themselves to this listener and may, the oldest first. Whether their host names meet the
        listener's is not asked here.
        """
        return index.attached(self.of_kind(Kind.HTTP_ROUTE), gateway, listener)

    def grpc_routes_of(
        self, gateway: Document[KubernetesGateway], listener: str
    ) -> tuple[Document[GRPCRoute], ...]:
        return index.attached(self.of_kind(Kind.GRPC_ROUTE), gateway, listener)

    # ------------------------------------------------------------------------------------------- inbound

    def peer_modes(self, workload: Workload) -> PeerModes:
        """The mesh's, its namespace's and its own ``PeerAuthentication``, each over the one before."""
        levels = self._levels(Kind.PEER_AUTHENTICATION, workload)
        mode, ports = "PERMISSIVE", {}
        for each in reversed(levels):
            spec: PeerAuthentication = each.spec
            if spec.mtls is not None and spec.mtls.mode != "UNSET":
                mode = spec.mtls.mode
            for port, of_port in spec.portLevelMtls.items():
                if of_port.mode != "UNSET":
                    ports[int(port)] = str(of_port.mode)
        return PeerModes(mode, ports, levels)

    def request_authentications(self, workload: Workload) -> tuple[Document[RequestAuthentication], ...]:
        """All that hold for it, the oldest first."""
        return self._selecting(Kind.REQUEST_AUTHENTICATION, workload)

    def authorization_policies(self, workload: Workload) -> tuple[Document[AuthorizationPolicy], ...]:
        return self._selecting(Kind.AUTHORIZATION_POLICY, workload)

    def rate_limits(self, workload: Workload) -> tuple[Document[LocalRateLimit], ...]:
        return self._selecting(Kind.LOCAL_RATE_LIMIT, workload)

    def telemetries(self, workload: Workload) -> tuple[Document[Telemetry], ...]:
        """Its own, its namespace's, the mesh's: those that there are, the one that decides first."""
        return self._levels(Kind.TELEMETRY, workload)

    # ------------------------------------------------------------------------------------------- indexes

    def _once(self, kind: Kind, name: Any, make: Callable[[], Any]) -> Any:
        """What is computed from the documents of ``kind`` alone, once for all values that share them."""
        kept = self._kept[kind]
        if name not in kept:
            kept[name] = make()
        return kept[name]

    def _sidecar_hosts(self) -> HostIndex[VirtualService]:
        def make() -> HostIndex[VirtualService]:
            every = [each for each in self.of_kind(Kind.VIRTUAL_SERVICE) if each.spec.is_for_sidecars]
            return HostIndex(every, lambda each: each.spec.hosts, self.settings.domain)

        found: HostIndex[VirtualService] = self._once(Kind.VIRTUAL_SERVICE, "hosts", make)
        return found

    def _rule_hosts(self) -> HostIndex[DestinationRule]:
        def make() -> HostIndex[DestinationRule]:
            every = self.of_kind(Kind.DESTINATION_RULE)
            return HostIndex(every, lambda each: (each.spec.host,), self.settings.domain)

        found: HostIndex[DestinationRule] = self._once(Kind.DESTINATION_RULE, "hosts", make)
        return found

    def _mesh_routes(self, kind: Kind, host: str, namespace: str) -> tuple[Any, ...]:
        domain = self.settings.domain
        parents = self._once(kind, "parents", lambda: index.by_parent_host(self.of_kind(kind), domain))
        found: tuple[Document[Any], ...] = parents.get(host, ())
        own = tuple(each for each in found if each.namespace == namespace)
        produced = tuple(each for each in found if index.namespace_of_host(host, domain) == each.namespace)
        return own or produced

    def _selecting(self, kind: Kind, workload: Workload) -> tuple[Any, ...]:
        """Of the workload's namespace and of the root namespace, which speaks for all."""
        places = (workload.namespace, self.settings.root_namespace)
        return tuple(
            each for each in self.of_kind(kind) if each.namespace in places and _chooses(each.spec, workload)
        )

    def _levels(self, kind: Kind, workload: Workload) -> tuple[Any, ...]:
        root = self.settings.root_namespace
        every = self.of_kind(kind)
        here = [each for each in every if each.namespace == workload.namespace]
        chosen = [each for each in here if _is_narrow(each.spec) and _chooses(each.spec, workload)]
        plain = [each for each in here if not _is_narrow(each.spec)]
        mesh = [
            each
            for each in every
            if each.namespace == root != workload.namespace and not _is_narrow(each.spec)
        ]
        return tuple(group[0] for group in (chosen, plain, mesh) if group)


EMPTY = Policies()


def _age(document: Document[Any]) -> tuple[int, str, str]:
    return document.age


def _has_selector(selector: Any) -> bool:
    return selector is not None and bool(selector.labels)


def _has_labels(selector: Any, labels: Mapping[str, str]) -> bool:
    return _has_selector(selector) and selector.selects(labels)


def _selects_client(rule: Document[DestinationRule], namespace: str, labels: Mapping[str, str]) -> bool:
    selector = rule.spec.workloadSelector
    return selector is not None and rule.namespace == namespace and selector.selects(labels)


def _is_narrow(spec: Any) -> bool:
    """Whether it speaks for some workloads of its namespace, not for all."""
    selector = spec.selector
    return bool(selector is not None and selector.matchLabels) or bool(getattr(spec, "targetRefs", ()))


def _chooses(spec: Any, workload: Workload) -> bool:
    targets = getattr(spec, "targetRefs", ())
    if targets:
        return any(
            each.name == workload.service if each.kind == "Service" else each.name in workload.gateways
            for each in targets
        )
    return spec.selector is None or bool(spec.selector.selects(workload.labels))


__all__ = ["EMPTY", "Effective", "PeerModes", "Policies", "Settings", "Workload"]
