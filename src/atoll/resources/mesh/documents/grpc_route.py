"""The Gateway API's ``GRPCRoute`` (gateway.networking.k8s.io/v1): the same as ``HTTPRoute`` for calls of gRPC methods.

Rule: as ``parts``. A method without ``service`` or ``method`` matches all of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Literal

import msgspec

from atoll.resources.mesh.documents.http_route import (
    BackendRef,
    HeaderMatch,
    HeaderModifier,
    MatchType,
    ParentRef,
    RequestMirror,
    route_faults,
    typed,
)
from atoll.resources.mesh.documents.parts import Fault, HostPattern, Part, regex_problem, repeated


class GrpcMethod(Part, frozen=True):
    type: MatchType = "Exact"
    service: str = ""
    method: str = ""

    def faults(self) -> Iterator[Fault]:
        if not self.service and not self.method:
            yield Fault((), "names neither service nor method", "give one of them, or leave method out")
        for name in ("service", "method"):
            found = getattr(self, name)
            problem = regex_problem(found) if self.type == "RegularExpression" and found else ""
            if problem:
                yield Fault((name,), f"is no regular expression: {problem}", "write RE2 syntax")
            elif self.type == "Exact" and found and not _NAME.fullmatch(found):
                yield Fault((name,), f"{found!r} is no name of gRPC", "write it as in the .proto file")


_NAME = re.compile(r"[A-Za-z_][\w.]*", re.ASCII)


class GrpcRouteMatch(Part, frozen=True):
    method: GrpcMethod | None = None
    headers: tuple[HeaderMatch, ...] = ()

    def faults(self) -> Iterator[Fault]:
        yield from repeated((each.name.lower() for each in self.headers), ("headers",), "name")


class GrpcFilter(Part, frozen=True):
    REFUSED: ClassVar[Mapping[str, str]] = {
        "extensionRef": "write a VirtualService for what the Gateway API has no filter for",
    }

    type: Literal["RequestHeaderModifier", "ResponseHeaderModifier", "RequestMirror"]
    requestHeaderModifier: HeaderModifier | None = None
    responseHeaderModifier: HeaderModifier | None = None
    requestMirror: RequestMirror | None = None

    def faults(self) -> Iterator[Fault]:
        yield from typed(self, self.type, FIELD_OF_TYPE)


FIELD_OF_TYPE = {
    "RequestHeaderModifier": "requestHeaderModifier",
    "ResponseHeaderModifier": "responseHeaderModifier",
    "RequestMirror": "requestMirror",
}


class GrpcBackendRef(BackendRef, frozen=True, kw_only=True):
    filters: tuple[GrpcFilter, ...] = ()

    def faults(self) -> Iterator[Fault]:
        for position, each in enumerate(self.filters):
            if each.type == "RequestMirror":
                yield Fault(
                    ("filters", position, "type"), "RequestMirror at a single backend", "put it at the rule"
                )


class GrpcRouteRule(Part, frozen=True):
    REFUSED: ClassVar[Mapping[str, str]] = {
        "sessionPersistence": "give a DestinationRule with consistentHash: {httpCookie: ...}",
    }

    name: str = ""
    matches: tuple[GrpcRouteMatch, ...] = ()
    filters: tuple[GrpcFilter, ...] = ()
    backendRefs: tuple[GrpcBackendRef, ...] = ()

    def faults(self) -> Iterator[Fault]:
        once = (each.type if each.type != "RequestMirror" else "" for each in self.filters)
        yield from repeated(once, ("filters",), "type")


class GRPCRoute(Part, frozen=True):
    parentRefs: Annotated[tuple[ParentRef, ...], msgspec.Meta(min_length=1, max_length=32)]
    hostnames: tuple[HostPattern, ...] = ()
    rules: tuple[GrpcRouteRule, ...] = (GrpcRouteRule(),)

    def faults(self) -> Iterator[Fault]:
        yield from route_faults(self.parentRefs, self.hostnames, tuple(each.name for each in self.rules))
