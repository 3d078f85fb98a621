"""What a JWT filter makes of a request, by the claims of the token that it carries.

Rule: a token is what the question says: ``claims`` are those of a token whose signature and times are right; none means
that the request has no token. A bad signature is not asked about: no document decides on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from atoll.planes.mesh.policy.explain import matching, routing
from atoll.planes.mesh.policy.explain.facts import Facts
from atoll.planes.mesh.policy.explain.matching import Unclear

FILTER = "envoy.filters.http.jwt_authn"


class Checked(msgspec.Struct, frozen=True):
    """``problem`` empty: it may pass. ``provider``: whose token it is. ``vague``: no token, or one of somebody else."""

    status: int = 0
    problem: str = ""
    provider: str = ""
    vague: bool = False


_PASS = Checked()
_MISSING = Checked(401, "it needs a JWT and carries none", vague=True)


def check(config: Any, route_config: Any | None, facts: Facts) -> Checked:
    """``route_config``: what the route says of the filter, a ``PerRouteConfig``, None where it says nothing."""
    if config.bypass_cors_preflight and _preflight(facts):
        return _PASS
    if route_config is not None:
        if route_config.WhichOneof("requirement_specifier") == "disabled":
            return _PASS
        return _required(config, config.requirement_map[route_config.requirement_name], facts)
    for rule in config.rules:
        if not routing.mismatch(rule.match, facts):
            kind = rule.WhichOneof("requirement_type")
            if kind is None:
                return _PASS
            named = kind == "requirement_name"
            wanted = config.requirement_map[rule.requirement_name] if named else rule.requires
            return _required(config, wanted, facts)
    return _PASS


def metadata(config: Any, checked: Checked, facts: Facts) -> Facts:
    """The claims, where the provider of the token leaves them for later filters."""
    if not checked.provider:
        return facts
    key = config.providers[checked.provider].payload_in_metadata
    if not key:
        return facts
    return facts.with_metadata(FILTER, {key: _payload(facts.claims)})


def _payload(claims: Mapping[str, str | tuple[str, ...]]) -> dict[str, object]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in claims.items()}


def _preflight(facts: Facts) -> bool:
    return (
        facts.method == "OPTIONS"
        and bool(facts.header("origin"))
        and bool(facts.header("access-control-request-method"))
    )


def _required(config: Any, requirement: Any, facts: Facts) -> Checked:
    kind = requirement.WhichOneof("requires_type")
    if kind in (None, "allow_missing_or_failed"):
        return (
            _any_provider(config, facts) if facts.claims and _any_provider(config, facts).provider else _PASS
        )
    if kind == "allow_missing":
        return _any_provider(config, facts) if facts.claims else _PASS
    if kind == "provider_name":
        return _provider(config, requirement.provider_name, (), facts)
    if kind == "provider_and_audiences":
        wanted = requirement.provider_and_audiences
        return _provider(config, wanted.provider_name, tuple(wanted.audiences), facts)
    if kind == "requires_any":
        return _either([_required(config, each, facts) for each in requirement.requires_any.requirements])
    if kind == "requires_all":
        every = [_required(config, each, facts) for each in requirement.requires_all.requirements]
        return next((each for each in every if each.problem), every[0])
    raise Unclear(f"a JWT requirement of kind {kind} is not modelled")


def _either(every: list[Checked]) -> Checked:
    """The first that passes, one that knows the token before one that asks for none; else the last problem that is
    not a vague one, as Envoy tells it.
    """
    passing = [each for each in every if not each.problem]
    if passing:
        return next((each for each in passing if each.provider), passing[0])
    return next((each for each in reversed(every) if not each.vague), every[-1])


def _any_provider(config: Any, facts: Facts) -> Checked:
    """By the provider of the token's issuer, whichever it is."""
    issuer = facts.claims.get("iss", "")
    mine = [name for name in sorted(config.providers) if config.providers[name].issuer in ("", issuer)]
    if not mine:
        return Checked(401, f"its JWT is of issuer {issuer!r}, which nobody named", vague=True)
    return _provider(config, mine[0], (), facts)


def _provider(config: Any, name: str, audiences: tuple[str, ...], facts: Facts) -> Checked:
    provider = config.providers[name]
    if not facts.claims:
        return _MISSING
    issuer = facts.claims.get("iss", "")
    if provider.issuer and issuer != provider.issuer:
        return Checked(401, f"its JWT is of issuer {issuer!r}, not of {provider.issuer!r}", vague=True)
    wanted = audiences or tuple(provider.audiences)
    given = facts.claims.get("aud", ())
    offered = (given,) if isinstance(given, str) else given
    if wanted and not set(offered) & set(wanted):
        return Checked(403, f"its JWT is for {', '.join(offered) or 'nobody'}, not for {' or '.join(wanted)}")
    if provider.HasField("subjects") and not matching.string(
        provider.subjects, str(facts.claims.get("sub", ""))
    ):
        return Checked(401, "its JWT has a subject that is not let in")
    return Checked(provider=name)
