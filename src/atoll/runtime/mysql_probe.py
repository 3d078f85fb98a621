"""One statement at a MySQL or MariaDB server, as a sign of life.

Rule: it blocks, for ``WITHIN_S`` at most in each step, so it runs in a thread; ``Refused`` is the server's no, an
``OSError`` what met us on the way. The driver is loaded at first use.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from atoll.runtime.net import Address

CONNECT_WITHIN_S = 1
WITHIN_S = 2


@dataclass(frozen=True)
class MysqlProbe:
    user: str
    password: str
    statement: str


class Refused(Exception):
    """The server answered, and it was a no."""


def first_row(address: Address, asked: MysqlProbe) -> tuple[Any, ...]:
    """What the statement gives first, empty where it gives nothing."""
    import pymysql

    try:
        connection = pymysql.connect(
            host=address.host,
            port=address.port,
            user=asked.user,
            password=asked.password,
            connect_timeout=CONNECT_WITHIN_S,
            read_timeout=WITHIN_S,
            write_timeout=WITHIN_S,
        )
        with connection, connection.cursor() as cursor:
            cursor.execute(asked.statement)
            return tuple(cursor.fetchone() or ())
    except pymysql.MySQLError as error:
        way = error.__cause__ or error.__context__
        if isinstance(way, OSError):
            raise way from error
        raise Refused(str(error.args[-1]) if error.args else str(error)) from error
