"""Each plane can be cut off: without its folder, tests and extras, contracts, unit tests and the node still stand."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e import atoll
from tests.e2e.amputation import cut, left_behind
from tools import parts, tree
from tools.environment import ROOT

PLANES = sorted(file.parent.name for file in (ROOT / "src/atoll/planes").glob("*/__init__.py"))
OUTPUT_SHOWN_MAX = 8000
STEP_S_MAX = 240


@pytest.fixture(scope="module", params=PLANES)
def rest(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A copy of the tree without one plane, and that plane's name."""
    folder = tmp_path_factory.mktemp("rest")
    tree.copy(folder)
    removed = cut(folder, request.param)
    assert f"src/atoll/planes/{request.param}" in removed
    _must_pass(folder, "writing the reference", [sys.executable, "-m", "tools.reference"])
    return folder, request.param


def test_nothing_still_imports_the_plane(rest: tuple[Path, str]) -> None:
    folder, plane = rest
    assert not left_behind(folder, plane)
    done = _run(folder, [sys.executable, "-c", f"import atoll.planes.{plane}"])
    assert "ModuleNotFoundError" in done.stdout


@pytest.mark.parametrize("name", ["contracts", "lint"])
def test_lint_holds_without_the_plane(rest: tuple[Path, str], name: str) -> None:
    _must_pass(rest[0], name, [sys.executable, *parts.LINT[name]])


def test_unit_tests_hold_without_the_plane(rest: tuple[Path, str]) -> None:
    line = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/unit"]
    _must_pass(rest[0], "unit tests", line)


def test_a_node_boots_without_the_plane(rest: tuple[Path, str], tmp_path: Path) -> None:
    node = atoll.Node(tmp_path, environment=tree.variables(rest[0])).start()
    try:
        assert set(json.loads(node.get("/readyz")).values()) == {"ready"}
        node.process.terminate()
        assert node.process.wait(STEP_S_MAX) == 0
    finally:
        node.process.kill()


def test_a_hidden_dependency_on_a_plane_is_noticed(tmp_path: Path) -> None:
    tree.copy(tmp_path)
    lazy = '"""Knows a plane."""\n\n\ndef f() -> None:\n    import atoll.planes.coordination\n'
    (tmp_path / "src/atoll/host/leftover.py").write_text(lazy)
    cut(tmp_path, "coordination")
    assert left_behind(tmp_path, "coordination") == ["src/atoll/host/leftover.py"]


def _must_pass(folder: Path, name: str, line: list[str]) -> None:
    done = _run(folder, line)
    assert done.returncode == 0, f"{name} without the plane:\n{done.stdout[-OUTPUT_SHOWN_MAX:]}"


def _run(folder: Path, line: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        line,
        cwd=folder,
        env=tree.variables(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=STEP_S_MAX,
    )
