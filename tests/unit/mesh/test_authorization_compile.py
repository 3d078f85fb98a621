"""Rules of ``AuthorizationPolicy`` as Envoy's RBAC: what a rule becomes, on HTTP and on a byte stream."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.config.rbac.v3 import rbac_pb2
from envoy.extensions.filters.http.rbac.v3 import rbac_pb2 as http_pb2
from envoy.extensions.filters.network.rbac.v3 import rbac_pb2 as network_pb2

from atoll.planes.mesh.policy.compiler.security import authorization, called, callers, claims
from atoll.resources.mesh.documents.kinds import Document, Kind
from tests.conformance.mesh.documents import DIGEST, document

PLACE = authorization.Place("example.org", called.Port((8080, 80)))


def policy(rule: dict[str, Any], action: str = "ALLOW", **more: Any) -> Document[Any]:
    return document(Kind.AUTHORIZATION_POLICY, "p", {"action": action, "rules": [rule], **more}, "shop")


def http(*documents: Document[Any]) -> list[http_pb2.RBAC]:
    found = []
    for one in authorization.http_filters(documents, PLACE):
        config = http_pb2.RBAC()
        one.typed_config.Unpack(config)
        found.append(config)
    return found


def network(*documents: Document[Any]) -> list[network_pb2.RBAC]:
    found = []
    for one in authorization.network_filters(documents, PLACE, "inbound_9000"):
        config = network_pb2.RBAC()
        one.typed_config.Unpack(config)
        found.append(config)
    return found


NAME = f"AuthorizationPolicy/shop/p/0@{DIGEST}"
Action = rbac_pb2.RBAC


def test_audit_comes_first_then_denials_then_permissions() -> None:
    documents = [
        document(Kind.AUTHORIZATION_POLICY, action, {"action": action, "rules": [{}]})
        for action in ("ALLOW", "DENY", "AUDIT")
    ]
    assert [each.rules.action for each in http(*documents)] == [Action.LOG, Action.DENY, Action.ALLOW]
    assert [each.rules.action for each in network(*documents)] == [Action.LOG, Action.DENY, Action.ALLOW]


def test_a_rule_bears_its_documents_name_and_version() -> None:
    assert list(http(policy({}))[0].rules.policies) == [NAME]


def test_a_policy_without_rules_allows_nothing() -> None:
    (found,) = http(document(Kind.AUTHORIZATION_POLICY, "p", {}))
    assert found.HasField("rules")
    assert not found.rules.policies


def test_a_document_on_trial_decides_nothing() -> None:
    tried = document(
        Kind.AUTHORIZATION_POLICY, "p", {"rules": [{}]}, annotations={"istio.io/dry-run": "true"}
    )
    (found,) = http(tried)
    assert not found.HasField("rules")
    assert found.shadow_rules.policies


HTTP_ONLY = [
    {"to": [{"operation": {"methods": ["GET"]}}]},
    {"to": [{"operation": {"paths": ["/"]}}]},
    {"to": [{"operation": {"hosts": ["a"]}}]},
    {"from": [{"source": {"requestPrincipals": ["*"]}}]},
    {"when": [{"key": "request.headers[a]", "values": ["b"]}]},
    {"when": [{"key": "request.auth.claims[a]", "values": ["b"]}]},
]


@pytest.mark.parametrize("rule", HTTP_ONLY)
def test_on_a_byte_stream_a_permission_that_asks_for_http_never_matches(rule: dict[str, Any]) -> None:
    assert not network(policy(rule))[0].rules.policies


@pytest.mark.parametrize("rule", HTTP_ONLY)
def test_on_a_byte_stream_a_denial_leaves_out_what_only_http_has(rule: dict[str, Any]) -> None:
    found = network(policy(rule, "DENY"))[0].rules.policies[NAME]
    assert found.principals[0].any
    assert found.permissions[0].any


def test_a_denial_on_a_byte_stream_keeps_what_it_can_ask() -> None:
    rule = {"to": [{"operation": {"methods": ["GET"], "ports": ["1"]}}]}
    found = network(policy(rule, "DENY"))[0].rules.policies[NAME]
    assert found.permissions[0].not_rule.any, "another port"


def test_ports_are_decided_by_the_listener() -> None:
    def permission(*ports: str) -> Any:
        rule = {"to": [{"operation": {"ports": list(ports)}}]}
        return http(policy(rule))[0].rules.policies[NAME].permissions[0]

    assert permission("8080").any and permission("80").any
    assert permission("81").not_rule.any
    assert permission("81", "80").or_rules.rules[1].any


def principal(**source: Any) -> Any:
    rule = {"from": [{"source": source}]}
    return http(policy(rule))[0].rules.policies[NAME].principals[0]


@pytest.mark.parametrize(
    ("pattern", "kind", "expected"),
    [
        ("cluster.local/ns/a/sa/b", "exact", "spiffe://example.org/ns/a/sa/b"),
        ("other.org/ns/a/sa/b", "exact", "spiffe://other.org/ns/a/sa/b"),
        ("cluster.local/ns/a/*", "prefix", "spiffe://example.org/ns/a/"),
        ("*/sa/b", "safe_regex", r"spiffe://.*/sa/b"),
        ("*", "safe_regex", r"spiffe://.+"),
    ],
)
def test_principals_are_spiffe_ids_of_the_mesh(pattern: str, kind: str, expected: str) -> None:
    matcher = principal(principals=[pattern]).authenticated.principal_name
    found = matcher.safe_regex.regex if kind == "safe_regex" else getattr(matcher, kind)
    assert (matcher.WhichOneof("match_pattern"), found) == (kind, expected)


def test_an_account_without_a_namespace_is_of_the_documents_own() -> None:
    matcher = principal(serviceAccounts=["b"]).authenticated.principal_name
    assert matcher.exact == "spiffe://example.org/ns/shop/sa/b"


def test_all_that_a_source_says_must_hold_and_what_it_excludes_must_not() -> None:
    found = principal(namespaces=["a"], notPrincipals=["cluster.local/ns/a/sa/b"])
    assert [one.WhichOneof("identifier") for one in found.and_ids.ids] == ["not_id", "authenticated"]


def test_a_rule_without_a_side_takes_any() -> None:
    found = http(policy({"to": [{"operation": {"methods": ["GET"]}}]}))[0].rules.policies[NAME]
    assert found.principals[0].any
    assert found.permissions[0].header.name == ":method"


def texts(pattern: str) -> list[dict[str, str]]:
    """Of each alternative, how issuer and subject are compared."""

    def text(matcher: Any) -> str:
        kind = matcher.WhichOneof("match_pattern")
        return f"{kind}:{matcher.safe_regex.regex if kind == 'safe_regex' else getattr(matcher, kind)}"

    return [
        {one.path[1].key: text(one.value.string_match) for one in alternative}
        for alternative in claims.principal(pattern)
    ]


PRESENT = "safe_regex:.+"


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*", [{"iss": PRESENT, "sub": PRESENT}]),
        ("i/s", [{"iss": "exact:i", "sub": "exact:s"}]),
        ("i/*", [{"iss": "prefix:i/", "sub": PRESENT}, {"iss": "exact:i", "sub": PRESENT}]),
        ("*/s", [{"iss": PRESENT, "sub": "suffix:/s"}, {"iss": PRESENT, "sub": "exact:s"}]),
        ("nobody", []),
        (
            "a/b/c",
            [{"iss": "exact:a", "sub": "exact:b/c"}, {"iss": "exact:a/b", "sub": "exact:c"}],
        ),
    ],
)
def test_a_tokens_principal_is_split_wherever_its_slash_may_be(
    pattern: str, expected: list[dict[str, str]]
) -> None:
    assert texts(pattern) == expected


def test_a_principal_that_no_token_can_have_matches_nothing() -> None:
    found = callers.request_principal("nobody")
    assert found.not_id.any
