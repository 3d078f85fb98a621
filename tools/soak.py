"""``dev.py soak``: fault tests at full rounds, resumable, with their table in docs/reference/reliability.md.

Rule: results belong to the commit that last touched ``src`` or ``tests``; a suite that is run again on the same
commit goes on with what has not passed yet.
"""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from tools import environment, tree
from tools.rows import Row, measured, merged

TABLE = environment.ROOT / "docs" / "reference" / "reliability.md"
_SUITE = re.compile(r'mark\.soak\(\s*"([a-z0-9-]+)"')
_NOTHING_LEFT = 5  # pytest's exit code when it ran no test


def run(python: Path, name: str | None, rounds: int | None, minutes: float) -> int:
    """Run one suite, or all of them in turn; returns 1 if a test failed or time ran out."""
    names = suites()
    if name is not None and name not in names:
        print("suites:", ", ".join([*names, "mutants"]))
        return 2
    codes = [_suite(python, each, rounds, minutes) for each in ([name] if name else names)]
    return int(any(codes))


def suites() -> list[str]:
    """The names given to ``@pytest.mark.soak`` anywhere in the tests."""
    files = (environment.ROOT / "tests").rglob("test_*.py")
    return sorted({name for file in files for name in marks(file.read_text())})


def marks(text: str) -> list[str]:
    """The suites that one file's tests are marked with."""
    return _SUITE.findall(text)


def _suite(python: Path, name: str, rounds: int | None, minutes: float) -> int:
    at = commit()
    out = environment.STATE / "soak" / f"{name}-{at}-{rounds or 'full'}.jsonl"
    out.parent.mkdir(parents=True, exist_ok=True)
    line = command(python, name, out, minutes)
    line += [f"--rounds={rounds}"] if rounds else []
    print(f"soak {name} on {at}", flush=True)
    code = subprocess.run(line, cwd=environment.ROOT, env=tree.variables(environment.ROOT)).returncode
    records = [json.loads(text) for text in out.read_text().splitlines()] if out.exists() else []
    write_section(TABLE, name, _section(name, at, records))
    print(f"wrote the table of {name} to {TABLE.relative_to(environment.ROOT)}", flush=True)
    return 0 if code == _NOTHING_LEFT else code


def command(python: Path, name: str, out: Path, minutes: float) -> list[str]:
    """How one suite is run. Values follow an ``=``: pytest takes a word that names a file for a place of tests and
    reads options beside it, and ``out`` is such a file as soon as a suite goes on where it was left.
    """
    line = [str(python), "-m", "pytest", "-q", "--timeout", str(int(60 * minutes) + 600)]
    return [*line, f"--soak={name}", f"--soak-out={out}", f"--soak-minutes={minutes}"]


def commit() -> str:
    """The commit that last touched what is tested, marked where the tree differs from it."""
    git = ["git", "-C", str(environment.ROOT)]
    places = ["--", "src", "tests"]
    newest = subprocess.run(
        [*git, "log", "-1", "--format=%h", *places], capture_output=True, text=True
    ).stdout
    changed = subprocess.run([*git, "status", "--porcelain", *places], capture_output=True, text=True).stdout
    return newest.strip() + ("-changed" if changed else "")


def _section(name: str, at: str, records: Sequence[Row]) -> str:
    latest = {record["node"]: record for record in records}
    failed = sum(record["outcome"] != "passed" for record in latest.values())
    rows = merged([row for record in latest.values() for row in record["rows"]])
    took_min = sum(record["took_s"] for record in latest.values()) / 60
    lines = [
        f"`python3 dev.py soak {name}` on commit {at}, {time.strftime('%Y-%m-%d', time.gmtime())}:",
        f"{len(latest)} tests, {failed} failed, {took_min:.1f} minutes.",
        "",
        "| case | rounds | violations | measured |",
        "|---|---|---|---|",
    ]
    lines += [f"| {row['case']} | {row['rounds']} | {row['violations']} | {measured(row)} |" for row in rows]
    return "\n".join(lines)


def write_section(page: Path, name: str, text: str) -> None:
    """Replace the section ``name`` of a page, or append it; the rest of the page is left as it is."""
    page.write_text(with_section(page.read_text(), name, text))


def with_section(page: str, name: str, text: str) -> str:
    """The text of a page with its section ``name`` replaced or appended."""
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    section = f"{begin}\n{text}\n{end}"
    found = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    if found.search(page):
        return found.sub(lambda _: section, page)
    return f"{page.rstrip()}\n\n## {name.capitalize()}\n\n{section}\n"
