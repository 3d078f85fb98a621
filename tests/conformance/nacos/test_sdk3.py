"""nacos-sdk-python 3.2.0 over gRPC: every public method of its configuration and naming services.

Each effect is seen by a second client that begins at another node where there are several. What the session prints is
compared with what the reference's documentation says a client sees.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from atoll.host.node import ROOT_PASSWORD_FILE
from tests.conformance.nacos import called
from tests.conformance.nacos.conftest import Servers
from tests.peers.nodes import Layout, atoll_nodes

pytestmark = pytest.mark.peers

PROGRAM = Path(__file__).parent / "clients" / "sdk3_session.py"
CLIENT = "nacos-sdk-python-3.2.0"
WITHIN_S = 240.0

SEEN: dict[str, Any] = {
    "publish_and_get": [True, '{"a":1}'],
    "get_what_is_not_there": "",
    "unicode_and_large": True,
    "compare_and_set": [500, True, "3"],
    "listen": [["sdk3", "heard", "1"], ["sdk3", "heard", "2"], ["sdk3", "heard", "3"], True],
    "remove": [True, ["sdk3", "removed", ""]],
    "config_health": [True, True],
    "register": [
        True,
        ["10.0.0.1#80#c1#sdk3@@plain", 2.0, {"zone": "a"}, True, True, True],
        ["10.0.0.1:80"],
        [],
    ],
    "update": [True, [[5.0, {"v": "2"}]]],
    "subscribe": [["10.0.0.1:80"], [], ["10.0.0.2:80"], True],
    "batch": [
        True,
        ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"],
        True,
        ["10.0.0.1:80", "10.0.0.3:80"],
    ],
    "get_service": ["got", "sdk3", ["10.0.0.1:80"]],
    "list_services": [[3, ["listed-0", "listed-1"]], [3, ["listed-2"]]],
    "healthy_only": [[], ["10.0.0.1:80"]],
    "persistent": [True, ["10.0.0.1:80"], True, []],
    "sent_away": [True, ["10.0.0.1:80"]],
    "wrong_parameters": [400, 400, 400],
    "naming_health": [True, True],
    "shutdown": [["10.0.0.1:80"], []],
    "uncalled": [],
}


def test_every_public_method_does_what_it_says(
    servers: Servers, foreign_python: Callable[[str], Any], tmp_path: Path
) -> None:
    arguments = [servers.text(0), servers.text(1), str(tmp_path)]
    with called.recorded(servers.nodes, "grpc"):
        assert session(foreign_python(CLIENT), arguments) == SEEN


def test_the_same_where_one_has_to_log_in(foreign_python: Callable[[str], Any], tmp_path: Path) -> None:
    with atoll_nodes(tmp_path, Layout("memory:", arguments=("--auth",)), 1) as (node,):
        password = (node.data / ROOT_PASSWORD_FILE).read_text().strip()
        arguments = [node.address, node.address, str(tmp_path)]
        assert session(foreign_python(CLIENT), [*arguments, "root", password]) == SEEN


def session(python: Any, arguments: list[str]) -> dict[str, Any]:
    line = [str(python), str(PROGRAM), *arguments]
    done = subprocess.run(line, capture_output=True, text=True, timeout=WITHIN_S)
    assert done.returncode == 0, done.stderr[-4_000:]
    return dict(json.loads(printed) for printed in done.stdout.splitlines())
