"""Pairs of servers for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.etcd.pair import Pair, start_pair


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Shared by a file's tests."""
    with start_pair(tmp_path_factory.mktemp("pair")) as made:
        yield made


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Pair]:
    """For one test alone: empty, at revision 1."""
    with start_pair(tmp_path) as made:
        yield made
