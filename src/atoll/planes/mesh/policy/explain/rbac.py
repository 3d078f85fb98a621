"""Role based access control: a ``config.rbac.v3.RBAC`` over a request.

Rule: Envoy's own semantics: ALLOW refuses what no policy matches, DENY refuses what one matches, LOG refuses nothing; the
first policy by name that matches is the one that is told of.
"""

from __future__ import annotations

import re
from typing import Any

from envoy.config.rbac.v3.rbac_pb2 import RBAC

from atoll.planes.mesh.policy.explain import extensions, matching
from atoll.planes.mesh.policy.explain.facts import Facts, path_of
from atoll.planes.mesh.policy.explain.matching import Unclear

_SEGMENT = "a-zA-Z0-9\\-._~%!$&'()+,;:@="
_TEMPLATE_PART = re.compile(r"([^*{}]+)|\{([^{}]*)\}|(\*+)")


def verdict(rules: Any, facts: Facts) -> tuple[bool, str]:
    """Whether it may pass, and the name of the policy that matched; empty: none did."""
    matched = next((name for name in sorted(rules.policies) if _policy(rules.policies[name], facts)), "")
    if rules.action == RBAC.ALLOW:
        return bool(matched), matched
    if rules.action == RBAC.DENY:
        return not matched, matched
    return True, matched


def _policy(policy: Any, facts: Facts) -> bool:
    if policy.HasField("condition") or policy.HasField("checked_condition"):
        raise Unclear("an access rule has a CEL condition, which is not modelled")
    allowed = any(_permission(each, facts) for each in policy.permissions)
    return allowed and any(_principal(each, facts) for each in policy.principals)


def _permission(rule: Any, facts: Facts) -> bool:
    kind = rule.WhichOneof("rule")
    if kind == "and_rules":
        return all(_permission(each, facts) for each in rule.and_rules.rules)
    if kind == "or_rules":
        return any(_permission(each, facts) for each in rule.or_rules.rules)
    if kind == "not_rule":
        return not _permission(rule.not_rule, facts)
    if kind == "any":
        return bool(rule.any)
    if kind == "destination_ip":
        return matching.address([rule.destination_ip], facts.destination_address)
    if kind == "destination_port":
        return bool(facts.port == rule.destination_port)
    if kind == "destination_port_range":
        return bool(rule.destination_port_range.start <= facts.port < rule.destination_port_range.end)
    if kind == "requested_server_name":
        return matching.string(rule.requested_server_name, facts.server_name)
    if kind == "uri_template":
        template = extensions.unpacked(rule.uri_template.typed_config)
        if template is not None:
            return (
                matching.regex(template_pattern(template.path_template)).fullmatch(path_of(facts.path))
                is not None
            )
    return _shared(rule, kind, facts)


def template_pattern(template: str) -> str:
    """A path template as RE2: ``*`` is one segment, ``**`` any number of them, ``{name}`` and ``{name=*}`` the same named."""
    found = []
    for literal, named, glob in _TEMPLATE_PART.findall(template):
        glob = glob or (named.partition("=")[2] or "*" if named else "")
        found.append({"*": f"[{_SEGMENT}]+", "**": f"[{_SEGMENT}/]*"}.get(glob, re.escape(literal or glob)))
    return "".join(found)


def _principal(identity: Any, facts: Facts) -> bool:
    kind = identity.WhichOneof("identifier")
    if kind == "and_ids":
        return all(_principal(each, facts) for each in identity.and_ids.ids)
    if kind == "or_ids":
        return any(_principal(each, facts) for each in identity.or_ids.ids)
    if kind == "not_id":
        return not _principal(identity.not_id, facts)
    if kind == "any":
        return bool(identity.any)
    if kind == "authenticated":
        return _authenticated(identity.authenticated, facts)
    if kind in ("source_ip", "direct_remote_ip", "remote_ip"):
        return matching.address([getattr(identity, kind)], facts.source_address)
    if kind == "filter_state":
        return _filter_state(identity.filter_state, facts)
    return _shared(identity, kind, facts)


def _shared(rule: Any, kind: str | None, facts: Facts) -> bool:
    """What permissions and principals both have."""
    if kind == "header":
        return matching.header(rule.header, facts)
    if kind == "url_path":
        return matching.path(rule.url_path, facts)
    if kind == "metadata":
        return matching.metadata(rule.metadata, facts)
    if kind == "sourced_metadata":
        return matching.metadata(rule.sourced_metadata.metadata_matcher, facts)
    raise Unclear(f"an access rule by {kind} is not modelled")


def _authenticated(authenticated: Any, facts: Facts) -> bool:
    """Envoy matches the names of the peer's certificate: its URI, the SPIFFE id."""
    if not facts.principal:
        return False
    if not authenticated.HasField("principal_name"):
        return True
    return matching.string(authenticated.principal_name, f"spiffe://{facts.principal}")


def _filter_state(matcher: Any, facts: Facts) -> bool:
    """Istio's form of the peer's principal, where a compiler keeps it in the filter state."""
    if matcher.key != "io.istio.peer_principal" or matcher.WhichOneof("matcher") != "string_match":
        raise Unclear(f"an access rule by the filter state {matcher.key} is not modelled")
    return bool(facts.principal) and matching.string(matcher.string_match, f"spiffe://{facts.principal}")
