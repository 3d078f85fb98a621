"""Each plane can be cut off: without its folder, tests and extras, contracts, unit tests and the node still stand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.amputation import cut, left_behind
from tools import parts, tree
from tools.environment import ROOT

PLANES = sorted(file.parent.name for file in (ROOT / "src/atoll/planes").glob("*/__init__.py"))
OUTPUT_SHOWN_MAX = 8000
STEP_S_MAX = 240


@pytest.mark.parametrize("plane", PLANES)
def test_contracts_and_unit_tests_hold_without_a_plane(plane: str, tmp_path: Path) -> None:
    tree.copy(tmp_path)
    removed = cut(tmp_path, plane)
    assert f"src/atoll/planes/{plane}" in removed
    assert not left_behind(tmp_path, plane)
    for name in ("contracts", "lint"):
        _must_pass(tmp_path, name, [sys.executable, *parts.LINT[name]])
    _must_pass(
        tmp_path, "unit tests", [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/unit"]
    )


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
