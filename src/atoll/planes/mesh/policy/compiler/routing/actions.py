"""What becomes of a request: pieces of Envoy's ``RouteAction`` and its neighbours from plain values.

Rule: a value that a document leaves out gets the mesh's default here and nowhere else. A request that is tried again by
default is one that certainly was not processed: its connection was refused, or broke before any of it was sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from envoy.config.core.v3 import base_pb2
from envoy.config.route.v3 import route_components_pb2 as components
from envoy.extensions.filters.common.fault.v3 import fault_pb2 as fault_common_pb2
from envoy.extensions.filters.http.cors.v3 import cors_pb2
from envoy.extensions.filters.http.fault.v3 import fault_pb2
from envoy.extensions.retry.host.previous_hosts.v3 import previous_hosts_pb2
from envoy.extensions.retry.priority.previous_priorities.v3 import previous_priorities_config_pb2
from envoy.type.matcher.v3 import regex_pb2
from envoy.type.v3 import percent_pb2

from atoll.planes.mesh.policy.compiler import http, messages
from atoll.planes.mesh.policy.compiler.routing import matches
from atoll.resources.mesh.documents.destination_rule import ConsistentHash
from atoll.resources.mesh.documents.virtual_service import (
    DEFAULT_RETRY_ON,
    Abort,
    CorsPolicy,
    Delay,
    FaultInjection,
    Retries,
    grpc_status,
)

SAFE_RETRY_ON = "connect-failure,refused-stream,reset-before-request"
_SAFE_RETRIES = 2
_OTHER_HOST_TRIES_MAX = 5  # picks of an endpoint until one is found that was not tried yet
_BACK_OFF_MAX_TIMES = 10  # Envoy's own ratio of the longest to the first
_PREVIOUS_HOSTS = "envoy.retry_host_predicates.previous_hosts"
_PREVIOUS_PRIORITIES = "envoy.retry_priorities.previous_priorities"
_PRIORITY_UPDATES = 2  # tries until another locality is looked for
REDIRECTS = {
    301: components.RedirectAction.MOVED_PERMANENTLY,
    302: components.RedirectAction.FOUND,
    303: components.RedirectAction.SEE_OTHER,
    307: components.RedirectAction.TEMPORARY_REDIRECT,
    308: components.RedirectAction.PERMANENT_REDIRECT,
}
_HOST_HEADERS = ("host", ":authority")


class HeaderEdit(msgspec.Struct, frozen=True):
    """``overwritten`` and ``appended``: name and value; ``removed``: names. In the order of the document."""

    overwritten: tuple[tuple[str, str], ...] = ()
    appended: tuple[tuple[str, str], ...] = ()
    removed: tuple[str, ...] = ()

    @property
    def host(self) -> str:
        """The Host that it sets: not a header to Envoy but a rewrite."""
        return next((value for name, value in self.overwritten if name.lower() in _HOST_HEADERS), "")


def edit(overwritten: Mapping[str, str], appended: Mapping[str, str], removed: Iterable[str]) -> HeaderEdit:
    return HeaderEdit(tuple(overwritten.items()), tuple(appended.items()), tuple(removed))


def edit_headers(message: Any, request: HeaderEdit, response: HeaderEdit) -> None:
    """Of a route or of one of its weighted clusters."""
    message.request_headers_to_add.extend(_options(request))
    message.request_headers_to_remove.extend(request.removed)
    message.response_headers_to_add.extend(_options(response))
    message.response_headers_to_remove.extend(response.removed)


def _options(change: HeaderEdit) -> list[Any]:
    option = base_pb2.HeaderValueOption
    found = [(name, value, option.OVERWRITE_IF_EXISTS_OR_ADD) for name, value in change.overwritten]
    found += [(name, value, option.APPEND_IF_EXISTS_OR_ADD) for name, value in change.appended]
    return [
        option(
            header=base_pb2.HeaderValue(key=name, value=_literal(value)),
            append_action=action,
            keep_empty_value=True,
        )
        for name, value, action in found
        if name.lower() not in _HOST_HEADERS
    ]


def _literal(value: str) -> str:
    """A document's value is text; Envoy would take ``%`` for the beginning of a command."""
    return value.replace("%", "%%")


class Leg(msgspec.Struct, frozen=True):
    """One destination of a route."""

    cluster: str
    weight: int = 1
    request: HeaderEdit = HeaderEdit()
    response: HeaderEdit = HeaderEdit()


def lead_to(route: Any, legs: Sequence[Leg]) -> None:
    """Set where ``route`` leads: legs of weight 0 get nothing, and are left out unless nothing else is there."""
    taken = [leg for leg in legs if leg.weight > 0] or list(legs)
    if len(taken) == 1:
        route.route.cluster = taken[0].cluster
        edit_headers(route, taken[0].request, taken[0].response)
        if taken[0].request.host:
            route.route.host_rewrite_literal = taken[0].request.host
        return
    for leg in taken:
        weight = components.WeightedCluster.ClusterWeight(
            name=leg.cluster, weight=messages.uint32(max(leg.weight, 1))
        )
        edit_headers(weight, leg.request, leg.response)
        if leg.request.host:
            weight.host_rewrite_literal = leg.request.host
        route.route.weighted_clusters.clusters.append(weight)


def set_timeout(action: Any, timeout_s: float | None) -> None:
    """None and 0: no limit but the caller's own."""
    action.timeout.CopyFrom(messages.duration(timeout_s or 0))


def safe_retries() -> Any:
    """The default: what surely was not processed is tried at another endpoint."""
    return _retry_policy(SAFE_RETRY_ON, _SAFE_RETRIES)


def retries(said: Retries) -> Any:
    policy = _retry_policy(said.retryOn or DEFAULT_RETRY_ON, said.attempts)
    if said.perTryTimeout:
        set_try_timeout(policy, said.perTryTimeout)
    if said.backoff:
        set_back_off(policy, said.backoff)
    if said.retryIgnorePreviousHosts is False:
        del policy.retry_host_predicate[:]
        policy.host_selection_retry_max_attempts = 0
    if said.retryRemoteLocalities:
        priorities = previous_priorities_config_pb2.PreviousPrioritiesConfig(
            update_frequency=_PRIORITY_UPDATES
        )
        policy.retry_priority.name = _PREVIOUS_PRIORITIES
        policy.retry_priority.typed_config.CopyFrom(messages.packed(priorities))
    return policy


def set_try_timeout(policy: Any, timeout_s: float) -> None:
    policy.per_try_timeout.CopyFrom(messages.duration(timeout_s))


def set_back_off(policy: Any, first_s: float) -> None:
    policy.retry_back_off.base_interval.CopyFrom(messages.duration(first_s))
    policy.retry_back_off.max_interval.CopyFrom(messages.duration(first_s * _BACK_OFF_MAX_TIMES))


def retries_for_codes(codes: Sequence[int], attempts: int | None, backoff_s: float | None) -> Any:
    """The Gateway API's: these codes, and connections that failed."""
    conditions = ",".join((SAFE_RETRY_ON, *map(str, codes)))
    policy = _retry_policy(conditions, _SAFE_RETRIES if attempts is None else attempts)
    if backoff_s:
        set_back_off(policy, backoff_s)
    return policy


def _retry_policy(conditions: str, attempts: int) -> Any:
    asked = [part.strip() for part in conditions.split(",") if part.strip()]
    codes = [int(part) for part in asked if part.isdigit()]
    named = [part for part in asked if not part.isdigit()]
    if codes and "retriable-status-codes" not in named:
        named.append("retriable-status-codes")
    policy = components.RetryPolicy(
        retry_on=",".join(named),
        num_retries=messages.uint32(attempts),
        retriable_status_codes=codes,
        host_selection_retry_max_attempts=_OTHER_HOST_TRIES_MAX,
    )
    predicate = policy.retry_host_predicate.add()
    predicate.name = _PREVIOUS_HOSTS
    predicate.typed_config.CopyFrom(messages.packed(previous_hosts_pb2.PreviousHostsPredicate()))
    return policy


def mirror(cluster: str, share_percent: float) -> Any:
    policy = components.RouteAction.RequestMirrorPolicy(cluster=cluster)
    policy.runtime_fraction.default_value.CopyFrom(fraction(share_percent))
    return policy


def fraction(share_percent: float) -> Any:
    """In millionths."""
    return percent_pb2.FractionalPercent(
        numerator=round(share_percent * 10_000), denominator=percent_pb2.FractionalPercent.MILLION
    )


def whole_path(replacement: str) -> Any:
    """A rewrite of all of the path; the query stays."""
    return regex_pb2.RegexMatchAndSubstitute(
        pattern=matches.regex("^/.*$"), substitution=literal_substitution(replacement)
    )


def literal_substitution(text: str) -> str:
    """``text`` as a replacement in which nothing stands for a group."""
    return text.replace("\\", "\\\\")


def substitution(pattern: str, replacement: str) -> Any:
    return regex_pb2.RegexMatchAndSubstitute(pattern=matches.regex(pattern), substitution=replacement)


def hash_policies(said: ConsistentHash) -> list[Any]:
    """By what requests are told apart for a ring or a Maglev table."""
    policy = components.RouteAction.HashPolicy
    if said.httpHeaderName:
        return [policy(header=policy.Header(header_name=said.httpHeaderName))]
    if said.httpCookie is not None:
        cookie = policy.Cookie(name=said.httpCookie.name, path=said.httpCookie.path)
        if said.httpCookie.ttl is not None:
            cookie.ttl.CopyFrom(messages.duration(said.httpCookie.ttl))
        return [policy(cookie=cookie)]
    if said.httpQueryParameterName:
        return [policy(query_parameter=policy.QueryParameter(name=said.httpQueryParameterName))]
    return [policy(connection_properties=policy.ConnectionProperties(source_ip=True))]


# ------------------------------------------------------------------------------- filters, configured by route


def set_filter(route: Any, name: str, config: Any) -> None:
    route.typed_per_filter_config[name].CopyFrom(messages.packed(config))


def cors(said: CorsPolicy) -> Any:
    policy = cors_pb2.CorsPolicy(
        allow_origin_string_match=[matches.string(origin) for origin in said.allowOrigins],
        allow_methods=",".join(said.allowMethods),
        allow_headers=",".join(said.allowHeaders),
        expose_headers=",".join(said.exposeHeaders),
    )
    if said.maxAge is not None:
        policy.max_age = str(int(said.maxAge))
    if said.allowCredentials is not None:
        policy.allow_credentials.CopyFrom(messages.boolean(said.allowCredentials))
    if said.unmatchedPreflights != "UNSPECIFIED":
        forward = said.unmatchedPreflights == "FORWARD"
        policy.forward_not_matching_preflights.CopyFrom(messages.boolean(forward))
    return policy


def set_cors(route: Any, said: CorsPolicy) -> None:
    set_filter(route, http.CORS, cors(said))


def set_fault(route: Any, said: FaultInjection) -> None:
    result = fault_pb2.HTTPFault()
    if said.delay is not None:
        result.delay.CopyFrom(_delay(said.delay))
    if said.abort is not None:
        result.abort.CopyFrom(_abort(said.abort))
    set_filter(route, http.FAULT, result)


def _delay(said: Delay) -> Any:
    return fault_common_pb2.FaultDelay(
        fixed_delay=messages.duration(said.fixedDelay), percentage=fraction(said.percentage.value)
    )


def _abort(said: Abort) -> Any:
    result = fault_pb2.FaultAbort(percentage=fraction(said.percentage.value))
    if said.httpStatus is not None:
        result.http_status = said.httpStatus
    else:
        result.grpc_status = grpc_status(said.grpcStatus or "") or 0
    return result
