"""Background tasks that cannot fail in silence.

Rule: whoever starts a task names it; when it ends by an error, the error is logged with its traceback and
``on_failure`` hears of it, once, at once. What happens then (the host stops the node) is not decided here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from atoll.runtime.logs import Log

OnFailure = Callable[[str, BaseException], None]


class Tasks:
    """The tasks of one owner. ``stop`` cancels them, newest first, and waits for their end."""

    def __init__(self, log: Log, on_failure: OnFailure) -> None:
        self._log = log
        self._on_failure = on_failure
        self._running: dict[asyncio.Task[Any], str] = {}

    def start(self, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run ``work`` in the background under ``name``. Its normal end is fine and forgotten."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._running[task] = name
        task.add_done_callback(self._ended)
        return task

    def names(self) -> list[str]:
        return list(self._running.values())

    async def stop(self, within_s: float) -> list[str]:
        """Cancel all and wait at most ``within_s`` seconds. Returns the names of those that did not end."""
        for task in reversed(list(self._running)):
            task.cancel()
        if self._running:
            await asyncio.wait(list(self._running), timeout=within_s)
        late = self.names()
        for name in late:
            self._log.warning("task did not end in time", task=name, within_s=within_s)
        return late

    def _ended(self, task: asyncio.Task[Any]) -> None:
        name = self._running.pop(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            self._log.error("background task failed", error, task=name)
            self._on_failure(name, error)
