"""Copies of this tree for experiments that must not touch it: mutants and amputations.

Rule: a copy holds what git knows or would add, so that an uncommitted change is tried as well; nothing that git
ignores comes along.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tools.environment import ROOT


def copy(to: Path) -> None:
    """Copy this tree into the folder ``to``."""
    line = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(line, capture_output=True, text=True, check=True).stdout.split("\0")
    for name in names:
        source = ROOT / name
        if name and source.is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, to / name)


def patch(tree: Path, file: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """Apply a patch to a tree by ``git apply``, whether or not the tree is a repository."""
    line = ["git", "apply", "--whitespace=nowarn", *flags, str(file)]
    return subprocess.run(line, cwd=tree, capture_output=True, text=True)


def variables(tree: Path) -> dict[str, str]:
    """The environment in which ``tree`` is the project, whatever is installed.

    No byte code is kept of a copy: it is told apart by size and whole seconds, and a mutant changes neither.
    """
    path = os.pathsep.join([str(tree / "src"), str(tree)])
    own = {"PYTHONPATH": path} if tree == ROOT else {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    return {**os.environ, **own}
