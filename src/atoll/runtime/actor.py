"""A thread with an inbox and a clock: how a sans-I/O machine runs beside, and not on, the event loop.

Rule: the owner's ``turn`` is called on this thread only, with one message or None when its time came; it must not
block. A blocked event loop does not delay it, so leases stay alive and their loss is noticed. A turn that raises
ends the process (``worker``).

Doubt: waits use the monotonic clock while deadlines are on the boot-time clock, which goes on in suspend; a wait
is therefore cut into pieces of at most ``WAIT_S_MAX``.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from atoll.runtime.clock import Clock
from atoll.runtime.worker import Worker

Message = TypeVar("Message")

WAIT_S_MAX: Final = 0.5


class Actor(Generic[Message]):
    """``turn(message | None)`` returns when it wants to be called next at the latest (boot-time seconds), or None
    to be called only for messages. The thread is a daemon: a process may end without asking it.
    """

    def __init__(self, name: str, clock: Clock, turn: Callable[[Message | None], float | None]) -> None:
        self._clock = clock
        self._turn = turn
        self._inbox: deque[Message] = deque()
        self._wake = threading.Condition()
        self._stopping = False
        self._first_s: float | None = None
        self._name = name
        self._worker: Worker | None = None

    def start(self, wake_at_s: float | None = None) -> None:
        """Begin, with a first turn at ``wake_at_s`` at the latest. Not in the constructor: an owner may need to be
        complete before.
        """
        if self._worker is None:
            self._first_s = wake_at_s
            self._worker = Worker(self._name, self._run)

    def post(self, message: Message) -> None:
        """From any thread, also from ``turn``. After ``stop`` nothing is read any more."""
        with self._wake:
            self._inbox.append(message)
            self._wake.notify()

    def stop(self) -> None:
        """End the thread after what is in its inbox; waits for it unless called from it."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        if self._worker is not None:
            self._worker.wait_end()

    def _run(self) -> None:
        wake_at_s = self._first_s
        while True:
            message, due = self._next(wake_at_s)
            if message is None and not due:
                return
            wake_at_s = self._turn(message)

    def _next(self, wake_at_s: float | None) -> tuple[Message | None, bool]:
        """The next message, or (None, True) at ``wake_at_s``, or (None, False) when stopping."""
        with self._wake:
            while True:
                if not self._stopping and wake_at_s is not None and self._clock.now_s() >= wake_at_s:
                    return None, True  # before messages: a deadline is noticed although answers pour in
                if self._inbox:
                    return self._inbox.popleft(), False
                if self._stopping:
                    return None, False
                left_s = WAIT_S_MAX if wake_at_s is None else wake_at_s - self._clock.now_s()
                self._wake.wait(min(max(left_s, 0.0), WAIT_S_MAX))
