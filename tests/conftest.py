"""Fixtures and options that all tests share: rounds and seeds of fault tests, their rows, time per group.

Rule: a fault test takes its number of rounds and its first seed from here, so that the same test is short in
``dev.py test`` and long in ``dev.py soak``, and every run can be repeated from the seed that it printed.

    @pytest.mark.soak("kill-writers", few=3, full=200, chunk=20)
    def test_no_acknowledged_write_is_lost(rounds: int, seed: int, soak_report: SoakReport) -> None:
        for current_seed in range(seed, seed + rounds):
            ...
        soak_report.row("kill -9", rounds=rounds, violations=lost, samples={"reopen_s": reopen_s})
"""

from __future__ import annotations

import json
import shutil
import time
from collections import defaultdict
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from tests.soaking import SoakReport, mark_of, rows_of
from tools import environment
from tools.rows import describe

_NO_CHUNK = (0, None)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("atoll")
    group.addoption("--rounds", type=int, help="rounds of each fault test, instead of its own number")
    group.addoption("--seed", type=int, help="first seed, instead of 1")
    group.addoption("--soak", metavar="NAME", help="only the fault tests of this suite, at full rounds")
    group.addoption(
        "--soak-out", type=Path, help="where to append results; what passed there is not run again"
    )
    group.addoption("--soak-minutes", type=float, default=60.0, help="start no test after so long")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(_GroupTimes(), "atoll-group-times")
    if config.getoption("--soak"):
        config.pluginmanager.register(_Soak(config), "atoll-soak")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A long fault test with ``chunk`` runs in pieces, each with its own seeds, so that a soak can resume."""
    if "_chunk" not in metafunc.fixturenames:
        return
    mark = mark_of(metafunc.definition)
    soaking = metafunc.config.getoption("--soak")
    total: int = metafunc.config.getoption("--rounds") or (mark.full if soaking else mark.few)
    size = mark.chunk if soaking and mark.chunk else total
    pieces = [(first, min(size, total - first)) for first in range(0, total, size)]
    if len(pieces) == 1:
        metafunc.parametrize("_chunk", pieces, ids=[pytest.HIDDEN_PARAM])
    else:
        metafunc.parametrize("_chunk", pieces, ids=[f"round-{first}" for first, _ in pieces])


@pytest.fixture
def rounds(_chunk: tuple[int, int]) -> int:
    """How many rounds this run of a test marked ``soak`` does."""
    return _chunk[1]


@pytest.fixture
def seed(_chunk: tuple[int, int], request: pytest.FixtureRequest) -> int:
    """The seed of the first round; round ``n`` uses ``seed + n``. Printed when the test fails."""
    chosen = request.config.getoption("--seed")
    first = (1 if chosen is None else int(chosen)) + _chunk[0]
    print(f"first seed {first}; repeat with --seed {first}")
    return first


@pytest.fixture
def soak_report(request: pytest.FixtureRequest) -> SoakReport:
    """Takes the rows of reliability.md that this test measures; they are printed at the end of every run."""
    return SoakReport(request.node)


@pytest.fixture(scope="session")
def tool() -> Any:
    """``tool("etcdctl")``: the path of a peer's program; fails by its name where ``dev.py`` could not bring it."""

    def find(name: str) -> str:
        path = shutil.which(name, path="/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
        if path is None:
            pytest.fail(f"{name} is not installed: run the tests by `python3 dev.py test`, which installs it")
        return path

    return find


@pytest.fixture(scope="session")
def foreign_python() -> Any:
    """``foreign_python("aetcd-1.0.0")``: the interpreter of that client's own environment, made on first use."""
    return environment.foreign


@pytest.fixture(scope="session")
def foreign_npm() -> Any:
    """``foreign_npm("nacos-2.6.0")``: the modules of that client of npm, installed on first use."""
    return environment.npm


class _GroupTimes:
    """Adds up the time of each group of tests, and shows the rows that fault tests reported."""

    def __init__(self) -> None:
        self.took_s: dict[str, float] = defaultdict(float)
        self.count: dict[str, int] = defaultdict(int)
        self.rows: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        group = "/".join(report.nodeid.split("/")[1:2]) or "tests"
        self.took_s[group] += report.duration
        self.count[group] += report.when == "call"
        if report.when == "call":
            self.rows += [describe(row) for row in rows_of(report)]

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        for line in self.rows:
            terminalreporter.write_line(line)
        if len(self.took_s) > 1:
            terminalreporter.section("time per group")
            for group, took_s in sorted(self.took_s.items()):
                terminalreporter.write_line(f"{group:12} {took_s:8.1f} s  {self.count[group]:5} tests")


class _Soak:
    """Selects one suite, stops in time, and records what each test measured, so that a later run goes on."""

    def __init__(self, config: pytest.Config) -> None:
        self.name: str = config.getoption("--soak")
        self.out: Path | None = config.getoption("--soak-out")
        self.end_s = time.monotonic() + 60 * float(config.getoption("--soak-minutes"))
        self.stopped = False

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        passed = self._passed()
        chosen = [item for item in items if self._belongs(item) and item.nodeid not in passed]
        config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
        items[:] = chosen

    def pytest_runtest_protocol(self, item: pytest.Item) -> None:
        if time.monotonic() > self.end_s:
            item.session.shouldstop = "the suite's time is over; run it again to go on from here"

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, Any, Any]:
        report = yield
        if self.out is not None and (report.when == "call" or report.failed):
            record = {"node": item.nodeid, "outcome": report.outcome, "took_s": report.duration}
            record["rows"] = rows_of(report)
            with self.out.open("a") as file:
                file.write(json.dumps(record) + "\n")
        return report

    def _belongs(self, item: pytest.Item) -> bool:
        return item.get_closest_marker("soak") is not None and mark_of(item).name == self.name

    def _passed(self) -> set[str]:
        if self.out is None or not self.out.exists():
            return set()
        records = [json.loads(line) for line in self.out.read_text().splitlines()]
        return {record["node"] for record in records if record.get("outcome") == "passed"}
