"""The parts that ``check`` and ``test`` are made of, run two at a time, and the table of what each took.

Rule: pytest runs last, once, and alone, so that its own closing line is the last line of the output.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tools import environment, tree

PARALLEL_MAX = 2
_TWO_AT_A_TIME = ("-n", str(PARALLEL_MAX), "--dist", "loadfile")

LINT: Mapping[str, Sequence[str]] = {
    "types": ("-m", "mypy"),
    "contracts": ("-c", "import sys; from importlinter.cli import lint_imports_command as c; sys.exit(c())"),
    "format": ("-m", "ruff", "format", "--check", "--quiet", "."),
    "lint": ("-m", "ruff", "check", "--quiet", "."),
}


@dataclass(frozen=True)
class Outcome:
    """How one part ended; ``output`` is what it printed."""

    name: str
    code: int
    took_s: float
    output: str


def check(python: Path, arguments: Sequence[str]) -> int:
    """Lint and unit tests; ``arguments`` go to pytest."""
    return _lint_then(python, ["tests/unit", "-q", *_TWO_AT_A_TIME, *arguments])


def test(python: Path, arguments: Sequence[str]) -> int:
    """Lint and every test there is; ``arguments`` go to pytest."""
    return _lint_then(python, [*_TWO_AT_A_TIME, *arguments])


def module(python: Path, name: str, arguments: Sequence[str]) -> int:
    """Run one module of this tree."""
    line = [str(python), "-m", name, *arguments]
    return subprocess.run(line, cwd=environment.ROOT, env=tree.variables(environment.ROOT)).returncode


def bench(python: Path, arguments: Sequence[str]) -> int:
    """Run one benchmark, or list them."""
    names = sorted(file.stem for file in (environment.ROOT / "bench").glob("[a-z]*.py"))
    if not arguments or arguments[0] not in names:
        print("benchmarks:", ", ".join(names))
        return 0 if not arguments else 2
    return module(python, f"bench.{arguments[0]}", arguments[1:])


def docs(python: Path, arguments: Sequence[str]) -> int:
    """Write what is generated, run the tests of the documentation, then render it."""
    code = module(python, "tools.reference", [])
    code = code or module(python, "pytest", ["-q", "tests/unit/test_docs.py", *arguments])
    return code or module(python, "tools.render", [str(environment.STATE / "docs")])


def _lint_then(python: Path, tests: Sequence[str]) -> int:
    with ThreadPoolExecutor(PARALLEL_MAX) as pool:
        outcomes = list(pool.map(lambda name: _part(python, name), LINT))
    for outcome in outcomes:
        if outcome.code:
            print(f"--- {outcome.name} failed ---\n{outcome.output}", flush=True)
    print(_table(outcomes), flush=True)
    code = module(python, "pytest", tests)
    return code or max(outcome.code for outcome in outcomes)


def _part(python: Path, name: str) -> Outcome:
    start_s = time.monotonic()
    done = subprocess.run(
        [str(python), *LINT[name]],
        cwd=environment.ROOT,
        env=tree.variables(environment.ROOT),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return Outcome(name, done.returncode, time.monotonic() - start_s, done.stdout)


def _table(outcomes: Sequence[Outcome]) -> str:
    rows = [f"{'part':12} {'seconds':>8}  result"]
    rows += [f"{each.name:12} {each.took_s:8.1f}  {'FAILED' if each.code else 'ok'}" for each in outcomes]
    return "\n".join(rows)
