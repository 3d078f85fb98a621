"""Debian's MariaDB as a peer: ``with mariadb(tmp_path) as database: database.run("SELECT 1")``.

A server of its own on a free port of the loopback address, in a folder of its own, without a password for root. What
is slow about disks is off: its data need not survive the test.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.peers.ports import free_ports
from tests.peers.processes import Process
from tests.waiting import wait_until

READY_WITHIN_S = 60.0
SQL_WITHIN_S = 60.0


@dataclass
class Database:
    """``host:port`` is ``address``; over TCP only users that were made can connect, root by ``socket``."""

    port: int
    socket: Path
    process: Process

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def run(self, sql: str, schema: str = "") -> str:
        """Statements as root; what they print, tab-separated. Raises with what the server says."""
        line = [
            "mariadb",
            "--no-defaults",
            f"--socket={self.socket}",
            "--user=root",
            "--batch",
            *([schema] if schema else []),
        ]
        done = subprocess.run(line, input=sql, capture_output=True, text=True, timeout=SQL_WITHIN_S)
        if done.returncode:
            raise AssertionError(f"mariadb: {done.stderr}")
        return done.stdout

    def answers(self) -> bool:
        line = ["mariadb", "--no-defaults", f"--socket={self.socket}", "--user=root", "--execute=SELECT 1"]
        return subprocess.run(line, capture_output=True, timeout=SQL_WITHIN_S).returncode == 0


@contextmanager
def mariadb(folder: Path) -> Iterator[Database]:
    """The path of a socket must be short (unix(7): 108 bytes), so it is not in ``folder``."""
    data = folder / "mariadb"
    install = [
        "mariadb-install-db",
        "--no-defaults",
        f"--datadir={data}",
        "--user=root",
        "--auth-root-authentication-method=normal",
        "--skip-test-db",
    ]
    done = subprocess.run(install, capture_output=True, text=True, timeout=READY_WITHIN_S)
    if done.returncode:
        raise AssertionError(f"mariadb-install-db: {done.stdout}{done.stderr}")
    with tempfile.TemporaryDirectory(prefix="atoll-mariadb-") as short:
        database = _server(data, Path(short) / "socket", folder / "mariadb.log")
        database.process.start()
        try:
            wait_until(database.answers, READY_WITHIN_S, f"MariaDB; see {database.process.log}")
            yield database
        finally:
            database.process.kill()


def _server(data: Path, socket: Path, log: Path) -> Database:
    port = free_ports(1)[0]
    line = [
        "mariadbd",
        "--no-defaults",
        f"--datadir={data}",
        "--user=root",
        f"--socket={socket}",
        f"--port={port}",
        "--bind-address=127.0.0.1",
        f"--pid-file={data}/pid",
        "--innodb-flush-log-at-trx-commit=0",
        "--innodb-buffer-pool-size=32M",
        "--skip-log-bin",
    ]
    return Database(port, socket, Process(line, log))
