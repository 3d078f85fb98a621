"""The conformance matrix: which feature of the mesh was seen to work with which client, and where one differs.

Rule: ``docs/reference/mesh-matrix.json`` says of each feature and class of client ``pass``, or the difference in words; the
reference shows it, and a test whose outcome is another one fails, so that the page cannot claim what no request showed. A
difference is no skip: what the client does instead is asserted like everything else.

    python -m tests.conformance.mesh.matrix        # runs the tests and writes the record anew

    @row("Routing", "by header")
    def test_by_header(case: Case) -> None:
        ...
        if case.differs(Differs.MIRRORS):           # gRPC: what it does instead
            assert ...
"""

from __future__ import annotations

import functools
import json
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import pytest

from atoll.planes.mesh.policy.compiler.grpc.differences import Differs
from tests.conformance.mesh.rig import ClientClass

RECORD = Path(__file__).parents[3] / "docs" / "reference" / "mesh-matrix.json"
PASS = "pass"  # noqa: S105 - a word, no password
Outcomes: TypeAlias = Mapping[str, Mapping[str, Mapping[str, str]]]
"""By group, feature, and class of client."""


class HasOutcome(Protocol):
    """What a row's test gets, as far as it matters here."""

    @property
    def client(self) -> ClientClass: ...

    @property
    def difference(self) -> str: ...


class Collector:
    """What a run that writes the record saw."""

    def __init__(self) -> None:
        self.outcomes: dict[str, dict[str, dict[str, str]]] = defaultdict(lambda: defaultdict(dict))


_collector: Collector | None = None


def row(group: str, feature: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The test of one feature; runs once for each class of client, as ``case``."""

    def mark(test: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(test)
        def run(case: Any, **fixtures: Any) -> None:
            test(case, **fixtures)
            _confirm(group, feature, case)

        run.row = (group, feature)  # type: ignore[attr-defined]
        return run

    return mark


def _confirm(group: str, feature: str, case: HasOutcome) -> None:
    outcome = case.difference or PASS
    if _collector is not None:
        _collector.outcomes[group][feature][case.client.value] = outcome
        return
    recorded = recorded_outcomes().get(group, {}).get(feature, {}).get(case.client.value, "nothing")
    assert outcome == recorded, (
        f"{group}, {feature}, with {case.client}: {outcome!r}, but {RECORD.name} says {recorded!r}; if it is right, run "
        f"`python -m {__name__}`, then `python3 dev.py docs`"
    )


def recorded_outcomes() -> Outcomes:
    outcomes: Outcomes = json.loads(RECORD.read_text())["matrix"]
    return outcomes


def recorded_differences() -> Mapping[str, str]:
    differences: Mapping[str, str] = json.loads(RECORD.read_text())["differences"]
    return differences


def write(outcomes: Outcomes) -> None:
    columns = [each.value for each in ClientClass]
    ordered = {
        group: {
            feature: {name: found[name] for name in columns if name in found}
            for feature, found in features.items()
        }
        for group, features in outcomes.items()
    }
    record = {"matrix": ordered, "differences": {each.value.feature: each.value.here for each in Differs}}
    RECORD.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")


def main() -> int:
    """Arguments go to pytest; with some, what did not run stays in the record as it was."""
    import tests.conformance.mesh.matrix as imported  # the module that the tests see; this one is __main__

    imported._collector = collector = Collector()
    files = [
        str(each)
        for each in sorted(Path(__file__).parent.glob("test_matrix_*.py"))
        if "record" not in each.name
    ]
    code = pytest.main(["-q", *files, *sys.argv[1:]])
    outcomes = recorded_outcomes() if sys.argv[1:] else {}
    for group, features in collector.outcomes.items():
        for feature, found in features.items():
            before = outcomes.get(group, {})
            outcomes = {**outcomes, group: {**before, feature: {**before.get(feature, {}), **found}}}
    write(outcomes)
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
