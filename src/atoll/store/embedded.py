"""An engine with the thread that keeps its house: leases end in time, old history goes, late answers come.

Rule: one thread, one call (``Engine.poll``), nothing decided here.
"""

from __future__ import annotations

import threading

from atoll.runtime.worker import Worker
from atoll.store.api import Cancel, Done, Request, Watch, WatchSink
from atoll.store.engine import POLL_S, Engine, PublicDriver


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

    def public_driver(self) -> PublicDriver:
        """A view for outsiders: the reserved prefix does not exist in it."""
        return self.engine.public_driver()

    def _keep_house(self) -> None:
        while not self._closing.wait(POLL_S):
            self.engine.poll()
