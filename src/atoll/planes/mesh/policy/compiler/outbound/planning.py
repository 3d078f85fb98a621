"""The plan of a client's outbound side: everything but load assignments.

Rule: made of the client, the faces of services, the documents and the mesh-wide choices; while these are the same objects
the plan is the same object, and a change of endpoints never gets here. A cluster is in it because something leads to it:
what nothing leads to costs the client memory and is not sent.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping

import msgspec

from atoll.planes.mesh.model import snapshot as snapshots
from atoll.planes.mesh.model.policies import Effective
from atoll.planes.mesh.model.snapshot import Resource, Snapshot
from atoll.planes.mesh.model.world import Face, World
from atoll.planes.mesh.policy.compiler import names
from atoll.planes.mesh.policy.compiler.memo import Memo
from atoll.planes.mesh.policy.compiler.outbound import (
    assignments,
    balancing,
    clusters,
    entrances,
    hosts,
    scope,
)
from atoll.planes.mesh.policy.compiler.outbound.targets import Target, Targets, finding
from atoll.planes.mesh.policy.compiler.parts import NONE, by_name
from atoll.planes.mesh.policy.compiler.routing import destinations, scene, virtual_hosts
from atoll.planes.mesh.policy.compiler.routing.scene import Ref, Stage
from atoll.planes.mesh.policy.compiler.routing.virtual_hosts import Called, VirtualHost
from atoll.planes.mesh.policy.compiler.telemetry import NOT_OBSERVED
from atoll.resources.mesh.clients import Capture, Client
from atoll.resources.mesh.documents.destination_rule import DestinationRule, TrafficPolicy
from atoll.resources.mesh.documents.kinds import Kind
from atoll.resources.mesh.hosts import matches

_NO_POLICY = TrafficPolicy()


class Plan(msgspec.Struct, frozen=True):
    """``seen``: the services in its scope. ``virtual_hosts``: those of services, in the order of their hosts; what refuses the others is not among them."""

    seen: Mapping[str, Face]
    targets: Targets
    clusters: Mapping[str, Resource]
    routes: Mapping[str, Resource]
    virtual_hosts: tuple[VirtualHost, ...] = ()
    problems: tuple[str, ...] = ()
    on_demand: frozenset[str] = frozenset()


def plan_for(world: World, client: Client, memo: Memo) -> Plan:
    """Everything but listeners, which tell who the client is to those who observe it."""
    keys = _keys(world, client, memo)
    inputs = (world.faces, world.policies, world.choices)
    return memo.piece(("plan", keys), inputs, functools.partial(_plan, world, client, keys, memo))


def listeners_for(world: World, client: Client, plan: Plan, memo: Memo) -> Mapping[str, Resource]:
    key = ("listeners", msgspec.msgpack.encode(client, order="deterministic"))
    return memo.piece(key, (plan,), functools.partial(_listeners, world, client, plan))


def _listeners(world: World, client: Client, plan: Plan) -> Mapping[str, Resource]:
    observed = entrances.observed_by(world, client)
    return by_name(list(entrances.of(world, client, plan.seen, observed).listeners))


class _Keys(msgspec.Struct, frozen=True):
    """Of what a client's outbound side depends on: equal for clients that differ in nothing but what is asked of them,
    so that they share it. ``caller``: of what single routes depend on; ``place``: single clusters.
    """

    caller: bytes
    place: bytes
    view: bytes


def _keys(world: World, client: Client, memo: Memo) -> _Keys:
    told_apart = memo.piece(("told apart",), (world.policies,), lambda: _tells_apart(world))
    labels = (client.labels, client.service) if told_apart else ()
    caller = (scene.namespace_of(client), labels)
    place = (caller, client.locality, client.capture)
    outbound = [(one.host, one.service_port, one.port, one.path) for one in client.outbound]
    asks = entrances.asks_by_name(world, client)
    view = (place, client.http_port, client.http_path, outbound, client.uses, asks)
    encode = functools.partial(msgspec.msgpack.encode, order="deterministic")
    return _Keys(encode(caller), encode(place), encode(view))


def _tells_apart(world: World) -> bool:
    """Whether some document about callers tells them apart by labels (the label ``app`` is the service)."""
    policies = world.policies
    return (
        any(one.spec.workloadSelector is not None for one in policies.of_kind(Kind.SIDECAR))
        or any(_rule_tells_apart(one.spec) for one in policies.of_kind(Kind.DESTINATION_RULE))
        or any(
            match.sourceLabels
            for one in policies.of_kind(Kind.VIRTUAL_SERVICE)
            for rule in (*one.spec.http, *one.spec.tls, *one.spec.tcp)
            for match in rule.match
        )
    )


def _rule_tells_apart(rule: DestinationRule) -> bool:
    said = [rule.trafficPolicy, *(subset.trafficPolicy for subset in rule.subsets)]
    balancers = [policy.loadBalancer for policy in said if policy is not None]
    balancers += [
        port.loadBalancer for policy in said if policy is not None for port in policy.portLevelSettings
    ]
    near = [one.localityLbSetting for one in balancers if one is not None]
    return rule.workloadSelector is not None or any(one is not None and one.failoverPriority for one in near)


def _plan(world: World, client: Client, keys: _Keys, memo: Memo) -> Plan:
    seen = scope.visible(world, client)
    others = _hosts_of_documents(world, client, seen)
    entered = entrances.of(world, client, seen, NOT_OBSERVED)
    fallback = entrances.fallback_host(world, client)
    refs = dict.fromkeys(entered.refs)
    virtual: list[VirtualHost] = []
    tables: list[Resource] = []
    for name, called in _tables(world, client, seen, others).items():
        hosts_there = [
            virtual_hosts.virtual_host(world, Stage(client, one.port), one, keys.caller, memo)
            for one in called
        ]
        virtual += hosts_there
        tables.append(virtual_hosts.configuration(name, [*hosts_there, fallback]))
        refs.update(dict.fromkeys(ref for host in hosts_there for ref in host.refs))
    targets, found = reached(world, client, refs, memo)
    if entered.passes:
        found.append(clusters.passthrough(world.choices))
    problems = [problem for host in virtual for problem in host.problems]
    made_clusters = memo.kept(("clusters", keys.view), by_name(found))
    made_routes = by_name([*tables, *entered.tables])
    known = Snapshot(made_clusters, assignments.for_targets(targets, world, memo), NONE, made_routes)
    problems += [*entered.problems, *snapshots.check(known)]
    asks = entrances.asks_by_name(world, client)
    needed = [*entered.refs, *(ref for host in virtual for ref in host.needed)]
    return Plan(
        seen,
        targets,
        made_clusters,
        made_routes,
        tuple(virtual),
        tuple(dict.fromkeys(problems)),
        memo.kept(("on demand", keys.view), _on_demand(refs, needed) if asks else frozenset()),
    )


def _on_demand(refs: Iterable[Ref], needed: Iterable[Ref]) -> frozenset[str]:
    """Clusters that only routes of HTTP lead to: a client asks for one when a request does."""
    return frozenset(ref.cluster for ref in refs) - frozenset(ref.cluster for ref in needed)


def _tables(
    world: World, client: Client, seen: Mapping[str, Face], others: Iterable[str]
) -> Mapping[str, list[Called]]:
    """What is called by the name of the route configuration that says so."""
    namespace, domain = scene.namespace_of(client), world.choices.domain
    if client.capture is Capture.REDIRECT:
        by_port = hosts.by_port(seen, others, namespace, domain)
        return {str(port): called for port, called in by_port.items()}
    return {names.HTTP_ROUTES: hosts.by_host(seen, others, namespace, domain)}


def _hosts_of_documents(world: World, client: Client, seen: Mapping[str, Face]) -> list[str]:
    """Hosts that VirtualServices route and no service has."""
    found: dict[str, None] = {}
    namespace = scene.namespace_of(client)
    for document in world.policies.virtual_services(namespace):
        for name in document.spec.hosts if document.spec.http else ():
            candidates = world.policies.candidates(name, document.namespace)
            if not any(host in world.faces for host in candidates):
                found[candidates[0]] = None
    return sorted(host for host in found if "*" not in host or not _holds_some(host, seen))


def _holds_some(pattern: str, seen: Iterable[str]) -> bool:
    """What a pattern says of services that are there is said in their own virtual hosts."""
    return any(matches(pattern, host) for host in seen)


def reached(world: World, client: Client, refs: Iterable[Ref], memo: Memo) -> tuple[Targets, list[Resource]]:
    """The clusters of ``refs``, and what their endpoints are."""
    keys = _keys(world, client, memo)
    found: list[tuple[Target, Resource]] = []
    for ref in sorted(dict.fromkeys(refs)):
        if ref == destinations.MISSING:
            found.append((Target(ref), clusters.missing()))
            continue
        face = world.faces[ref.host]
        rule = scene.rule_for(world, face, client)
        make = functools.partial(_cluster, world, client, ref, rule, memo)
        found.append(memo.piece(("reached", ref, keys.place), (face, world.choices, rule), make))
    every = memo.kept(("every", keys.view), tuple(target for target, _ in found))
    targets = memo.piece(("targets", keys.view), (every,), functools.partial(Targets, every))
    return targets, [one for _, one in found]


def _cluster(
    world: World, client: Client, ref: Ref, rule: Effective[DestinationRule] | None, memo: Memo
) -> tuple[Target, Resource]:
    face = world.faces[ref.host]
    documents, shaped = (rule.documents, rule.names) if rule is not None else ((), ())
    policy = rule.spec.traffic_policy(ref.port, ref.subset) if rule is not None else _NO_POLICY
    target = Target(
        ref,
        _labels(rule.spec, ref.subset) if rule is not None else (),
        balancing.spread_for(policy, client, face, world.policies),
        finding(face, policy, client.capture is Capture.REDIRECT),
    )
    made = memo.piece(
        ("cluster", target, shaped),
        (face, world.choices, *documents),
        functools.partial(clusters.cluster, target, face, policy, world.choices, shaped),
    )
    return target, made


def _labels(rule: DestinationRule, subset: str) -> tuple[tuple[str, str], ...]:
    found = rule.subset(subset) if subset else None
    return tuple(sorted(found.labels.items())) if found is not None else ()
