"""The tooling fails with the name of what is missing, and with what a tool printed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tools import environment, peers, soak
from tools.environment import ROOT


def _python(program: str, **environ: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-c", program]
    return subprocess.run(line, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=60)


def test_a_python_without_ensurepip_names_the_package(tmp_path: Path) -> None:
    hidden = "import sys; sys.modules['ensurepip'] = None; sys.argv[1:] = ['check']\n"
    move = f"from tools import environment; import pathlib; environment.STATE = pathlib.Path({str(tmp_path)!r})\n"
    done = _python(f"{hidden}{move}from tools import main; sys.exit(main.run(sys.argv[1:]))")
    assert done.returncode == 2
    assert "no ensurepip" in done.stdout and "python3-venv" in done.stdout


def test_missing_peers_are_named_where_they_cannot_be_installed() -> None:
    program = "from tools import peers, environment\ntry: peers.install()\nexcept environment.ToolFailed as e: print(e)"
    done = _python(program, PATH="/nonexistent")
    assert "etcd" in done.stdout and ("no apt-get here" in done.stdout or "as root" in done.stdout)


def test_a_failing_tool_shows_its_name_and_its_output() -> None:
    with pytest.raises(environment.ToolFailed, match=r"(?s)the shell failed.*no such luck"):
        environment.call("the shell", ["sh", "-c", "echo no such luck; exit 3"])
    with pytest.raises(environment.ToolFailed, match="the ghost could not be started"):
        environment.call("the ghost", ["/nonexistent/ghost"])


def test_every_tool_has_its_package() -> None:
    assert peers.TOOLS["etcdctl"] == "etcd-client"
    assert all(package.replace("-", "").isalnum() for package in peers.TOOLS.values())


def test_an_unknown_command_lists_the_known_ones() -> None:
    done = subprocess.run([sys.executable, "dev.py", "nonsense"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert all(name in done.stdout for name in ("up", "check", "test", "soak", "sim", "bench", "docs"))


def test_a_section_is_replaced_and_the_rest_of_the_page_kept(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Page\n\nKept.\n")
    soak.write_section(page, "a", "one")
    soak.write_section(page, "b", "two")
    soak.write_section(page, "a", r"three \1")
    text = page.read_text()
    assert text.startswith("# Page\n\nKept.\n")
    assert "one" not in text and r"three \1" in text and "two" in text
    assert text.count("## A") == 1
