"""What a request has to be for a rule to hold: VirtualService's and the Gateway API's matches as ``RouteMatch``.

Rule: a regular expression is RE2 and has to match the whole value, in documents as in Envoy.
"""

from __future__ import annotations

from typing import Any

from envoy.config.route.v3 import route_components_pb2 as components
from envoy.type.matcher.v3 import regex_pb2, string_pb2

from atoll.planes.mesh.policy.compiler import messages
from atoll.resources.mesh.documents import grpc_route, http_route
from atoll.resources.mesh.documents.parts import StringMatch
from atoll.resources.mesh.documents.virtual_service import HttpMatch

REGEX = "RegularExpression"
_ROOT = "/"


def everything() -> Any:
    return components.RouteMatch(prefix=_ROOT)


def regex(pattern: str) -> Any:
    return regex_pb2.RegexMatcher(regex=pattern)


def of_virtual_service(match: HttpMatch) -> Any:
    result = components.RouteMatch()
    _set_path(result, match.uri)
    if match.ignoreUriCase and match.uri is not None and match.uri.regex is None:
        result.case_sensitive.CopyFrom(messages.boolean(False))
    for name, asked in (
        (":method", match.method),
        (":authority", match.authority),
        (":scheme", match.scheme),
    ):
        if asked is not None:
            result.headers.append(header(name, asked))
    result.headers.extend(header(name, match.headers[name]) for name in sorted(match.headers))
    result.headers.extend(
        header(name, match.withoutHeaders[name], inverted=True) for name in sorted(match.withoutHeaders)
    )
    result.query_parameters.extend(
        _query(name, match.queryParams[name]) for name in sorted(match.queryParams)
    )
    return result


def of_http_route(match: http_route.HttpRouteMatch) -> Any:
    result = components.RouteMatch()
    path = match.path
    if path.type == "Exact":
        result.path = path.value
    elif path.type == REGEX:
        result.safe_regex.CopyFrom(regex(path.value))
    elif path.value == _ROOT:
        result.prefix = _ROOT
    else:
        result.path_separated_prefix = path.value.rstrip("/")
    if match.method:
        result.headers.append(header(":method", StringMatch(exact=match.method)))
    result.headers.extend(header(one.name, _said(one.type, one.value)) for one in match.headers)
    result.query_parameters.extend(_query(one.name, _said(one.type, one.value)) for one in match.queryParams)
    return result


def of_grpc_route(match: grpc_route.GrpcRouteMatch) -> Any:
    """A call of gRPC is a POST to ``/SERVICE/METHOD``."""
    result = components.RouteMatch()
    method = match.method
    if method is None:
        result.prefix = _ROOT
    elif method.type == REGEX:
        result.safe_regex.CopyFrom(regex(f"/{method.service or '[^/]+'}/{method.method or '[^/]+'}"))
    elif method.service and method.method:
        result.path = f"/{method.service}/{method.method}"
    elif method.service:
        result.prefix = f"/{method.service}/"
    else:
        result.safe_regex.CopyFrom(regex(f"/[^/]+/{literal(method.method)}"))
    result.headers.extend(header(one.name, _said(one.type, one.value)) for one in match.headers)
    return result


def header(name: str, asked: StringMatch, inverted: bool = False) -> Any:
    """``inverted``: it must not be so; a header that is not there is not so either."""
    if asked.is_presence:
        return components.HeaderMatcher(name=name, present_match=True, invert_match=inverted)
    return components.HeaderMatcher(
        name=name,
        string_match=string(asked),
        invert_match=inverted,
        treat_missing_header_as_empty=inverted,
    )


def string(asked: StringMatch) -> Any:
    if asked.exact is not None:
        return string_pb2.StringMatcher(exact=asked.exact)
    if asked.prefix is not None:
        return string_pb2.StringMatcher(prefix=asked.prefix)
    return string_pb2.StringMatcher(safe_regex=regex(asked.regex or ""))


def _set_path(result: Any, asked: StringMatch | None) -> None:
    if asked is None:
        result.prefix = _ROOT
    elif asked.exact is not None:
        result.path = asked.exact
    elif asked.prefix is not None:
        result.prefix = asked.prefix
    else:
        result.safe_regex.CopyFrom(regex(asked.regex or ""))


def _query(name: str, asked: StringMatch) -> Any:
    if asked.is_presence:
        return components.QueryParameterMatcher(name=name, present_match=True)
    return components.QueryParameterMatcher(name=name, string_match=string(asked))


def _said(kind: str, value: str) -> StringMatch:
    return StringMatch(regex=value) if kind == REGEX else StringMatch(exact=value)


def literal(text: str) -> str:
    """``text`` as a regular expression that matches nothing else."""
    return "".join(one if one.isalnum() or one == "_" else f"\\{one}" for one in text)
