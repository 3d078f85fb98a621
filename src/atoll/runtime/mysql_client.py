"""Reading tables of a MySQL or MariaDB server, for what is moved from there to Atoll.

Rule: the one owner of the MySQL driver. It only reads, in one consistent snapshot, in a thread of its own; what goes wrong
is an ``AtollError``. The driver is loaded at first use.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from atoll.errors import AtollError, Code
from atoll.runtime import loop

CONNECT_WITHIN_S = 10
READ_WITHIN_S = 120


@dataclass(frozen=True)
class MysqlServer:
    """Where, and as whom."""

    host: str
    port: int
    user: str
    password: str
    database: str

    def __repr__(self) -> str:
        return f"{self.user}@{self.host}:{self.port}/{self.database}"


async def read_tables(server: MysqlServer, queries: Mapping[str, str]) -> dict[str, list[dict[str, Any]]]:
    """The rows of each query of ``queries`` (by table) whose table the database has.

    Raises DENIED for credentials that the server refuses, UNAVAILABLE where there is no server, INVALID otherwise.
    """
    return await loop.in_thread(_read, server, queries)


def _read(server: MysqlServer, queries: Mapping[str, str]) -> dict[str, list[dict[str, Any]]]:
    import pymysql
    import pymysql.cursors

    try:
        connection = pymysql.connect(
            host=server.host,
            port=server.port,
            user=server.user,
            password=server.password,
            database=server.database,
            charset="utf8mb4",
            connect_timeout=CONNECT_WITHIN_S,
            read_timeout=READ_WITHIN_S,
            cursorclass=pymysql.cursors.DictCursor,
        )
        with connection, connection.cursor() as cursor:
            cursor.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
            cursor.execute(
                "SELECT LOWER(table_name) AS name FROM information_schema.tables WHERE table_schema = %s",
                (server.database,),
            )
            present = {row["name"] for row in cursor.fetchall()}
            found = {}
            for table, query in queries.items():
                if table in present:
                    cursor.execute(query)
                    found[table] = [dict(row) for row in cursor.fetchall()]
            return found
    except (pymysql.MySQLError, OSError, UnicodeError) as error:
        raise _mapped(server, error) from error


def _mapped(server: MysqlServer, error: BaseException) -> AtollError:
    number = error.args[0] if error.args and isinstance(error.args[0], int) else 0
    what = str(error.args[-1]) if error.args else str(error)
    code = {1044: Code.DENIED, 1045: Code.DENIED, 1698: Code.DENIED, 2003: Code.UNAVAILABLE}.get(number)
    return AtollError(code or Code.INVALID, f"{server} cannot be read: {what}")
