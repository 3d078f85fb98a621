"""What a JWT filter makes of a request, by the claims of the token that it carries.

Rule: a token is what the question says: ``claims`` are those of a token whose signature and times are right. Without them
the request has no token, or, where something stands at a place that a provider looks at, one that nobody takes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from atoll.planes.mesh.policy.explain import matching, routing
from atoll.planes.mesh.policy.explain.facts import Facts, query_of
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


def cleaned(config: Any, facts: Facts) -> Facts:
    """Without the headers in which providers hand a token's payload on: Envoy takes nobody else's word for them."""
    handed = {each.forward_payload_header.lower() for each in config.providers.values()}
    kept = {name: values for name, values in facts.headers.items() if name not in handed}
    return msgspec.structs.replace(facts, headers=kept) if len(kept) < len(facts.headers) else facts


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
        found = _among(config, sorted(config.providers), facts)
        return found if found.provider else _PASS
    if kind == "allow_missing":
        return _missing_allowed(config, sorted(config.providers), facts)
    if kind == "provider_name":
        return _provider(config, requirement.provider_name, (), facts)
    if kind == "provider_and_audiences":
        wanted = requirement.provider_and_audiences
        return _provider(config, wanted.provider_name, tuple(wanted.audiences), facts)
    if kind == "requires_any":
        return _any_of(config, requirement.requires_any.requirements, facts)
    if kind == "requires_all":
        every = [_required(config, each, facts) for each in requirement.requires_all.requirements]
        return next((each for each in every if each.problem), every[0])
    raise Unclear(f"a JWT requirement of kind {kind} is not modelled")


def _any_of(config: Any, requirements: Sequence[Any], facts: Facts) -> Checked:
    """What may be missing in a list is the token of the providers that are in the same list."""
    beside = [each.provider_name for each in requirements if each.provider_name]
    found = []
    for each in requirements:
        if each.WhichOneof("requires_type") == "allow_missing":
            found.append(_missing_allowed(config, beside, facts))
        else:
            found.append(_required(config, each, facts))
    return _either(found)


def _missing_allowed(config: Any, names: Sequence[str], facts: Facts) -> Checked:
    found = _among(config, names, facts)
    return _PASS if found is _MISSING else found


def _either(every: list[Checked]) -> Checked:
    """The first that passes, one that knows the token before one that asks for none; else the last problem that is
    not a vague one, as Envoy tells it.
    """
    passing = [each for each in every if not each.problem]
    if passing:
        return next((each for each in passing if each.provider), passing[0])
    return next((each for each in reversed(every) if not each.vague), every[-1])


def _among(config: Any, names: Sequence[str], facts: Facts) -> Checked:
    """By the provider of the token's issuer, whichever of ``names`` it is."""
    if not facts.claims:
        every = [_without_claims(config.providers[name], facts) for name in names]
        return next((each for each in every if each is not _MISSING), _MISSING)
    issuer = facts.claims.get("iss", "")
    mine = [name for name in names if config.providers[name].issuer in ("", issuer)]
    if not mine:
        return Checked(401, f"its JWT is of issuer {issuer!r}, which nobody named", vague=True)
    return _provider(config, mine[0], (), facts)


def _provider(config: Any, name: str, audiences: tuple[str, ...], facts: Facts) -> Checked:
    provider = config.providers[name]
    if not facts.claims:
        return _without_claims(provider, facts)
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


def _without_claims(provider: Any, facts: Facts) -> Checked:
    place = next(_places_with_something(provider, facts), "")
    return Checked(401, f"what it carries in {place} is no valid JWT") if place else _MISSING


def _places_with_something(provider: Any, facts: Facts) -> Iterator[str]:
    """Where ``provider`` finds what it takes for a token."""
    headers = [(each.name, each.value_prefix) for each in provider.from_headers]
    params, cookies = list(provider.from_params), list(provider.from_cookies)
    if not headers and not params and not cookies:
        headers, params = [("authorization", "Bearer ")], ["access_token"]
    for name, prefix in headers:
        if any(prefix in value for value in facts.headers.get(name.lower(), ())):
            yield f"the header {name}"
    query = query_of(facts.path)
    yield from (f"the parameter {name}" for name in params if name in query)
    pieces = [each for value in facts.headers.get("cookie", ()) for each in value.split(";")]
    given = [each.partition("=")[0].strip() for each in pieces if "=" in each]
    yield from (f"the cookie {name}" for name in cookies if name in given)
