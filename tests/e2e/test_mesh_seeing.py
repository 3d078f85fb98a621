"""``atoll mesh status``, ``explain`` and ``diff``: what they say of a real mesh is what its proxies did and have."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.meshed import WITHIN_S, Mesh, Workload, mesh
from tests.waiting import wait_until

pytestmark = pytest.mark.peers

SPLIT = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
  - match: [{uri: {prefix: /old}}]
    redirect: {uri: /new, redirectCode: 308}
  - match: [{headers: {x-fail: {exact: "yes"}}}]
    fault: {abort: {httpStatus: 418}}
    route: [{destination: {host: reviews}}]
  - route: [{destination: {host: reviews}}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: only-get}
spec:
  selector: {matchLabels: {app: reviews}}
  rules:
  - from: [{source: {principals: [cluster.local/ns/default/sa/shop]}}]
    to: [{operation: {methods: [GET]}}]
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    with mesh(tmp_path_factory.mktemp("mesh")) as made:
        made.start("reviews", "--version", "v1")
        made.start("shop")
        made.apply(SPLIT)
        shop = made.workloads[1]
        wait_until(lambda: shop.call("reviews", "/old").status == 308, WITHIN_S, "the documents to hold")
        wait_until(lambda: shop.calls("reviews"), WITHIN_S, "reviews to be called")
        yield made


@pytest.fixture
def shop(running: Mesh) -> Workload:
    return running.workloads[1]


def _explain(running: Mesh, *arguments: str) -> dict[str, Any]:
    done = running.node.run("mesh", "explain", "--json", *arguments)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_status_tells_of_each_client_that_it_is_in_step(running: Mesh) -> None:
    def synced() -> bool:
        shown = json.loads(running.node.run("mesh", "status", "--json").stdout)
        return {each["service"]: each["state"] for each in shown["clients"]} == {
            "reviews": "synced",
            "shop": "synced",
        }

    wait_until(synced, WITHIN_S, "both clients to have everything")
    table = running.node.run("mesh", "status", "shop").stdout
    assert "sidecar~shop.default~" in table and "reviews" not in table


@pytest.mark.parametrize("by_proxy", [False, True], ids=["intended", "in the proxy"])
def test_explain_says_what_the_proxy_then_does(running: Mesh, shop: Workload, by_proxy: bool) -> None:
    where = ["--admin", str(shop.admin.path)] if by_proxy else []
    found = _explain(running, "shop", "http://reviews/old", *where)["explanation"]
    answer = shop.call("reviews", "/old")
    assert (found["outcome"], found["status"]) == ("answered", answer.status)
    assert found["location"] == answer.headers["location"]
    assert found["documents"] == ["VirtualService/default/reviews"] or by_proxy
    assert found["route"].startswith("VirtualService/default/reviews/0@")
    found = _explain(running, "shop", "http://reviews/x", "-H", "x-fail: yes", *where)["explanation"]
    assert (found["outcome"], found["status"], found["flags"]) == ("answered", 418, "FI")
    found = _explain(running, "shop", "http://nobody/", *where)["explanation"]
    assert found["status"] == shop.call("nobody").status
    found = _explain(running, "shop", "http://reviews/x", *where)["explanation"]
    assert (found["outcome"], shop.call("reviews", "/x").status) == ("forwarded", 200)
    addresses = [each["address"] for target in found["targets"] for each in target["endpoints"]]
    assert [each.rpartition(":")[2] for each in addresses] == [str(running.workloads[0].port)]


def test_explain_says_who_is_refused_at_the_other_end(running: Mesh) -> None:
    shop = ["--principal", "cluster.local/ns/default/sa/shop"]
    inbound = ["reviews", "/x", "--inbound", *shop]
    assert _explain(running, *inbound)["explanation"]["outcome"] == "forwarded"
    refused = _explain(running, *inbound, "-X", "POST")["explanation"]
    assert (refused["outcome"], refused["status"]) == ("refused", 403)
    stranger = _explain(
        running, "reviews", "/x", "--inbound", "--principal", "cluster.local/ns/default/sa/other"
    )
    assert stranger["explanation"]["status"] == 403
    text = running.node.run("mesh", "explain", *inbound, "-X", "POST").stdout
    assert "AuthorizationPolicy/default/only-get" in text and text.rstrip().endswith("(403)")


def test_the_proxy_has_what_is_intended_and_a_difference_is_told(running: Mesh, shop: Workload) -> None:
    where = ["--admin", str(shop.admin.path)]

    def same() -> bool:
        return (
            running.node.run("mesh", "diff", "shop", *where).stdout
            == "the proxy has what is intended for it\n"
        )

    wait_until(same, WITHIN_S, "the proxy to have what is intended")
    other = json.loads(running.node.run("mesh", "diff", "reviews", *where, "--json").stdout)
    assert any(each["type"] == "listener" for each in other["differences"])


def test_what_cannot_be_found_is_told_with_advice(running: Mesh) -> None:
    done = running.node.run("mesh", "explain", "nobody", "http://reviews/")
    assert done.returncode == 3 and "atoll mesh status" in done.stderr
    done = running.node.run("mesh", "diff", "shop.elsewhere")
    assert done.returncode == 3 and "--admin" in done.stderr
    done = running.node.run("mesh", "explain", "shop", "http://reviews/", "-H", "nonsense")
    assert done.returncode == 2 and "NAME: VALUE" in done.stderr
