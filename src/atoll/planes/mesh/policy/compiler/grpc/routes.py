"""Routes for gRPC: a virtual host of a sidecar, narrowed to what gRPC understands.

Rule: what is taken out is named (``differences``); what is left means the same as in an Envoy. A rule whose condition gRPC
does not know is taken out as a whole: without the condition it would catch what it should not.

gRPC looks for a route by the path ``/service/method`` and by metadata; a call has the method POST, no scheme and no query.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
from envoy.config.route.v3 import route_components_pb2 as components
from envoy.config.route.v3 import route_pb2
from envoy.type.matcher.v3 import regex_pb2
from google.protobuf import any_pb2

from atoll.planes.mesh.policy.compiler import http
from atoll.planes.mesh.policy.compiler.grpc.differences import Differs
from atoll.wire.xds.snapshot import Resource, Type, resource

_RETRIES_MAX = 4  # gRPC's retries stop at five attempts, whatever is asked for
_NEGATED_MAX = 4  # conditions of one rule, which become up to 16
_OF_GRPC = ("cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable")
_AS_UNAVAILABLE = frozenset(
    (
        "5xx",
        "gateway-error",
        "reset",
        "reset-before-request",
        "connect-failure",
        "refused-stream",
        "503",
        "502",
        "504",
    )
)
_CHANNEL = "io.grpc.channel_id"
_ALWAYS = {":method": "POST", ":scheme": "http"}
_Action = components.RouteAction


class Narrowed(msgspec.Struct, frozen=True):
    resource: Resource
    differs: tuple[Differs, ...] = ()


def configuration(name: str, host: Any, documents: tuple[str, ...] = ()) -> Narrowed:
    """``host``, a virtual host, as the route configuration ``name`` of one service: gRPC asks for one a target, so that
    it need not be told of others, and its virtual host answers to every name of the target.
    """
    found: list[Differs] = []
    routes = [route for each in host.routes for route in _route(each, found)]
    narrow = components.VirtualHost(name=host.name, domains=["*"], routes=routes)
    if host.HasField("cors") or _has_cors(host):
        found.append(Differs.CORS)
    if _changes_headers(host):
        found.append(Differs.HEADERS)
    _keep_faults(host, narrow)
    message = route_pb2.RouteConfiguration(name=name, virtual_hosts=[narrow])
    clusters = dict.fromkeys(cluster for route in routes for cluster in _clusters(route.route))
    refers = tuple((Type.CLUSTER, cluster) for cluster in clusters)
    body = message.SerializeToString(deterministic=True)
    return Narrowed(resource(Type.ROUTE, name, body, refers, documents), tuple(dict.fromkeys(found)))


def _route(route: Any, found: list[Differs]) -> Iterator[Any]:
    match = _match(route.match, found)
    if match is None:
        return
    narrow = components.Route(name=route.name)
    if _changes_headers(route):
        found.append(Differs.HEADERS)
    if _has_cors(route) or route.route.HasField("cors"):
        found.append(Differs.CORS)
    if route.HasField("route"):
        narrow.route.CopyFrom(_action(route.route, found))
        _keep_faults(route, narrow)
    else:
        found.append(Differs.ANSWERS)
        narrow.direct_response.status = 503  # of no meaning to gRPC, which fails calls that it cannot route
    for each in _with_absence(match, found):
        made = components.Route()
        made.CopyFrom(narrow)
        made.match.CopyFrom(each)
        yield made


def _with_absence(match: Any, found: list[Differs]) -> Iterator[Any]:
    """``match`` as conditions that gRPC takes in the same way. "Not this value" holds in an Envoy as well where the header
    is not there at all, in gRPC it does not: there it takes one rule for each of the two cases.
    """
    negated = [position for position, header in enumerate(match.headers) if _is_not_this_value(header)]
    if len(negated) > _NEGATED_MAX:
        found.append(Differs.NEGATIONS)
        return
    for absent in itertools.product((False, True), repeat=len(negated)):
        each = components.RouteMatch()
        each.CopyFrom(match)
        for position, is_absent in zip(negated, absent, strict=True):
            if is_absent:
                name = match.headers[position].name
                each.headers[position].CopyFrom(
                    components.HeaderMatcher(name=name, present_match=True, invert_match=True)
                )
        yield each


def _is_not_this_value(header: Any) -> bool:
    return bool(header.invert_match) and header.WhichOneof("header_match_specifier") != "present_match"


def _match(match: Any, found: list[Differs]) -> Any | None:
    """None: no call of gRPC's matches."""
    if match.query_parameters:
        found.append(Differs.QUERY)
        return None
    if match.HasField("tls_context") or match.dynamic_metadata or match.filter_state:
        found.append(Differs.CONDITIONS)
        return None
    narrow = components.RouteMatch()
    kind = match.WhichOneof("path_specifier")
    if kind in ("prefix", "path", "safe_regex"):
        narrow.CopyFrom(match)
        narrow.ClearField("headers")
        narrow.ClearField("grpc")
    elif kind == "path_separated_prefix":
        narrow.safe_regex.CopyFrom(_below(match.path_separated_prefix, match))
        if match.HasField("runtime_fraction"):
            narrow.runtime_fraction.CopyFrom(match.runtime_fraction)
    else:
        found.append(Differs.CONDITIONS)
        return None
    for header in match.headers:
        if header.name in _ALWAYS:
            if not _holds(header, _ALWAYS[header.name]):
                return None
        else:
            narrow.headers.append(header)
    return narrow


def _below(prefix: str, match: Any) -> Any:
    """``prefix`` itself and whatever is below it."""
    insensitive = match.HasField("case_sensitive") and not match.case_sensitive.value
    quoted = "".join(f"\\{char}" if char in ".+*?()|[]{}^$\\" else char for char in prefix)
    return regex_pb2.RegexMatcher(regex=("(?i)" if insensitive else "") + quoted + "(/.*)?")


def _holds(header: Any, value: str) -> bool:
    """Whether a condition on what is the same for every call holds. A regular expression is taken to."""
    kind = header.WhichOneof("header_match_specifier")
    if kind == "string_match":
        which = header.string_match.WhichOneof("match_pattern")
        said = getattr(header.string_match, which)
        tests = {"exact": value == said, "prefix": which == "prefix" and value.startswith(said)}
        held = tests.get(which, True)
    else:
        held = {"exact_match": header.exact_match == value}.get(kind, True)
    return bool(held) is not bool(header.invert_match)


def _action(action: Any, found: list[Differs]) -> Any:
    narrow = _Action()
    kind = action.WhichOneof("cluster_specifier")
    if kind == "cluster":
        narrow.cluster = action.cluster
    elif kind == "weighted_clusters":
        for each in action.weighted_clusters.clusters:
            narrow.weighted_clusters.clusters.append(_weighted(each, found))
    if action.request_mirror_policies:
        found.append(Differs.MIRRORS)
    if action.prefix_rewrite or action.HasField("regex_rewrite") or _rewrites_host(action):
        found.append(Differs.REWRITES)
    if action.timeout.ToNanoseconds() > 0:
        narrow.max_stream_duration.max_stream_duration.CopyFrom(action.timeout)
    if action.HasField("retry_policy"):
        _retries(action.retry_policy, narrow, found)
    for policy in action.hash_policy:
        narrow.hash_policy.extend(_hash(policy, found))
    return narrow


def _rewrites_host(action: Any) -> bool:
    return action.WhichOneof("host_rewrite_specifier") is not None


def _weighted(each: Any, found: list[Differs]) -> Any:
    narrow = components.WeightedCluster.ClusterWeight(name=each.name, weight=each.weight)
    if _changes_headers(each):
        found.append(Differs.HEADERS)
    _keep_faults(each, narrow)
    return narrow


def _retries(policy: Any, narrow: Any, found: list[Differs]) -> None:
    asked = [word.strip() for word in policy.retry_on.split(",")]
    kept = [word for word in _OF_GRPC if word in asked]
    of_http = [word for word in asked if word not in _OF_GRPC]
    if any(word in _AS_UNAVAILABLE for word in of_http) and "unavailable" not in kept:
        kept.append("unavailable")
    if any(word not in _AS_UNAVAILABLE or word == "5xx" for word in of_http if word):
        found.append(Differs.RETRY_CONDITIONS)
    if policy.HasField("per_try_timeout"):
        found.append(Differs.TRY_TIMEOUT)
    asked_for = policy.num_retries.value if policy.HasField("num_retries") else 1
    if not kept or not asked_for:
        return
    if asked_for > _RETRIES_MAX:
        found.append(Differs.RETRIES)
    narrow.retry_policy.retry_on = ",".join(kept)
    narrow.retry_policy.num_retries.value = min(asked_for, _RETRIES_MAX)
    if policy.HasField("retry_back_off"):
        narrow.retry_policy.retry_back_off.CopyFrom(policy.retry_back_off)


def _hash(policy: Any, found: list[Differs]) -> Iterator[Any]:
    kind = policy.WhichOneof("policy_specifier")
    if kind == "header" or (kind == "filter_state" and policy.filter_state.key == _CHANNEL):
        yield policy
    elif kind == "connection_properties":
        found.append(Differs.HASH_SOURCE)
        yield _Action.HashPolicy(filter_state=_Action.HashPolicy.FilterState(key=_CHANNEL))
    else:
        found.append(Differs.HASH_OTHERS)


def _changes_headers(part: Any) -> bool:
    return bool(
        part.request_headers_to_add
        or part.request_headers_to_remove
        or part.response_headers_to_add
        or part.response_headers_to_remove
    )


def _has_cors(part: Any) -> bool:
    return http.CORS in part.typed_per_filter_config


def _keep_faults(part: Any, narrow: Any) -> None:
    """Of what is said for single filters only faults: gRPC refuses the type of a filter that it does not know."""
    if http.FAULT in part.typed_per_filter_config:
        kept = any_pb2.Any()
        kept.CopyFrom(part.typed_per_filter_config[http.FAULT])
        narrow.typed_per_filter_config[http.FAULT].CopyFrom(kept)


def _clusters(action: Any) -> Iterable[str]:
    if action.cluster:
        return (action.cluster,)
    return tuple(each.name for each in action.weighted_clusters.clusters)
