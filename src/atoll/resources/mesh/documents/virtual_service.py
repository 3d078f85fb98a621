"""Istio's ``VirtualService`` (networking.istio.io/v1): how requests for a host are routed.

Rule: as ``parts``. A route's rules are tried in their order; the first that matches is taken. Timeouts of 0 are none.
"""

from __future__ import annotations

import base64
import binascii
import builtins
from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Literal

import msgspec

from atoll.resources.mesh.documents.parts import (
    Cidr,
    Fault,
    HeaderName,
    HeaderText,
    HostPattern,
    Labels,
    LineText,
    Part,
    Percentage,
    PortNumber,
    QueryName,
    Regex,
    Seconds,
    Status,
    StringMatch,
    Weight,
    one_of,
    repeated,
    substitution_problem,
)
from atoll.resources.records import NOTHING

MESH = "mesh"
"""The name that stands for all sidecars in a list of gateways."""

RULES_MAX = 1000
BODY_BYTES_MAX = 4096  # of a direct response; Envoy's default bound

HeaderValues = Mapping[HeaderName, HeaderText]


class PortSelector(Part, frozen=True):
    number: PortNumber


class Destination(Part, frozen=True):
    """``host``: as in the document, relative to its namespace (``hosts.candidates``). Without ``port`` the one that the
    request was made to, or the only one of the host.
    """

    host: str
    subset: str = ""
    port: PortSelector | None = None

    def faults(self) -> Iterator[Fault]:
        if "*" in self.host or not self.host:
            yield Fault(("host",), f"{self.host!r} is no host that requests can be sent to", "name one host")


class HeaderChanges(Part, frozen=True):
    """``set`` overwrites, ``add`` appends."""

    set: HeaderValues = NOTHING
    add: HeaderValues = NOTHING
    remove: tuple[HeaderName, ...] = ()


class Headers(Part, frozen=True):
    request: HeaderChanges = HeaderChanges()
    response: HeaderChanges = HeaderChanges()


class HttpMatch(Part, frozen=True):
    """All that is given must hold. A value without a condition asks for presence."""

    REFUSED: ClassVar[Mapping[str, str]] = {
        "statPrefix": "each route is counted under its own name already",
    }

    name: str = ""
    uri: StringMatch | None = None
    scheme: StringMatch | None = None
    method: StringMatch | None = None
    authority: StringMatch | None = None
    headers: Mapping[HeaderName, StringMatch] = NOTHING
    withoutHeaders: Mapping[HeaderName, StringMatch] = NOTHING
    queryParams: Mapping[QueryName, StringMatch] = NOTHING
    ignoreUriCase: bool = False
    port: PortNumber | None = None
    sourceLabels: Labels = NOTHING
    sourceNamespace: str = ""
    gateways: tuple[str, ...] = ()

    def faults(self) -> Iterator[Fault]:
        for name in ("uri", "scheme", "method", "authority"):
            found = getattr(self, name)
            if found is not None and found.is_presence:
                yield Fault((name,), "says no condition", "give exact, prefix or regex")
        for name, found in self.queryParams.items():
            if found.prefix is not None and not found.prefix:
                yield Fault(("queryParams", name), "an empty prefix", "give exact, prefix or regex")


class HttpDestination(Part, frozen=True):
    destination: Destination
    weight: Weight = 0
    headers: Headers = Headers()


class Redirect(Part, frozen=True):
    uri: LineText = ""
    authority: LineText = ""
    port: PortNumber | None = None
    derivePort: Literal["FROM_PROTOCOL_DEFAULT", "FROM_REQUEST_PORT"] | None = None
    scheme: Literal["", "http", "https"] = ""
    redirectCode: Literal[301, 302, 303, 307, 308] = 301

    def faults(self) -> Iterator[Fault]:
        yield from one_of(self, ("port", "derivePort"), required=False)


class ResponseBody(Part, frozen=True):
    """``bytes`` in Base64."""

    string: str | None = None
    bytes: str | None = None

    def faults(self) -> Iterator[Fault]:
        yield from one_of(self, ("string", "bytes"))
        if len((self.string or "").encode()) > BODY_BYTES_MAX:
            yield Fault(("string",), f"has more than {BODY_BYTES_MAX} bytes", "answer from a service")
        content = decoded(self.bytes or "")
        if content is None:
            yield Fault(("bytes",), "is no Base64", "encode it, or write string")
        elif len(content) > BODY_BYTES_MAX:
            yield Fault(("bytes",), f"has more than {BODY_BYTES_MAX} bytes", "answer from a service")


def decoded(text: str) -> builtins.bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return None


class DirectResponse(Part, frozen=True):
    status: Status
    body: ResponseBody | None = None


class RegexRewrite(Part, frozen=True):
    """``rewrite``: with ``\\1`` for the first group of ``match``."""

    match: Regex
    rewrite: LineText

    def faults(self) -> Iterator[Fault]:
        problem = substitution_problem(self.match, self.rewrite)
        if problem:
            yield Fault(("rewrite",), problem, "write as many groups in match")


class Rewrite(Part, frozen=True):
    """``uri`` takes the place of the matched prefix, or of the whole path where the match is another."""

    uri: LineText = ""
    authority: LineText = ""
    uriRegexRewrite: RegexRewrite | None = None

    def faults(self) -> Iterator[Fault]:
        if self.uri and self.uriRegexRewrite is not None:
            yield Fault(("uriRegexRewrite",), "uri and uriRegexRewrite exclude each other", "give one")
        if not self.uri and not self.authority and self.uriRegexRewrite is None:
            yield Fault((), "rewrites nothing", "give uri, authority or uriRegexRewrite")


class Retries(Part, frozen=True):
    """``attempts``: besides the first one; 0: none. Without ``retryOn``: ``DEFAULT_RETRY_ON``."""

    attempts: Annotated[int, msgspec.Meta(ge=0, le=100)] = 2
    perTryTimeout: Seconds | None = None
    retryOn: str = ""
    retryRemoteLocalities: bool | None = None
    retryIgnorePreviousHosts: bool | None = None
    backoff: Seconds | None = None

    def faults(self) -> Iterator[Fault]:
        if self.backoff is not None and self.backoff < 0.001:
            yield Fault(("backoff",), "less than a millisecond", "write 1ms or more")
        for name in filter(None, (part.strip() for part in self.retryOn.split(","))):
            if name not in RETRY_CONDITIONS and not (name.isdigit() and 100 <= int(name) <= 599):
                yield Fault(
                    ("retryOn",),
                    f"{name!r} is no condition for a retry",
                    f"one of {', '.join(RETRY_CONDITIONS)}",
                )


DEFAULT_RETRY_ON = "connect-failure,refused-stream,unavailable,cancelled,503"
RETRY_CONDITIONS = (
    "5xx",
    "gateway-error",
    "reset",
    "reset-before-request",
    "connect-failure",
    "envoy-ratelimited",
    "retriable-4xx",
    "refused-stream",
    "retriable-status-codes",
    "retriable-headers",
    "http3-post-connect-failure",
    "cancelled",
    "deadline-exceeded",
    "internal",
    "resource-exhausted",
    "unavailable",
)


class Percent(Part, frozen=True):
    value: Percentage = 0.0


class Delay(Part, frozen=True):
    REFUSED: ClassVar[Mapping[str, str]] = {
        "percent": "write percentage: {value: ...}",
        "exponentialDelay": "write fixedDelay",
    }

    fixedDelay: Seconds
    percentage: Percent = Percent(value=100.0)

    def faults(self) -> Iterator[Fault]:
        if self.fixedDelay <= 0:
            yield Fault(("fixedDelay",), "a delay of nothing", "write a duration above 0, or no delay")


class Abort(Part, frozen=True):
    """``grpcStatus``: a name as ``UNAVAILABLE`` or a number."""

    REFUSED: ClassVar[Mapping[str, str]] = {
        "percent": "write percentage: {value: ...}",
        "http2Error": "write httpStatus or grpcStatus",
    }

    httpStatus: Status | None = None
    grpcStatus: str | None = None
    percentage: Percent = Percent(value=100.0)

    def faults(self) -> Iterator[Fault]:
        yield from one_of(self, ("httpStatus", "grpcStatus"))
        if self.grpcStatus is not None and grpc_status(self.grpcStatus) is None:
            yield Fault(
                ("grpcStatus",), f"{self.grpcStatus!r} is no status", f"one of {', '.join(GRPC_STATUSES)}"
            )


GRPC_STATUSES = (
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
)


def grpc_status(text: str) -> int | None:
    """The number of a status that is given by name or number."""
    if text in GRPC_STATUSES:
        return GRPC_STATUSES.index(text)
    return int(text) if text.isascii() and text.isdigit() and int(text) < len(GRPC_STATUSES) else None


class FaultInjection(Part, frozen=True):
    delay: Delay | None = None
    abort: Abort | None = None

    def faults(self) -> Iterator[Fault]:
        if self.delay is None and self.abort is None:
            yield Fault((), "injects nothing", "give delay or abort")


class Mirror(Part, frozen=True):
    """Without ``percentage``: every request."""

    destination: Destination
    percentage: Percent | None = None


class CorsPolicy(Part, frozen=True):
    REFUSED: ClassVar[Mapping[str, str]] = {"allowOrigin": "write allowOrigins: [{exact: ...}]"}

    allowOrigins: tuple[StringMatch, ...] = ()
    allowMethods: tuple[str, ...] = ()
    allowHeaders: tuple[str, ...] = ()
    exposeHeaders: tuple[str, ...] = ()
    maxAge: Seconds | None = None
    allowCredentials: bool | None = None
    unmatchedPreflights: Literal["UNSPECIFIED", "FORWARD", "IGNORE"] = "UNSPECIFIED"

    def faults(self) -> Iterator[Fault]:
        for position, origin in enumerate(self.allowOrigins):
            if origin.is_presence:
                yield Fault(("allowOrigins", position), "says no condition", "give exact, prefix or regex")


class HttpRoute(Part, frozen=True):
    """A rule: one of ``route``, ``redirect`` and ``directResponse``."""

    REFUSED: ClassVar[Mapping[str, str]] = {
        "delegate": "write the routes of the other VirtualService here",
        "mirror_percent": "write mirrorPercentage: {value: ...}",
        "mirrorPercent": "write mirrorPercentage: {value: ...}",
    }

    name: str = ""
    match: tuple[HttpMatch, ...] = ()
    route: tuple[HttpDestination, ...] = ()
    redirect: Redirect | None = None
    directResponse: DirectResponse | None = None
    rewrite: Rewrite | None = None
    timeout: Seconds | None = None
    retries: Retries | None = None
    fault: FaultInjection | None = None
    mirror: Destination | None = None
    mirrorPercentage: Percent | None = None
    mirrors: tuple[Mirror, ...] = ()
    corsPolicy: CorsPolicy | None = None
    headers: Headers = Headers()

    @property
    def all_mirrors(self) -> tuple[Mirror, ...]:
        first = (
            ()
            if self.mirror is None
            else (Mirror(destination=self.mirror, percentage=self.mirrorPercentage),)
        )
        return (*first, *self.mirrors)

    def faults(self) -> Iterator[Fault]:
        yield from one_of(self, ("route", "redirect", "directResponse"))
        yield from weights(self.route)
        if self.mirror is not None and self.mirrors:
            yield Fault(("mirrors",), "mirror and mirrors exclude each other", "give one of them")
        if self.mirrorPercentage is not None and self.mirror is None:
            yield Fault(
                ("mirrorPercentage",), "there is no mirror", "give mirror, or mirrors with percentage"
            )
        if not self.route:
            for name in ("rewrite", "timeout", "retries", "fault", "mirror"):
                if getattr(self, name) is not None:
                    yield Fault((name,), f"{name} needs a route: nothing is sent on here", "leave it out")


def weights(routes: tuple[HttpDestination, ...] | tuple[RouteDestination, ...]) -> Iterator[Fault]:
    if len(routes) > 1 and not any(each.weight for each in routes):
        yield Fault(("route",), "several destinations, none with a weight", "give weights, as 90 and 10")
    if sum(each.weight for each in routes) > 4_294_967_295:
        yield Fault(("route",), "the weights are too large together", "let them make 100")


class L4Match(Part, frozen=True):
    destinationSubnets: tuple[Cidr, ...] = ()
    port: PortNumber | None = None
    sourceLabels: Labels = NOTHING
    sourceNamespace: str = ""
    gateways: tuple[str, ...] = ()

    REFUSED: ClassVar[Mapping[str, str]] = {
        "sourceSubnet": "match by sourceLabels or sourceNamespace",
        "sourceSubnets": "match by sourceLabels or sourceNamespace",
    }


class TlsMatch(L4Match, frozen=True, kw_only=True):
    sniHosts: tuple[HostPattern, ...]

    def faults(self) -> Iterator[Fault]:
        if not self.sniHosts:
            yield Fault(("sniHosts",), "matches no server name", "name the hosts, as in hosts")


class RouteDestination(Part, frozen=True):
    destination: Destination
    weight: Weight = 0


class TlsRoute(Part, frozen=True):
    match: tuple[TlsMatch, ...]
    route: tuple[RouteDestination, ...]

    def faults(self) -> Iterator[Fault]:
        if not self.match:
            yield Fault(("match",), "matches nothing", "give sniHosts")
        if not self.route:
            yield Fault(("route",), "leads nowhere", "give a destination")
        yield from weights(self.route)


class TcpRoute(Part, frozen=True):
    match: tuple[L4Match, ...] = ()
    route: tuple[RouteDestination, ...] = ()

    def faults(self) -> Iterator[Fault]:
        if not self.route:
            yield Fault(("route",), "leads nowhere", "give a destination")
        yield from weights(self.route)


class VirtualService(Part, frozen=True):
    """``gateways`` empty: all sidecars (``mesh``). ``exportTo`` empty: all namespaces."""

    hosts: tuple[HostPattern, ...]
    gateways: tuple[str, ...] = ()
    http: tuple[HttpRoute, ...] = ()
    tls: tuple[TlsRoute, ...] = ()
    tcp: tuple[TcpRoute, ...] = ()
    exportTo: tuple[str, ...] = ()

    @property
    def is_for_sidecars(self) -> bool:
        return not self.gateways or MESH in self.gateways

    def faults(self) -> Iterator[Fault]:
        if not self.hosts:
            yield Fault(("hosts",), "is for no host", "name at least one")
        yield from repeated(self.hosts, ("hosts",), "")
        yield from repeated((each.name for each in self.http), ("http",), "name")
        if not (self.http or self.tls or self.tcp):
            yield Fault((), "routes nothing", "give http, tls or tcp")
        if len(self.http) > RULES_MAX:
            yield Fault(("http", RULES_MAX), f"more than {RULES_MAX} rules", "split it by host")
        if self.is_for_sidecars and "*" in self.hosts:
            yield Fault(
                ("hosts", self.hosts.index("*")),
                "the host * in sidecars would catch all traffic",
                "name the hosts",
            )
        yield from self._unreachable()

    def _unreachable(self) -> Iterator[Fault]:
        """A rule behind one that matches everything is a slip of the pen."""
        for position, rule in enumerate(self.http[:-1]):
            if not rule.match:
                yield Fault(
                    ("http", position + 1),
                    f"is never reached: rule {position + 1} before it matches everything",
                    "move the rule without match to the end",
                )
                return
