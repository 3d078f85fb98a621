"""What a proxyless gRPC client does otherwise than an Envoy, feature by feature.

Rule: a document holds for every client; where gRPC cannot do what it says, what it does instead stands here, in words, is a
problem of that client's (its status shows it), and is in the reference. gRPC ignores silently what it does not know, and
refuses a whole response for a value that it knows and cannot do; so nothing is sent that is not known to be understood.

The doubt: this is what gRPC's C core does (Python, C++, Ruby, PHP), release 1.85. Java and Go do a little more (least
request, for one); they are given the same.
"""

from __future__ import annotations

import enum

import msgspec


class Difference(msgspec.Struct, frozen=True):
    """``feature``: as a row of the reference. ``here``: what becomes of it."""

    feature: str
    here: str


class Differs(enum.Enum):
    """All that a document can ask for and gRPC does not do as it says."""

    MIRRORS = Difference("mirroring", "requests are not copied")
    HEADERS = Difference("changes of headers", "headers stay as the application sent them")
    REWRITES = Difference("rewrites", "path and authority stay as the application sent them")
    ANSWERS = Difference("redirects and direct responses", "calls that match fail with UNAVAILABLE")
    CORS = Difference("cross-origin rules", "left out: no browser makes these calls")
    CONDITIONS = Difference("matches that gRPC has no notion of", "a rule with one matches nothing")
    QUERY = Difference(
        "matches of query parameters", "a rule with one matches nothing: a gRPC call has no query"
    )
    NEGATIONS = Difference(
        "more than 4 conditions of one rule on what a header is not", "a rule with them matches nothing"
    )
    RETRY_CONDITIONS = Difference(
        "retries of HTTP's failures",
        "failed connections, 5xx and gateway errors are retried as UNAVAILABLE; retriable 4xx are not",
    )
    RETRIES = Difference("more than 4 retries", "at most 4: gRPC makes 5 attempts")
    TRY_TIMEOUT = Difference("a time limit of each try", "only the limit of the whole call holds")
    RETRY_BUDGET = Difference(
        "a budget of retries", "gRPC's own retry throttling holds, if the service config has it"
    )
    HASH_SOURCE = Difference("hashing by the caller's address", "each channel keeps to one endpoint")
    HASH_OTHERS = Difference("hashing by cookie or query", "calls go to endpoints at random")
    MAGLEV = Difference("maglev", "a ring")
    BALANCING = Difference("least request and random choice", "round robin")
    WEIGHTS = Difference(
        "weights of endpoints within a locality", "only localities and rings are weighted, not round robin"
    )
    PANIC = Difference("the panic threshold", "unhealthy endpoints are never called")
    EJECTION = Difference(
        "ejection after consecutive errors",
        "an endpoint is ejected that failed all of so many calls within the interval",
    )
    LIMITS = Difference("limits of connections and pending requests", "only requests under way are limited")
    CONNECTIONS = Difference("settings of connections", "time-outs and keep-alive are the channel's own")
    MIXED_TLS = Difference(
        "a service of which some endpoints speak the mesh's TLS",
        "plain text to all, until all speak it or a DestinationRule asks for it",
    )
    NO_CERTIFICATES = Difference(
        "the mesh's TLS without certificates",
        "plain text: the client was started without certificate providers",
    )
    TLS_ORIGINATION = Difference(
        "TLS towards outside by a document's files", "the application's own channel speaks TLS"
    )
    ADDRESSES = Difference("endpoints at Unix sockets", "left out")
    DISCOVERY = Difference(
        "services of several DNS names, or of the address that was dialled", "not reachable by a gRPC target"
    )
    PROTOCOLS = Difference(
        "protocols other than gRPC",
        "not the mesh's: the application calls them without a sidecar, or has one besides",
    )
    TELEMETRY = Difference(
        "access logs, traces and metrics", "the application's own, by gRPC's OpenTelemetry plugin"
    )
    PERMISSIVE = Difference(
        "PERMISSIVE on a gRPC server", "plain text: one port of it cannot take both; STRICT is the mesh's TLS"
    )
    FILTERS = Difference(
        "request authentication and local rate limits on a gRPC server",
        "not done; a rule that asks for a token denies",
    )

    @property
    def text(self) -> str:
        return f"{self.value.feature}: {self.value.here}"
