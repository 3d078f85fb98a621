"""The clients of HTTP v1: nacos-sdk-python 0.1.14 and 2.0.11, and npm's nacos 2.6, each through every public method.

Each effect is seen by a second client that begins at another node where there are several. What a session prints is
compared with what the reference's documentation says a client sees.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.nacos import called
from tests.conformance.nacos.conftest import Servers
from tests.peers.ports import free_ports

pytestmark = pytest.mark.peers

CLIENTS = Path(__file__).parent / "clients"
WITHIN_S = 240.0

PYTHON: dict[str, Any] = {
    "publish_and_get": [True, '{"a":1}'],
    "unicode_and_large": True,
    "what_is_not_there": None,
    "get_configs": ["a.json", "large"],
    "watch": [True, True, "watched", "OWN_GROUP"],
    "watchers": True,
    "remove": [True, True],
    "register": [
        True,
        ["10.0.0.1#80#c1#OWN_GROUP@@plain", 2.0, {"zone": "a"}, True, True],
        ["10.0.0.1:80"],
        [],
    ],
    "beat": {"clientBeatInterval": 5000, "code": 10200, "lightBeatEnabled": True},
    "get": ["DEFAULT_GROUP@@own-OWN_GROUP", "10.0.0.2", 81, True],
    "modify": [True, {"v": "2"}],
    "persistent": [True, ["10.0.0.4:83"], True, True],
    "subscribe": [True, True],
    "deregister": [True, True],
    "healthy_only": ["10.0.0.7:85"],
    "wrong": "Request Error, code is 400",
}


NPM: dict[str, Any] = {
    "publish": [True, '{"a":"你好 &=+%"}'],
    "missing": None,
    "configs": "object",
    "units": ["string", True],
    "listen": [True, True],
    "to all units": [True, "u", True, True],
    "remove": [True, True],
    "status": "UP",
    "register": ["10.1.0.1#80#c1#npm@@plain", 2, {"zone": "a"}, True, "c1"],
    "select": [["10.1.0.1:80"], []],
    "subscribe": [True, True],
    "kept alive by beats": ["10.1.0.1:80"],
    "deregister": ["10.1.0.4:80"],
}
VERSIONS = ("0.1.14", "2.0.11")


def test_every_public_method_does_what_it_says(
    servers: Servers, foreign_python: Callable[[str], Any], foreign_npm: Callable[[str], Path], tmp_path: Path
) -> None:
    """All three at a time: they mostly wait, and none may see what is another's."""
    lines = {
        version: [
            str(foreign_python(f"nacos-sdk-python-{version}")),
            str(CLIENTS / "sdk_http_session.py"),
            servers.text(0),
            servers.text(1),
            str(tmp_path / version),
            _group(version),
        ]
        for version in VERSIONS
    }
    modules = foreign_npm("nacos-2.6.0")
    program = str(CLIENTS / "npm_session.cjs")
    lines["npm"] = ["node", program, str(modules), servers.text(0), servers.text(1), str(tmp_path / "npm")]
    with called.recorded(servers.nodes, "http"):
        running = {name: _start(line, tmp_path) for name, line in lines.items()}
        seen = {name: _seen(name, process) for name, process in running.items()}
    wanted = {**{version: _python(version) for version in VERSIONS}, "npm": NPM}
    assert _differing(seen, wanted) == {}


def _differing(seen: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """What a client saw beside what it should have seen, by client and step."""
    return {
        f"{name} {step}": (seen[name].get(step, "not printed"), wanted[name].get(step))
        for name in wanted
        for step in wanted[name] | seen[name]
        if seen[name].get(step, "not printed") != wanted[name].get(step, "not printed")
    }


def _group(version: str) -> str:
    return "sdk" + version.replace(".", "")


def _python(version: str) -> Any:
    """What the Python client sees, in its own group."""
    group = _group(version)
    return json.loads(json.dumps(PYTHON).replace("OWN_GROUP", group))


def _start(line: Sequence[str], folder: Path) -> subprocess.Popen[str]:
    # npm's client shares its connections with every process on the machine that uses the same port
    own = {"NODE_CLUSTER_CLIENT_PORT": str(free_ports(1)[0])}
    return subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder, env=os.environ | own
    )


def _seen(name: str, process: subprocess.Popen[str]) -> dict[str, Any]:
    printed, complaints = process.communicate(timeout=WITHIN_S)
    assert process.returncode == 0, f"{name}: {complaints[-4_000:]}"
    return dict(json.loads(line) for line in printed.splitlines() if line.startswith("["))
