"""Explanations over hand-made configurations: every way in which a request ends, and which documents are named for it."""

from __future__ import annotations

import re
from typing import Any

import pytest

from atoll.errors import AtollError, Code
from atoll.planes.mesh.policy.explain import rbac
from atoll.planes.mesh.policy.explain.config import of_messages, of_snapshot
from atoll.planes.mesh.policy.explain.dump import of_dump
from atoll.resources.mesh.explanations import Direction, Outcome, Stage
from atoll.wire.xds.snapshot import Snapshot, Type, resource
from tests.unit.mesh import explained_config as made
from tests.unit.mesh.explained_config import ask

ALWAYS = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}


def _ends(config: Any, **request: Any) -> tuple[Outcome, int, str]:
    found = ask(config, **request)
    return found.outcome, found.status, found.flags


# ------------------------------------------------------------------------------------------------- routing


def test_a_request_is_followed_to_its_endpoint() -> None:
    found = ask(made.plain(), "/api?x=1")
    assert found.outcome is Outcome.FORWARDED
    assert [step.stage for step in found.steps] == [
        Stage.LISTENER,
        Stage.CHAIN,
        Stage.VIRTUAL_HOST,
        Stage.ROUTE,
        Stage.CLUSTER,
        Stage.ENDPOINTS,
    ]
    assert [each.address for each in found.targets[0].endpoints] == ["10.0.0.0:80"]
    assert (found.host, found.path) == ("reviews", "/api?x=1")


def test_the_document_of_a_route_is_named() -> None:
    found = ask(made.plain())
    assert found.route == "VirtualService/default/reviews/0@cafebabe"
    assert found.documents == ("VirtualService/default/reviews",)


def test_documents_that_shaped_a_resource_are_named_with_it() -> None:
    messages = [made.listener("outbound_http", made.manager()), made.routes(made.to("a")), made.cluster("a")]
    listener, routes, cluster = messages
    snapshot = Snapshot(
        {
            "a": resource(
                Type.CLUSTER, "a", cluster.SerializeToString(), documents=("DestinationRule/default/a",)
            )
        },
        {},
        {"outbound_http": resource(Type.LISTENER, "outbound_http", listener.SerializeToString())},
        {"http": resource(Type.ROUTE, "http", routes.SerializeToString())},
    )
    assert "DestinationRule/default/a" in ask(of_snapshot(snapshot)).documents


@pytest.mark.parametrize(
    ("case", "messages", "status", "flags", "why"),
    [
        ("no virtual host", [made.routes(made.to("a"), domains=["other"])], 404, "NR", "no virtual host"),
        (
            "no route",
            [made.routes({"match": {"path": "/only"}, "route": {"cluster": "a"}})],
            404,
            "NR",
            "the path is not path /only",
        ),
        ("no cluster", [made.routes(made.to("gone"))], 503, "NC", "no such cluster"),
        ("no endpoints told", [made.routes(made.to("a")), made.cluster("a")], 503, "UH", "told no endpoints"),
        (
            "an empty list",
            [made.routes(made.to("a")), made.cluster("a"), made.endpoints("a")],
            503,
            "UH",
            "has no endpoints",
        ),
        (
            "nobody healthy",
            [
                made.routes(made.to("a")),
                made.cluster("a", common_lb_config={"healthy_panic_threshold": {"value": 0}}),
                made.endpoints("a", ["UNHEALTHY", "DRAINING"]),
            ],
            503,
            "UH",
            "none of its endpoints is healthy",
        ),
    ],
)
def test_a_request_that_nobody_can_take(
    case: str, messages: list[Any], status: int, flags: str, why: str
) -> None:
    found = ask(of_messages([made.listener("outbound_http", made.manager()), *messages]))
    assert (found.outcome, found.status, found.flags) == (Outcome.FAILED, status, flags), case
    assert why in found.why


def test_without_a_listener_it_fails_before_everything() -> None:
    found = ask(of_messages([]))
    assert found.outcome is Outcome.FAILED and "no outbound listener" in found.why


def test_shares_are_of_a_hundred_and_a_lost_one_is_a_chance() -> None:
    weighted = {
        "clusters": [{"name": "a", "weight": 3}, {"name": "gone", "weight": 1}, {"name": "b", "weight": 0}]
    }
    route = {"name": "r", "match": {"prefix": "/"}, "route": {"weighted_clusters": weighted}}
    found = ask(made.plain(route=route))
    assert [(each.cluster, each.share) for each in found.targets] == [("a", 75.0), ("gone", 25.0)]
    assert found.outcome is Outcome.FORWARDED
    assert [(each.status, each.flags, each.percent) for each in found.chances] == [(503, "NC", 25.0)]


def test_health_is_disregarded_in_panic_and_a_priority_waits_for_the_one_before() -> None:
    def candidates(panic: int, *groups: list[str]) -> list[tuple[str, str]]:
        threshold = {"healthy_panic_threshold": {"value": panic}}
        messages = [made.cluster("a", common_lb_config=threshold), made.endpoints("a", *groups)]
        first = [made.listener("outbound_http", made.manager()), made.routes(made.to("a"))]
        target = ask(of_messages([*first, *messages])).targets[0]
        return [(each.address, each.excluded.partition(" ")[0]) for each in target.endpoints]

    assert candidates(0, ["HEALTHY", "UNHEALTHY"]) == [("10.0.0.0:80", ""), ("10.0.0.1:80", "it")]
    assert candidates(60, ["HEALTHY", "UNHEALTHY"]) == [("10.0.0.0:80", ""), ("10.0.0.1:80", "")]
    assert candidates(0, ["HEALTHY"], ["HEALTHY"])[1] == ("10.0.1.0:80", "priority")
    assert candidates(0, ["UNHEALTHY"], ["HEALTHY"])[1] == ("10.0.1.0:80", "")


def test_what_is_done_to_a_request_is_told() -> None:
    policy = {"retry_on": "5xx", "num_retries": 3, "per_try_timeout": "0.5s"}
    mirrors = [{"cluster": "shadow", "runtime_fraction": ALWAYS}]
    route = made.to(
        "a", timeout="2s", retry_policy=policy, prefix_rewrite="/v2/", request_mirror_policies=mirrors
    )
    found = ask(made.plain(route=route), "/x?q")
    assert (found.timeout_ms, found.path, found.mirrors) == (2000, "/v2/x?q", ("shadow",))
    assert found.retries == "up to 3 times on 5xx, 500 ms a try"


def test_a_circuit_breaker_is_a_chance_unless_it_is_without_limit() -> None:
    def flags(**limits: int) -> list[str]:
        breaker = made.cluster("a", circuit_breakers={"thresholds": [limits]})
        rest = [made.listener("outbound_http", made.manager()), made.routes(made.to("a"))]
        return [each.flags for each in ask(of_messages([breaker, *rest])).chances]

    assert flags(max_requests=10) == ["UO"]
    assert flags(max_requests=4_294_967_295) == flags() == []


def test_redirects_and_answers_of_the_proxy_itself() -> None:
    redirect = {"match": {"prefix": "/"}, "redirect": {"https_redirect": True, "path_redirect": "/new"}}
    found = ask(made.plain(route=redirect))
    assert (found.outcome, found.status, found.location) == (Outcome.ANSWERED, 301, "https://reviews/new")
    answer = {"match": {"prefix": "/"}, "direct_response": {"status": 418, "body": {"inline_string": "tea"}}}
    found = ask(made.plain(route=answer))
    assert (found.outcome, found.status, found.body) == (Outcome.ANSWERED, 418, "tea")


# ------------------------------------------------------------------------------------------------- filters


def _rbac(action: str, principal: dict[str, Any]) -> dict[str, Any]:
    policy = {"permissions": [{"any": True}], "principals": [principal]}
    return made.http_filter("rbac", "rbac.v3.RBAC", rules={"action": action, "policies": {"one": policy}})


WEB = {"authenticated": {"principal_name": {"exact": "spiffe://cluster.local/ns/default/sa/web"}}}


def test_access_rules_go_by_the_proven_principal() -> None:
    allow, deny = made.plain(_rbac("ALLOW", WEB)), made.plain(_rbac("DENY", WEB))
    web = {"principal": "cluster.local/ns/default/sa/web"}
    assert _ends(allow, **web)[0] is Outcome.FORWARDED
    assert _ends(allow, principal="cluster.local/ns/default/sa/other")[:2] == (Outcome.REFUSED, 403)
    assert _ends(allow)[:2] == (Outcome.REFUSED, 403)
    assert _ends(deny, **web)[:2] == (Outcome.REFUSED, 403)
    assert _ends(deny)[0] is Outcome.FORWARDED
    assert "'one' matches" in ask(deny, **web).why


def test_each_value_of_a_header_is_looked_at_by_itself() -> None:
    denied = {"header": {"name": "X-Role", "string_match": {"exact": "admin"}}}
    config = made.plain(_rbac("DENY", denied))
    headers = (("x-role", "user"), ("x-role", "admin"))
    assert _ends(config, headers=headers)[:2] == (Outcome.REFUSED, 403)


def test_a_dry_run_is_told_and_refuses_nothing() -> None:
    rules = {
        "action": "DENY",
        "policies": {"one": {"permissions": [{"any": True}], "principals": [{"any": True}]}},
    }
    config = made.plain(made.http_filter("rbac", "rbac.v3.RBAC", shadow_rules=rules))
    found = ask(config)
    assert found.outcome is Outcome.FORWARDED
    assert any("a dry run would refuse it by 'one'" in step.why for step in found.steps)


def test_tokens_are_judged_and_their_claims_reach_the_access_rules() -> None:
    provider = {
        "issuer": "me",
        "audiences": ["here"],
        "payload_in_metadata": "payload",
        "local_jwks": {"inline_string": "{}"},
    }
    rules = [
        {
            "match": {"prefix": "/"},
            "requires": {"requires_any": {"requirements": [{"provider_name": "p"}, {"allow_missing": {}}]}},
        }
    ]
    tokens = made.http_filter("jwt", "jwt_authn.v3.JwtAuthentication", providers={"p": provider}, rules=rules)
    path = [{"key": "payload"}, {"key": "sub"}]
    claim = {
        "metadata": {
            "filter": "envoy.filters.http.jwt_authn",
            "path": path,
            "value": {"string_match": {"exact": "bob"}},
        }
    }
    config = made.plain(tokens, _rbac("ALLOW", claim))
    good = {"iss": "me", "sub": "bob", "aud": "here"}
    assert _ends(config, claims=good)[0] is Outcome.FORWARDED
    assert _ends(config, claims={**good, "sub": "eve"})[:2] == (Outcome.REFUSED, 403)
    assert _ends(config, claims={**good, "aud": "elsewhere"})[:2] == (Outcome.REFUSED, 403)
    assert "for elsewhere" in ask(config, claims={**good, "aud": "elsewhere"}).why
    assert _ends(config, claims={**good, "iss": "you"})[:2] == (Outcome.REFUSED, 401)
    assert "rbac" in str(ask(config).steps[-1].name)  # without a token it passes the first and not the second


def test_a_fault_that_is_certain_ends_it_and_another_may() -> None:
    def config(percent: int) -> Any:
        abort = {"http_status": 503, "percentage": {"numerator": percent, "denominator": "HUNDRED"}}
        return made.plain(made.http_filter("fault", "fault.v3.HTTPFault", abort=abort))

    assert _ends(config(100)) == (Outcome.ANSWERED, 503, "FI")
    found = ask(config(10))
    assert found.outcome is Outcome.FORWARDED
    assert [(each.status, each.flags, each.percent) for each in found.chances] == [(503, "FI", 10.0)]
    assert ask(config(0)).chances == ()


def test_a_rate_limit_is_a_chance_and_a_route_may_bring_its_own() -> None:
    bucket = {"max_tokens": 5, "tokens_per_fill": 2, "fill_interval": "1s"}
    limit = {"stat_prefix": "x", "token_bucket": bucket, "filter_enabled": ALWAYS, "filter_enforced": ALWAYS}
    whole = made.http_filter("limit", "local_ratelimit.v3.LocalRateLimit", **limit)
    assert [each.flags for each in ask(made.plain(whole)).chances] == ["RL"]
    empty = made.http_filter("limit", "local_ratelimit.v3.LocalRateLimit", stat_prefix="x")
    override = {"limit": {"@type": f"{made.HTTP}.local_ratelimit.v3.LocalRateLimit", **limit}}
    route = {**made.to("a"), "typed_per_filter_config": override}
    assert ask(made.plain(empty)).chances == ()
    assert [each.flags for each in ask(made.plain(empty, route=route)).chances] == ["RL"]


def test_a_filter_that_is_not_understood_is_said_to_be_passed_by() -> None:
    buffer = {"name": "strange", "typed_config": {"@type": "type.googleapis.com/google.protobuf.Empty"}}
    steps = ask(made.plain(buffer)).steps
    assert [step.why for step in steps if step.name == "strange"] == ["it is not looked into"]


def test_what_is_not_modelled_is_refused_and_never_guessed() -> None:
    route = {"match": {"prefix": "/", "runtime_fraction": ALWAYS}, "route": {"cluster": "a"}}
    with pytest.raises(AtollError, match="runtime_fraction") as caught:
        ask(made.plain(route=route))
    assert caught.value.code is Code.INVALID


# ------------------------------------------------------------------------------- listeners and their chains


def _mutual(name: str, match: dict[str, Any]) -> dict[str, Any]:
    socket = {"name": "tls", "typed_config": {"@type": made.TLS, "require_client_certificate": True}}
    return {**made.manager(), "name": name, "filter_chain_match": match, "transport_socket": socket}


def test_an_inbound_chain_is_chosen_by_how_the_caller_speaks() -> None:
    plain = {**made.manager(), "name": "plain", "filter_chain_match": {"transport_protocol": "raw_buffer"}}
    mesh = _mutual("mesh", {"transport_protocol": "tls", "application_protocols": ["istio"]})
    own = _mutual("own", {"transport_protocol": "tls"})
    listener = made.listener("inbound_9080", plain, mesh, own, port=9080, traffic_direction="INBOUND")
    config = of_messages(
        [listener, made.routes(made.to("a")), made.cluster("a"), made.endpoints("a", ["HEALTHY"])]
    )

    def chain(**request: Any) -> tuple[str, Outcome]:
        found = ask(config, direction=Direction.INBOUND, port=9080, **request)
        return found.steps[1].name, found.outcome

    assert chain() == ("plain", Outcome.FORWARDED)
    assert chain(principal="td/ns/default/sa/web") == ("mesh", Outcome.FORWARDED)
    assert chain(server_name="reviews") == ("own", Outcome.REFUSED)


def test_plain_text_to_a_strict_port_is_refused() -> None:
    listener = made.listener("inbound_9080", _mutual("mesh", {}), port=9080, traffic_direction="INBOUND")
    found = ask(of_messages([listener]), direction=Direction.INBOUND)
    assert found.outcome is Outcome.REFUSED and "plain text" in found.why


def test_the_most_specific_chain_takes_the_connection() -> None:
    def chain(name: str, **match: Any) -> dict[str, Any]:
        proxy = {"@type": f"{made.NETWORK}.tcp_proxy.v3.TcpProxy", "stat_prefix": "x", "cluster": name}
        return {
            "name": name,
            "filter_chain_match": match,
            "filters": [{"name": "tcp", "typed_config": proxy}],
        }

    chains = [chain("any"), chain("wide", server_names=["*.test"]), chain("exact", server_names=["a.test"])]
    config = of_messages([made.listener("outbound_x", *chains, port=443)])

    def taken(name: str) -> str:
        return ask(config, port=443, server_name=name).steps[1].name

    assert (taken("a.test"), taken("b.test"), taken("other")) == ("exact", "wide", "any")


def test_a_proxyless_client_is_explained_by_its_target() -> None:
    config = {"@type": made.HCM, "rds": {"route_config_name": "http"}, "http_filters": [made.ROUTER]}
    listener = made.listener("reviews:80", api_listener={"api_listener": config})
    found = ask(of_messages([listener, made.routes(made.to("a")), made.cluster("a")]), port=80)
    assert found.steps[0].name == "reviews:80" and found.route


# ------------------------------------------------------------------------------------------------- dumps


def test_a_config_dump_is_explained_by_the_same_code() -> None:
    messages = [
        made.listener("outbound_http", made.manager()),
        made.routes(made.to("a")),
        made.cluster("a"),
        made.endpoints("a", ["HEALTHY"]),
    ]
    assert ask(of_dump(made.dump_of(messages))) == ask(of_messages(messages))


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"configs": [1]}', b'{"configs": {}}', b"\xff"])
def test_what_is_no_dump_is_refused(content: bytes) -> None:
    with pytest.raises(AtollError, match="config_dump") as caught:
        of_dump(content)
    assert caught.value.code is Code.INVALID


def test_path_templates_stand_for_one_segment_or_for_many() -> None:
    one, many = (re.compile(rbac.template_pattern(each)) for each in ("/v1/*/x", "/v1/**"))
    assert one.fullmatch("/v1/a/x") and not one.fullmatch("/v1/a/b/x") and not one.fullmatch("/v1//x")
    assert many.fullmatch("/v1/a/b") and many.fullmatch("/v1/")
    assert re.compile(rbac.template_pattern("/{name}.{end=**}")).fullmatch("/a.b/c")
