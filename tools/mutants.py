"""``dev.py soak mutants``: breaks each guard on purpose and shows which test goes red.

Rule: a mutant is one patch of ``src`` in ``tests/mutants/`` whose text above the diff names what it breaks
(``Guard:``) and the test that must fail (``Test:``). A test that stays green is a defect of that test.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tools import environment, soak, tree

RUN_S_MAX = 600
_PYTEST_FAILED = 1  # pytest's exit code for "tests ran, some failed"; anything else is a broken mutant


@dataclass(frozen=True)
class Mutant:
    """One patch: ``guard`` in words, ``test`` as pytest's node id."""

    file: Path
    guard: str
    test: str


def every(root: Path = environment.ROOT) -> list[Mutant]:
    """All mutants of a tree; a patch whose header lacks a line is an error."""
    return [_read(file) for file in sorted((root / "tests" / "mutants").glob("*.patch"))]


def run(python: Path) -> int:
    """Try every mutant; prints a table, writes it to reliability.md, returns 1 if one survived."""
    mutants = every()
    with tempfile.TemporaryDirectory(prefix="atoll-mutants-") as folder:
        copy = Path(folder)
        tree.copy(copy)
        tests = sorted({mutant.test for mutant in mutants})
        if tests and _pytest(python, copy, tests) != 0:
            print("the tests that should catch mutants are not green without them")
            return 1
        results = [(mutant, *_try(python, copy, mutant)) for mutant in mutants]
    lines = [
        f"{mutant.file.stem:40} {word:10} {took_s:6.1f} s  {mutant.test}" for mutant, word, took_s in results
    ]
    print("\n".join(lines))
    rows = [f"| {mutant.guard} | `{mutant.test}` | {word} |" for mutant, word, _ in results]
    head = [
        "`python3 dev.py soak mutants`:",
        "",
        "| guard removed | test that must go red | result |",
        "|---|---|---|",
    ]
    soak.write_section(soak.TABLE, "mutants", "\n".join([*head, *rows]))
    return int(any(word != "caught" for _, word, _ in results))


def _read(file: Path) -> Mutant:
    head = file.read_text().split("\n--- ", 1)[0]
    fields = dict(re.findall(r"^(Guard|Test): (.+)$", head, re.MULTILINE))
    if set(fields) != {"Guard", "Test"}:
        raise environment.ToolFailed(
            f"{file.name} needs the lines 'Guard: ...' and 'Test: ...' above its diff"
        )
    return Mutant(file, fields["Guard"], fields["Test"])


def _try(python: Path, copy: Path, mutant: Mutant) -> tuple[str, float]:
    start_s = time.monotonic()
    if tree.patch(copy, mutant.file).returncode:
        return "no longer applies", 0.0
    code = _pytest(python, copy, [mutant.test])
    tree.patch(copy, mutant.file, "--reverse").check_returncode()
    word = {_PYTEST_FAILED: "caught", 0: "SURVIVED"}.get(code, f"broken (pytest exit {code})")
    return word, time.monotonic() - start_s


def _pytest(python: Path, copy: Path, tests: list[str]) -> int:
    line = [str(python), "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    try:
        done = subprocess.run(
            line, cwd=copy, env=tree.variables(copy), capture_output=True, timeout=RUN_S_MAX
        )
    except subprocess.TimeoutExpired:
        return _PYTEST_FAILED  # a test that hangs without its guard has noticed, too
    return done.returncode
