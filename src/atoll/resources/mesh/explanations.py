"""Why a request goes where it goes, or is refused; in what a proxy differs from what is intended for it.

Rule: an ``Explanation`` is about one configuration and one request, and claims no more than both tell: where Envoy throws
dice (weights, faults in percent) or counts (rate limits), the branches are listed with their share, none is picked.
``flags`` are Envoy's own response flags, as they stand in its access log, so that the two can be compared.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

import msgspec

from atoll.resources.records import NOTHING


class Direction(enum.StrEnum):
    OUTBOUND = "outbound"  # from the client's application to a service
    INBOUND = "inbound"  # from somebody to the client's application


class Request(msgspec.Struct, frozen=True):
    """The request that is asked about. ``port``: which listener it arrives at, as ``direction`` sees it: outbound, that of
    the service where the client has a listener of its own for it, else 0 for the HTTP listener that goes by Host; inbound,
    the port of the workload, 0 for the first. ``principal``: who calls, a SPIFFE id without its scheme, proven by mutual
    TLS; empty: plain text. ``claims``: those of a valid JWT that it carries, by issuer under ``iss``.
    """

    host: str = ""
    path: str = "/"
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()
    direction: Direction = Direction.OUTBOUND
    port: int = 0
    scheme: str = "http"
    server_name: str = ""  # SNI, where it arrives as TLS
    principal: str = ""
    source_address: str = "127.0.0.1"
    claims: Mapping[str, str | tuple[str, ...]] = NOTHING


class Stage(enum.StrEnum):
    """Through what a request goes, in this order."""

    LISTENER = "listener"
    CHAIN = "filter chain"
    FILTER = "filter"
    VIRTUAL_HOST = "virtual host"
    ROUTE = "route"
    CLUSTER = "cluster"
    ENDPOINTS = "endpoints"


class Step(msgspec.Struct, frozen=True):
    """``name``: what was chosen at ``stage``; ``why``: by which rule, or why the ones before it were not; ``documents``:
    the policy documents that shaped it, ``Kind/namespace/name``.
    """

    stage: Stage
    name: str
    why: str
    documents: tuple[str, ...] = ()


class Outcome(enum.StrEnum):
    FORWARDED = "forwarded"  # to the endpoints of one of ``targets``
    ANSWERED = (
        "answered"  # by the proxy itself, as a document wants it: redirect, direct response, CORS preflight
    )
    REFUSED = "refused"  # by policy: RBAC, JWT, transport
    FAILED = "failed"  # nothing to send it to: no listener, no route, no cluster, no healthy endpoint


class Candidate(msgspec.Struct, frozen=True):
    """An endpoint that may be chosen, or why it is not: ``excluded`` empty means that it may."""

    address: str
    locality: str = ""
    priority: int = 0
    weight: int = 1
    excluded: str = ""


class Target(msgspec.Struct, frozen=True):
    """``share``: how many of a hundred such requests go there. ``status`` and ``flags`` where the request ends there
    because no endpoint can take it.
    """

    cluster: str
    share: float = 100.0
    endpoints: tuple[Candidate, ...] = ()
    status: int = 0
    flags: str = ""


class Chance(msgspec.Struct, frozen=True):
    """What may happen besides: a fault that is injected, a limit that is reached. ``percent`` None: it depends."""

    what: str
    status: int = 0
    flags: str = ""
    percent: float | None = None
    documents: tuple[str, ...] = ()


class Explanation(msgspec.Struct, frozen=True):
    """``status``: the HTTP status where the proxy answers itself, 0 where the upstream does. ``path`` and ``host``: as
    the upstream sees them, after rewriting. ``route``: the route's name, as it stands in the access log. ``mirrors``:
    clusters that get a copy.
    """

    outcome: Outcome
    why: str
    steps: tuple[Step, ...] = ()
    targets: tuple[Target, ...] = ()
    chances: tuple[Chance, ...] = ()
    mirrors: tuple[str, ...] = ()
    status: int = 0
    flags: str = ""
    grpc_status: int | None = None  # where the proxy answers a gRPC call itself
    is_plain: bool = False  # an answer that is the same to a gRPC call
    location: str = ""  # of a redirect
    body: str = ""  # of a direct response
    route: str = ""
    host: str = ""
    path: str = ""
    timeout_ms: int | None = None
    retries: str = ""
    documents: tuple[str, ...] = ()


class Difference(msgspec.Struct, frozen=True):
    """``path``: of the field in the resource, empty for a resource that only one side has."""

    type: str
    resource: str
    path: str
    intended: str
    actual: str
    documents: tuple[str, ...] = ()
