"""HTTPRoutes and GRPCRoutes of the mesh before a real Envoy: precedence, matches, filters, backends."""

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

A, B, C = ([{"name": name, "port": 80}] for name in ("a", "b", "c"))


def parent(name: str) -> list[Mapping[str, Any]]:
    return [{"group": "", "kind": "Service", "name": name}]


def route(name: str, *rules: Mapping[str, Any], kind: Kind = Kind.HTTP_ROUTE) -> Document[Any]:
    return document(kind, name, {"parentRefs": parent(name), "rules": list(rules)})


def path(value: str, kind: str = "PathPrefix") -> Mapping[str, Any]:
    return {"path": {"type": kind, "value": value}}


DOCUMENTS = [
    route(  # what is less specific comes first here, and last in force
        "precedence",
        {"backendRefs": A},
        {"matches": [path("/x")], "backendRefs": B},
        {"matches": [path("/x/y")], "backendRefs": C},
        {"matches": [{**path("/x/y"), "method": "POST"}], "backendRefs": A},
        {"matches": [{**path("/x/y"), "headers": [{"name": "x-one", "value": "1"}]}], "backendRefs": B},
        {"matches": [path("/x/y/exact", "Exact")], "backendRefs": B},
        {
            "matches": [
                {**path("/x"), "queryParams": [{"name": "q", "value": "[0-9]+", "type": "RegularExpression"}]}
            ],
            "backendRefs": A,
        },
    ),
    route(
        "filters",
        {
            "matches": [path("/headers")],
            "filters": [
                {
                    "type": "RequestHeaderModifier",
                    "requestHeaderModifier": {
                        "set": [{"name": "x-set", "value": "new"}],
                        "add": [{"name": "x-add", "value": "b"}],
                        "remove": ["x-gone"],
                    },
                },
                {
                    "type": "ResponseHeaderModifier",
                    "responseHeaderModifier": {"set": [{"name": "x-answer", "value": "yes"}]},
                },
            ],
            "backendRefs": A,
        },
        {
            "matches": [path("/mirror")],
            "filters": [{"type": "RequestMirror", "requestMirror": {"backendRef": B[0]}}],
            "backendRefs": A,
        },
        {
            "matches": [path("/moved")],
            "filters": [
                {
                    "type": "RequestRedirect",
                    "requestRedirect": {
                        "hostname": "far.test",
                        "path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/new"},
                    },
                }
            ],
        },
        {
            "matches": [path("/whole")],
            "filters": [
                {
                    "type": "RequestRedirect",
                    "requestRedirect": {
                        "scheme": "https",
                        "path": {"type": "ReplaceFullPath", "replaceFullPath": "/all"},
                        "statusCode": 307,
                    },
                }
            ],
        },
        {
            "matches": [path("/strip")],
            "filters": [
                {
                    "type": "URLRewrite",
                    "urlRewrite": {
                        "hostname": "inner",
                        "path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"},
                    },
                }
            ],
            "backendRefs": A,
        },
        {
            "matches": [path("/deep")],
            "filters": [
                {
                    "type": "URLRewrite",
                    "urlRewrite": {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/in/side"}},
                }
            ],
            "backendRefs": A,
        },
        {
            "matches": [path("/cors")],
            "filters": [
                {"type": "CORS", "cors": {"allowOrigins": ["https://*.good.test"], "allowMethods": ["PUT"]}}
            ],
            "backendRefs": A,
        },
    ),
    route(
        "backends",
        {"matches": [path("/split")], "backendRefs": [{**A[0], "weight": 3}, {**B[0], "weight": 1}]},
        {"matches": [path("/none")], "backendRefs": [{**A[0], "weight": 0}]},
        {"matches": [path("/nobody")], "backendRefs": [{"name": "nobody", "port": 80}]},
        {"matches": [path("/slow")], "backendRefs": A, "timeouts": {"request": 0.2}},
        {
            "matches": [path("/again")],
            "backendRefs": A,
            "retry": {"codes": [500], "attempts": 2, "backoff": 0.005},
        },
    ),
    route(
        "calls",
        {"matches": [{"method": {"service": "shop.Cart", "method": "Add"}}], "backendRefs": B},
        {"matches": [{"method": {"service": "shop.Cart"}}], "backendRefs": C},
        {"matches": [{"method": {"method": "Get"}}], "backendRefs": A},
        kind=Kind.GRPC_ROUTE,
    ),
]


@pytest.fixture(scope="module")
def backends() -> Iterator[Backends]:
    with Backends() as made:
        for name in ("a", "b", "c"):
            made.add(name)
        yield made


@pytest.fixture(scope="module")
def proxy(backends: Backends, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sidecar]:
    services = [service(name, at(backends[name].port)) for name in ("a", "b", "c")]
    services += [service(one.name, at(backends["c"].port)) for one in DOCUMENTS]
    (port,) = free_ports(1)
    client = Client(ClientKind.SIDECAR, "web", "default", http_port=port)
    with sidecar(tmp_path_factory.mktemp("api"), client, known(services, DOCUMENTS)) as made:
        yield made


@pytest.fixture(autouse=True)
def _fresh(backends: Backends) -> None:
    backends.reset()


@pytest.mark.parametrize(
    ("asked", "headers", "method", "backend"),
    [
        ("/", {}, "GET", "a"),
        ("/x", {}, "GET", "b"),
        ("/x/z", {}, "GET", "b"),
        ("/xy", {}, "GET", "a"),  # prefixes are of whole elements
        ("/x/y", {}, "GET", "c"),
        ("/x/y/z", {}, "POST", "a"),
        ("/x/y/z", {"x-one": "1"}, "GET", "b"),
        ("/x/y/z", {"x-one": "1"}, "POST", "a"),  # a method goes before headers
        ("/x/y/exact", {"x-one": "2"}, "POST", "b"),
        ("/x/a?q=12", {}, "GET", "a"),
        ("/x/a?q=12b", {}, "GET", "b"),
    ],
)
def test_the_most_specific_rule_holds(
    proxy: Sidecar, asked: str, headers: Mapping[str, str], method: str, backend: str
) -> None:
    assert proxy.once("precedence", asked, headers, method).backend == backend


def test_a_request_that_no_rule_matches_is_not_found(proxy: Sidecar) -> None:
    assert proxy.once("filters", "/other").status == 404


def test_headers_and_mirrors(proxy: Sidecar, backends: Backends) -> None:
    got = proxy.once("filters", "/headers", {"x-set": "old", "x-gone": "1"})
    assert got.echo["headers"]["x-set"] == "new"
    assert got.echo["headers"]["x-add"] == "b"
    assert "x-gone" not in got.echo["headers"]
    assert got.headers["x-answer"] == "yes"
    assert proxy.once("filters", "/mirror").backend == "a"
    wait_until(lambda: backends["b"].seen, 5.0, "the mirrored request")


@pytest.mark.parametrize(
    ("asked", "status", "location"),
    [
        ("/moved", 302, "http://far.test/new"),
        ("/moved/on?q=1", 302, "http://far.test/new/on?q=1"),
        ("/whole/thing", 307, "https://filters/all"),
    ],
)
def test_redirects(proxy: Sidecar, asked: str, status: int, location: str) -> None:
    got = proxy.once("filters", asked)
    assert (got.status, got.headers["location"]) == (status, location)


@pytest.mark.parametrize(
    ("asked", "path", "authority"),
    [
        ("/strip", "/", "inner"),
        ("/strip/", "/", "inner"),
        ("/strip/a/b?q=1", "/a/b?q=1", "inner"),
        ("/deep", "/in/side", "filters"),
        ("/deep/er", "/in/side/er", "filters"),
    ],
)
def test_rewrites(proxy: Sidecar, asked: str, path: str, authority: str) -> None:
    echo = proxy.once("filters", asked).echo
    assert (echo["path"], echo["authority"]) == (path, authority)


def test_cross_origin(proxy: Sidecar) -> None:
    got = proxy.once("filters", "/cors", {"origin": "https://a.good.test"})
    assert got.headers["access-control-allow-origin"] == "https://a.good.test"
    for origin in ("https://good.test.bad", "https://agood.test"):
        assert "access-control-allow-origin" not in proxy.once("filters", "/cors", {"origin": origin}).headers


def test_backends(proxy: Sidecar, backends: Backends) -> None:
    counts = backends_of(proxy.ask("backends", "/split", 400))
    assert counts["a"] + counts["b"] == 400
    assert 50 <= counts["b"] <= 150
    assert proxy.once("backends", "/none").status == 500
    assert proxy.once("backends", "/nobody").status == 500
    assert any("nobody" in problem for problem in proxy.problems)


def test_time_and_tries(proxy: Sidecar, backends: Backends) -> None:
    backends["a"].behave = lambda seen: Reply(delay_s=1.0)
    assert proxy.once("backends", "/slow").status == 504
    backends.reset()
    backends["a"].behave = lambda seen: Reply(status=200 if len(backends["a"].seen) > 2 else 500)
    assert proxy.once("backends", "/again").status == 200


@pytest.mark.parametrize(
    ("asked", "backend"), [("/shop.Cart/Add", "b"), ("/shop.Cart/Remove", "c"), ("/any.Thing/Get", "a")]
)
def test_calls_of_methods(proxy: Sidecar, asked: str, backend: str) -> None:
    assert proxy.once("calls", asked, method="POST").backend == backend
