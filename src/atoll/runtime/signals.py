"""Signals of the operating system as items of a queue, read by the event loop.

Rule: a signal handler does nothing but enqueue; what a signal means is decided by whoever reads.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterable
from types import TracebackType

STOPPING = (signal.SIGINT, signal.SIGTERM)
SENT_ON_PURPOSE = (  # to a program, and handed on to it by whoever runs it
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGTERM,
)


def ignore(numbers: Iterable[int] = STOPPING) -> None:
    """From now on ``numbers`` do nothing: for a process that has stopped its work and only has to end."""
    for number in numbers:
        signal.signal(number, signal.SIG_IGN)


class Signals:
    """Catches ``numbers`` while the context is open; ``next`` waits for one."""

    def __init__(self, numbers: Iterable[int] = STOPPING) -> None:
        self._numbers = tuple(numbers)
        self._queue: asyncio.Queue[int] = asyncio.Queue()

    def __enter__(self) -> Signals:
        loop = asyncio.get_running_loop()
        for number in self._numbers:
            loop.add_signal_handler(number, self._queue.put_nowait, number)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        loop = asyncio.get_running_loop()
        for number in self._numbers:
            loop.remove_signal_handler(number)

    async def next(self) -> int:
        return await self._queue.get()
