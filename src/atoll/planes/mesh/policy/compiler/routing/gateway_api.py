"""The rules of HTTPRoutes and GRPCRoutes as routes, in the mesh and at the border alike.

Rule: of all rules that match the most specific one is taken, whichever document it is in (Gateway API, "precedence"); the
order of routes says so. Between equals the older document holds, then the earlier rule. A rule whose backends are all away
is answered with 500, as the specification asks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from envoy.config.route.v3 import route_components_pb2 as components

from atoll.planes.mesh.policy.compiler import names
from atoll.planes.mesh.policy.compiler.routing import actions, destinations, matches
from atoll.planes.mesh.policy.compiler.routing.scene import Scene
from atoll.resources.mesh import hosts
from atoll.resources.mesh.documents import grpc_route, http_route
from atoll.resources.mesh.documents.grpc_route import GrpcRouteMatch, GrpcRouteRule
from atoll.resources.mesh.documents.http_route import (
    CorsFilter,
    HeaderModifier,
    HttpRouteMatch,
    HttpRouteRule,
    PathModifier,
    RequestRedirect,
)
from atoll.resources.mesh.documents.kinds import Document, DocumentKey
from atoll.resources.mesh.documents.parts import StringMatch
from atoll.resources.mesh.documents.virtual_service import CorsPolicy, Destination, PortSelector

_NO_BACKEND = 500
_PATH_RANKS = {"Exact": 2, "RegularExpression": 1, "PathPrefix": 0}
_PORT_OF_SCHEME = {"http": 80, "https": 443}
_NO_EDIT = HeaderModifier()

Rule = HttpRouteRule | GrpcRouteRule
Backend = http_route.HttpBackendRef | grpc_route.GrpcBackendRef


def routes(scene: Scene, documents: Sequence[Document[Any]]) -> list[Any]:
    """Of all ``documents``, HTTPRoutes and GRPCRoutes, the oldest first, in the order of precedence."""
    ranked: list[tuple[tuple[int, ...], int, Any]] = []
    for document in documents:
        rules: Sequence[Rule] = document.spec.rules
        for index, rule in enumerate(rules):
            for rank, route in _of_rule(scene, document, index, rule):
                ranked.append((rank, len(ranked), route))
    return [
        route for _, _, route in sorted(ranked, key=lambda one: (tuple(-part for part in one[0]), one[1]))
    ]


def _of_rule(
    scene: Scene, document: Document[Any], index: int, rule: Rule
) -> list[tuple[tuple[int, ...], Any]]:
    made = []
    route = _route(scene, document, index, rule)
    asked: Sequence[HttpRouteMatch | GrpcRouteMatch]
    asked = rule.matches or ((HttpRouteMatch() if isinstance(rule, HttpRouteRule) else GrpcRouteMatch()),)
    for match in asked:
        each = components.Route()
        each.CopyFrom(route)
        if isinstance(match, HttpRouteMatch):
            each.match.CopyFrom(matches.of_http_route(match))
            _set_paths(each, rule, match)
            made.append((_http_rank(match), each))
        else:
            each.match.CopyFrom(matches.of_grpc_route(match))
            made.append((_grpc_rank(match), each))
    return made


def _http_rank(match: HttpRouteMatch) -> tuple[int, ...]:
    path = match.path
    return (
        _PATH_RANKS[path.type],
        len(path.value),
        bool(match.method),
        len(match.headers),
        len(match.queryParams),
    )


def _grpc_rank(match: GrpcRouteMatch) -> tuple[int, ...]:
    """Comparable with that of an HTTPRoute: a whole method is an exact path, everything else some prefix."""
    method = match.method
    service, name = (method.service, method.method) if method is not None else ("", "")
    whole = method is not None and method.type == "Exact" and bool(service and name)
    return (2 if whole else 0, len(service) + len(name), len(service), len(match.headers), 0)


def _route(scene: Scene, document: Document[Any], index: int, rule: Rule) -> Any:
    """The rule's route but for its match and what depends on it."""
    name = names.route(document, index)
    route = components.Route(name=name, stat_prefix=name)  # counted, for canaries
    redirect = _filter(rule, "RequestRedirect")
    if redirect is not None:
        route.redirect.CopyFrom(_redirect(redirect.requestRedirect))
    else:
        _lead(scene, document, rule, route)
    request, response = _filter(rule, "RequestHeaderModifier"), _filter(rule, "ResponseHeaderModifier")
    actions.edit_headers(
        route,
        _edit(request.requestHeaderModifier if request is not None else _NO_EDIT),
        _edit(response.responseHeaderModifier if response is not None else _NO_EDIT),
    )
    cors = _filter(rule, "CORS")
    if cors is not None:
        actions.set_cors(route, _cors(cors.cors))
    return route


def _lead(scene: Scene, document: Document[Any], rule: Rule, route: Any) -> None:
    backends: tuple[Backend, ...] = rule.backendRefs
    refs = [_resolved(scene, document.key, each) for each in backends]
    legs = []
    for ref, each in zip(refs, backends, strict=True):
        request, response = _NO_EDIT, _NO_EDIT
        for one in each.filters:
            request = one.requestHeaderModifier or request
            response = one.responseHeaderModifier or response
        legs.append(actions.Leg(ref.cluster, each.weight, _edit(request), _edit(response)))
    if not any(leg.weight for leg in legs) or all(ref is destinations.MISSING for ref in refs):
        route.direct_response.status = _NO_BACKEND
        return
    actions.lead_to(route, legs)
    _set_time(route.route, rule)
    for one in rule.filters:
        if one.requestMirror is not None:
            ref = _resolved(scene, document.key, one.requestMirror.backendRef, needed=True)
            route.route.request_mirror_policies.append(actions.mirror(ref.cluster, one.requestMirror.share))
    by = destinations.consistent_hash(scene, refs)
    if by is not None:
        route.route.hash_policy.extend(actions.hash_policies(by))
    rewrite = _filter(rule, "URLRewrite")
    if rewrite is not None and rewrite.urlRewrite.hostname:
        route.route.host_rewrite_literal = rewrite.urlRewrite.hostname


def _set_time(action: Any, rule: Rule) -> None:
    timeouts = rule.timeouts if isinstance(rule, HttpRouteRule) else None
    retry = rule.retry if isinstance(rule, HttpRouteRule) else None
    actions.set_timeout(action, timeouts.request if timeouts is not None else None)
    if retry is None:
        action.retry_policy.CopyFrom(actions.safe_retries())
    elif retry.attempts != 0:
        action.retry_policy.CopyFrom(actions.retries_for_codes(retry.codes, retry.attempts, retry.backoff))
    if timeouts is not None and timeouts.backendRequest:
        if not action.HasField("retry_policy"):
            action.retry_policy.num_retries.value = 0
        actions.set_try_timeout(action.retry_policy, timeouts.backendRequest)


def _resolved(scene: Scene, where: DocumentKey, ref: http_route.BackendRef, needed: bool = False) -> Any:
    """A backend is a service of a namespace: its host is its name there."""
    namespace = hosts.namespace_of(ref.namespace) if ref.namespace else where.namespace
    host = f"{ref.name}.{namespace}.svc.{scene.world.policies.settings.domain}"
    port = PortSelector(number=ref.port) if ref.port is not None else None
    return destinations.resolve(scene, where, Destination(host=host, port=port), needed)


def _filter(rule: Rule, kind: str) -> Any:
    return next((one for one in rule.filters if one.type == kind), None)


def _edit(said: HeaderModifier) -> actions.HeaderEdit:
    return actions.HeaderEdit(
        tuple((each.name, each.value) for each in said.set),
        tuple((each.name, each.value) for each in said.add),
        said.remove,
    )


def _set_paths(route: Any, rule: Rule, match: HttpRouteMatch) -> None:
    """A rewritten or redirected path, which depends on the prefix that was matched."""
    rewrite, redirect = _filter(rule, "URLRewrite"), _filter(rule, "RequestRedirect")
    if rewrite is not None and rewrite.urlRewrite.path is not None and route.HasField("route"):
        _replace_path(route.route, rewrite.urlRewrite.path, match.path.value)
    elif redirect is not None and redirect.requestRedirect.path is not None:
        _redirect_path(route.redirect, redirect.requestRedirect.path, match.path.value)


def _replace_path(action: Any, said: PathModifier, prefix: str) -> None:
    if said.type == "ReplaceFullPath":
        action.regex_rewrite.CopyFrom(actions.whole_path(said.replaceFullPath or "/"))
    else:
        action.regex_rewrite.CopyFrom(_prefix_replaced(said.replacePrefixMatch or "", prefix))


def _redirect_path(redirect: Any, said: PathModifier, prefix: str) -> None:
    if said.type == "ReplaceFullPath":
        redirect.path_redirect = said.replaceFullPath or "/"
    else:
        redirect.regex_rewrite.CopyFrom(_prefix_replaced(said.replacePrefixMatch or "", prefix))


def _prefix_replaced(replacement: str, prefix: str) -> Any:
    """By whole elements of the path, and never with two slashes or none between them."""
    bare, instead = matches.literal(prefix.rstrip("/")), replacement.rstrip("/")
    if not instead:
        return actions.substitution(f"^{bare}/*(.*)$", r"/\1")
    return actions.substitution(f"^{bare}(.*)$", actions.literal_substitution(instead) + r"\1")


def _redirect(said: RequestRedirect) -> Any:
    action = components.RedirectAction(
        host_redirect=said.hostname,
        scheme_redirect=said.scheme,
        response_code=actions.REDIRECTS[said.statusCode],
    )
    if said.port is not None and said.port != _PORT_OF_SCHEME.get(said.scheme):
        action.port_redirect = said.port
    return action


def _cors(said: CorsFilter) -> CorsPolicy:
    return CorsPolicy(
        allowOrigins=tuple(_origin(each) for each in said.allowOrigins),
        allowMethods=said.allowMethods,
        allowHeaders=said.allowHeaders,
        exposeHeaders=said.exposeHeaders,
        maxAge=float(said.maxAge),
        allowCredentials=said.allowCredentials,
    )


def _origin(text: str) -> StringMatch:
    if text == "*":
        return StringMatch(regex=".*")
    if "*" in text:
        return StringMatch(regex=".+".join(matches.literal(part) for part in text.split("*")))
    return StringMatch(exact=text)
