"""Each transcript of tests/transcripts comes out as it is written.

Rule: a difference is shown as one. If the new story is right, ``python -m atoll.testing.transcripts --write FILE``
writes it down, and the diff is reviewed.
"""

from __future__ import annotations

import difflib
from pathlib import Path

import pytest

from atoll.errors import AtollError
from atoll.testing import transcripts

FILES = sorted((Path(__file__).resolve().parents[1] / "transcripts").glob("*.txt"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_story_comes_out_as_written(file: Path) -> None:
    written = file.read_text()
    played = transcripts.play(written)
    diff = difflib.unified_diff(written.splitlines(), played.splitlines(), "written", "played", lineterm="")
    assert played == written, "\n".join(diff)
    assert "VIOLATION" not in played


def test_every_row_of_the_table_of_failures_has_its_story() -> None:
    assert {file.stem[:2] for file in FILES} >= {f"{row:02}" for row in range(1, 12)}


def test_an_unknown_command_is_refused() -> None:
    with pytest.raises(AtollError):
        transcripts.play("cluster nodes=3\nexplode node-0\n")
