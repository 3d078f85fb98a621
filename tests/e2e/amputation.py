"""How a plane is cut off a copy of the tree: what belongs to it goes, by place, by name and by import.

Rule: besides the plane's folder and its extra in ``pyproject.toml`` only tests, entry points (``embed``) and
experiments may go with it, and only if they import it. ``host/catalog.py`` may go on naming it.
"""

from __future__ import annotations

import ast
import re
import shutil
from pathlib import Path

FOLLOWERS = ("tests", "src/atoll/embed", "bench", "fuzz", "examples")


def cut(tree: Path, plane: str) -> list[str]:
    """Cut ``plane`` off ``tree``; returns the paths that went."""
    folder = f"src/atoll/planes/{plane}"
    gone = [folder]
    modules = {f"atoll.planes.{plane}"}
    shutil.rmtree(tree / folder)
    while followers := [file for file in _followers(tree) if _imports_any(tree / file, modules)]:
        for file in followers:
            (tree / file).unlink()
            gone.append(file)
            modules.add(_module(file))
    project = tree / "pyproject.toml"
    extra = re.search(rf"^{plane} = (.*)$", project.read_text(), re.MULTILINE)
    for package in re.findall(r'"([A-Za-z0-9_.-]+)', extra[1]) if extra else ():
        _drop_lines(tree / "docs/reference/dependencies.md", rf"^\| `{re.escape(package)}` \|")
    _drop_lines(project, rf"^{plane} = ")
    _drop_lines(tree / "tests/unit/test_tidy.py", "|".join(re.escape(path) for path in gone))
    for mutant in (tree / "tests/mutants").glob("*.patch"):
        if any(path in mutant.read_text() for path in gone):
            mutant.unlink()
    return gone


def left_behind(tree: Path, plane: str) -> list[str]:
    """What still imports the plane, lazily or not, though only the catalog may."""
    files = sorted((tree / "src").rglob("*.py"))
    importing = [
        str(file.relative_to(tree)) for file in files if _imports_any(file, {f"atoll.planes.{plane}"})
    ]
    return [file for file in importing if file != "src/atoll/host/catalog.py"]


def _followers(tree: Path) -> list[str]:
    files = [file for place in FOLLOWERS for file in (tree / place).rglob("*.py")]
    return sorted(str(file.relative_to(tree)) for file in files)


def _imports_any(file: Path, modules: set[str]) -> bool:
    """Whether ``file`` imports one of ``modules``, something inside of one, or a name of one."""
    return any(f"{name}.".startswith(f"{module}.") for name in _imports(file) for module in modules)


def _imports(file: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def _module(file: str) -> str:
    parts = file.removeprefix("src/").removesuffix(".py").split("/")
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _drop_lines(file: Path, pattern: str) -> None:
    if file.exists():
        kept = [line for line in file.read_text().splitlines(keepends=True) if not re.search(pattern, line)]
        file.write_text("".join(kept))
