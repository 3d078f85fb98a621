"""The Gateway API's ``HTTPRoute`` (gateway.networking.k8s.io/v1): for gateways, and in the mesh for a service's clients.

Rule: as ``parts``. A parent ``Service`` makes it a route of the mesh (GAMMA), a parent ``Gateway`` one of that gateway.
Of rules that match, the most specific one is taken, not the first (``precedence`` in the specification).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Literal

import msgspec

from atoll.resources.mesh.documents.gateway_api import GROUP, Name
from atoll.resources.mesh.documents.parts import (
    Fault,
    HeaderName,
    HeaderText,
    HostPattern,
    Part,
    Path,
    PortNumber,
    Positive,
    Seconds,
    Weight,
    one_of,
    regex_problem,
    repeated,
)

RULES_MAX = 256

MatchType = Literal["Exact", "RegularExpression"]


class ParentRef(Part, frozen=True):
    """``sectionName``: a listener of the gateway; ``port``: of the gateway or the service; without: all of them."""

    name: Name
    group: str = GROUP
    kind: str = "Gateway"
    namespace: str = ""
    sectionName: str = ""
    port: PortNumber | None = None

    @property
    def is_service(self) -> bool:
        return self.kind == "Service" and self.group in ("", "core")

    def faults(self) -> Iterator[Fault]:
        if not self.is_service and (self.group, self.kind) != (GROUP, "Gateway"):
            yield Fault(
                ("kind",),
                f"{self.kind!r} of group {self.group!r} is no parent",
                'write kind: Gateway, or group: "" and kind: Service',
            )
        if self.is_service and self.sectionName:
            yield Fault(("sectionName",), "a service has no sections", "write port")


class PathMatch(Part, frozen=True):
    type: Literal["Exact", "PathPrefix", "RegularExpression"] = "PathPrefix"
    value: Annotated[str, msgspec.Meta(min_length=1, max_length=1024)] = "/"

    def faults(self) -> Iterator[Fault]:
        if self.type == "RegularExpression":
            problem = regex_problem(self.value)
            if problem:
                yield Fault(("value",), f"is no regular expression: {problem}", "write RE2 syntax")
        elif not self.value.startswith("/"):
            yield Fault(("value",), f"{self.value!r} does not begin with /", f"write /{self.value}")
        elif not _PATH.fullmatch(self.value) or _NOT_NORMAL.search(self.value):
            yield Fault(
                ("value",),
                f"{self.value!r} is no path that a request can have",
                "without //, /./, /../, ?, #",
            )


_PATH = re.compile(r"(?:[-A-Za-z0-9/._~!$&'()*+,;=:@]|%[0-9a-fA-F]{2})+")
_NOT_NORMAL = re.compile(r"//|/\.\.?(/|$)|%2[fF]")


def pattern_faults(kind: str, value: str) -> Iterator[Fault]:
    """Of a value that is compared by ``kind``."""
    problem = regex_problem(value) if kind == "RegularExpression" else ""
    if problem:
        yield Fault(("value",), f"is no regular expression: {problem}", "write RE2 syntax")


class HeaderMatch(Part, frozen=True):
    name: HeaderName
    value: Annotated[str, msgspec.Meta(max_length=4096)]
    type: MatchType = "Exact"

    def faults(self) -> Iterator[Fault]:
        yield from pattern_faults(self.type, self.value)


class QueryMatch(Part, frozen=True):
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    value: Annotated[str, msgspec.Meta(max_length=1024)]
    type: MatchType = "Exact"

    def faults(self) -> Iterator[Fault]:
        yield from pattern_faults(self.type, self.value)


class HttpRouteMatch(Part, frozen=True):
    path: PathMatch = PathMatch()
    headers: tuple[HeaderMatch, ...] = ()
    queryParams: tuple[QueryMatch, ...] = ()
    method: Literal["", "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"] = ""

    def faults(self) -> Iterator[Fault]:
        yield from repeated((each.name.lower() for each in self.headers), ("headers",), "name")
        yield from repeated((each.name for each in self.queryParams), ("queryParams",), "name")


class NameValue(Part, frozen=True):
    name: HeaderName
    value: HeaderText


class HeaderModifier(Part, frozen=True):
    set: tuple[NameValue, ...] = ()
    add: tuple[NameValue, ...] = ()
    remove: tuple[HeaderName, ...] = ()


class BackendRef(Part, frozen=True):
    """A service; ``namespace`` empty: the route's own. ``weight`` 0 gets nothing."""

    name: Name
    group: Literal["", "core"] = ""
    kind: Literal["Service"] = "Service"
    namespace: str = ""
    port: PortNumber | None = None
    weight: Weight = 1


class Fraction(Part, frozen=True):
    numerator: Annotated[int, msgspec.Meta(ge=0)]
    denominator: Positive = 100

    def faults(self) -> Iterator[Fault]:
        if self.numerator > self.denominator:
            yield Fault(("numerator",), "is more than the denominator", "write a share of at most 1")


class RequestMirror(Part, frozen=True):
    backendRef: BackendRef
    percent: Annotated[int, msgspec.Meta(ge=0, le=100)] | None = None
    fraction: Fraction | None = None

    @property
    def share(self) -> float:
        """In percent."""
        if self.fraction is not None:
            return 100.0 * self.fraction.numerator / self.fraction.denominator
        return 100.0 if self.percent is None else float(self.percent)

    def faults(self) -> Iterator[Fault]:
        yield from one_of(self, ("percent", "fraction"), required=False)


class PathModifier(Part, frozen=True):
    type: Literal["ReplaceFullPath", "ReplacePrefixMatch"]
    replaceFullPath: str | None = None
    replacePrefixMatch: str | None = None

    def faults(self) -> Iterator[Fault]:
        wanted = "replaceFullPath" if self.type == "ReplaceFullPath" else "replacePrefixMatch"
        other = "replacePrefixMatch" if wanted == "replaceFullPath" else "replaceFullPath"
        if getattr(self, wanted) is None:
            yield Fault((), f"type {self.type} needs {wanted}", f"give {wanted}")
        if getattr(self, other) is not None:
            yield Fault((other,), f"type {self.type} takes no {other}", "leave it out")


class RequestRedirect(Part, frozen=True):
    scheme: Literal["", "http", "https"] = ""
    hostname: str = ""
    path: PathModifier | None = None
    port: PortNumber | None = None
    statusCode: Literal[301, 302, 303, 307, 308] = 302


class UrlRewrite(Part, frozen=True):
    hostname: str = ""
    path: PathModifier | None = None


class CorsFilter(Part, frozen=True):
    """Origins may have a ``*``, alone or as the first label of the host; methods and headers may be ``*``."""

    allowOrigins: tuple[str, ...] = ()
    allowMethods: tuple[str, ...] = ()
    allowHeaders: tuple[str, ...] = ()
    exposeHeaders: tuple[str, ...] = ()
    allowCredentials: bool = False
    maxAge: Annotated[int, msgspec.Meta(ge=1)] = 5  # seconds


class HttpFilter(Part, frozen=True):
    REFUSED: ClassVar[Mapping[str, str]] = {
        "extensionRef": "write a VirtualService for what the Gateway API has no filter for",
        "externalAuth": "write an AuthorizationPolicy",
    }

    type: Literal[
        "RequestHeaderModifier",
        "ResponseHeaderModifier",
        "RequestMirror",
        "RequestRedirect",
        "URLRewrite",
        "CORS",
    ]
    requestHeaderModifier: HeaderModifier | None = None
    responseHeaderModifier: HeaderModifier | None = None
    requestMirror: RequestMirror | None = None
    requestRedirect: RequestRedirect | None = None
    urlRewrite: UrlRewrite | None = None
    cors: CorsFilter | None = None

    def faults(self) -> Iterator[Fault]:
        yield from typed(self, self.type, FIELD_OF_TYPE)


FIELD_OF_TYPE = {
    "RequestHeaderModifier": "requestHeaderModifier",
    "ResponseHeaderModifier": "responseHeaderModifier",
    "RequestMirror": "requestMirror",
    "RequestRedirect": "requestRedirect",
    "URLRewrite": "urlRewrite",
    "CORS": "cors",
}


def typed(part: Part, kind: str, fields: Mapping[str, str]) -> Iterator[Fault]:
    """Exactly the field is set that the type names."""
    if getattr(part, fields[kind]) is None:
        yield Fault((), f"type {kind} needs {fields[kind]}", f"give {fields[kind]}")
    for name in fields.values():
        if name != fields[kind] and getattr(part, name) is not None:
            yield Fault((name,), f"type {kind} takes no {name}", "give it a filter of its own")


class HttpBackendRef(BackendRef, frozen=True, kw_only=True):
    filters: tuple[HttpFilter, ...] = ()

    def faults(self) -> Iterator[Fault]:
        for position, each in enumerate(self.filters):
            if each.type not in ("RequestHeaderModifier", "ResponseHeaderModifier"):
                yield Fault(
                    ("filters", position, "type"), f"{each.type} at a single backend", "put it at the rule"
                )


class RouteTimeouts(Part, frozen=True):
    """0: none. ``backendRequest``: of each try."""

    request: Seconds | None = None
    backendRequest: Seconds | None = None

    def faults(self) -> Iterator[Fault]:
        if self.request and self.backendRequest and self.backendRequest > self.request:
            yield Fault(("backendRequest",), "is longer than request", "write at most as much")


class RouteRetry(Part, frozen=True):
    """Besides these codes, a connection that failed is always tried again."""

    codes: tuple[Annotated[int, msgspec.Meta(ge=400, le=599)], ...] = ()
    attempts: Annotated[int, msgspec.Meta(ge=0, le=100)] | None = None
    backoff: Seconds | None = None


class HttpRouteRule(Part, frozen=True):
    REFUSED: ClassVar[Mapping[str, str]] = {
        "sessionPersistence": "give a DestinationRule with consistentHash: {httpCookie: ...}",
    }

    name: str = ""
    matches: tuple[HttpRouteMatch, ...] = ()
    filters: tuple[HttpFilter, ...] = ()
    backendRefs: tuple[HttpBackendRef, ...] = ()
    timeouts: RouteTimeouts | None = None
    retry: RouteRetry | None = None

    def filter_of(self, kind: str) -> HttpFilter | None:
        return next((each for each in self.filters if each.type == kind), None)

    def faults(self) -> Iterator[Fault]:
        once = (each.type if each.type != "RequestMirror" else "" for each in self.filters)
        yield from repeated(once, ("filters",), "type")
        redirects = self.filter_of("RequestRedirect") is not None
        if redirects and self.filter_of("URLRewrite") is not None:
            yield Fault(("filters",), "RequestRedirect and URLRewrite exclude each other", "give one of them")
        if redirects and self.backendRefs:
            yield Fault(("backendRefs",), "a rule that redirects has no backends", "leave them out")
        yield from self._prefix_faults()

    def _prefix_faults(self) -> Iterator[Fault]:
        """To replace a matched prefix, a prefix has to be matched."""
        for position, each in enumerate(self.filters):
            rewrite, redirect = each.urlRewrite, each.requestRedirect
            path = rewrite.path if rewrite is not None else redirect.path if redirect is not None else None
            if path is None or path.type != "ReplacePrefixMatch":
                continue
            if any(match.path.type != "PathPrefix" for match in self.matches):
                yield Fault(
                    ("filters", position), "ReplacePrefixMatch needs matches by PathPrefix", "match so"
                )


class HTTPRoute(Part, frozen=True):
    parentRefs: Annotated[tuple[ParentRef, ...], msgspec.Meta(min_length=1, max_length=32)]
    hostnames: tuple[HostPattern, ...] = ()
    rules: tuple[HttpRouteRule, ...] = (HttpRouteRule(),)

    def faults(self) -> Iterator[Fault]:
        yield from route_faults(self.parentRefs, self.hostnames, tuple(each.name for each in self.rules))


def route_faults(
    parents: tuple[ParentRef, ...], hostnames: tuple[str, ...], names: tuple[str, ...]
) -> Iterator[Fault]:
    """What holds for routes of either kind."""
    yield from repeated(hostnames, ("hostnames",), "")
    yield from repeated(names, ("rules",), "name")
    if len(names) > RULES_MAX:
        yield Fault(("rules", RULES_MAX), f"more than {RULES_MAX} rules", "split the route")
    path: Path = ("hostnames",)
    if hostnames and all(each.is_service for each in parents):
        yield Fault(path, "a route of the mesh takes its host from its parent", "leave hostnames out")
