"""The HTTP filters before the router: access rules, JWT, CORS, faults, rate limits.

Rule: a filter either stops the request for certain, or may stop it (a ``Chance``), or lets it pass, perhaps with new facts
for those behind it. One that explanations do not understand passes it, and the steps say so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import msgspec
from envoy.type.v3.percent_pb2 import FractionalPercent

from atoll.planes.mesh.policy.explain import extensions, matching, rbac, tokens
from atoll.planes.mesh.policy.explain.facts import Facts
from atoll.resources.mesh.explanations import Chance, Outcome

_DENOMINATORS = {
    FractionalPercent.HUNDRED: 100.0,
    FractionalPercent.TEN_THOUSAND: 10_000.0,
    FractionalPercent.MILLION: 1_000_000.0,
}
_CLEAR = frozenset(
    {
        "envoy.filters.http.router",
        "envoy.filters.http.grpc_stats",
        "envoy.filters.http.grpc_web",
        "envoy.filters.http.health_check",
    }
)


class Stop(msgspec.Struct, frozen=True):
    outcome: Outcome
    status: int
    flags: str
    why: str
    is_plain: bool = False


class Passed(msgspec.Struct, frozen=True):
    """``why`` empty: the filter had nothing to say of this request."""

    facts: Facts
    why: str = ""
    chances: tuple[Chance, ...] = ()
    stop: Stop | None = None


class Place(msgspec.Struct, frozen=True):
    """Where the filters decide: ``overrides`` by filter name, the most specific first applied; ``cluster``: where the
    route leads, empty without one; ``forwards``: there
    is a route and it leads to an upstream.
    """

    overrides: Mapping[str, Any]
    cluster: str = ""
    forwards: bool = True


Handler: TypeAlias = Callable[[Any, Any | None, Place, Facts], Passed]


def run(one: Any, place: Place, facts: Facts) -> Passed:
    """One ``HttpFilter``."""
    packed = place.overrides.get(one.name)
    override = extensions.unpacked(packed) if packed is not None else None
    disabled = one.disabled
    if override is not None and override.DESCRIPTOR.full_name.endswith("route.v3.FilterConfig"):
        disabled = override.disabled
        override = extensions.unpacked(override.config) if override.HasField("config") else None
    if disabled and override is None:
        return Passed(facts, "it is switched off here")
    config = extensions.unpacked(one.typed_config)
    handler = _HANDLERS.get(one.typed_config.type_url.rpartition("/")[2])
    if config is None or handler is None:
        clear = one.name in _CLEAR or one.typed_config.type_url.endswith(".Router")
        return Passed(facts, "" if clear else "it is not looked into")
    return handler(config, override, place, facts)


def percent_of(fraction: Any) -> float:
    return 100.0 * float(fraction.numerator) / _DENOMINATORS[fraction.denominator]


def _access(config: Any, override: Any | None, _: Place, facts: Facts) -> Passed:
    if override is not None:
        if not override.HasField("rbac"):
            return Passed(facts, "the route switches access rules off")
        config = override.rbac
    if config.HasField("matcher"):
        raise matching.Unclear("an access rule by a matching tree is not modelled")
    text = _shadow(config, facts)
    if not config.HasField("rules"):
        return Passed(facts, text)
    action = config.rules.Action.Name(config.rules.action)
    allowed, policy = rbac.verdict(config.rules, facts)
    why = f"{action} rules: {f'{policy!r} matches' if policy else 'none matches'}{'; ' if text else ''}{text}"
    if allowed:
        return Passed(facts, why)
    return Passed(facts, why, stop=Stop(Outcome.REFUSED, 403, "", why))


def _shadow(config: Any, facts: Facts) -> str:
    if not config.HasField("shadow_rules"):
        return ""
    allowed, policy = rbac.verdict(config.shadow_rules, facts)
    return f"a dry run would {'pass' if allowed else 'refuse'} it{f' by {policy!r}' if policy else ''}"


def _jwt(config: Any, override: Any | None, _: Place, facts: Facts) -> Passed:
    facts = tokens.cleaned(config, facts)
    checked = tokens.check(config, override, facts)
    if checked.problem:
        return Passed(
            facts,
            checked.problem,
            stop=Stop(Outcome.REFUSED, checked.status, "", checked.problem),
        )
    why = f"its JWT is of provider {checked.provider}" if checked.provider else ""
    return Passed(tokens.metadata(config, checked, facts), why)


def _cors(_config: Any, override: Any | None, place: Place, facts: Facts) -> Passed:
    origin = facts.header("origin")
    if (
        override is None
        or not place.forwards
        or not origin
        or not _enabled(override, "filter_enabled", default=100.0)
    ):
        return Passed(facts)
    allowed = any(matching.string(each, origin) for each in override.allow_origin_string_match)
    preflight = facts.method == "OPTIONS" and bool(facts.header("access-control-request-method"))
    if preflight and (allowed or not _forwards(override)):
        why = f"it is a CORS preflight of {origin}, which is {'' if allowed else 'not '}allowed"
        return Passed(facts, why, stop=Stop(Outcome.ANSWERED, 200, "", why, is_plain=True))
    return Passed(facts, f"the origin {origin} is {'' if allowed else 'not '}allowed by CORS")


def _forwards(policy: Any) -> bool:
    """Preflights of other origins go to the upstream unless the policy says otherwise."""
    given = policy.HasField("forward_not_matching_preflights")
    return bool(policy.forward_not_matching_preflights.value) if given else True


def _fault(config: Any, override: Any | None, place: Place, facts: Facts) -> Passed:
    config = override if override is not None else config
    if not all(matching.header(each, facts) for each in config.headers):
        return Passed(facts)
    if config.upstream_cluster and config.upstream_cluster != place.cluster:
        return Passed(facts)
    chances, why = [], ""
    if config.HasField("delay") and (percent := percent_of(config.delay.percentage)):
        why = f"a delay of {config.delay.fixed_delay.ToJsonString()} is injected in {percent:g} %"
        chances.append(Chance(why, flags="DI", percent=percent))
    if config.HasField("abort") and (percent := percent_of(config.abort.percentage)):
        status = config.abort.http_status
        text = f"an abort with {status or 'a gRPC status'} is injected in {percent:g} %"
        if percent >= 100:
            flags = "DI,FI" if chances and chances[0].percent == 100 else "FI"
            return Passed(facts, text, tuple(chances), Stop(Outcome.ANSWERED, status or 200, flags, text))
        chances.append(Chance(text, status or 200, "FI", percent))
        why = f"{why}; {text}" if why else text
    return Passed(facts, why, tuple(chances))


def _limit(config: Any, override: Any | None, _: Place, facts: Facts) -> Passed:
    config = override if override is not None else config
    enforced = _enabled(config, "filter_enabled") and _enabled(config, "filter_enforced")
    if not enforced or not (config.HasField("token_bucket") or config.descriptors):
        return Passed(facts)
    bucket = config.token_bucket
    fill = bucket.tokens_per_fill.value or 1
    text = f"at most {bucket.max_tokens} requests at once, {fill} more each {bucket.fill_interval.ToJsonString()}"
    status = config.status.code if config.HasField("status") and config.status.code >= 400 else 429
    return Passed(facts, text, (Chance(f"the rate limit: {text}", status, "RL"),))


def _enabled(config: Any, field: str, default: float = 0.0) -> bool:
    """Whether a runtime fraction is above nought."""
    if not config.HasField(field):
        return default > 0
    return percent_of(getattr(config, field).default_value) > 0


_HANDLERS: Mapping[str, Handler] = {
    "envoy.extensions.filters.http.rbac.v3.RBAC": _access,
    "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication": _jwt,
    "envoy.extensions.filters.http.cors.v3.Cors": _cors,
    "envoy.extensions.filters.http.fault.v3.HTTPFault": _fault,
    "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit": _limit,
}
