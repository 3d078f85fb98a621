"""Work that goes on beside an application, on threads: the twin of ``background``.

Rule: a thread cannot be cancelled: its owner asks it to return (an event, a connection that is cut) and then waits. The
threads are daemons, so that one which does not listen is no reason for a program not to end; one that fails shows its
traceback by ``threading.excepthook``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeAlias

from atoll.runtime.clock import BootClock
from atoll.runtime.logs import Log

Work: TypeAlias = Callable[[], None]


class Background:
    """The background work of one owner."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._threads: list[threading.Thread] = []

    def start(self, name: str, work: Work) -> None:
        thread = threading.Thread(target=work, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def stop(self, within_s: float) -> None:
        """Wait for the end of what was asked to end."""
        clock = BootClock()
        until_s = clock.now_s() + within_s
        for thread in self._threads:
            thread.join(max(0.0, until_s - clock.now_s()))
            if thread.is_alive():
                self._log.warning("thread did not end in time", thread=thread.name, within_s=within_s)
