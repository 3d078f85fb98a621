"""``python -m bench.load.in_process FOLDER IN_FLIGHT SECONDS``: durable puts/s into the embedded store, no server.

Rule: each completion submits the next put, so that exactly IN_FLIGHT are under way at any time; a put counts when
its completion says that it is durable.
"""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

from atoll.errors import AtollError
from atoll.store import api
from atoll.store.sqlite import open_sqlite

WARM_UP_S = 0.5
KEY = b"bench/in-process"
VALUE = b"v" * 64


class Load:
    """Keeps puts in flight until told to stop, then lets them run dry."""

    def __init__(self, driver: api.Driver, in_flight: int) -> None:
        self._driver = driver
        self._left = in_flight
        self._running = True
        self.done = 0
        self.failure: AtollError | None = None
        self.dry = threading.Event()

    def start(self) -> None:
        for _ in range(self._left):
            self._submit()

    def stop(self) -> None:
        self._running = False
        self.dry.wait(30)

    def _submit(self) -> None:
        self._driver.submit(api.Put(KEY, VALUE), self._completed)

    def _completed(self, outcome: api.Outcome) -> None:
        if isinstance(outcome, AtollError):
            self.failure = outcome
            self._running = False
        self.done += 1
        if self._running:
            self._submit()
            return
        self._left -= 1
        if self._left == 0:
            self.dry.set()


def main(folder: Path, in_flight: int, seconds: float) -> float:
    """Durable puts a second after a warm-up."""
    driver = open_sqlite(folder / f"in-process-{in_flight}.db")
    try:
        load = Load(driver, in_flight)
        load.start()
        time.sleep(WARM_UP_S)
        before, start_s = load.done, time.perf_counter()
        time.sleep(seconds)
        per_s = (load.done - before) / (time.perf_counter() - start_s)
        load.stop()
        if load.failure is not None:
            raise load.failure
        return per_s
    finally:
        driver.close()


if __name__ == "__main__":
    print(main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
