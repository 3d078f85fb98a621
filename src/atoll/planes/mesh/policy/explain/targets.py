"""Where a route leads: clusters with their share, the endpoints of each, mirrors, or an answer of the proxy's own.

Rule: of several weighted clusters each is told with its share; that one of them cannot take the request is said at that
one, and ends the request only where it holds for all.
"""

from __future__ import annotations

from typing import Any

from envoy.config.cluster.v3.cluster_pb2 import Cluster

from atoll.planes.mesh.policy.explain import balancing, filters, matching, routing
from atoll.planes.mesh.policy.explain.facts import Facts
from atoll.planes.mesh.policy.explain.trail import Trail, document_of
from atoll.resources.mesh.explanations import Chance, Explanation, Outcome, Stage, Target

_REDIRECTS = {0: 301, 1: 302, 2: 303, 3: 307, 4: 308}
_UNLIMITED = 4_294_967_295  # how a circuit breaker says that there is none
_NOT_FOUND = {0: 503, 1: 404, 2: 500}


def first_cluster(route: Any | None, facts: Facts) -> str:
    """The cluster of a route that has but one; empty otherwise."""
    if route is None or route.WhichOneof("action") != "route":
        return ""
    found = shares(route.route, facts)
    return found[0][0] if len(found) == 1 else ""


def shares(action: Any, facts: Facts) -> list[tuple[str, float]]:
    """Clusters of a ``RouteAction`` or a ``TcpProxy`` and what part of a hundred requests each gets."""
    kind = action.WhichOneof("cluster_specifier")
    if kind == "cluster":
        return [(action.cluster, 100.0)]
    if kind == "cluster_header":
        return [(facts.header(action.cluster_header.lower()), 100.0)]
    if kind == "weighted_clusters":
        weights = [(each.name, _weight(each)) for each in action.weighted_clusters.clusters]
        total = sum(weight for _, weight in weights)
        return [(name, 100.0 * weight / total) for name, weight in weights if weight]
    raise matching.Unclear(f"a route whose cluster is told by {kind} is not modelled")


def _weight(one: Any) -> int:
    return int(one.weight if isinstance(one.weight, int) else one.weight.value)


def follow(host: Any, route: Any, trail: Trail, facts: Facts) -> Explanation:
    """An HTTP route that was found."""
    kind = route.WhichOneof("action")
    if kind == "redirect":
        status = _REDIRECTS[route.redirect.response_code]
        place = routing.location(route, facts)
        why = f"the route redirects to {place}"
        return trail.end(Outcome.ANSWERED, why, status=status, location=place, route=route.name)
    if kind == "direct_response":
        answer = route.direct_response
        why = f"the route answers itself, with {answer.status}"
        body = answer.body.inline_string
        return trail.end(Outcome.ANSWERED, why, status=answer.status, body=body, route=route.name)
    if kind != "route":
        why = f"a {(kind or 'missing').replace('_', ' ')} is nothing that a proxy forwards by"
        return trail.end(Outcome.FAILED, why, status=0, route=route.name)
    return _forwarded(host, route, trail, facts)


def _forwarded(host: Any, route: Any, trail: Trail, facts: Facts) -> Explanation:
    action = route.route
    missing = _NOT_FOUND[action.cluster_not_found_response_code]
    found = reach(shares(action, facts), trail, missing)
    seen = routing.rewritten(route, action, facts)
    shape = {
        "targets": found,
        "route": route.name,
        "host": seen.host,
        "path": seen.path,
        "mirrors": _mirrors(host, action, trail),
        "timeout_ms": _timeout_ms(action),
        "retries": _retries(action.retry_policy if action.HasField("retry_policy") else host.retry_policy),
    }
    return settle(found, trail, document_of(route.name), shape)


def settle(
    found: tuple[Target, ...], trail: Trail, documents: tuple[str, ...], shape: dict[str, Any]
) -> Explanation:
    """The end of a way that leads to clusters: there is somebody to take it, or nobody anywhere."""
    lost = [each for each in found if each.flags]
    if len(lost) == len(found):
        reason = next(step.why for step in reversed(trail.steps) if step.stage is not Stage.ROUTE)
        status, flags = (lost[0].status, lost[0].flags) if lost else (503, "NC")
        why = f"cluster {lost[0].cluster}: {reason}" if lost else "all clusters of the route have weight 0"
        return trail.end(Outcome.FAILED, why, status=status, flags=flags, **shape)
    trail.chances.extend(
        Chance(f"cluster {each.cluster} cannot take it", each.status, each.flags, each.share, documents)
        for each in lost
    )
    names = ", ".join(f"{each.cluster} ({each.share:g} %)" for each in found if not each.flags)
    return trail.end(Outcome.FORWARDED, f"it goes to {names}", **shape)


def reach(named: list[tuple[str, float]], trail: Trail, missing_status: int) -> tuple[Target, ...]:
    return tuple(_target(name, share, trail, missing_status) for name, share in named)


def _target(name: str, share: float, trail: Trail, missing_status: int) -> Target:
    cluster = trail.config.clusters.get(name)
    documents = trail.config.clusters.documents(name)
    if cluster is None:
        trail.step(Stage.CLUSTER, name, "the proxy has no such cluster", documents)
        return Target(name, share, status=missing_status, flags="NC")
    kind = _kind(cluster)
    trail.step(
        Stage.CLUSTER, name, f"the route names it, for {share:g} % of such requests; {kind}", documents
    )
    _breakers(cluster, trail, documents)
    if kind == "original dst":
        trail.step(Stage.ENDPOINTS, name, "it goes to the address that the application dialled")
        return Target(name, share)
    service = cluster.eds_cluster_config.service_name or name
    assignment = trail.config.endpoints.get(service) if kind == "eds" else cluster.load_assignment
    if assignment is None:
        trail.step(Stage.ENDPOINTS, service, "the proxy was told no endpoints of it")
        return Target(name, share, status=503, flags="UH")
    found = balancing.balance(cluster, assignment)
    trail.step(Stage.ENDPOINTS, service, found.why, trail.config.endpoints.documents(service))
    return Target(name, share, found.candidates, 503 if found.flags else 0, found.flags)


def _kind(cluster: Any) -> str:
    if cluster.WhichOneof("cluster_discovery_type") == "cluster_type":
        raise matching.Unclear(f"a cluster of type {cluster.cluster_type.name} is not modelled")
    return str(Cluster.DiscoveryType.Name(cluster.type)).lower().replace("_", " ")


def _breakers(cluster: Any, trail: Trail, documents: tuple[str, ...]) -> None:
    for each in cluster.circuit_breakers.thresholds:
        limits = [
            f"{field.name.replace('_', ' ')} {value.value}"
            for field, value in each.ListFields()
            if field.name.startswith("max_") and getattr(value, "value", _UNLIMITED) != _UNLIMITED
        ]
        if limits:
            text = f"the circuit breaker of {cluster.name}: {', '.join(limits)}"
            trail.chances.append(Chance(text, 503, "UO", documents=documents))


def _mirrors(host: Any, action: Any, trail: Trail) -> tuple[str, ...]:
    policies = action.request_mirror_policies or host.request_mirror_policies
    for each in policies:
        percent = 100.0
        if each.HasField("runtime_fraction"):
            percent = filters.percent_of(each.runtime_fraction.default_value)
        trail.step(Stage.CLUSTER, each.cluster, f"it gets a copy of {percent:g} % of such requests")
    return tuple(each.cluster for each in policies)


def _timeout_ms(action: Any) -> int | None:
    """Envoy's own default is 15 s; nought is none."""
    return int(action.timeout.ToMilliseconds()) if action.HasField("timeout") else 15_000


def _retries(policy: Any) -> str:
    if not policy.retry_on:
        return ""
    times = policy.num_retries.value if policy.HasField("num_retries") else 1
    text = f"up to {times} times on {policy.retry_on}"
    if policy.HasField("per_try_timeout"):
        text += f", {policy.per_try_timeout.ToMilliseconds()} ms a try"
    return text
