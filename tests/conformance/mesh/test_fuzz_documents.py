"""What Atoll accepts, Envoy accepts: random documents of all kinds, compiled and pushed to live Envoys over ADS."""

from __future__ import annotations

from pathlib import Path

import hypothesis
import pytest
from hypothesis import HealthCheck, Phase, given, settings

from atoll.resources.mesh.documents.kinds import Kind
from tests import mesh_documents
from tests.conformance.mesh import fuzzing
from tests.mesh_documents import Written
from tests.soaking import SoakReport

pytestmark = pytest.mark.peers

FEATURE_DOCUMENTS_MIN = 20
ACCEPTED_SHARE_MIN = 0.5
FULL = 6000


@pytest.mark.timeout(3000)
@pytest.mark.soak("fuzz-mesh", few=40, full=FULL)
def test_envoy_accepts_what_is_accepted(
    tmp_path: Path, rounds: int, seed: int, soak_report: SoakReport
) -> None:
    said: list[str] = []
    with fuzzing.running(tmp_path) as bench:

        @hypothesis.seed(seed)
        @settings(
            max_examples=rounds,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate],
        )
        @given(mesh_documents.documents())
        def try_out(written: Written) -> None:
            said.extend(f"{each} on {written.content}" for each in bench.try_out(written))

        try_out()
        tally = bench.tally
    accepted, refused = tally.accepted.total(), tally.refused.total()
    rare = tally.rare(FEATURE_DOCUMENTS_MIN)
    fields = sum(len(mesh_documents.all_features(kind)) for kind in Kind)
    soak_report.row(
        "Envoy takes the random documents that Atoll takes",
        rounds=accepted + refused,
        violations=len(said),
        figures={
            "accepted": accepted,
            "refused": refused,
            "fields": fields,
            "fields in fewer than 20": len(rare),
        },
    )
    assert not said, f"{len(said)} refusals: {said[:5]}"
    assert accepted >= ACCEPTED_SHARE_MIN * (accepted + refused), tally.refused
    assert rounds < FULL or not rare, rare
