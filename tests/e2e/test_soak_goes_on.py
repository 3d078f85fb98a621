"""A suite of fault tests that was stopped goes on where it was left."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tools import soak, tree
from tools.environment import ROOT

RUN_S_MAX = 120


def test_what_passed_is_not_run_again(tmp_path: Path) -> None:
    out = tmp_path / "results.jsonl"
    line = [*soak.command(Path(sys.executable), "selftest", out, 5.0), "-p", "no:cacheprovider"]

    def run() -> int:
        done = subprocess.run(
            line, cwd=ROOT, env=tree.variables(ROOT), capture_output=True, timeout=RUN_S_MAX
        )
        return done.returncode

    assert run() == 0
    records = out.read_text().splitlines(keepends=True)
    out.write_text("".join(records[:-1]))
    assert run() == 0
    again = out.read_text().splitlines(keepends=True)
    assert [json.loads(one)["node"] for one in again] == [json.loads(one)["node"] for one in records]
