"""Authorisation: ``AuthorizationPolicy`` documents as Envoy's RBAC filters, for HTTP and for byte streams.

Rule: policies that refuse are asked before those that allow; where some policy allows, what none of them allows is
refused; where none does, what is not refused is allowed. A policy to audit marks what it matches and decides nothing.

A document on trial (``istio.io/dry-run``) is evaluated beside the others and only counted: Envoy's *shadow* rules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from envoy.config.rbac.v3 import rbac_pb2
from envoy.extensions.filters.http.rbac.v3 import rbac_pb2 as http_rbac_pb2
from envoy.extensions.filters.network.rbac.v3 import rbac_pb2 as network_rbac_pb2

from atoll.planes.mesh.policy.compiler import http, messages
from atoll.planes.mesh.policy.compiler.security import called, callers, terms
from atoll.planes.mesh.policy.compiler.security.terms import CALLED, CALLER, Side, Term
from atoll.resources.mesh.documents.authorization_policy import DRY_RUN, AuthorizationPolicy, Rule
from atoll.resources.mesh.documents.kinds import Document

HTTP_RBAC, NETWORK_RBAC = "envoy.filters.http.rbac", "envoy.filters.network.rbac"
DENY, ALLOW, AUDIT = "DENY", "ALLOW", "AUDIT"
_ORDER = (AUDIT, DENY, ALLOW)
_ACTIONS = {DENY: rbac_pb2.RBAC.DENY, ALLOW: rbac_pb2.RBAC.ALLOW, AUDIT: rbac_pb2.RBAC.LOG}


class Place(msgspec.Struct, frozen=True):
    """Where it is decided: the mesh's trust domain, and what the listener's port is known as."""

    trust_domain: str
    port: called.Port


def http_filters(applied: Sequence[Document[AuthorizationPolicy]], place: Place) -> list[Any]:
    filters = []
    for action in _ORDER:
        rules, trial = _rules(applied, action, place, True)
        if rules is None and trial is None:
            continue
        filters.append(http.http_filter(HTTP_RBAC, _http(action, rules, trial)))
    return filters


def http_seats() -> list[Any]:
    """Filters that ask nothing by themselves: what they ask is in the route configuration (``http_rules``), so that it
    changes for connections that are open as well, and closes none.
    """
    return [http.http_filter(seat(action), _http(action, None, None)) for action in _ORDER]


def http_rules(applied: Sequence[Document[AuthorizationPolicy]], place: Place) -> Mapping[str, Any]:
    """What each of ``http_seats`` asks, by its name, for a route configuration."""
    found = {}
    for action in _ORDER:
        rules, trial = _rules(applied, action, place, True)
        if rules is not None or trial is not None:
            said = http_rbac_pb2.RBACPerRoute(rbac=_http(action, rules, trial))
            found[seat(action)] = messages.packed(said)
    return found


def seat(action: str) -> str:
    return f"{HTTP_RBAC}.{action.lower()}"


def _http(action: str, rules: Any, trial: Any) -> Any:
    return http_rbac_pb2.RBAC(
        rules=rules,
        shadow_rules=trial,
        rules_stat_prefix=action.lower(),
        shadow_rules_stat_prefix=f"dry_run_{action.lower()}",
    )


def network_filters(
    applied: Sequence[Document[AuthorizationPolicy]], place: Place, stat_prefix: str
) -> list[Any]:
    filters = []
    for action in _ORDER:
        rules, trial = _rules(applied, action, place, False)
        if rules is None and trial is None:
            continue
        filter_config = network_rbac_pb2.RBAC(
            rules=rules,
            shadow_rules=trial,
            stat_prefix=f"{stat_prefix}.{action.lower()}.",
            shadow_rules_stat_prefix=f"dry_run_{action.lower()}",
        )
        filters.append(http.network_filter(NETWORK_RBAC, filter_config))
    return filters


def _rules(
    applied: Sequence[Document[AuthorizationPolicy]], action: str, place: Place, is_http: bool
) -> tuple[Any, Any]:
    """What decides, and what is on trial; None where no document says anything."""
    of_action = [one for one in applied if one.spec.action == action]
    decides, tried = (
        _rbac([one for one in of_action if is_dry_run(one) is dry], action, place, is_http)
        for dry in (False, True)
    )
    return decides, tried


def is_dry_run(document: Document[AuthorizationPolicy]) -> bool:
    return document.annotations.get(DRY_RUN) == "true"


def _rbac(applied: Sequence[Document[AuthorizationPolicy]], action: str, place: Place, is_http: bool) -> Any:
    if not applied:
        return None
    policies = {}
    for one in applied:
        domain = callers.Domain(place.trust_domain, one.namespace)
        for index, rule in enumerate(one.spec.rules):
            made = _policy(_demands(rule, domain, place.port), action, is_http)
            if made is not None:
                policies[f"{one.key}/{index}@{one.hash8}"] = made
    return rbac_pb2.RBAC(action=_ACTIONS[action], policies=policies)


class _Demands(msgspec.Struct, frozen=True):
    """What a rule demands: one of ``sources`` and all of ``of_caller``; one of ``operations`` and all of ``of_called``."""

    sources: list[list[Term]]
    of_caller: list[Term]
    operations: list[list[Term]]
    of_called: list[Term]

    @property
    def needs_http(self) -> bool:
        every = (*self.sources, self.of_caller, *self.operations, self.of_called)
        return any(term.http_only for each in every for term in each)


def _demands(rule: Rule, domain: callers.Domain, port: called.Port) -> _Demands:
    of_caller: list[Term] = []
    of_called: list[Term] = []
    for one in rule.when or ():
        of_caller += domain.condition(one.key, one.values, one.notValues) or ()
        of_called += port.condition(one.key, one.values, one.notValues) or ()
    sources = [domain.source(one.source) for one in rule.from_ or ()]
    operations = [port.operation(one.operation) for one in rule.to or ()]
    return _Demands(sources, of_caller, operations, of_called)


def _policy(demands: _Demands, action: str, is_http: bool) -> Any:
    """None: a rule that allows by something that only HTTP has never matches a byte stream."""
    if not is_http and action == ALLOW and demands.needs_http:
        return None
    return rbac_pb2.Policy(
        principals=[_matching(CALLER, demands.sources, demands.of_caller, is_http)],
        permissions=[_matching(CALLED, demands.operations, demands.of_called, is_http)],
    )


def _matching(side: Side, alternatives: list[list[Term]], always: list[Term], is_http: bool) -> Any:
    """One of ``alternatives``, and ``always`` as well."""
    found = _messages(always, is_http)
    if alternatives:
        each = [terms.each_of(side, _messages(one, is_http)) for one in alternatives]
        found.insert(0, terms.one_of(side, each))
    return terms.each_of(side, found)


def _messages(demanded: list[Term], is_http: bool) -> list[Any]:
    return [term.message for term in demanded if is_http or not term.http_only]
