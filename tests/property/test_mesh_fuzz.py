"""Random policy documents, valid and broken: the reader and the compiler take them or say what is wrong, and never crash."""

from __future__ import annotations

from pathlib import Path

import hypothesis
import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from atoll.planes.mesh.model import snapshot as snapshots
from atoll.resources.mesh.documents import reading
from atoll.resources.mesh.documents.kinds import FORMS
from tests import mesh_documents
from tests.conformance.mesh.fuzzing import Bench
from tests.mesh_documents import Written
from tests.soaking import SoakReport

# What an author would be told; a fault without words helps nobody.
WORDS_MIN = 3


def _settings(rounds: int) -> settings:
    return settings(
        max_examples=rounds,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )


@pytest.mark.timeout(1800)
@pytest.mark.soak("fuzz-mesh", few=30, full=3000)
def test_valid_documents_compile_to_what_is_consistent(
    rounds: int, seed: int, soak_report: SoakReport
) -> None:
    bench = Bench([], Path("certificates"))
    counts = {"accepted": 0, "refused": 0}

    @hypothesis.seed(seed)
    @_settings(rounds)
    @given(st.lists(mesh_documents.documents(), min_size=1, max_size=4))
    def compile(written: list[Written]) -> None:
        compiled = bench.compile(*written)
        counts["accepted" if compiled is not None else "refused"] += 1
        for kind, one in (compiled or {}).items():
            assert snapshots.check(one.snapshot) == [], f"{kind}: {[each.content for each in written]}"

    compile()
    soak_report.row("documents in any company compile to what is consistent", rounds=rounds, figures=counts)
    assert counts["accepted"] > counts["refused"]


@pytest.mark.timeout(1800)
@pytest.mark.soak("fuzz-mesh", few=50, full=6000)
def test_broken_documents_are_told_of_with_their_place(
    rounds: int, seed: int, soak_report: SoakReport
) -> None:
    bench = Bench([], Path("certificates"))
    counts = {"refused": 0, "still valid": 0}

    @hypothesis.seed(seed)
    @_settings(rounds)
    @given(mesh_documents.broken())
    def read(written: Written) -> None:
        text = yaml.safe_dump(written.content, allow_unicode=True)
        errors = reading.read(text, "file.yaml").errors
        for each in errors:
            assert each.line > 0 and len(each.message.split()) >= WORDS_MIN, f"{each} on {text}"
        counts["refused" if errors else "still valid"] += 1
        if not errors and written.content.get("kind") in {form.name for form in FORMS.values()}:
            bench.compile(written)

    read()
    soak_report.row(
        "broken documents are refused with their place, or compile", rounds=rounds, figures=counts
    )
    assert counts["refused"] > rounds // 4


@pytest.mark.soak("fuzz-mesh", few=200, full=6000)
def test_any_text_is_read_or_refused(rounds: int, seed: int) -> None:
    @hypothesis.seed(seed)
    @_settings(rounds)
    @given(st.text(max_size=200) | st.text("{}[]:,-&*!|>'\"%@` \n#ab", max_size=80))
    def read(text: str) -> None:
        assert reading.read(text).documents == ()  # chance writes no whole document

    read()
