"""What requests get from routes: matches, rewrites, redirects, weights, mirrors, retries, time-outs, faults, CORS."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from atoll.resources.mesh.clients import Client
from atoll.resources.mesh.clients import Kind as ClientKind
from atoll.resources.mesh.documents.kinds import Document, Kind
from tests.conformance.mesh.backends import Backends, Reply
from tests.conformance.mesh.calling import Sidecar, at, known, service, sidecar
from tests.conformance.mesh.documents import document
from tests.conformance.mesh.rig import backends_of
from tests.peers.ports import free_ports
from tests.waiting import wait_until

pytestmark = pytest.mark.peers

V1 = {"destination": {"host": "shop", "subset": "v1"}}
V2 = {"destination": {"host": "shop", "subset": "v2"}}


def virtual(host: str, *rules: Mapping[str, Any]) -> Document[Any]:
    return document(
        Kind.VIRTUAL_SERVICE,
        host.replace(".", "-"),
        {"hosts": [host], "http": [dict(rule) for rule in rules]},
    )


def by_match(match: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [{"match": [match], "route": [V2]}, {"route": [V1]}]


MATCHES: Mapping[str, Mapping[str, Any]] = {
    "exact": {"uri": {"exact": "/a"}},
    "prefix": {"uri": {"prefix": "/a"}},
    "regex": {"uri": {"regex": "/a[0-9]+"}},
    "anycase": {"uri": {"prefix": "/a"}, "ignoreUriCase": True},
    "method": {"method": {"exact": "POST"}},
    "header": {"headers": {"x-user": {"exact": "jason"}}},
    "header-prefix": {"headers": {"x-user": {"prefix": "ja"}}},
    "header-regex": {"headers": {"x-user": {"regex": "j.*n"}}},
    "header-there": {"headers": {"x-user": {}}},
    "without": {"withoutHeaders": {"x-user": {"exact": "jason"}}},
    "without-any": {"withoutHeaders": {"x-user": {}}},
    "query": {"queryParams": {"q": {"exact": "1"}}},
    "query-regex": {"queryParams": {"q": {"regex": "[0-9]+"}}},
    "query-there": {"queryParams": {"q": {}}},
    "authority": {"authority": {"prefix": "authority.match"}},
    "both": {"uri": {"prefix": "/a"}, "headers": {"x-user": {"exact": "jason"}}},
}
JASON = {"x-user": "jason"}
# match, path, headers, method, whether the rule holds
CASES: list[tuple[str, str, Mapping[str, str], str, bool]] = [
    ("exact", "/a", {}, "GET", True),
    ("exact", "/a?q=1", {}, "GET", True),
    ("exact", "/ab", {}, "GET", False),
    ("prefix", "/ab", {}, "GET", True),
    ("prefix", "/A", {}, "GET", False),
    ("regex", "/a12", {}, "GET", True),
    ("regex", "/a12/b", {}, "GET", False),
    ("anycase", "/Ab", {}, "GET", True),
    ("method", "/", {}, "POST", True),
    ("method", "/", {}, "GET", False),
    ("header", "/", JASON, "GET", True),
    ("header", "/", {"x-user": "jasons"}, "GET", False),
    ("header", "/", {}, "GET", False),
    ("header-prefix", "/", JASON, "GET", True),
    ("header-prefix", "/", {"x-user": "aja"}, "GET", False),
    ("header-regex", "/", JASON, "GET", True),
    ("header-regex", "/", {"x-user": "jasons"}, "GET", False),
    ("header-there", "/", {"x-user": ""}, "GET", True),
    ("header-there", "/", {}, "GET", False),
    ("without", "/", JASON, "GET", False),
    ("without", "/", {"x-user": "tom"}, "GET", True),
    ("without", "/", {}, "GET", True),
    ("without-any", "/", {}, "GET", True),
    ("without-any", "/", JASON, "GET", False),
    ("query", "/?q=1", {}, "GET", True),
    ("query", "/?q=11", {}, "GET", False),
    ("query-regex", "/?a=b&q=11", {}, "GET", True),
    ("query-regex", "/?q=1x", {}, "GET", False),
    ("query-there", "/?q", {}, "GET", True),
    ("query-there", "/", {}, "GET", False),
    ("authority", "/", {}, "GET", True),
    ("both", "/a", JASON, "GET", True),
    ("both", "/a", {}, "GET", False),
]

OTHERS: list[Document[Any]] = [
    virtual("weights.test", {"route": [{**V1, "weight": 90}, {**V2, "weight": 10}]}),
    virtual("none.test", {"route": [{**V1, "weight": 100}, {**V2, "weight": 0}]}),
    virtual(
        "rewrite.test",
        {
            "match": [{"uri": {"prefix": "/old"}}],
            "rewrite": {"uri": "/new", "authority": "inner"},
            "route": [V1],
        },
        {"match": [{"uri": {"exact": "/exact"}}], "rewrite": {"uri": "/whole"}, "route": [V1]},
        {
            "match": [{"uri": {"prefix": "/re/"}}],
            "rewrite": {"uriRegexRewrite": {"match": "^/re/([a-z]+)/(.*)$", "rewrite": "/\\2/\\1"}},
            "route": [V1],
        },
    ),
    virtual(
        "redirect.test",
        {"match": [{"uri": {"exact": "/found"}}], "redirect": {"uri": "/there", "authority": "far.test"}},
        {"match": [{"uri": {"exact": "/https"}}], "redirect": {"scheme": "https", "redirectCode": 308}},
        {
            "match": [{"uri": {"exact": "/said"}}],
            "directResponse": {"status": 418, "body": {"string": "tea"}},
        },
        {"match": [{"uri": {"exact": "/raw"}}], "directResponse": {"status": 200, "body": {"bytes": "AAH/"}}},
    ),
    virtual(
        "headers.test",
        {
            "headers": {
                "request": {"set": {"x-set": "100% new"}, "add": {"x-add": "two"}, "remove": ["x-gone"]},
                "response": {"set": {"x-answer": "yes"}, "remove": ["x-secret"]},
            },
            "route": [{**V1, "headers": {"request": {"set": {"x-leg": "v1", "host": "leg.host"}}}}],
        },
    ),
    virtual("mirror.test", {"route": [V1], "mirrors": [V2]}),
    virtual(
        "half-mirror.test", {"route": [V1], "mirror": V2["destination"], "mirrorPercentage": {"value": 30}}
    ),
    virtual(
        "retries.test",
        {"route": [V1], "retries": {"attempts": 2, "retryOn": "5xx,418", "backoff": 0.005}},
    ),
    virtual(
        "impatient.test",
        {"route": [V1], "retries": {"attempts": 1, "perTryTimeout": 0.2, "retryOn": "5xx"}, "timeout": 2},
    ),
    virtual("plain.test", {"route": [V1]}),
    virtual("timeout.test", {"route": [V1], "timeout": 0.2}),
    virtual(
        "faults.test",
        {"match": [{"uri": {"exact": "/abort"}}], "fault": {"abort": {"httpStatus": 451}}, "route": [V1]},
        {"match": [{"uri": {"exact": "/delay"}}], "fault": {"delay": {"fixedDelay": 0.3}}, "route": [V1]},
        {
            "match": [{"uri": {"exact": "/some"}}],
            "fault": {"abort": {"httpStatus": 503, "percentage": {"value": 40}}},
            "route": [V1],
            "retries": {"attempts": 0},
        },
    ),
    virtual(
        "cors.test",
        {
            "corsPolicy": {
                "allowOrigins": [{"exact": "https://good.test"}, {"regex": "https://.*[.]sub[.]test"}],
                "allowMethods": ["GET", "PUT"],
                "allowHeaders": ["x-asked"],
                "exposeHeaders": ["x-shown"],
                "maxAge": 600,
                "allowCredentials": True,
            },
            "route": [V1],
        },
    ),
    virtual(
        "missing.test",
        {"route": [{**V1, "weight": 50}, {"destination": {"host": "nobody"}, "weight": 50}]},
    ),
    virtual("gone.test", {"route": [{"destination": {"host": "shop", "subset": "v9"}}]}),
]


@pytest.fixture(scope="module")
def backends() -> Iterator[Backends]:
    with Backends() as made:
        for name in ("v1", "v2", "other"):
            made.add(name)
        yield made


@pytest.fixture(scope="module")
def proxy(backends: Backends, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sidecar]:
    shop = service("shop", at(backends["v1"].port, "v1"), at(backends["v2"].port, "v2"))
    documents = [virtual(f"{name}.match", *by_match(match)) for name, match in MATCHES.items()]
    documents += OTHERS
    documents.append(
        document(
            Kind.DESTINATION_RULE,
            "shop",
            {
                "host": "shop",
                "subsets": [{"name": name, "labels": {"version": name}} for name in ("v1", "v2")],
            },
        )
    )
    (port,) = free_ports(1)
    client = Client(ClientKind.SIDECAR, "web", "default", http_port=port)
    services = [shop, service("other", at(backends["other"].port))]
    with sidecar(tmp_path_factory.mktemp("routes"), client, known(services, documents)) as made:
        yield made


@pytest.fixture(autouse=True)
def _fresh(backends: Backends) -> None:
    backends.reset()


@pytest.mark.parametrize(("name", "path", "headers", "method", "holds"), CASES)
def test_a_rule_holds_for_what_it_matches(
    proxy: Sidecar, name: str, path: str, headers: Mapping[str, str], method: str, holds: bool
) -> None:
    assert proxy.once(f"{name}.match", path, headers, method).backend == ("v2" if holds else "v1")


def test_requests_are_shared_by_weight(proxy: Sidecar) -> None:
    counts = backends_of(proxy.ask("weights.test", count=1000))
    assert counts["v1"] + counts["v2"] == 1000
    assert 50 <= counts["v2"] <= 160  # 10 %, five standard deviations
    assert backends_of(proxy.ask("none.test", count=100)) == {"v1": 100}


@pytest.mark.parametrize(
    ("asked", "path", "authority"),
    [
        ("/old/x?q=1", "/new/x?q=1", "inner"),
        ("/exact?q=1", "/whole?q=1", "rewrite.test"),
        ("/re/ab/c/d", "/c/d/ab", "rewrite.test"),
    ],
)
def test_a_path_is_rewritten(proxy: Sidecar, asked: str, path: str, authority: str) -> None:
    echo = proxy.once("rewrite.test", asked).echo
    assert (echo["path"], echo["authority"]) == (path, authority)


def test_a_request_is_redirected_or_answered_without_a_backend(proxy: Sidecar) -> None:
    found = proxy.once("redirect.test", "/found?q=1")
    assert (found.status, found.headers["location"]) == (301, "http://far.test/there?q=1")
    secure = proxy.once("redirect.test", "/https")
    assert (secure.status, secure.headers["location"]) == (308, "https://redirect.test/https")
    said = proxy.once("redirect.test", "/said")
    assert (said.status, said.text) == (418, "tea")
    assert proxy.once("redirect.test", "/elsewhere").status == 404


def test_headers_are_set_added_and_removed(proxy: Sidecar, backends: Backends) -> None:
    backends["v1"].behave = lambda seen: Reply(headers={"x-secret": "1", "x-answer": "no"})
    got = proxy.once("headers.test", headers={"x-set": "old", "x-add": "one", "x-gone": "1"})
    headers = got.echo["headers"]
    assert headers["x-set"] == "100% new"
    assert headers["x-add"].replace(" ", "") in ("one,two", "two")
    assert headers["x-leg"] == "v1"
    assert "x-gone" not in headers
    assert got.echo["authority"] == "leg.host"
    assert got.headers["x-answer"] == "yes"
    assert "x-secret" not in got.headers


def test_requests_are_mirrored(proxy: Sidecar, backends: Backends) -> None:
    assert backends_of(proxy.ask("mirror.test", count=20)) == {"v1": 20}
    wait_until(lambda: len(backends["v2"].seen) == 20, 5.0, "all mirrored requests")
    backends.reset()
    proxy.ask("half-mirror.test", count=300)
    wait_until(lambda: len(backends["v2"].seen) > 40, 5.0, "a share of mirrored requests")
    assert len(backends["v2"].seen) < 150


def failing(backends: Backends, times: int, status: int) -> None:
    """The first ``times`` requests fail."""
    backend = backends["v1"]
    backend.behave = lambda seen: Reply(status=status if len(backend.seen) <= times else 200)


@pytest.mark.parametrize(("host", "status", "tries"), [("retries.test", 503, 3), ("retries.test", 418, 3)])
def test_a_failed_request_is_tried_again(
    proxy: Sidecar, backends: Backends, host: str, status: int, tries: int
) -> None:
    failing(backends, tries - 1, status)
    assert proxy.once(host).status == 200
    assert len(backends["v1"].seen) == tries
    backends.reset()
    failing(backends, tries, status)
    assert proxy.once(host).status == status


def test_a_status_that_is_not_named_is_not_tried_again(proxy: Sidecar, backends: Backends) -> None:
    failing(backends, 1, 404)
    assert proxy.once("retries.test").status == 404
    backends.reset()
    failing(backends, 1, 503)
    assert proxy.once("plain.test").status == 503  # the default tries only what surely was not processed
    assert len(backends["v1"].seen) == 1


def test_a_slow_try_is_given_up_for_another(proxy: Sidecar, backends: Backends) -> None:
    backend = backends["v1"]
    backend.behave = lambda seen: Reply(delay_s=1.0 if len(backend.seen) == 1 else 0.0)
    answer = proxy.once("impatient.test")
    assert answer.status == 200
    assert answer.took_s < 0.9
    assert len(backend.seen) == 2


def test_a_slow_request_is_given_up(proxy: Sidecar, backends: Backends) -> None:
    backends["v1"].behave = lambda seen: Reply(delay_s=1.0)
    answer = proxy.once("timeout.test")
    assert answer.status == 504
    assert answer.took_s < 0.9


def test_faults_are_injected(proxy: Sidecar, backends: Backends) -> None:
    assert proxy.once("faults.test", "/abort").status == 451
    assert not backends["v1"].seen
    assert proxy.once("faults.test", "/delay").took_s > 0.25
    counts = backends_of(proxy.ask("faults.test", "/some", count=200))
    assert 40 <= counts["status 503"] <= 125  # 40 %


def test_cross_origin_requests_are_told_what_is_allowed(proxy: Sidecar) -> None:
    asked = {"origin": "https://good.test", "access-control-request-method": "PUT"}
    told = proxy.once("cors.test", headers=asked, method="OPTIONS")
    assert told.status == 200
    assert told.headers["access-control-allow-origin"] == "https://good.test"
    assert told.headers["access-control-allow-methods"] == "GET,PUT"
    assert told.headers["access-control-allow-headers"] == "x-asked"
    assert told.headers["access-control-max-age"] == "600"
    assert told.headers["access-control-allow-credentials"] == "true"
    got = proxy.once("cors.test", headers={"origin": "https://a.sub.test"})
    assert got.headers["access-control-allow-origin"] == "https://a.sub.test"
    assert got.headers["access-control-expose-headers"] == "x-shown"
    assert (
        "access-control-allow-origin"
        not in proxy.once("cors.test", headers={"origin": "https://bad"}).headers
    )


def test_what_is_not_there_costs_its_share_alone(proxy: Sidecar) -> None:
    counts = backends_of(proxy.ask("missing.test", count=200))
    assert counts["v1"] + counts["status 503"] == 200
    assert 50 <= counts["v1"] <= 150
    assert proxy.once("gone.test").status == 503
    assert len(proxy.problems) == 2
    assert "nobody" in proxy.problems[0] + proxy.problems[1]


@pytest.mark.parametrize(
    "host", ["shop", "shop.default", "shop.default.svc", "shop.default.svc.cluster.local"]
)
@pytest.mark.parametrize("port", ["", ":80"])
def test_a_service_answers_to_all_of_its_names(proxy: Sidecar, host: str, port: str) -> None:
    assert proxy.once(f"{host}{port}").backend in ("v1", "v2")


@pytest.mark.parametrize("host", ["nobody", "shop:81", "shop.other", "example.com"])
def test_a_host_that_nobody_has_is_refused(proxy: Sidecar, host: str) -> None:
    answer = proxy.once(host)
    assert (answer.status, answer.text) == (502, "no service of the mesh answers to this host\n")
