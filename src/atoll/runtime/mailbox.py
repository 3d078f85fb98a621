"""From any thread to the event loop, many calls for one wake-up.

Rule: calls run on the loop in the order in which they were posted. The loop is woken once for all calls that
arrive before it gets to them: a wake-up is a system call and a lock, which would otherwise cost more than the
calls themselves when a group commit answers a hundred writers at a time. On the loop's own thread a call runs
at once if none waits before it.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVarTuple

Ts = TypeVarTuple("Ts")


class Mailbox:
    """Belongs to the loop that is running where it is made."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._waiting: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._woken = False
        self._lock = threading.Lock()

    def post(self, call: Callable[[*Ts], None], *arguments: *Ts) -> None:
        """Run ``call(*arguments)`` on the loop. After the loop's end it is forgotten."""
        if threading.get_ident() == self._thread and not self._waiting:
            call(*arguments)
            return
        with self._lock:
            self._waiting.append((call, arguments))
            if self._woken or self._loop.is_closed():
                return
            self._woken = True
        try:
            self._loop.call_soon_threadsafe(self._deliver)
        except RuntimeError:  # closed this very moment; what was posted is forgotten, as after its end
            self._waiting.clear()

    def _deliver(self) -> None:
        with self._lock:
            self._woken = False
            calls = list(self._waiting)
        for call, arguments in calls:
            self._waiting.popleft()
            call(*arguments)
