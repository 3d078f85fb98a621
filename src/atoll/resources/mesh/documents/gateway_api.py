"""The Gateway API's ``Gateway`` (gateway.networking.k8s.io/v1): listeners of a gateway, and which routes may use them.

Rule: as ``parts``. Its gateway is the client of its own name and namespace, or any client there with the label
``gateway.networking.k8s.io/gateway-name``. A certificate is a secret that the gateway's agent serves by its name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Literal

import msgspec

from atoll.resources.mesh.documents.parts import Fault, HostPattern, Labels, Part, PortNumber, repeated
from atoll.resources.records import NOTHING

GROUP = "gateway.networking.k8s.io"
NAME_LABEL = "gateway.networking.k8s.io/gateway-name"

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=253)]


class SecretRef(Part, frozen=True):
    name: Name
    group: Literal[""] = ""
    kind: Literal["Secret"] = "Secret"
    namespace: str = ""


class ListenerTls(Part, frozen=True):
    REFUSED: ClassVar[Mapping[str, str]] = {
        "options": "what TLS is spoken is the gateway's default",
        "frontendValidation": "write an Istio Gateway with tls: {mode: MUTUAL} to ask for client certificates",
    }

    mode: Literal["Terminate", "Passthrough"] = "Terminate"
    certificateRefs: tuple[SecretRef, ...] = ()


class LabelSelector(Part, frozen=True):
    REFUSED: ClassVar[Mapping[str, str]] = {"matchExpressions": "write matchLabels"}

    matchLabels: Labels = NOTHING


class RouteNamespaces(Part, frozen=True):
    """``Selector`` knows the label ``kubernetes.io/metadata.name`` alone: namespaces have no other here."""

    from_: Literal["All", "Same", "Selector", "None"] = msgspec.field(name="from", default="Same")
    selector: LabelSelector | None = None

    def faults(self) -> Iterator[Fault]:
        if (self.from_ == "Selector") != (self.selector is not None):
            yield Fault(
                ("selector",) if self.selector else (), "selector and from: Selector go together", "give both"
            )
        for name in self.selector.matchLabels if self.selector is not None else ():
            if name != NAMESPACE_LABEL:
                yield Fault(
                    ("selector", "matchLabels", name),
                    "namespaces have no such label",
                    f"use {NAMESPACE_LABEL}",
                )


NAMESPACE_LABEL = "kubernetes.io/metadata.name"


class RouteKind(Part, frozen=True):
    kind: Literal["HTTPRoute", "GRPCRoute"]
    group: Literal["gateway.networking.k8s.io"] = "gateway.networking.k8s.io"


class AllowedRoutes(Part, frozen=True):
    namespaces: RouteNamespaces = RouteNamespaces()
    kinds: tuple[RouteKind, ...] = ()


class Listener(Part, frozen=True):
    """``hostname`` empty: all."""

    name: Name
    port: PortNumber
    protocol: Literal["HTTP", "HTTPS"]
    hostname: HostPattern | None = None
    tls: ListenerTls | None = None
    allowedRoutes: AllowedRoutes = AllowedRoutes()

    def faults(self) -> Iterator[Fault]:
        if self.protocol == "HTTP" and self.tls is not None:
            yield Fault(("tls",), "protocol HTTP has no TLS", "write HTTPS")
        if self.protocol == "HTTPS":
            if self.tls is None or (self.tls.mode == "Terminate" and not self.tls.certificateRefs):
                yield Fault(
                    (), "protocol HTTPS needs tls with certificateRefs", "give tls: {certificateRefs: [...]}"
                )
            elif self.tls.mode == "Passthrough":
                yield Fault(
                    ("tls", "mode"),
                    "HTTPS ends its TLS at the gateway",
                    "write an Istio Gateway to pass TLS on",
                )


class KubernetesGateway(Part, frozen=True):
    REFUSED: ClassVar[Mapping[str, str]] = {
        "addresses": "where a gateway listens is said by `atoll gateway`",
        "infrastructure": "a gateway is started by `atoll gateway`, with its labels",
        "backendTLS": "give a DestinationRule with tls",
        "allowedListeners": "list the listeners here",
    }

    gatewayClassName: Name
    listeners: Annotated[tuple[Listener, ...], msgspec.Meta(min_length=1, max_length=64)]

    def faults(self) -> Iterator[Fault]:
        yield from repeated((each.name for each in self.listeners), ("listeners",), "name")
        protocols: dict[int, str] = {}
        seen: dict[tuple[int, str], str] = {}
        for position, each in enumerate(self.listeners):
            if protocols.setdefault(each.port, each.protocol) != each.protocol:
                yield Fault(
                    ("listeners", position, "protocol"),
                    f"port {each.port} is {protocols[each.port]} and {each.protocol}",
                    "give each its own port",
                )
            place = (each.port, each.hostname or "*")
            if place in seen:
                yield Fault(
                    ("listeners", position),
                    f"{place[1]} on port {each.port} is served by listener {seen[place]!r} already",
                    "take one of them out",
                )
            seen.setdefault(place, each.name)
