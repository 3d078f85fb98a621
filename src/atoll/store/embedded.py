"""An engine with the thread that keeps its house: leases end in time, old history goes, late answers come.

Rule: one thread, one call (``Engine.poll``), nothing decided here.
"""

from __future__ import annotations

import threading
from typing import Protocol

from atoll.errors import AtollError, Code
from atoll.runtime.worker import Worker
from atoll.store.api import Cancel, Done, Put, Request, Watch, WatchSink
from atoll.store.engine import POLL_S, Engine, PublicDriver


class Snapshot(Protocol):
    """A copy that is being read, in blocking calls. ``sha256`` is of all its bytes."""

    @property
    def size_bytes(self) -> int: ...

    @property
    def sha256(self) -> bytes: ...

    def read(self, size_bytes: int) -> bytes: ...

    def close(self) -> None: ...


class Embedded:
    """A ``Driver``: the live form of an embedded store, whatever its journal."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._closing = threading.Event()
        self._house = Worker("atoll-store-house", self._keep_house)

    def submit(self, request: Request, done: Done, timeout_s: float | None = None) -> None:
        self.engine.submit(request, done, timeout_s)

    def watch(self, watch: Watch, sink: WatchSink) -> Cancel:
        return self.engine.watch(watch, sink)

    def close(self) -> None:
        self._closing.set()
        self._house.wait_end()
        self.engine.close()

    def note(self, name: str) -> bytes | None:
        return self.engine.note(name)

    def put_note(self, name: str, value: bytes, done: Done, beside: Put | None = None) -> None:
        self.engine.put_note(name, value, done, beside)

    def alarms(self) -> tuple[str, ...]:
        return self.engine.alarms()

    def arm(self, alarm: str) -> None:
        self.engine.arm(alarm)

    def disarm(self, alarm: str) -> bool:
        return self.engine.disarm(alarm)

    def defragment(self) -> None:
        """Give unused room back. Nothing to do where there is no file."""

    def snapshot(self) -> Snapshot:
        """A consistent copy of what is durable now. Raises INVALID where there is no file to copy."""
        raise AtollError(Code.INVALID, "a store in memory has no file to copy; use sqlite:PATH")

    def public_driver(self) -> PublicDriver:
        """A view for outsiders: the reserved prefix does not exist in it."""
        return self.engine.public_driver()

    def _keep_house(self) -> None:
        while not self._closing.wait(POLL_S):
            self.engine.poll()
