"""The record of the matrix: complete, and of nothing that has no test."""

from __future__ import annotations

import importlib
from pathlib import Path

from atoll.planes.mesh.policy.compiler.grpc.differences import Differs
from tests.conformance.mesh import matrix
from tests.conformance.mesh.rig import ClientClass


def rows() -> set[tuple[str, str]]:
    found = []
    for file in sorted(Path(__file__).parent.glob("test_matrix_*.py")):
        module = importlib.import_module(f"tests.conformance.mesh.{file.stem}")
        marked = [getattr(each, "row", None) for each in vars(module).values()]
        found += [each for each in marked if isinstance(each, tuple)]
    assert len(set(found)) == len(found), "two tests of one row"
    return set(found)


def test_every_row_is_in_the_record_with_every_class_of_client() -> None:
    recorded = matrix.recorded_outcomes()
    assert {(group, feature) for group, features in recorded.items() for feature in features} == rows()
    for features in recorded.values():
        for feature, outcomes in features.items():
            assert list(outcomes) == [each.value for each in ClientClass], feature


def test_only_grpc_differs_and_only_in_words_of_the_table() -> None:
    words = {each.value.here for each in Differs} | {matrix.PASS}
    for features in matrix.recorded_outcomes().values():
        for feature, outcomes in features.items():
            assert outcomes[ClientClass.GRPCIO.value] in words, feature
            assert {outcomes[name] for name in outcomes if name != ClientClass.GRPCIO.value} == {matrix.PASS}


def test_the_record_has_all_differences() -> None:
    assert matrix.recorded_differences() == {each.value.feature: each.value.here for each in Differs}
