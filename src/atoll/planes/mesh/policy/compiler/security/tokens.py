"""Tokens: ``RequestAuthentication`` documents as Envoy's JWT filter.

Rule: a request with a token that does not hold is refused (401); a request without one goes on without a principal, and
authorisation decides. One token that holds is enough, whatever else the request brings; conditions ask what that one says.

A document's keys stand in it (``jwks``) or are fetched by the proxy (``jwksUri``) through a cluster of its own; until they
are there, requests with tokens of that issuer are refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from envoy.config.core.v3 import base_pb2, http_uri_pb2
from envoy.config.route.v3 import route_components_pb2
from envoy.extensions.filters.http.jwt_authn.v3 import config_pb2
from google.protobuf import empty_pb2

from atoll.planes.mesh.policy.compiler import http, messages
from atoll.planes.mesh.policy.compiler.security import claims
from atoll.resources.mesh.documents.kinds import Document
from atoll.resources.mesh.documents.request_authentication import JwtRule, RequestAuthentication

_Provider, _Requirement = config_pb2.JwtProvider, config_pb2.JwtRequirement
KEYS_CACHED_S = 300.0
_FETCH_WITHIN_S = 5.0
_LISTS = ("scope", "permission")  # claims of words, which Istio takes for lists


class KeySource(NamedTuple):
    """Where keys are fetched."""

    host: str
    port: int
    secure: bool


def http_filters(
    applied: Sequence[Document[RequestAuthentication]], cluster_of: Mapping[KeySource, str]
) -> list[Any]:
    """``cluster_of``: the cluster to fetch from, of each of ``key_sources``."""
    rules = _rules(applied)
    if not rules:
        return []
    config = config_pb2.JwtAuthentication(
        providers={name: _provider(rule, cluster_of) for name, rule in rules},
        rules=[
            config_pb2.RequirementRule(
                match=route_components_pb2.RouteMatch(prefix="/"),
                requires=_requirement([name for name, _ in rules]),
            )
        ],
        bypass_cors_preflight=True,
    )
    return [http.http_filter(claims.FILTER, config)]


def key_sources(applied: Sequence[Document[RequestAuthentication]]) -> list[KeySource]:
    """What the proxy must reach, each once, in the documents' order."""
    uris = [rule.jwksUri for _, rule in _rules(applied) if rule.jwksUri and not rule.jwks]
    return list(dict.fromkeys(key_source(uri) for uri in uris))


def key_source(uri: str) -> KeySource:
    parts = urlsplit(uri)
    secure = parts.scheme == "https"
    return KeySource(parts.hostname or "", parts.port or (443 if secure else 80), secure)


def _rules(applied: Sequence[Document[RequestAuthentication]]) -> list[tuple[str, JwtRule]]:
    return [(f"{one.key}/{index}", rule) for one in applied for index, rule in enumerate(one.spec.jwtRules)]


def _requirement(providers: list[str]) -> Any:
    """A token that one of them takes, or none at all: none that any of them could take and does not."""
    taken = [_Requirement(provider_name=name) for name in providers]
    missing = _Requirement(allow_missing=empty_pb2.Empty())
    if len(providers) == 1:
        return _any_of([*taken, missing])
    bare = [_any_of([one, missing]) for one in taken]
    none = _Requirement(requires_all=config_pb2.JwtRequirementAndList(requirements=bare))
    return _any_of([*taken, none])


def _any_of(requirements: list[Any]) -> Any:
    return _Requirement(requires_any=config_pb2.JwtRequirementOrList(requirements=requirements))


def _provider(rule: JwtRule, cluster_of: Mapping[KeySource, str]) -> Any:
    provider = _Provider(
        issuer=rule.issuer,
        audiences=rule.audiences,
        forward=rule.forwardOriginalToken,
        forward_payload_header=rule.outputPayloadToHeader,
        payload_in_metadata=claims.PAYLOAD,
        normalize_payload_in_metadata=_Provider.NormalizePayload(space_delimited_claims=_LISTS),
        from_headers=[
            config_pb2.JwtHeader(name=one.name, value_prefix=one.prefix) for one in rule.fromHeaders
        ],
        from_params=rule.fromParams,
        from_cookies=rule.fromCookies,
        claim_to_headers=[
            config_pb2.JwtClaimToHeader(header_name=one.header, claim_name=one.claim)
            for one in rule.outputClaimToHeaders
        ],
    )
    if rule.jwks:
        provider.local_jwks.CopyFrom(base_pb2.DataSource(inline_string=rule.jwks))
    else:
        provider.remote_jwks.CopyFrom(_remote(rule, cluster_of[key_source(rule.jwksUri)]))
    return provider


def _remote(rule: JwtRule, cluster: str) -> Any:
    within_s = _FETCH_WITHIN_S if rule.timeout is None else rule.timeout
    return config_pb2.RemoteJwks(
        http_uri=http_uri_pb2.HttpUri(uri=rule.jwksUri, cluster=cluster, timeout=messages.duration(within_s)),
        cache_duration=messages.duration(KEYS_CACHED_S),
        async_fetch=config_pb2.JwksAsyncFetch(fast_listener=True),
    )
