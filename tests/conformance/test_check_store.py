"""The conformance kit on every driver, a real etcd included."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from atoll.store import etcd_url
from atoll.store.api import Driver
from atoll.store.etcd import EtcdDriver
from atoll.store.memory import open_memory
from atoll.store.sqlite import open_sqlite
from atoll.testing.check_store import CHECKS, EMBEDDED_CHECKS, Kit
from tests.peers.etcd import etcd_cluster


@pytest.fixture(scope="module")
def memory() -> Iterator[Driver]:
    driver = open_memory()
    yield driver
    driver.close()


@pytest.fixture(scope="module")
def sqlite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    driver = open_sqlite(tmp_path_factory.mktemp("sqlite") / "store.db")
    yield driver
    driver.close()


@pytest.fixture(scope="module")
def public() -> Iterator[Driver]:
    """What outsiders get of an embedded store."""
    store = open_memory()
    yield store.public_driver()
    store.close()


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    folder: Path = tmp_path_factory.mktemp("etcd")
    with etcd_cluster(folder, election_timeout_ms=100) as cluster:
        driver = EtcdDriver(etcd_url.parse(cluster.url))
        yield driver
        driver.close()


@pytest.mark.parametrize("check", EMBEDDED_CHECKS, ids=[check.__name__ for check in EMBEDDED_CHECKS])
@pytest.mark.parametrize("name", ["memory", "sqlite", "public"])
def test_embedded_drivers_conform(
    name: str, check: Callable[[Kit], None], request: pytest.FixtureRequest
) -> None:
    check(Kit(request.getfixturevalue(name), check.__name__))


@pytest.mark.peers
@pytest.mark.parametrize("check", CHECKS, ids=[check.__name__ for check in CHECKS])
def test_a_real_etcd_conforms(etcd: Driver, check: Callable[[Kit], None]) -> None:
    check(Kit(etcd, check.__name__))
