"""Work that goes on beside an application, on its event loop. Its twin for threads is ``blocking_background``.

Rule: both modules have the same names with the same meaning. Work ends by returning when its owner asks it to; one
that fails is told to the log and does not take the application with it.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias

from atoll.runtime.logs import Log
from atoll.runtime.tasks import Tasks

Work: TypeAlias = Callable[[], Coroutine[Any, Any, None]]


class Background:
    """The background work of one owner."""

    def __init__(self, log: Log) -> None:
        self._tasks = Tasks(log, lambda name, error: None)

    def start(self, name: str, work: Work) -> None:
        self._tasks.start(name, work())

    async def stop(self, within_s: float) -> None:
        """Cancel what has not returned and wait for its end."""
        await self._tasks.stop(within_s)
