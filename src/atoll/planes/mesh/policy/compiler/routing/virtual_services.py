"""A VirtualService's rules of HTTP as routes.

Rule: in the document's order; what a rule can know of its caller when it is compiled (gateway, port, namespace, labels) is
decided then, and only what is known of a request alone becomes a match.
"""

from __future__ import annotations

import binascii
from typing import Any

from envoy.config.core.v3 import base_pb2
from envoy.config.route.v3 import route_components_pb2 as components

from atoll.planes.mesh.policy.compiler import names
from atoll.planes.mesh.policy.compiler.routing import actions, destinations, matches
from atoll.planes.mesh.policy.compiler.routing.scene import Scene
from atoll.resources.mesh.documents.kinds import Document
from atoll.resources.mesh.documents.virtual_service import (
    HeaderChanges,
    HttpMatch,
    HttpRoute,
    Redirect,
    ResponseBody,
    Rewrite,
    VirtualService,
)

_PORT_OF_SCHEME = {"http": 80, "https": 443}


def routes(scene: Scene, document: Document[VirtualService]) -> list[Any]:
    made = []
    for index, rule in enumerate(document.spec.http):
        asked = [match for match in rule.match if scene.concerns(document, match)]
        if rule.match and not asked:
            continue
        if not rule.match and not scene.serves(document, ()):
            continue
        action = _route(scene, document, index, rule)
        every: list[HttpMatch | None] = [*asked] or [None]
        for match in every:
            route = components.Route()
            route.CopyFrom(action)
            route.match.CopyFrom(matches.of_virtual_service(match) if match else matches.everything())
            if rule.rewrite is not None:
                _set_rewrite(route.route, rule.rewrite, match)
            if rule.redirect is not None and rule.redirect.uri:
                route.redirect.path_redirect = rule.redirect.uri
            made.append(route)
    return made


def _route(scene: Scene, document: Document[VirtualService], index: int, rule: HttpRoute) -> Any:
    """The rule's route but for what depends on its match."""
    name = names.route(document, index)
    route = components.Route(name=name, stat_prefix=name)  # counted, for canaries
    if rule.redirect is not None:
        route.redirect.CopyFrom(_redirect(rule.redirect))
    elif rule.directResponse is not None:
        answer = rule.directResponse
        route.direct_response.status = answer.status
        if answer.body is not None:
            route.direct_response.body.CopyFrom(_body(scene, document, answer.body))
    else:
        _lead(scene, document, rule, route)
    actions.edit_headers(route, _edit(rule.headers.request), _edit(rule.headers.response))
    if rule.corsPolicy is not None:
        actions.set_cors(route, rule.corsPolicy)
    if rule.fault is not None:
        actions.set_fault(route, rule.fault)
    return route


def _lead(scene: Scene, document: Document[VirtualService], rule: HttpRoute, route: Any) -> None:
    refs = [destinations.resolve(scene, document.key, each.destination) for each in rule.route]
    only = len(rule.route) == 1
    legs = [
        actions.Leg(
            ref.cluster,
            1 if only else each.weight,
            _edit(each.headers.request),
            _edit(each.headers.response),
        )
        for ref, each in zip(refs, rule.route, strict=True)
    ]
    actions.lead_to(route, legs)
    actions.set_timeout(route.route, rule.timeout)
    if rule.retries is None:
        route.route.retry_policy.CopyFrom(actions.safe_retries())
    elif rule.retries.attempts:
        route.route.retry_policy.CopyFrom(actions.retries(rule.retries))
    for each in rule.all_mirrors:
        share = 100.0 if each.percentage is None else each.percentage.value
        ref = destinations.resolve(scene, document.key, each.destination, needed=True)
        route.route.request_mirror_policies.append(actions.mirror(ref.cluster, share))
    by = destinations.consistent_hash(scene, refs)
    if by is not None:
        route.route.hash_policy.extend(actions.hash_policies(by))
    host = _edit(rule.headers.request).host or (rule.rewrite.authority if rule.rewrite is not None else "")
    if host:
        route.route.host_rewrite_literal = host


def _edit(said: HeaderChanges) -> actions.HeaderEdit:
    return actions.edit(said.set, said.add, said.remove)


def _set_rewrite(action: Any, said: Rewrite, match: HttpMatch | None) -> None:
    if said.uriRegexRewrite is not None:
        rewrite = actions.substitution(said.uriRegexRewrite.match, said.uriRegexRewrite.rewrite)
        action.regex_rewrite.CopyFrom(rewrite)
    elif said.uri:
        uri = match.uri if match is not None else None
        if uri is None or uri.prefix is not None:
            action.prefix_rewrite = said.uri
        else:
            action.regex_rewrite.CopyFrom(actions.whole_path(said.uri))


def _redirect(said: Redirect) -> Any:
    action = components.RedirectAction(
        host_redirect=said.authority,
        scheme_redirect=said.scheme,
        response_code=actions.REDIRECTS[said.redirectCode],
    )
    if said.port is not None:
        action.port_redirect = said.port
    elif said.derivePort == "FROM_PROTOCOL_DEFAULT":
        action.port_redirect = _PORT_OF_SCHEME[said.scheme or "http"]
    return action


def _body(scene: Scene, document: Document[VirtualService], said: ResponseBody) -> Any:
    if said.bytes is None:
        return base_pb2.DataSource(inline_string=said.string or "")
    try:
        return base_pb2.DataSource(inline_bytes=binascii.a2b_base64(said.bytes, strict_mode=True))
    except binascii.Error as error:
        scene.problem(f"{document.key}: the bytes of a direct response are no Base64: {error}")
        return base_pb2.DataSource(inline_string="")
