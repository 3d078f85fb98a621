"""A MariaDB probed as a cluster of MySQL instances is: alive, refusing, read-only, and gone."""

from __future__ import annotations

from pathlib import Path

import pytest

from atoll.planes.registry.model.checkers import READ_ONLY_COMMAND
from atoll.planes.registry.policy.probing import Found, Outcome
from atoll.planes.registry.service import probes
from atoll.resources.service import Cluster, HealthChecker
from atoll.runtime import loop
from atoll.runtime.net import Address
from tests.peers.mariadb import mariadb

pytestmark = pytest.mark.peers


def probed(port: int, command: str, password: str = "right") -> Found:
    checker = HealthChecker("MYSQL", user="probe", password=password, command=command)
    return loop.run(probes.try_mysql(Address("127.0.0.1", port), Cluster(checker=checker)))


def test_a_database_is_probed_by_its_own_protocol(tmp_path: Path) -> None:
    with mariadb(tmp_path) as database:
        database.run("CREATE USER 'probe'@'%' IDENTIFIED BY 'right'")
        assert probed(database.port, "SELECT 1").outcome is Outcome.OK
        assert probed(database.port, READ_ONLY_COMMAND).outcome is Outcome.OK
        database.run("SET GLOBAL read_only = ON")
        assert probed(database.port, READ_ONLY_COMMAND).outcome is Outcome.HARD
        assert probed(database.port, "SELECT 1").outcome is Outcome.OK
        refused = probed(database.port, "SELECT 1", password="wrong")
        assert refused.outcome is Outcome.HARD and "denied" in refused.cause.lower()
        assert probed(database.port, "SELECT nothing").outcome is Outcome.HARD
    gone = probed(database.port, "SELECT 1")
    assert gone.outcome is Outcome.HARD and "refused" in gone.cause
