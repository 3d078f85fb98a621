"""What docs/reference/talks.md says that a test shows, a test is there to show.

The page names tests of the mesh and of the registry: where one of the two planes is cut off, this goes with it.
"""

from __future__ import annotations

import re

from atoll.planes import mesh, registry
from tools.environment import ROOT


def test_what_shows_that_a_talk_is_met_exists() -> None:
    assert mesh and registry
    shown = re.findall(r"`(tests/[^`]+)`", (ROOT / "docs" / "reference" / "talks.md").read_text())
    assert len(shown) > 50
    assert not [test for test in shown if not _has_test(test)]


def _has_test(test: str) -> bool:
    file, _, name = test.partition("::")
    return (ROOT / file).exists() and f"def {name}(" in (ROOT / file).read_text()
