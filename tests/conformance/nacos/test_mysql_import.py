"""A Nacos 2.x database on a real MariaDB, read and taken over."""

from __future__ import annotations

from pathlib import Path

import pytest

from atoll.errors import AtollError, Code
from atoll.runtime.mysql_client import MysqlServer
from tests.peers.mariadb import mariadb
from tests.unit.registry.config_kit import ANN, Kit, with_configs
from tools.environment import ROOT

DUMP = ROOT / "examples" / "registry" / "nacos-2.sql"
PASSWORD = "of a throw-away database"  # noqa: S105


@pytest.mark.peers
def test_a_nacos_database_is_taken_over(tmp_path: Path) -> None:
    with mariadb(tmp_path) as database:
        database.run("CREATE DATABASE nacos CHARACTER SET utf8mb4; CREATE DATABASE other")
        database.run(DUMP.read_text(), "nacos")
        database.run(f"CREATE USER reader@'%' IDENTIFIED BY '{PASSWORD}'; GRANT SELECT ON *.* TO reader@'%'")
        count = int(database.run("SELECT COUNT(*) FROM config_info", "nacos").split()[1])
        server = MysqlServer("127.0.0.1", database.port, "reader", PASSWORD, "nacos")

        async def scenario(kit: Kit) -> None:
            found = await kit.configs.transfer.read_database(server)
            assert found.users and found.namespaces and not found.left_out
            done = await kit.configs.transfer.take(ANN, found.items, "abort")
            assert not done.failed and kit.configs.view.total() == count
            assert len(done.published) == len(found.items) > count
            again = await kit.configs.transfer.take(ANN, found.items, "skip")
            assert len(again.skipped) == len(found.items)
            for wrong, code in (
                (MysqlServer("127.0.0.1", database.port, "reader", "x", "nacos"), Code.DENIED),
                (MysqlServer("127.0.0.1", 1, "reader", PASSWORD, "nacos"), Code.UNAVAILABLE),
                (MysqlServer("127.0.0.1", database.port, "reader", PASSWORD, "other"), Code.INVALID),
            ):
                with pytest.raises(AtollError) as refused:
                    await kit.configs.transfer.read_database(wrong)
                assert refused.value.code is code

        with_configs(scenario)
