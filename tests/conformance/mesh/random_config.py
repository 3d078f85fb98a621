"""A random static configuration of an Envoy, and random requests to it: what explanations are compared over.

Rule: everything comes from one ``random.Random``; the words are few, so that requests meet routes.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from atoll.resources.mesh.explanations import Request
from tests.conformance.mesh.explained import access_log

EXT = "type.googleapis.com/envoy.extensions.filters.http"
HCM = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
HOSTS = ("a.test", "b.test", "x.b.test", "y.x.b.test", "c.org", "c.net", "www.d.test", "zz")
DOMAINS = (
    "a.test",
    "b.test",
    "*.b.test",
    "*.x.b.test",
    "c.*",
    "c.org",
    "*.test",
    "*",
    "*zz",
    "www.*",
    "A.test",
)
SEGMENTS = ("api", "v1", "v2", "API", "users", "x")
HEADERS = ("x-user", "x-stage", "x-number")
VALUES = ("alice", "bob", "canary", "can", "7", "12", "-3", "")
QUERIES = ("debug=1", "debug=", "v=2&debug=0", "v=10", "v=a%20b", "flag")
ISSUERS = ("issuer-a", "issuer-b")


class Generator:
    """``echo_port``: where the endpoints of all clusters answer, at different addresses of 127/8."""

    def __init__(self, rng: random.Random, echo_port: int, log: Path) -> None:
        self.rng = rng
        self.echo_port = echo_port
        self.log = log
        self.keys = {each: ec.generate_private_key(ec.SECP256R1()) for each in (*ISSUERS, "stranger")}
        self.addresses = 1
        self.clusters = [self.cluster(f"c{number}") for number in range(10)]
        self.names = [each["name"] for each in self.clusters] + ["missing"]

    # ------------------------------------------------------------------------------------------ clusters

    def cluster(self, name: str) -> dict[str, Any]:
        rng = self.rng
        groups = []
        for priority in range(rng.choice((1, 1, 2, 3))):
            endpoints = [self.endpoint() for _ in range(rng.choice((0, 1, 2, 3) if not priority else (1, 2)))]
            groups.append({"lb_endpoints": endpoints, "priority": priority})
        made: dict[str, Any] = {
            "name": name,
            "type": "STATIC",
            "connect_timeout": "2s",
            "lb_policy": rng.choice(("ROUND_ROBIN", "LEAST_REQUEST", "RANDOM")),
            "load_assignment": {"cluster_name": name, "endpoints": groups},
        }
        if rng.random() < 0.6:
            made["common_lb_config"] = {"healthy_panic_threshold": {"value": rng.choice((0, 30, 100))}}
        return made

    def endpoint(self) -> dict[str, Any]:
        self.addresses += 1
        address = {"address": f"127.0.0.{self.addresses}", "port_value": self.echo_port}
        health = self.rng.choice(("HEALTHY", "HEALTHY", "UNKNOWN", "UNHEALTHY", "DRAINING"))
        return {"endpoint": {"address": {"socket_address": address}}, "health_status": health}

    # ------------------------------------------------------------------------------------------ matches

    def path(self) -> str:
        return "/" + "/".join(self.rng.choice(SEGMENTS) for _ in range(self.rng.randint(0, 3)))

    def string_matcher(self) -> dict[str, Any]:
        kind = self.rng.choice(("exact", "prefix", "suffix", "contains", "safe_regex"))
        value = self.rng.choice([each for each in VALUES if each])
        if kind == "safe_regex":
            return {kind: {"regex": self.rng.choice(("ca.*", "[0-9]+", "alice|bob", ".", ".*n"))}}
        return {kind: value, "ignore_case": self.rng.random() < 0.2}

    def header_matcher(self) -> dict[str, Any]:
        rng, name = self.rng, self.rng.choice(HEADERS)
        kind = rng.choice(("string", "string", "present", "absent", "range"))
        kinds: dict[str, dict[str, Any]] = {
            "string": {"string_match": self.string_matcher()},
            "present": {"present_match": True},
            "absent": {"present_match": False},
            "range": {"range_match": {"start": -5, "end": 10}},
        }
        flags = {"invert_match": rng.random() < 0.3, "treat_missing_header_as_empty": rng.random() < 0.3}
        return {"name": name, **kinds[kind], **flags}

    def match(self) -> dict[str, Any]:
        rng = self.rng
        kind = rng.choice(("prefix", "prefix", "path", "path_separated_prefix", "safe_regex"))
        made: dict[str, Any] = {}
        if kind == "safe_regex":
            made[kind] = {"regex": rng.choice(("/api/.*", "/[a-z]+", "/(v1|v2)/?.*", "/.*users"))}
        elif kind == "path_separated_prefix":
            made[kind] = "/" + rng.choice(SEGMENTS)
        else:
            made[kind] = self.path()
        if kind in ("prefix", "path"):
            made["case_sensitive"] = rng.random() < 0.7
        if rng.random() < 0.4:
            made["headers"] = [self.header_matcher() for _ in range(rng.randint(1, 2))]
        if rng.random() < 0.2:
            made["query_parameters"] = [self.query_matcher()]
        return made

    def query_matcher(self) -> dict[str, Any]:
        name = self.rng.choice(("debug", "v", "flag"))
        if self.rng.random() < 0.4:
            return {"name": name, "present_match": self.rng.random() < 0.7}
        return {"name": name, "string_match": {"exact": self.rng.choice(("1", "2", "a b", "a%20b", ""))}}

    # ------------------------------------------------------------------------------------------ routes

    def route(self, name: str) -> dict[str, Any]:
        rng, match = self.rng, self.match()
        made: dict[str, Any] = {"name": name, "match": match}
        kind = rng.choice(("cluster", "cluster", "weighted", "weighted", "redirect", "direct"))
        if kind == "redirect":
            made["redirect"] = self.redirect(match)
        elif kind == "direct":
            made["direct_response"] = {"status": rng.choice((200, 403, 418, 503))}
        else:
            made["route"] = self.action(kind, match)
        overrides = self.overrides()
        if overrides:
            made["typed_per_filter_config"] = overrides
        return made

    def action(self, kind: str, match: Mapping[str, Any]) -> dict[str, Any]:
        rng = self.rng
        made: dict[str, Any] = {"cluster": rng.choice(self.names)}
        if kind == "weighted":
            chosen = rng.sample(self.names, rng.randint(2, 3))
            weights = [{"name": name, "weight": rng.choice((0, 1, 30))} for name in chosen]
            weights[0]["weight"] = 70
            made = {"weighted_clusters": {"clusters": weights}}
        made.update(self.rewrite(match))
        if rng.random() < 0.3:
            pattern = {"pattern": {"regex": "^/([^/]*).*"}, "substitution": r"\1.rewritten"}
            made.update(
                rng.choice(
                    (
                        {"host_rewrite_literal": "literal.test"},
                        {"host_rewrite_header": "x-user"},
                        {"host_rewrite_path_regex": pattern},
                    )
                )
            )
        if rng.random() < 0.2:
            made["cluster_not_found_response_code"] = "NOT_FOUND"
        return made

    def rewrite(self, match: Mapping[str, Any]) -> dict[str, Any]:
        chance = self.rng.random()
        if chance < 0.2 and "safe_regex" not in match:
            return {"prefix_rewrite": self.rng.choice(("/new", "/n/"))}
        if chance < 0.4:
            return {"regex_rewrite": {"pattern": {"regex": "/v([0-9])"}, "substitution": r"/version-\1"}}
        return {}

    def redirect(self, match: Mapping[str, Any]) -> dict[str, Any]:
        rng = self.rng
        made: dict[str, Any] = {"response_code": rng.choice(("FOUND", "SEE_OTHER", "PERMANENT_REDIRECT"))}
        made.update(rng.choice(({}, {"https_redirect": True}, {"scheme_redirect": "https"})))
        made.update(rng.choice(({}, {"host_redirect": "other.test"})))
        made.update(rng.choice(({}, {"port_redirect": 8443})))
        made.update(
            rng.choice(
                ({}, {"path_redirect": "/there"}, {"path_redirect": "/there?q=1"}, self.rewrite(match))
            )
        )
        return {**made, "strip_query": rng.random() < 0.3}

    # ------------------------------------------------------------------------------------------ filters

    def overrides(self) -> dict[str, Any]:
        rng, made = self.rng, {}
        if rng.random() < 0.15:
            made["fault"] = self.fault()
        if rng.random() < 0.15:
            origins = [{"exact": "https://good.test"}, {"prefix": "http://local"}]
            made["cors"] = {
                "@type": f"{EXT}.cors.v3.CorsPolicy",
                "allow_origin_string_match": origins[: rng.randint(1, 2)],
                "allow_methods": "GET",
                **rng.choice(({}, {"forward_not_matching_preflights": rng.random() < 0.5})),
            }
        if rng.random() < 0.1:
            rules = {"rules": self.access_rules(rng.choice(("ALLOW", "DENY")))}
            made["rbac"] = {"@type": f"{EXT}.rbac.v3.RBACPerRoute", **rng.choice(({}, {"rbac": rules}))}
        if rng.random() < 0.1:
            made["jwt"] = {"@type": f"{EXT}.jwt_authn.v3.PerRouteConfig", "disabled": True}
        if rng.random() < 0.1:
            made["limit"] = self.limit(1)
        return made

    def fault(self) -> dict[str, Any]:
        percent = {"numerator": self.rng.choice((0, 30, 100)), "denominator": "HUNDRED"}
        made: dict[str, Any] = {"@type": f"{EXT}.fault.v3.HTTPFault"}
        if self.rng.random() < 0.8:
            made["abort"] = {"http_status": self.rng.choice((503, 418)), "percentage": percent}
        if self.rng.random() < 0.4:
            made["delay"] = {"fixed_delay": "0.002s", "percentage": percent}
        if self.rng.random() < 0.3:
            made["headers"] = [self.header_matcher()]
        if self.rng.random() < 0.2:
            made["upstream_cluster"] = self.rng.choice(self.names)
        return made

    def limit(self, tokens: int) -> dict[str, Any]:
        always = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
        return {
            "@type": f"{EXT}.local_ratelimit.v3.LocalRateLimit",
            "stat_prefix": "limit",
            "token_bucket": {"max_tokens": tokens, "fill_interval": "60s"},
            "filter_enabled": always,
            "filter_enforced": always,
        }

    def access_rules(self, action: str) -> dict[str, Any]:
        policies = {f"p{number}": self.access_policy(action) for number in range(self.rng.randint(1, 3))}
        return {"action": action, "policies": policies}

    def access_policy(self, action: str) -> dict[str, Any]:
        rng = self.rng
        wide = {"any": True}
        leaf = [self.permission() for _ in range(2)]
        permission = rng.choice((leaf[0], {"and_rules": {"rules": leaf}}, {"not_rule": leaf[0]}))
        header = {"header": self.header_matcher()}
        source = {
            "direct_remote_ip": {"address_prefix": rng.choice(("127.0.0.0", "10.0.0.0")), "prefix_len": 8}
        }
        claim = self.claim_matcher()
        principal = rng.choice(
            (wide, header, source, claim, {"or_ids": {"ids": [header, claim]}}, {"not_id": header})
        )
        if action == "ALLOW" and rng.random() < 0.9:
            permission = {"or_rules": {"rules": [permission, {"not_rule": {"header": self.stage("denied")}}]}}
            principal = wide
        if action == "DENY":
            permission = {"and_rules": {"rules": [permission, {"header": self.stage("denied")}]}}
        return {"permissions": [permission], "principals": [principal]}

    def stage(self, value: str) -> dict[str, Any]:
        return {"name": "x-stage", "string_match": {"exact": value}}

    def permission(self) -> dict[str, Any]:
        path = {"url_path": {"path": {self.rng.choice(("exact", "prefix", "suffix")): self.path()}}}
        method = {"header": {"name": ":method", "string_match": {"exact": self.rng.choice(("GET", "POST"))}}}
        port = {"destination_port": self.rng.choice((1, self.echo_port))}
        return dict(self.rng.choice((path, method, port, {"header": self.header_matcher()})))

    def claim_matcher(self) -> dict[str, Any]:
        value = {"string_match": {"exact": self.rng.choice(("alice", "issuer-a"))}}
        path = [{"key": "claims"}, {"key": self.rng.choice(("sub", "iss"))}]
        return {"metadata": {"filter": "envoy.filters.http.jwt_authn", "path": path, "value": value}}

    def jwt_filter(self) -> dict[str, Any]:
        providers = {}
        for issuer in ISSUERS:
            public = json.loads(ECAlgorithm.to_jwk(self.keys[issuer].public_key()))
            keys = {"keys": [{**public, "alg": "ES256", "use": "sig"}]}
            providers[issuer] = {
                "issuer": issuer,
                "local_jwks": {"inline_string": json.dumps(keys)},
                "payload_in_metadata": "claims",
                "forward": True,
                **self.rng.choice(({}, {"audiences": ["atoll", "other"]})),
            }
        names = [{"provider_name": each} for each in ISSUERS]
        either = {"requires_any": {"requirements": [*names, {"allow_missing": {}}]}}
        rules = [
            {
                "match": {"prefix": "/users"},
                "requires": self.rng.choice((names[0], {"requires_any": {"requirements": names}})),
            },
            {"match": {"prefix": "/x"}, "requires": {"allow_missing_or_failed": {}}},
            {"match": {"prefix": "/"}, "requires": either},
        ]
        return {"@type": f"{EXT}.jwt_authn.v3.JwtAuthentication", "providers": providers, "rules": rules}

    def filters(self) -> list[dict[str, Any]]:
        made: dict[str, dict[str, Any]] = {
            "cors": {"@type": f"{EXT}.cors.v3.Cors"},
            "jwt": self.jwt_filter(),
            "deny": {"@type": f"{EXT}.rbac.v3.RBAC", "rules": self.access_rules("DENY")},
            "rbac": {"@type": f"{EXT}.rbac.v3.RBAC", "rules": self.access_rules("ALLOW")},
            "fault": {"@type": f"{EXT}.fault.v3.HTTPFault"},
            "limit": {"@type": f"{EXT}.local_ratelimit.v3.LocalRateLimit", "stat_prefix": "limit"},
            "router": {"@type": f"{EXT}.router.v3.Router"},
        }
        return [{"name": name, "typed_config": config} for name, config in made.items()]

    # ------------------------------------------------------------------------------------------ bootstrap

    def bootstrap(self) -> dict[str, Any]:
        hosts: list[dict[str, Any]] = []
        domains = list(DOMAINS[:-1])
        self.rng.shuffle(domains)
        while domains:
            taken = [domains.pop() for _ in range(min(len(domains), self.rng.randint(1, 2)))]
            number = len(hosts)
            routes = [self.route(f"r{number}.{each}") for each in range(self.rng.randint(1, 7))]
            if self.rng.random() < 0.7:
                rest = {"prefix": "/"}
                routes.append(
                    {"name": f"r{number}.rest", "match": rest, "route": self.action("weighted", rest)}
                )
            host: dict[str, Any] = {"name": f"h{number}", "domains": taken, "routes": routes}
            if self.rng.random() < 0.1:
                host["require_tls"] = "ALL"
            hosts.append(host)
        if self.rng.random() < 0.3:
            hosts = [each for each in hosts if "*" not in each["domains"]]
        manager = {
            "@type": HCM,
            "stat_prefix": "out",
            "access_log": [access_log(self.log)],
            "http_filters": self.filters(),
            "route_config": {"name": "http", "validate_clusters": False, "virtual_hosts": hosts},
            **self.rng.choice(({}, {"strip_any_host_port": True})),
            **self.rng.choice(({}, {"normalize_path": True, "merge_slashes": True})),
        }
        return {
            "static_resources": {
                "listeners": [
                    _listener("outbound_http", "127.0.0.1", 0, manager),
                    echo_listener(self.echo_port),
                ],
                "clusters": self.clusters,
            }
        }

    # ------------------------------------------------------------------------------------------ requests

    def request(self) -> Request:
        rng = self.rng
        host = rng.choice(HOSTS)
        host = host.upper() if rng.random() < 0.1 else host
        host += rng.choice(("", "", "", ":80"))
        path = rng.choice((self.path(), self.path(), self.path() + "/", self.path() + "//x/../v1"))
        path += f"?{rng.choice(QUERIES)}" if rng.random() < 0.4 else ""
        headers = [(rng.choice(HEADERS), rng.choice(VALUES)) for _ in range(rng.randint(0, 3))]
        if rng.random() < 0.2:
            headers.append(("x-stage", "denied"))
        method = rng.choice(("GET", "GET", "POST", "OPTIONS"))
        if rng.random() < 0.3:
            headers.append(
                ("origin", rng.choice(("https://good.test", "http://localhost", "https://bad.test")))
            )
            headers.append(("access-control-request-method", "GET"))
        claims: dict[str, Any] = {}
        if rng.random() < 0.3:
            claims = {"iss": rng.choice((*ISSUERS, "stranger")), "sub": rng.choice(("alice", "bob"))}
            claims |= rng.choice(({}, {"aud": "atoll"}, {"aud": ("nobody", "other")}))
            headers.append(("authorization", f"Bearer {self.token(claims)}"))
        return Request(host, path, method, tuple(headers), claims=claims)

    def token(self, claims: Mapping[str, Any]) -> str:
        listed = {name: list(value) if isinstance(value, tuple) else value for name, value in claims.items()}
        return jwt.encode(listed, self.keys[str(claims["iss"])], algorithm="ES256")


def _listener(name: str, host: str, port: int, manager: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "traffic_direction": "OUTBOUND",
        "address": {"socket_address": {"address": host, "port_value": port}},
        "filter_chains": [
            {
                "filters": [
                    {"name": "envoy.filters.network.http_connection_manager", "typed_config": dict(manager)}
                ]
            }
        ],
    }


def echo_listener(port: int) -> dict[str, Any]:
    """Backends at every address of 127/8: they say what they were asked."""
    seen = [
        {"header": {"key": "x-seen-path", "value": "%REQ(:PATH)%"}},
        {"header": {"key": "x-seen-host", "value": "%REQ(:AUTHORITY)%"}},
    ]
    route = {"match": {"prefix": "/"}, "direct_response": {"status": 200}, "response_headers_to_add": seen}
    manager = {
        "@type": HCM,
        "stat_prefix": "echo",
        "http_filters": [{"name": "router", "typed_config": {"@type": f"{EXT}.router.v3.Router"}}],
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
    }
    return {**_listener("echo", "0.0.0.0", port, manager), "traffic_direction": "INBOUND"}
