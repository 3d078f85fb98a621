"""Signs of life of other programs: a TCP connection, an HTTP status, a MySQL statement.

Rule: a probe never takes longer than its bounds, and what it met is a value or ``ProbeFailed``: ``refused`` where the
other side said no, otherwise it may have been a busy moment. MySQL's driver runs in a thread.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import Any

from atoll.errors import AtollError
from atoll.runtime import http_client, mysql_probe, streams
from atoll.runtime.mysql_probe import MysqlProbe, Refused
from atoll.runtime.net import Address

CONNECT_WITHIN_S = 0.5
HTTP_WITHIN_S = 2.0
MYSQL_WITHIN_S = 6.0  # of all its steps


class ProbeFailed(Exception):
    """No sign of life. ``refused``: the other side said no."""

    def __init__(self, text: str, refused: bool, took_s: float) -> None:
        super().__init__(text)
        self.refused = refused
        self.took_s = took_s


@dataclass(frozen=True)
class Answer:
    """``value``: None (TCP), the status (HTTP), the first row (MySQL)."""

    value: Any
    took_s: float


@dataclass(frozen=True)
class HttpProbe:
    target: str
    headers: Mapping[str, str]  # names in lower case


async def tcp(address: Address) -> Answer:
    """A connection is accepted. Raises ``ProbeFailed``."""
    return await _timed(_tcp(address), CONNECT_WITHIN_S)


async def http(address: Address, asked: HttpProbe) -> Answer:
    """The status of a GET. Raises ``ProbeFailed``."""
    return await _timed(_http(address, asked), HTTP_WITHIN_S)


async def mysql(address: Address, asked: MysqlProbe) -> Answer:
    """The first row that ``statement`` gives, empty where there is none. Raises ``ProbeFailed``."""
    return await _timed(asyncio.to_thread(mysql_probe.first_row, address, asked), MYSQL_WITHIN_S)


async def _timed(going: Awaitable[Any], within_s: float) -> Answer:
    start_s = time.monotonic()
    try:
        async with asyncio.timeout(within_s):
            value = await going
    except ConnectionRefusedError as error:
        raise ProbeFailed("connection refused", True, time.monotonic() - start_s) from error
    except TimeoutError as error:
        raise ProbeFailed(f"no answer within {within_s:g} s", False, time.monotonic() - start_s) from error
    except OSError as error:
        text = error.strerror or str(error)
        raise ProbeFailed(text, False, time.monotonic() - start_s) from error
    except Refused as error:
        raise ProbeFailed(str(error), True, time.monotonic() - start_s) from error
    return Answer(value, time.monotonic() - start_s)


async def _tcp(address: Address) -> None:
    stream = await streams.connect(address.host, address.port, None, CONNECT_WITHIN_S)
    stream.cut()


async def _http(address: Address, asked: HttpProbe) -> int:
    request = http_client.HttpRequest("GET", asked.target, asked.headers, within_s=HTTP_WITHIN_S)
    try:
        async with http_client.open_answer(f"http://{address}", request) as answer:
            return answer.status
    except AtollError as error:
        if isinstance(error.__cause__, OSError):  # a TimeoutError is one
            raise error.__cause__ from error
        raise Refused(error.message) from error
