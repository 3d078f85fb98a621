"""``memory:``: an embedded store that forgets everything when it is closed. For tests and for trying things out.

Rule: the same engine as ``sqlite:``; only the journal differs: what is appended counts as durable at once.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from atoll.runtime.clock import BootClock
from atoll.runtime.rng import system_rng
from atoll.store.api import KeyValue, Limits
from atoll.store.embedded import Embedded
from atoll.store.engine import Engine, Retention
from atoll.store.journal import Progress, Recovered, Write
from atoll.store.mvcc import VERSION_OVERHEAD_BYTES


class MemoryJournal:
    """Keeps nothing but the size of what a disk would hold."""

    def __init__(self) -> None:
        self._progress: Progress | None = None
        self._appended = 0
        self._reported = 0
        self._reporting = threading.Lock()
        self._size_bytes = 0

    def recover(self) -> Recovered:
        return Recovered()

    def start(self, progress: Progress) -> None:
        self._progress = progress

    def append(self, write: Write) -> None:
        self._appended = write.number
        for event in write.events:
            self._size_bytes += _version_bytes(event.kv)

    def discard(self) -> None:
        """Never called: memory is not lost."""

    def flush(self) -> None:
        """Report what is appended; from one thread at a time, as ``Progress`` asks."""
        while self._reported < self._appended:
            if not self._reporting.acquire(blocking=False):
                return
            try:
                while self._reported < self._appended and self._progress is not None:
                    self._reported = self._appended
                    self._progress.durable(self._reported)
            finally:
                self._reporting.release()

    def forget(self, versions: Sequence[KeyValue], number: int) -> None:
        self._size_bytes -= sum(map(_version_bytes, versions))

    def size_bytes(self) -> int:
        return self._size_bytes

    def close(self) -> None:
        self.flush()


def _version_bytes(kv: KeyValue) -> int:
    return len(kv.key) + len(kv.value) + VERSION_OVERHEAD_BYTES


def open_memory(limits: Limits | None = None, retention: Retention | None = None) -> Embedded:
    """A new, empty store in this process's memory."""
    return Embedded(Engine(MemoryJournal(), BootClock(), system_rng(), limits, retention))
