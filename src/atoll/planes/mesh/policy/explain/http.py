"""An HTTP request through a connection manager: virtual host, route, filters, then where the route leads.

Rule: the order is Envoy's: the route is found first, the filters may refuse before it is followed, and a filter that
refuses does so for a request without a route as well.
"""

from __future__ import annotations

from typing import Any

import msgspec
from envoy.config.route.v3.route_components_pb2 import RedirectAction, Route, VirtualHost

from atoll.planes.mesh.policy.explain import filters, local_replies, paths, routing, targets
from atoll.planes.mesh.policy.explain.facts import Facts
from atoll.planes.mesh.policy.explain.matching import Unclear
from atoll.planes.mesh.policy.explain.trail import Trail, document_of
from atoll.resources.mesh.explanations import Explanation, Outcome, Stage


class _Routed(msgspec.Struct, frozen=True):
    """What was found: any of it may be None."""

    config: Any | None = None
    host: Any | None = None
    route: Any | None = None
    why: str = ""

    @property
    def forwards(self) -> bool:
        return self.route is not None and self.route.WhichOneof("action") == "route"

    @property
    def overrides(self) -> dict[str, Any]:
        """What the levels say of single filters; the more specific level wins."""
        found: dict[str, Any] = {}
        for level in (self.config, self.host, self.route):
            found.update(dict(level.typed_per_filter_config) if level is not None else {})
        return found


def explain(manager: Any, trail: Trail, facts: Facts) -> Explanation:
    """``manager``: an ``HttpConnectionManager``."""
    found = _explain(manager, trail, facts)
    return local_replies.as_grpc(found) if local_replies.is_grpc(facts) else found


def _explain(manager: Any, trail: Trail, facts: Facts) -> Explanation:
    facts = _normalised(manager, facts)
    routed = _route(manager, trail, facts)
    cluster = targets.first_cluster(routed.route, facts)
    place = filters.Place(routed.overrides, cluster, routed.forwards)
    for one in manager.http_filters:
        passed = filters.run(one, place, facts)
        facts = passed.facts
        trail.chances.extend(passed.chances)
        if passed.why:
            trail.step(Stage.FILTER, one.name, passed.why)
        if passed.stop is not None:
            stop = passed.stop
            name = routed.route.name if routed.route is not None else ""
            ends = {"status": stop.status, "flags": stop.flags, "is_plain": stop.is_plain}
            return trail.end(stop.outcome, stop.why, route=name, **ends)
    if routed.route is None:
        return trail.end(Outcome.FAILED, routed.why, status=404, flags="NR")
    return targets.follow(routed.host, routed.route, trail, facts)


def _normalised(manager: Any, facts: Facts) -> Facts:
    path = paths.normalised(manager, facts.path)
    host = facts.host
    matching_port = manager.strip_matching_host_port and host.endswith(f":{facts.port}")
    if manager.strip_any_host_port or matching_port:
        host = routing.without_port(host)
    if manager.strip_trailing_host_dot:
        host = host.removesuffix(".")
    return facts.with_headers({":authority": host, ":path": path})


def _route(manager: Any, trail: Trail, facts: Facts) -> _Routed:
    kind = manager.WhichOneof("route_specifier")
    if kind == "scoped_routes":
        raise Unclear("a connection manager with scoped routes is not modelled")
    name = manager.rds.route_config_name
    config = manager.route_config if kind == "route_config" else trail.config.routes.get(name)
    if config is None:
        return _Routed(why=f"the proxy has no route configuration {name!r}")
    documents = trail.config.routes.documents(name)
    host, domain = routing.virtual_host(config, facts)
    if host is None:
        why = f"no virtual host of {config.name!r} has the host {facts.host!r}"
        trail.step(Stage.VIRTUAL_HOST, "-", why, documents)
        return _Routed(config, why=why)
    shaped = documents if facts.inbound else ()  # those of all services' routes together tell nothing
    trail.step(
        Stage.VIRTUAL_HOST, host.name, f"its domain {domain!r} matches the host {facts.host!r}", shaped
    )
    if _wants_tls(host, facts):
        trail.step(Stage.ROUTE, "-", "the virtual host takes no plain text")
        return _Routed(config, host, _to_https(facts))
    found, before = routing.route(host, facts)
    missed = "; ".join(before)
    if found is None:
        why = f"no route of the virtual host {host.name!r} matches{f': {missed}' if missed else ''}"
        trail.step(Stage.ROUTE, "-", why, documents)
        return _Routed(config, host, why=why)
    why = f"it is the first that matches: {routing.path_text(found.match)}"
    trail.step(
        Stage.ROUTE,
        found.name or "-",
        f"{why}; not {missed}" if missed else why,
        document_of(found.name),
    )
    return _Routed(config, host, found)


def _wants_tls(host: Any, facts: Facts) -> bool:
    if host.require_tls == VirtualHost.EXTERNAL_ONLY:
        raise Unclear("a virtual host that wants TLS of strangers alone is not modelled")
    return bool(host.require_tls) and facts.header(":scheme") != "https"


def _to_https(facts: Facts) -> Route:
    """What Envoy puts in the place of every route where plain text is not taken; it keeps the port."""
    return Route(redirect=RedirectAction(https_redirect=True, host_redirect=facts.host))
