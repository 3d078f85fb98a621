"""From plain text to the mesh's TLS, one service after the other: seen, refused while somebody would be cut off, and back."""

from __future__ import annotations

import http.client
import json
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from tests.e2e.meshed import WITHIN_S, Mesh, Workload, mesh
from tests.waiting import wait_until

pytestmark = pytest.mark.peers


def in_plain_text(workload: Workload) -> int:
    """The status of a request past the caller's proxy, 0 where the connection is refused."""
    connection = http.client.HTTPConnection("127.0.0.1", workload.port, timeout=10)
    try:
        connection.request("GET", "/", headers={"connection": "close"})
        answer = connection.getresponse()
        answer.read()
        return answer.status
    except (ConnectionError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


def report(running: Mesh) -> list[dict[str, Any]]:
    done = running.node.run("mesh", "plaintext", "reviews", "--json")
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout)["ports"])


def go_strict(running: Mesh, *options: str) -> CompletedProcess[str]:
    return running.node.run("mesh", "strict", "reviews", *options)


def test_a_service_goes_strict_when_nobody_calls_it_without_tls_any_more(tmp_path: Path) -> None:
    with mesh(tmp_path) as running:
        early = go_strict(running)
        assert (early.returncode, "no sidecar of default/reviews" in early.stderr) == (4, True), early.stderr
        reviews, shop = running.start("reviews"), running.start("shop")
        wait_until(lambda: shop.calls("reviews"), WITHIN_S, "reviews to be called")
        assert in_plain_text(reviews) == 200
        wait_until(
            lambda: [each["connections"] for each in report(running)] == [1], WITHIN_S, "the call to be seen"
        )
        loud = go_strict(running)
        assert (loud.returncode, "it stays PERMISSIVE" in loud.stderr) == (4, True), loud.stderr
        assert in_plain_text(reviews) == 200
        wait_until(lambda: not go_strict(running, "--quiet", "3").returncode, WITHIN_S, "3 s of quiet")
        wait_until(lambda: in_plain_text(reviews) == 0, WITHIN_S, "plain text to be refused")
        assert shop.calls("reviews")
        assert in_plain_text(shop) == 200, "the others are not concerned"
        assert go_strict(running, "--back").returncode == 0
        wait_until(lambda: in_plain_text(reviews) == 200, WITHIN_S, "plain text to be taken again")
