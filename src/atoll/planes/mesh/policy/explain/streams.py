"""A connection that is not HTTP: network access rules, then the proxy of its protocol.

Rule: byte streams and Redis are followed to their clusters; a protocol whose routes are not modelled is said to be handled
by its filter, and no more.
"""

from __future__ import annotations

from typing import Any

from atoll.planes.mesh.policy.explain import extensions, rbac, targets
from atoll.planes.mesh.policy.explain.facts import Facts
from atoll.planes.mesh.policy.explain.trail import Trail
from atoll.resources.mesh.explanations import Explanation, Outcome, Stage


def explain(chain: Any, trail: Trail, facts: Facts) -> Explanation:
    """The network filters of a chain without a connection manager."""
    for one in chain.filters:
        config = extensions.unpacked(one.typed_config)
        kind = config.DESCRIPTOR.full_name if config is not None else ""
        refusal = access(one.name, config, trail, facts)
        if refusal is not None:
            return refusal
        if kind.endswith("tcp_proxy.v3.TcpProxy"):
            trail.step(Stage.FILTER, one.name, "it forwards the bytes as they are")
            found = targets.reach(targets.shares(config, facts), trail, 0)
            return targets.settle(found, trail, (), {"targets": found})
        if kind.endswith("redis_proxy.v3.RedisProxy"):
            return _redis(one.name, config, trail)
        if not kind.endswith("rbac.v3.RBAC"):
            trail.step(Stage.FILTER, one.name, "it is not looked into")
    last = chain.filters[-1].name if chain.filters else ""
    if not last:
        return trail.end(Outcome.FAILED, "the filter chain has no filters: the connection is closed")
    return trail.end(Outcome.FORWARDED, f"{last} forwards it by routes of its own, which are not looked into")


def access(name: str, config: Any | None, trail: Trail, facts: Facts) -> Explanation | None:
    """A network RBAC filter; None: it is none, or lets the connection pass."""
    if config is None or not config.DESCRIPTOR.full_name.endswith("network.rbac.v3.RBAC"):
        return None
    if not config.HasField("rules"):
        return None
    allowed, policy = rbac.verdict(config.rules, facts)
    action = config.rules.Action.Name(config.rules.action)
    why = f"{action} rules: {f'{policy!r} matches' if policy else 'none matches'}"
    trail.step(Stage.FILTER, name, why)
    return None if allowed else trail.end(Outcome.REFUSED, f"the connection is closed by {why}")


def _redis(name: str, config: Any, trail: Trail) -> Explanation:
    routes = config.prefix_routes
    named = [(each.cluster, each.prefix) for each in routes.routes]
    if routes.HasField("catch_all_route"):
        named.append((routes.catch_all_route.cluster, ""))
    trail.step(Stage.FILTER, name, "it speaks Redis and goes by the prefix of the key")
    found = targets.reach([(cluster, 100.0) for cluster, _ in named], trail, 0)
    return targets.settle(found, trail, (), {"targets": found})
