"""The examples of the registry, started as a reader would start them, beside a real node."""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.atoll import Node
from tests.peers.ports import free_ports
from tests.peers.processes import Process
from tests.waiting import wait_until

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "registry"
WITHIN_S = 30.0
FOLLOW = """
import os
from pathlib import Path
from atoll.client.blocking.registry import Options, open_registry

with open_registry(os.environ["ATOLL_URL"], Options(cache=Path(os.environ["ATOLL_CACHE"]))) as registry:
    config = registry.follow_config("shop.json")
    print(config.value.content, config.fresh)
"""


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    started = Node(tmp_path, "--store-url", "memory:").start()
    yield started
    started.process.kill()


def get(url: str) -> Any:
    """The answer as JSON, None while nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=WITHIN_S) as answer:
            return json.loads(answer.read())
    except (urllib.error.URLError, ConnectionError):
        return None


def publish(node: Node, folder: Path, greeting: str) -> None:
    file = folder / "shop.json"
    file.write_text(json.dumps({"greeting": greeting}))
    done = node.run("config-item", "publish", "shop.json", str(file))
    assert done.returncode == 0, done.stderr


@pytest.mark.peers
@pytest.mark.parametrize("framework", ["fastapi", "flask", "django"])
def test_the_example_registers_follows_and_finds(framework: str, node: Node, tmp_path: Path) -> None:
    port = free_ports(1)[0]
    publish(node, tmp_path, "Hello")
    line = [sys.executable, str(EXAMPLES / f"{framework}_app.py")]
    environment = {
        "ATOLL_URL": node.api,
        "PORT": str(port),
        "ATOLL_CACHE": str(tmp_path / "cache"),
        "PYTHONPATH": str(EXAMPLES.parents[1] / "src"),
    }
    app = Process(line, tmp_path / "app.log", env=environment)
    app.start()
    try:
        url, hosts = f"http://127.0.0.1:{port}", f"{node.api}/v1/instances?name=shop-{framework}"
        answered = wait_until(lambda: get(url), WITHIN_S, f"the example's answer: {app.log_tail()}")
        assert answered == {"greeting": "Hello"}
        own = [f"127.0.0.1:{port}"]
        wait_until(lambda: get(f"{url}/neighbours") == own, WITHIN_S, "the example to see itself")
        assert [each["metadata"] for each in get(hosts)["instances"]] == [{"framework": framework}]
        publish(node, tmp_path, "Good morning")
        wait_until(lambda: get(url) == {"greeting": "Good morning"}, WITHIN_S, "the new greeting")
        assert list((tmp_path / "cache").glob("config*.json"))
        app.terminate()
        app.wait()
        assert get(hosts)["instances"] == []
    finally:
        app.kill()


@pytest.mark.peers
def test_an_application_starts_from_its_snapshots_while_no_node_answers(node: Node, tmp_path: Path) -> None:
    publish(node, tmp_path, "Hello")
    environment = {"ATOLL_URL": node.api, "ATOLL_CACHE": str(tmp_path / "cache")}
    assert '{"greeting": "Hello"} True' in _run(FOLLOW, environment, tmp_path / "first.log")
    node.process.kill()
    assert '{"greeting": "Hello"} False' in _run(FOLLOW, environment, tmp_path / "second.log")


def _run(program: str, environment: dict[str, str], log: Path) -> str:
    started = Process([sys.executable, "-c", program], log, env=environment)
    started.start()
    started.wait(WITHIN_S)
    return log.read_text()
