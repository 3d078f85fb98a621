"""Local rate limits: ``LocalRateLimit`` documents as Envoy's token buckets, for requests and for connections.

Rule: of a document a request spends from the first limit that matches it, and from no other. Envoy would spend from each
that matches, so that every limit asks as well that those before it do not match. A limit without a condition on a byte
stream counts connections; one with a condition cannot be asked there and is left out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from envoy.config.core.v3 import base_pb2
from envoy.config.route.v3 import route_components_pb2
from envoy.extensions.common.ratelimit.v3 import ratelimit_pb2
from envoy.extensions.filters.http.local_ratelimit.v3 import local_rate_limit_pb2 as http_limit_pb2
from envoy.extensions.filters.network.local_ratelimit.v3 import local_rate_limit_pb2 as network_limit_pb2
from envoy.type.v3 import http_status_pb2, percent_pb2, token_bucket_pb2

from atoll.planes.mesh.policy.compiler import http, messages
from atoll.planes.mesh.policy.compiler.security import terms
from atoll.resources.mesh.documents.kinds import Document
from atoll.resources.mesh.documents.parts import StringMatch
from atoll.resources.mesh.documents.rate_limit import Limit, LocalRateLimit, RequestMatch

HTTP_LIMIT, NETWORK_LIMIT = "envoy.filters.http.local_ratelimit", "envoy.filters.network.local_ratelimit"
_MOST = 0xFFFF_FFFF
_NEVER_SET = "atoll.never_set"  # the name of a runtime value that Envoy demands
_Action = route_components_pb2.RateLimit.Action


def http_filters(documents: Sequence[Document[LocalRateLimit]], numbers: Sequence[int]) -> list[Any]:
    """``numbers``: by which documents know the listener's port."""
    return [
        http.http_filter(HTTP_LIMIT, _http_limit(document, limits, position))
        for document in documents
        for limits in [_of_port(document.spec, numbers)]
        for position in range(len(limits))
    ]


def network_filters(documents: Sequence[Document[LocalRateLimit]], numbers: Sequence[int]) -> list[Any]:
    made = []
    for document in documents:
        limits = [limit for limit in _of_port(document.spec, numbers) if limit.match is None]
        if limits:
            config = network_limit_pb2.LocalRateLimit(
                stat_prefix=f"{document.key}",
                token_bucket=_bucket(limits[0]),
                runtime_enabled=base_pb2.RuntimeFeatureFlag(
                    default_value=messages.boolean(not document.spec.dryRun), runtime_key=_NEVER_SET
                ),
            )
            made.append(http.network_filter(NETWORK_LIMIT, config))
    return made


def _of_port(spec: LocalRateLimit, numbers: Sequence[int]) -> list[Limit]:
    return [limit for limit in spec.limits if limit.port is None or limit.port in numbers]


def _http_limit(document: Document[LocalRateLimit], limits: list[Limit], position: int) -> Any:
    limit, earlier = limits[position], limits[:position]
    config = http_limit_pb2.LocalRateLimit(
        stat_prefix=f"{document.key}/{position}",
        status=http_status_pb2.HttpStatus(code=limit.status),
        token_bucket=_bucket(limit),
        filter_enabled=_share(100),
        filter_enforced=_share(0 if document.spec.dryRun else 100),
        rate_limited_as_resource_exhausted=True,
    )
    conditions = [_condition(limit.match, True)] if limit.match is not None else []
    conditions += [_condition(one.match, False) for one in earlier if one.match is not None]
    if conditions:
        entries = [
            ratelimit_pb2.RateLimitDescriptor.Entry(key=f"condition_{index}", value="met")
            for index in range(len(conditions))
        ]
        for index, condition in enumerate(conditions):
            condition.header_value_match.descriptor_key = f"condition_{index}"
        config.rate_limits.append(route_components_pb2.RateLimit(actions=conditions))
        config.descriptors.append(
            ratelimit_pb2.LocalRateLimitDescriptor(entries=entries, token_bucket=_bucket(limit))
        )
        config.token_bucket.CopyFrom(_BOTTOMLESS)
        config.always_consume_default_token_bucket.value = False
    return config


def _bucket(limit: Limit) -> Any:
    return token_bucket_pb2.TokenBucket(
        max_tokens=limit.burst or limit.requests,
        tokens_per_fill=messages.uint32(limit.requests),
        fill_interval=messages.duration(limit.interval),
    )


_BOTTOMLESS = token_bucket_pb2.TokenBucket(
    max_tokens=_MOST, tokens_per_fill=messages.uint32(_MOST), fill_interval=messages.duration(1)
)


def _share(percent: int) -> Any:
    return base_pb2.RuntimeFractionalPercent(
        default_value=percent_pb2.FractionalPercent(numerator=percent), runtime_key=_NEVER_SET
    )


def _condition(match: RequestMatch, expected: bool) -> Any:
    """An action that gives a descriptor's entry if the request meets ``match``, or if it does not."""
    headers = [_header(name, match.headers[name]) for name in sorted(match.headers)]
    if match.method is not None:
        headers.append(_header(":method", match.method))
    if match.uri is not None:
        headers.append(
            route_components_pb2.HeaderMatcher(name=":path", string_match=_without_query(match.uri))
        )
    return _Action(
        header_value_match=_Action.HeaderValueMatch(
            descriptor_value="met", expect_match=messages.boolean(expected), headers=headers
        )
    )


def _header(name: str, match: StringMatch) -> Any:
    if match.is_presence:
        return route_components_pb2.HeaderMatcher(name=name, present_match=True)
    return route_components_pb2.HeaderMatcher(name=name, string_match=_string(match))


def _string(match: StringMatch) -> Any:
    if match.exact is not None:
        return terms.text(match.exact) if "*" not in match.exact else terms.expression(re.escape(match.exact))
    if match.prefix is not None:
        return terms.text(match.prefix + "*")
    return terms.expression(match.regex or "")


def _without_query(match: StringMatch) -> Any:
    """On the header that has the query as well."""
    if match.prefix is not None:
        return _string(match)
    pattern = re.escape(match.exact) if match.exact is not None else f"(?:{match.regex})"
    return terms.expression(rf"{pattern}(\?.*)?")
