"""The matrix: where requests go."""

from __future__ import annotations

from typing import Any

import pytest

from atoll.planes.mesh.policy.compiler.grpc.differences import Differs
from tests.conformance.mesh.case import GRPC_PORT, HTTP_PORT, Case, endpoint
from tests.conformance.mesh.matrix import row
from tests.conformance.mesh.rig import ECHO_METHOD, Answer, backends_of

pytestmark = pytest.mark.peers

SUBSETS = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: "{reviews}"}
spec:
  host: "{reviews}"
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}}
  - {name: v3, labels: {version: v3}}
---
"""


def routed(case: Case, rules: str) -> None:
    """A service of two versions with the ``http`` rules of a VirtualService."""
    case.named("reviews")
    body = "\n".join(f"  {line}" for line in rules.strip().splitlines())
    case.apply(
        f"""{SUBSETS}
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: "{{reviews}}"}}
spec:
  hosts: ["{{reviews}}"]
  http:
{body}
"""
    )
    case.versions("v1", "v2")


def split(match: str) -> str:
    """What matches goes to v2, everything else to v1."""
    return f"""
- match:
  - {match}
  route:
  - destination: {{host: "{{reviews}}", subset: v2}}
- route:
  - destination: {{host: "{{reviews}}", subset: v1}}
"""


@row("Routing", "by header: exact, prefix, regular expression, presence, absence")
def test_by_header(case: Case) -> None:
    conditions = (
        "headers: {user: {exact: jason}}",
        "headers: {stage: {prefix: can}}",
        "headers: {agent: {regex: 'fox.*[0-9]'}}",
        "headers: {beta: {}}",
    )
    rules = "".join(
        f"""
- match:
  - {each}
  route:
  - destination: {{host: "{{reviews}}", subset: v2}}"""
        for each in conditions
    )
    routed(case, f"{rules}\n{split('withoutHeaders: {x-old: {exact: y}}')}")
    case.reaches("v2", headers={"user": "jason", "x-old": "y"})
    for headers, expected in (
        ({"user": "jason"}, "v2"),
        ({"user": "jasons"}, "v1"),
        ({"stage": "canary"}, "v2"),
        ({"stage": "a-canary"}, "v1"),
        ({"agent": "fox 7"}, "v2"),
        ({"agent": "fox"}, "v1"),
        ({"beta": "anything"}, "v2"),
        ({}, "v1"),
    ):
        (answer,) = case.ask(headers={"x-old": "y", **headers})
        assert answer.backend == expected, headers
    assert case.ask()[0].backend == "v2"


@row("Routing", "by path: exact, prefix, regular expression")
def test_by_path(case: Case) -> None:
    service = "/atoll.test.Echo"
    for condition, hit, miss in (
        (f"uri: {{exact: {ECHO_METHOD}}}", ECHO_METHOD, f"{service}/SayMore"),
        (f"uri: {{prefix: {service}/Say}}", f"{service}/SayMore", f"{service}/Other"),
        (f"uri: {{regex: '{service}/[A-Z]{{2}}'}}", f"{service}/AB", f"{service}/Ab"),
    ):
        routed(case, split(condition))
        case.reaches("v2", path=hit)
        assert case.ask(path=miss)[0].backend == "v1", condition
        case.close()


@row("Routing", "by method")
def test_by_method(case: Case) -> None:
    routed(case, split("method: {exact: POST}"))
    case.reaches("v2", method="POST")
    if not case.is_grpc:  # whose calls are POST, all of them
        assert case.ask(method="GET")[0].backend == "v1"


@row("Routing", "by query parameter")
def test_by_query(case: Case) -> None:
    routed(case, split("queryParams: {stage: {exact: beta}}"))
    case.reaches("v1")
    beta = case.ask(path=ECHO_METHOD if case.is_grpc else f"{ECHO_METHOD}?stage=beta")[0].backend
    assert beta == ("v1" if case.differs(Differs.QUERY) else "v2")
    assert case.ask(path=ECHO_METHOD if case.is_grpc else f"{ECHO_METHOD}?stage=betas")[0].backend == "v1"


@row("Routing", "the first rule that matches")
def test_the_first_rule(case: Case) -> None:
    rule = "- match: [{{headers: {{{0}: {{exact: y}}}}}}]\n  route: [{{destination: {{host: '{{reviews}}', subset: {1}}}}}]\n"
    routed(case, rule.format("one", "v1") + rule.format("two", "v2") + split("headers: {never: {exact: y}}"))
    case.reaches("v2", headers={"two": "y"})
    assert case.ask(headers={"one": "y", "two": "y"})[0].backend == "v1"


def share(answers: list[Answer], backend: str) -> float:
    assert all(each.ok for each in answers), backends_of(answers)
    return backends_of(answers)[backend] / len(answers)


@row("Routing", "weighted: 90 to 10")
def test_weighted(case: Case) -> None:
    routed(
        case,
        """
- route:
  - {destination: {host: "{reviews}", subset: v1}, weight: 90}
  - {destination: {host: "{reviews}", subset: v2}, weight: 10}
""",
    )
    case.reaches("v2")
    assert (
        0.04 < share(case.ask(count=600, parallel=4), "v2") < 0.17
    )  # 600 draws of 0.1: 5 standard deviations


@row("Routing", "by port of the service")
def test_by_port(case: Case) -> None:
    mine = GRPC_PORT if case.is_grpc else HTTP_PORT
    routed(case, split(f"port: {mine}"))
    case.reaches("v2")
    routed(case, split(f"port: {HTTP_PORT + GRPC_PORT - mine}"))
    case.reaches("v1")


@row("Routing", "by labels of the caller")
def test_by_caller(case: Case) -> None:
    routed(case, split("sourceLabels: {app: somebody-else}"))
    case.reaches("v1")
    routed(case, split("sourceLabels: {app: caller}"))
    case.reaches("v2")


@row("Routing", "HTTPRoute: header, weights")
def test_http_route(case: Case) -> None:
    case.versions("v1", service="one")
    case.versions("v2", service="two")
    case.versions("v0")
    port = GRPC_PORT if case.is_grpc else HTTP_PORT
    case.apply(
        f"""
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: "{{reviews}}"}}
spec:
  parentRefs:
  - {{group: "", kind: Service, name: "{{reviews}}"}}
  rules:
  - matches:
    - headers: [{{name: user, value: jason}}]
    backendRefs:
    - {{name: "{{two}}", port: {port}}}
  - backendRefs:
    - {{name: "{{one}}", port: {port}, weight: 1}}
    - {{name: "{{two}}", port: {port}, weight: 1}}
"""
    )
    case.reaches("v2", headers={"user": "jason"})
    assert {each.backend for each in case.ask(count=10, headers={"user": "jason"})} == {"v2"}
    assert 0.3 < share(case.ask(count=200, parallel=4), "v1") < 0.7


@row("Routing", "GRPCRoute: method, header")
def test_grpc_route(case: Case) -> None:
    case.versions("v1")
    case.versions("v2", service="two")
    case.apply(
        f"""
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {{name: "{{reviews}}"}}
spec:
  parentRefs:
  - {{group: "", kind: Service, name: "{{reviews}}"}}
  rules:
  - matches:
    - method: {{service: atoll.test.Echo, method: New}}
    backendRefs:
    - {{name: "{{two}}", port: {GRPC_PORT}}}
  - matches:
    - headers: [{{name: user, value: jason}}]
    backendRefs:
    - {{name: "{{two}}", port: {GRPC_PORT}}}
  - backendRefs:
    - {{name: "{{reviews}}", port: {GRPC_PORT}}}
"""
    )
    new: dict[str, Any] = {"path": "/atoll.test.Echo/New"}
    case.until(lambda: case.ask_grpc(**new)[0].backend == "v2", "the method's backend")
    assert case.ask_grpc()[0].backend == "v1"
    assert case.ask_grpc(headers={"user": "jason"})[0].backend == "v2"


@row("Requests", "redirect")
def test_redirect(case: Case) -> None:
    routed(
        case,
        """
- match: [{headers: {user: {exact: jason}}}]
  redirect: {authority: elsewhere.example, uri: /there, redirectCode: 302}
- route: [{destination: {host: "{reviews}"}}]
""",
    )
    case.until(lambda: case.ask()[0].ok, "the service to answer")
    (answer,) = case.ask(headers={"user": "jason"})
    if case.differs(Differs.ANSWERS):
        assert answer.status == 14
    else:
        assert answer.status == 302 and answer.headers["location"] == "http://elsewhere.example/there"


@row("Requests", "direct response")
def test_direct_response(case: Case) -> None:
    routed(
        case,
        """
- match: [{headers: {user: {exact: jason}}}]
  directResponse: {status: 418, body: {string: "a teapot"}}
- route: [{destination: {host: "{reviews}"}}]
""",
    )
    case.until(lambda: case.ask()[0].ok, "the service to answer")
    (answer,) = case.ask(headers={"user": "jason"})
    if case.differs(Differs.ANSWERS):
        assert answer.status == 14
    else:
        assert (answer.status, answer.text) == (418, "a teapot")


@row("Requests", "rewrite of path and authority")
def test_rewrite(case: Case) -> None:
    routed(
        case,
        f"""
- match: [{{uri: {{prefix: {ECHO_METHOD}}}}}]
  rewrite: {{uri: /pkg.Other/Call, authority: other.example}}
  route: [{{destination: {{host: "{{reviews}}"}}}}]
""",
    )
    case.until(lambda: case.ask()[0].ok, "the service to answer")
    (answer,) = case.ask()
    if case.differs(Differs.REWRITES):
        assert answer.echo["path"] == ECHO_METHOD
    else:
        assert (answer.echo["path"], answer.echo["authority"]) == ("/pkg.Other/Call", "other.example")


@row("Requests", "changes of headers")
def test_headers(case: Case) -> None:
    routed(
        case,
        """
- headers:
    request: {set: {x-set: new}, add: {x-add: more}, remove: [x-remove]}
    response: {set: {x-answer: "yes"}}
  route: [{destination: {host: "{reviews}"}}]
""",
    )
    case.until(lambda: case.ask()[0].ok, "the service to answer")
    (answer,) = case.ask(headers={"x-set": "old", "x-remove": "gone"})
    seen = answer.echo["headers"]
    if case.differs(Differs.HEADERS):
        assert seen["x-set"] == "old" and "x-remove" in seen and "x-answer" not in answer.headers
    else:
        assert (seen["x-set"], seen["x-add"]) == ("new", "more")
        assert "x-remove" not in seen and answer.headers["x-answer"] == "yes"


@row("Requests", "cross-origin rules")
def test_cors(case: Case) -> None:
    routed(
        case,
        """
- corsPolicy: {allowOrigins: [{exact: "https://shop.example"}], allowMethods: [POST], maxAge: 1m}
  route: [{destination: {host: "{reviews}"}}]
""",
    )
    case.until(lambda: case.ask()[0].ok, "the service to answer")
    origin = {"origin": "https://shop.example"}
    if case.differs(Differs.CORS):
        assert "access-control-allow-origin" not in case.ask(headers=origin)[0].headers
        return
    asks: dict[str, Any] = {
        "method": "OPTIONS",
        "headers": {**origin, "access-control-request-method": "POST"},
    }
    (answer,) = case.ask(**asks)
    assert answer.status == 200 and not answer.backend
    assert answer.headers["access-control-allow-origin"] == "https://shop.example"
    assert answer.headers["access-control-max-age"] == "60"
    (simple,) = case.ask(headers={"origin": "https://thief.example"})
    assert "access-control-allow-origin" not in simple.headers


@row("Requests", "mirroring")
def test_mirroring(case: Case) -> None:
    copies = case.backend("copy")
    case.service("copies", endpoint(copies))
    routed(
        case,
        """
- mirror: {host: "{copies}"}
  route: [{destination: {host: "{reviews}", subset: v1}}]
""",
    )
    case.reaches("v1")
    copies.seen.clear()
    assert {each.backend for each in case.ask(count=20)} == {"v1"}
    if case.differs(Differs.MIRRORS):
        assert not copies.seen
    else:
        case.until(lambda: len(copies.seen) >= 20, "twenty copies")
        assert "-shadow" in copies.seen[-1].authority
